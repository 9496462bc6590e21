//! The page of the status view: one HTML text with its style and its script, which loads nothing but the document.

use sha2::Digest;

use crate::base64;

const HEAD: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<link rel=\"icon\" href=\"data:,\">\n<title>MCP sessions</title>\n",
);
const STYLE: &str = include_str!("page/page.css");
const BODY: &str = include_str!("page/body.html");
const SCRIPT: &str = include_str!("page/page.js");

/// The whole page. It is the same for every request: nothing that anyone sends or configures is in it.
pub(super) fn page() -> String {
    [
        HEAD,
        "<style>",
        STYLE,
        "</style>\n</head>\n<body>\n",
        BODY,
        "<script>",
        SCRIPT,
        "</script>\n</body>\n</html>\n",
    ]
    .concat()
}

/// The content security policy of the page (CSP Level 3): its own style and script by their hashes, the document from
/// the same origin, the empty icon, and nothing else. So no markup that gets into the page could run or load anything.
pub(super) fn security_policy() -> String {
    let hash = |text: &str| base64::encode(&sha2::Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_loads_nothing() {
        let page = page();
        assert!(page.len() < 16 * 1024, "{} bytes", page.len());
        for address in ["http:", "https:", "src=", "@import", "url("] {
            let left = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!left.contains(address), "{address}");
        }
        for writes_markup in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "DOMParser",
        ] {
            assert!(!page.contains(writes_markup), "{writes_markup}");
        }
    }

    #[test]
    fn nothing_in_the_style_or_the_script_ends_it_early() {
        let page = page();
        assert_eq!(
            (page.matches("</style").count(), page.matches("</script").count()),
            (1, 1)
        );
        assert_eq!(
            (page.matches("<style>").count(), page.matches("<script>").count()),
            (1, 1)
        );
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
    }

    #[test]
    fn the_policy_allows_the_page_itself_alone() {
        let policy = security_policy();
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        assert_eq!(policy.matches("'sha256-").count(), 2);
    }
}
