//! The status view: every session and stream of the VM against its cap, as JSON for tools and as a page for people.
//!
//! It is meant for a listener of its own on loopback. It changes nothing, and names no principal.

mod document;
mod json;
mod page;

pub use document::{Document, EndpointCounters};

use std::borrow::Cow;

use crate::config::Config;
use crate::exchange::{RequestHead, names_media_type};

/// The view that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The document, in JSON.
    Document,
    /// The page, in HTML. It reads the document itself.
    Page,
    /// None: the method is not GET.
    MethodNotAllowed,
}

impl View {
    /// The view that a request with these header fields asks for; `None` if the request is not for the status view. An
    /// endpoint that names the request's host goes before the view, which names none.
    pub fn asked<'a>(
        config: &Config,
        head: &RequestHead<'_>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Self> {
        let path = config.status.as_ref()?;
        if !path.matches(head.path) || belongs_to_a_named_host(config, head) {
            return None;
        }
        Some(match head.method {
            b"GET" if wants_page(fields) => Self::Page,
            b"GET" => Self::Document,
            _ => Self::MethodNotAllowed,
        })
    }
}

fn belongs_to_a_named_host(config: &Config, head: &RequestHead<'_>) -> bool {
    let endpoint = config.endpoint_for(head.authority, head.path);
    let endpoint = endpoint.and_then(|index| config.endpoints.get(index));
    endpoint.is_some_and(|endpoint| endpoint.authority.is_some())
}

/// Whether the request accepts HTML, as browsers do, and does not name JSON.
fn wants_page<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let (mut html, mut json) = (false, false);
    for (_, value) in fields.filter(|(name, _)| *name == b"accept") {
        html |= names_media_type(value, b"text/html");
        json |= names_media_type(value, b"application/json");
    }
    html && !json
}

/// An answer of the status view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The document.
    pub fn document(document: &Document<'_>) -> Self {
        Self::new(
            200,
            "application/json",
            NOTHING_ELSE.into(),
            document.to_json().into_bytes(),
        )
    }

    /// The page.
    pub fn page() -> Self {
        let body = page::page().into_bytes();
        Self::new(
            200,
            "text/html; charset=utf-8",
            page::security_policy().into(),
            body,
        )
    }

    /// 405: the view answers GET alone (RFC 9110, section 15.5.6).
    pub fn method_not_allowed() -> Self {
        let mut response = Self::without_body(405);
        response.headers.push(("allow", "GET".into()));
        response
    }

    /// 503: the table cannot be read.
    pub fn unavailable() -> Self {
        Self::without_body(503)
    }

    fn without_body(status: u16) -> Self {
        Self::new(
            status,
            "text/plain; charset=utf-8",
            NOTHING_ELSE.into(),
            Vec::new(),
        )
    }

    /// No answer may be stored, framed by a page, read by a page of another origin, or taken for another type.
    fn new(status: u16, content_type: &'static str, policy: Cow<'static, str>, body: Vec<u8>) -> Self {
        let headers = vec![
            ("content-type", content_type.into()),
            ("cache-control", "no-store".into()),
            ("vary", "accept".into()),
            ("content-security-policy", policy),
            ("x-content-type-options", "nosniff".into()),
            ("referrer-policy", "no-referrer".into()),
            ("cross-origin-resource-policy", "same-origin".into()),
        ];
        Self {
            status,
            headers,
            body,
        }
    }
}

/// The content security policy of what loads nothing.
const NOTHING_ELSE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"status": {"path": "/s"}, "endpoints": [{"name": "all", "path": "/*"},
        {"name": "a", "path": "/s", "authority": "a.example"}]}"#;

    /// The view of a request with these lines of `Accept`.
    fn asked(method: &str, authority: &str, path: &str, accept: &[&str]) -> Option<View> {
        let config = Config::parse(CONFIG.as_bytes()).unwrap();
        let mut fields = vec![(":method", method), (":authority", authority), (":path", path)];
        fields.extend(accept.iter().map(|value| ("accept", *value)));
        let fields = || {
            fields
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        };
        View::asked(&config, &RequestHead::new(fields(), false), fields())
    }

    #[test]
    fn a_browser_gets_the_page_and_all_others_the_document() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, view) in [
            (&[][..], View::Document),
            (&["*/*"], View::Document),
            (&["application/json"], View::Document),
            (&["Application/JSON; charset=utf-8, text/html"], View::Document),
            (&["text/html", "application/json"], View::Document),
            (&["text/plain"], View::Document),
            (&[chromium], View::Page),
            (&["*/*", "TEXT/html;q=0.1"], View::Page),
        ] {
            assert_eq!(asked("GET", "h", "/s", accept), Some(view), "{accept:?}");
        }
    }

    #[test]
    fn every_other_method_is_refused() {
        for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", ""] {
            assert_eq!(
                asked(method, "h", "/s", &[]),
                Some(View::MethodNotAllowed),
                "{method}"
            );
        }
        let refused = Response::method_not_allowed();
        assert_eq!((refused.status, refused.body.len()), (405, 0));
        assert!(refused.headers.contains(&("allow", "GET".into())));
    }

    #[test]
    fn the_path_is_compared_as_it_is_without_its_query() {
        assert!(asked("GET", "h", "/s?a=/b", &[]).is_some());
        for path in ["/S", "/s/", "/s;a=b", "/s/s", "/", "", "/%73"] {
            assert_eq!(asked("GET", "h", path, &[]), None, "{path}");
        }
    }

    #[test]
    fn an_endpoint_that_names_the_host_goes_before_the_view() {
        assert_eq!(asked("GET", "a.example", "/s", &[]), None);
        assert_eq!(asked("GET", "b.example", "/s", &[]), Some(View::Document));
    }
}
