//! Fields that the reader knows and this version of the filter does not support.

use super::located::Located;

/// Notes a mistake at each such field that was written.
pub(super) fn refuse(root: &Located<'_>) {
    if let Some(at) = root.at("fleet") {
        at.refuse("not supported in this version");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn refuses_what_is_written() {
        let text = br#"{"fleet": {"cluster": "etcd", "name": "mcp", "max_sessions": 5}}"#;
        let refused = Config::parse(text).unwrap_err();
        let [mistake] = refused.mistakes() else {
            panic!("{refused}")
        };
        assert_eq!(
            (mistake.path.as_str(), mistake.problem.as_str()),
            ("fleet", "not supported in this version")
        );
        assert!(Config::parse_all(text).is_ok());
    }
}
