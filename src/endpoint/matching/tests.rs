use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn matches(text: &str, path: &str) -> bool {
    pattern(text).matches(RequestPath::new(path.as_bytes()))
}

#[test]
fn an_exact_path_matches_every_spelling_that_a_server_may_take_for_it() {
    for written in ["/mcp", "/mcp/", "/MCP", "/mcp;v=1"] {
        for spelling in [
            "/mcp",
            "/mcp/",
            "/MCP",
            "/Mcp/",
            "/mcp;a=b",
            "/mcp;a=b/",
            "/mcp;a/;b",
            "/mcp/;a=b",
            "/mcp;",
            "/mcp?x",
            "/mcp/?x=/y",
            "/mcp?",
            "/mcp#x",
            "/mcp;a=b?c",
        ] {
            assert!(matches(written, spelling), "{written} {spelling}");
        }
        for other in [
            "/mcp/a", "/mc", "/mcpa", "mcp", "", "/", "/mcp//", "//mcp", "/a/mcp", "/%6dcp", "?/mcp",
            "/;a/mcp",
        ] {
            assert!(!matches(written, other), "{written} {other}");
        }
    }
}

#[test]
fn a_trailing_star_matches_everything_below() {
    for below in [
        "/mcp/", "/mcp/a", "/mcp/a/b", "/MCP/A", "/mcp//", "/mcp/?x", "/mcp;a/", "/mcp/;a",
    ] {
        assert!(matches("/mcp/*", below), "{below}");
    }
    for other in ["/mcp", "/mcpa", "/", "", "/mcp;a", "/mcp?/"] {
        assert!(!matches("/mcp/*", other), "{other}");
    }
    assert!(matches("/*", "/") && matches("/*", "/anything/at/all"));
}

#[test]
fn overlap_is_mutual_and_means_a_shared_path_of_which_neither_goes_first() {
    let cases = [
        ("/mcp", "/mcp", true),
        ("/mcp", "/MCP/", true),
        ("/mcp", "/mcp;a=b", true),
        ("/mcp", "/mcp/*", false),
        ("/mcp/a", "/mcp/*", false),
        ("/mcp/*", "/MCP/*", true),
        ("/mcp/a/*", "/mcp/*", true),
        ("/mcp/a/*", "/mcp/b/*", false),
        ("/*", "/x", false),
        ("/mcp;a/*", "/mcp/*", true),
    ];
    for (a, b, expected) in cases {
        assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} {b}");
        assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} {a}");
    }
}

#[test]
fn refuses_paths_that_no_request_could_have() {
    for text in [
        "", "mcp", "*", "/m*", "/*/a", "/a/*/*", "/mcp**", "/mcp?x", "/mcp#x", "/a b", "/é", "/a\n",
    ] {
        assert!(PathPattern::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_host_matches_in_any_case_and_with_any_port_and_a_final_dot() {
    for written in ["Mcp.Example", "mcp.example."] {
        let host = Authority::parse(written).unwrap();
        assert_eq!(host.as_str(), "mcp.example");
        for header in [
            "mcp.example",
            "MCP.EXAMPLE",
            "mcp.example:443",
            "Mcp.Example:",
            "mcp.example.",
            "mcp.example.:443",
        ] {
            assert!(host.matches(header.as_bytes()), "{header}");
        }
        for header in [
            "",
            "example",
            "mcp.example.com",
            "x.mcp.example",
            "mcp.example..",
            ".mcp.example",
            "[mcp.example]",
        ] {
            assert!(!host.matches(header.as_bytes()), "{header}");
        }
    }
}

#[test]
fn the_colons_of_an_ipv6_address_are_no_port() {
    let host = Authority::parse("[::1]").unwrap();
    assert!(host.matches(b"[::1]") && host.matches(b"[::1]:8080"));
    assert!(!host.matches(b"[::2]:8080") && !host.matches(b"::1") && !host.matches(b"["));
    assert!(Authority::parse("[FE80::A]").unwrap().matches(b"[fe80::a]:1"));
}

#[test]
fn refuses_an_authority_that_is_more_than_a_host() {
    for text in [
        "", ".", "a:80", "http://a", "a/b", "*.a", "::1", "[::1]:80", "[]", "a b", "é", "u@a",
    ] {
        assert!(Authority::parse(text).is_err(), "{text:?}");
    }
}

/// Whether a pattern matches a path, by the rule in the documentation, on strings.
fn by_the_words(pattern: &str, path: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let path = path.to_ascii_lowercase();
    let path = path.split(['?', '#']).next().unwrap();
    match pattern.strip_suffix('*') {
        Some(below) => path.starts_with(below) || plain(path) == below,
        None => without_slash(&plain(path)) == without_slash(&plain(&pattern)),
    }
}

/// The path without the parameters of its last segment, and of the one before a final `/`.
fn plain(path: &str) -> String {
    let cut = |path: &str| match path.rsplit_once('/') {
        Some((before, last)) => format!("{before}/{}", last.split(';').next().unwrap()),
        None => path.split(';').next().unwrap().to_owned(),
    };
    let path = cut(path);
    match path.strip_suffix('/') {
        Some(directory) => format!("{}/", cut(directory)),
        None => path,
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// Paths over few letters, so that two of them often have much in common.
fn path() -> impl Strategy<Value = String> {
    "/[aA/;]{0,5}[?]?"
}

fn pattern_text() -> impl Strategy<Value = String> {
    prop_oneof!["/[aA/;]{0,4}", "/([aA;]{0,2}/){0,2}[*]"]
}

/// Every path of up to six of these letters. If two patterns of that size share a path, they share one of these.
fn all_paths() -> Vec<String> {
    let mut paths = vec!["/".to_owned()];
    let mut from = 0;
    for _ in 0..6 {
        let to = paths.len();
        for index in from..to {
            for letter in ['a', '/', ';'] {
                paths.push(format!("{}{letter}", paths[index]));
            }
        }
        from = to;
    }
    paths
}

proptest! {
    #[test]
    fn any_bytes_match_or_do_not(path: Vec<u8>, host: Vec<u8>) {
        for text in ["/mcp", "/*", "/a/*", "/"] {
            let _ = pattern(text).matches(RequestPath::new(&path));
        }
        let _ = Authority::parse("a.example").unwrap().matches(&host);
        let _ = Authority::parse("[::1]").unwrap().matches(&host);
    }

    #[test]
    fn matching_agrees_with_its_description(text in pattern_text(), path in path()) {
        prop_assert_eq!(matches(&text, &path), by_the_words(&text, &path));
    }

    #[test]
    fn a_host_agrees_with_its_description(header in "[aA.:]{0,6}") {
        let name = header.split(':').next().unwrap();
        let name = name.strip_suffix('.').unwrap_or(name);
        let host = Authority::parse("a.a").unwrap();
        prop_assert_eq!(host.matches(header.as_bytes()), name.eq_ignore_ascii_case("a.a"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn patterns_overlap_where_some_path_matches_both_and_both_are_of_one_kind(a in pattern_text(), b in pattern_text()) {
        let (one, other) = (pattern(&a), pattern(&b));
        let shared = all_paths().into_iter().find(|path| {
            let path = RequestPath::new(path.as_bytes());
            one.matches(path) && other.matches(path)
        });
        prop_assert_eq!(
            one.overlaps(&other),
            shared.is_some() && one.is_exact() == other.is_exact(),
            "{:?}", shared
        );
    }
}
