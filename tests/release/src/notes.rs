//! What the changelog says of one version.

/// The section of this version, without its heading. `Err` says why there is nothing to publish: no such section, an
/// empty one, or a section `Unreleased` with changes that belong to no version yet.
pub fn of(changelog: &str, version: &str) -> Result<String, String> {
    if section(changelog, "Unreleased").is_some_and(|text| !text.is_empty()) {
        return Err(format!(
            "CHANGELOG.md still has changes under [Unreleased]: name them [{version}]"
        ));
    }
    let notes = section(changelog, version).filter(|text| !text.is_empty());
    notes.ok_or_else(|| format!("CHANGELOG.md says nothing of [{version}]"))
}

/// The text between `## [name]` and the next such heading.
fn section(changelog: &str, name: &str) -> Option<String> {
    let heading = format!("## [{name}]");
    let mut lines = changelog.lines().skip_while(|line| !line.starts_with(&heading));
    lines.next()?;
    let text: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
    Some(text.join("\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::of;

    const CHANGELOG: &str =
        "# Changelog\n\n## [Unreleased]\n\n## [0.2.0]\n\n### Added\n\n- It.\n\n## [0.1.0]\n\n- All.\n";

    #[test]
    fn a_version_has_its_own_section() {
        assert_eq!(of(CHANGELOG, "0.2.0"), Ok("### Added\n\n- It.".to_owned()));
        assert_eq!(of(CHANGELOG, "0.1.0"), Ok("- All.".to_owned()));
    }

    #[test]
    fn a_version_without_notes_is_refused() {
        let refusal = Err("CHANGELOG.md says nothing of [0.3.0]".to_owned());
        assert_eq!(of(CHANGELOG, "0.3.0"), refusal);
        assert_eq!(of("## [0.3.0]\n\n## [0.2.0]\n\n- It.\n", "0.3.0"), refusal);
    }

    #[test]
    fn changes_that_belong_to_no_version_are_refused() {
        let forgotten = CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n- More.\n");
        let refusal = "CHANGELOG.md still has changes under [Unreleased]: name them [0.2.0]";
        assert_eq!(of(&forgotten, "0.2.0"), Err(refusal.to_owned()));
    }
}
