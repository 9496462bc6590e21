//! Reads `lost_session`: the answers by which a server says that it no longer knows a session.

use crate::config::bounds::{LOST_ANSWERS, LOST_STATUS, LOST_TEXT_BYTES};
use crate::config::located::Located;
use crate::config::object::Object;
use crate::endpoint::{Admission, Endpoint, LostAnswer, Transport};

/// Reads the field. Call it once the transport and the admission are read.
pub(super) fn lost_session(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    object.set("lost_session", &mut endpoint.lost_session, answers);
    let Some(at) = object
        .get("lost_session")
        .filter(|at| at.as_items().is_none_or(|items| !items.is_empty()))
    else {
        return;
    };
    if let Transport::HttpSse { .. } = endpoint.transport {
        at.refuse("not with transport \"http_sse\"");
    } else if endpoint.admission == Admission::Headers {
        at.refuse("needs admission \"body\"");
    }
}

fn answers(at: &Located<'_>) -> Option<Vec<LostAnswer>> {
    let items = at.items()?;
    if !LOST_ANSWERS.contains(&items.len()) {
        at.refuse(format!(
            "must have at most {} entries, got {}",
            LOST_ANSWERS.end(),
            items.len()
        ));
    }
    let read: Vec<_> = items.iter().take(*LOST_ANSWERS.end()).map(answer).collect();
    read.into_iter().collect()
}

/// The result counts only if no mistake was noted.
fn answer(at: &Located<'_>) -> Option<LostAnswer> {
    let object = Object::of(at)?;
    object.require(&["status", "contains"]);
    let mut read = LostAnswer {
        status: 0,
        contains: String::new(),
    };
    object.set("status", &mut read.status, |at| {
        let status = at.whole_number(LOST_STATUS)?;
        u16::try_from(status).ok()
    });
    object.set("contains", &mut read.contains, |at| at.parsed(text));
    object.finish();
    Some(read)
}

fn text(text: &str) -> Result<String, &'static str> {
    if LOST_TEXT_BYTES.contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 256 bytes of text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{endpoint_with, mistakes_with};

    fn with(field: &str) -> String {
        format!(r#""admission": "body", "lost_session": {field}"#)
    }

    #[test]
    fn reads_statuses_and_texts() {
        let fields = with(
            r#"[{"status": 400, "contains": "No valid session ID"}, {"contains": "\"Zürich\"", "status": 599.0}]"#,
        );
        let expected = [(400, "No valid session ID"), (599, "\"Zürich\"")];
        assert_eq!(
            endpoint_with(&fields).lost_session,
            expected.map(|(status, contains)| LostAnswer {
                status,
                contains: contains.to_owned()
            })
        );
        assert_eq!(endpoint_with("").lost_session, []);
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("{}", ": must be a list, got an object"),
            ("[1]", "[0]: must be an object, got a number"),
            (r#"[{"contains": "a"}]"#, "[0].status: required"),
            (r#"[{"status": 400}]"#, "[0].contains: required"),
            (
                r#"[{"status": 199, "contains": "a"}]"#,
                "[0].status: must be a whole number from 200 to 599, got 199",
            ),
            (
                r#"[{"status": "400", "contains": "a"}]"#,
                "[0].status: must be a whole number from 200 to 599, got \"400\"",
            ),
            (
                r#"[{"status": 600, "contains": "a"}]"#,
                "[0].status: must be a whole number from 200 to 599, got 600",
            ),
            (
                r#"[{"status": 400, "contains": ""}]"#,
                "[0].contains: must be 1 to 256 bytes of text, got \"\"",
            ),
            (
                r#"[{"status": 400, "contains": 5}]"#,
                "[0].contains: must be a string, got 5",
            ),
            (
                r#"[{"status": 400, "contains": "a", "contain": "b"}]"#,
                "[0].contain: unknown field, did you mean \"contains\"?",
            ),
        ];
        for (field, mistake) in cases {
            assert_eq!(
                mistakes_with(&with(field)),
                [format!("endpoints[0].lost_session{mistake}")],
                "{field}"
            );
        }
    }

    #[test]
    fn a_text_has_up_to_256_bytes() {
        let field = |text: &str| with(&format!(r#"[{{"status": 400, "contains": "{text}"}}]"#));
        for text in ["a".repeat(256), "é".repeat(128)] {
            assert_eq!(endpoint_with(&field(&text)).lost_session[0].contains, text);
        }
        for text in ["a".repeat(257), "é".repeat(129)] {
            let mistakes = mistakes_with(&field(&text)).concat();
            assert!(
                mistakes.contains(".contains: must be 1 to 256 bytes of text, got "),
                "{mistakes}"
            );
        }
    }

    #[test]
    fn there_are_up_to_eight() {
        let list = |len| vec![r#"{"status": 400, "contains": "a"}"#; len].join(", ");
        assert_eq!(
            endpoint_with(&with(&format!("[{}]", list(8)))).lost_session.len(),
            8
        );
        assert_eq!(
            mistakes_with(&with(&format!("[{}]", list(9)))),
            ["endpoints[0].lost_session: must have at most 8 entries, got 9"]
        );
    }

    #[test]
    fn reading_answers_needs_the_body_and_streamable_http() {
        let field = r#""lost_session": [{"status": 400, "contains": "a"}]"#;
        let needs = ["endpoints[0].lost_session: needs admission \"body\""];
        assert_eq!(mistakes_with(field), needs);
        assert_eq!(
            mistakes_with(&format!(r#""admission": "headers", {field}"#)),
            needs
        );
        for admission in ["headers", "body"] {
            let fields = format!(
                r#""transport": "http_sse", "message_path": "/m", "admission": "{admission}", {field}"#
            );
            assert_eq!(
                mistakes_with(&fields),
                ["endpoints[0].lost_session: not with transport \"http_sse\""]
            );
        }
        assert_eq!(endpoint_with(r#""lost_session": []"#).lost_session, []);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let field = r#""lost_session": [{"status": 1, "contains": ""}]"#;
        assert_eq!(mistakes_with(field).len(), 3);
    }
}
