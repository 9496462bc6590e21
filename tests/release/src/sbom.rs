//! The list of parts that `cargo cyclonedx` writes, without what names the machine.

/// The list without the folder that the repository lies in: the tool names packages of a workspace by it.
pub fn without_folder(list: &str, folder: &str) -> String {
    list.replace(&format!("file://{folder}"), "file://")
}

#[cfg(test)]
mod tests {
    use super::without_folder;

    #[test]
    fn a_package_of_the_workspace_is_named_without_its_folder() {
        let list =
            r#"{"bom-ref": "path+file:///home/me/filter#1.0", "purl": "file:///home/me/filter?x=file://."}"#;
        assert_eq!(
            without_folder(list, "/home/me/filter"),
            r#"{"bom-ref": "path+file://#1.0", "purl": "file://?x=file://."}"#
        );
    }
}
