//! What the configuration knows and the filter does not do yet. Shrinks to nothing.

use super::located::Located;

/// Notes a mistake wherever it is written.
pub(super) fn refuse(root: &Located<'_>) {
    if let Some(at) = root.at("status") {
        at.refuse("not supported yet");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn refuses_what_is_written() {
        let text = br#"{"status": {"path": "/s"}}"#;
        let refused = Config::parse(text).unwrap_err();
        let [mistake] = refused.mistakes() else {
            panic!("{refused}")
        };
        assert_eq!(
            (mistake.path.as_str(), mistake.problem.as_str()),
            ("status", "not supported yet")
        );
        assert!(Config::parse_all(text).is_ok());
    }
}
