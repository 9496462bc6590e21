//! YAML as JSON, as far as the files of `envoy/` go: with anchors and without tags. Values are those of the
//! [core schema](https://yaml.org/spec/1.2.2/#103-core-schema).

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// The one document of a file.
///
/// # Errors
/// If it is no YAML, has what this does not read, or has not one document.
pub fn read(text: &str) -> Result<Value, String> {
    let mut documents = documents(text)?;
    match (documents.pop(), documents.len()) {
        (Some(document), 0) => Ok(document),
        (_, others) => Err(format!("one document is expected, and there are {others} others")),
    }
}

/// All documents of a file.
///
/// # Errors
/// If it is no YAML, or has what this does not read.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut events = Events {
        rest: Parser::new_from_str(text),
        anchored: BTreeMap::new(),
    };
    let mut documents = Vec::new();
    loop {
        match events.next()? {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(documents),
            first => documents.push(events.node(first)?),
        }
    }
}

struct Events<I> {
    rest: I,
    /// The values that have an anchor, by its number.
    anchored: BTreeMap<usize, Value>,
}

impl<'a, I, S, E> Events<I>
where
    I: Iterator<Item = Result<(Event<'a>, S), E>>,
    E: std::fmt::Display,
{
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.rest.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the text ends early".to_owned()),
        }
    }

    /// The node that begins with this event.
    fn node(&mut self, first: Event<'a>) -> Result<Value, String> {
        let (value, anchor) = match first {
            Event::Scalar(text, ScalarStyle::Plain, anchor, None) => (plain(&text), anchor),
            Event::Scalar(text, _, anchor, None) => (Value::String(text.into_owned()), anchor),
            Event::SequenceStart(_, anchor, None) => (self.sequence()?, anchor),
            Event::MappingStart(_, anchor, None) => (self.mapping()?, anchor),
            Event::Alias(anchor) => {
                return self
                    .anchored
                    .get(&anchor)
                    .cloned()
                    .ok_or("no such anchor".to_owned());
            }
            other => return Err(format!("not read: {other:?}")),
        };
        // A node without an anchor has the number 0.
        if anchor > 0 {
            self.anchored.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(items)),
                first => items.push(self.node(first)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, String> {
        let mut members = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(members)),
                Event::Scalar(key, _, 0, None) => key.into_owned(),
                other => return Err(format!("a key is a text, and there is {other:?}")),
            };
            let first = self.next()?;
            let value = self.node(first)?;
            if members.insert(key.clone(), value).is_some() {
                return Err(format!("{key} is there twice"));
            }
        }
    }
}

/// A scalar without quotes.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit());
    let whole = || text.parse().ok().map(|whole: i64| Number::from(whole));
    let broken = || text.parse().ok().and_then(Number::from_f64);
    match is_number.then(|| whole().or_else(broken)).flatten() {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_the_shipped_files_have() {
        let text = "# a comment\na: { b: [1, -2, 0.5, 1s, true, ~, \"1\", 'x'], c: }\n\"@type\": type.x/y\n\
                    list:\n- name: one\n  text: |\n    two\n    lines\n- &last { path: /mcp }\n\
                    again: *last\n";
        assert_eq!(
            read(text),
            Ok(json!({
                "a": {"b": [1, -2, 0.5, "1s", true, null, "1", "x"], "c": null},
                "@type": "type.x/y",
                "list": [{"name": "one", "text": "two\nlines\n"}, {"path": "/mcp"}],
                "again": {"path": "/mcp"},
            }))
        );
    }

    #[test]
    fn reads_several_documents() {
        assert_eq!(
            documents("---\na: 1\n---\n- b\n...\n"),
            Ok(vec![json!({"a": 1}), json!(["b"])])
        );
    }

    #[test]
    fn refuses_what_it_does_not_read() {
        for text in ["", "a: *b", "a: !x 1", "a: 1\na: 2", "a: 1\n---\nb: 2\n", "a: ["] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
