//! Reads messages from a JSON text (RFC 8259), by serde_json and without copying. The same code reads whole texts and
//! beginnings: if a text ends early or breaks, the [`Members`] keep what came before.

use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::members::{Members, Params, keep};
use super::spelling::folds_to_any;
use super::text::text_of;

/// Why reading stopped before the end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The text ends too early. More bytes may complete it.
    Cut,
    /// The text is wrong. No further byte can mend it.
    Wrong,
}

/// Reads one message, which must be the whole of `text`. After an error, `members` holds the members before it. A
/// value that is no object leaves no members, and is then refused for their absence.
pub(super) fn read_message<'a>(text: &'a str, members: &mut Members<'a>) -> Result<(), Broken> {
    read_whole(text, Value(Message(members))).map(drop)
}

/// Reads an array, which must be the whole of `text`, and passes each message in it to `each`, including a message
/// that is cut off or broken.
pub(super) fn read_batch(text: &str, each: impl FnMut(&Members<'_>)) -> Result<(), Broken> {
    read_whole(text, Value(Batch(each))).map(drop)
}

/// Whether `text` is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn read_whole<'a, S: DeserializeSeed<'a>>(text: &'a str, seed: S) -> Result<S::Value, Broken> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut json);
    let value = value.and_then(|value| json.end().map(|()| value));
    value.map_err(|error| {
        // If a number is cut after one of these characters, serde_json calls it wrong rather than cut. In a text that
        // is wrong elsewhere, this test only makes the reader wait for bytes that tell nothing new.
        if error.is_eof() || text.ends_with(['-', '+', '.', 'e', 'E']) {
            Broken::Cut
        } else {
            Broken::Wrong
        }
    })
}

/// The string that `token` is, its escapes resolved; `None` for another value, and for half of a surrogate pair.
pub(super) fn read_string(token: &str) -> Option<String> {
    let mut text = None;
    read_whole(token, Value(Text(&mut text))).ok()?;
    text
}

/// Takes a value part by part. What is not taken is skipped.
trait Takes<'a> {
    /// Takes the value of the member with this name; its escapes are resolved. A name with half of a surrogate pair
    /// comes as an empty name, since no member that matters has such a name.
    fn take<A: MapAccess<'a>>(&mut self, _name: &str, values: &mut A) -> Result<(), A::Error> {
        values.next_value::<IgnoredAny>().map(drop)
    }

    /// Takes the next element of an array. Returns whether there was one.
    fn take_element<A: SeqAccess<'a>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        Ok(elements.next_element::<IgnoredAny>()?.is_some())
    }

    /// Takes a string.
    fn take_text(&mut self, _text: &str) {}

    /// Whether the members that come after these matter to no one. The reader then stops with an error, so that a
    /// long text costs no more than its beginning.
    fn has_enough(&self) -> bool {
        false
    }
}

/// Reads a value of any kind. For a kind that is not wanted serde_json has errors that quote the value, and to quote a
/// double is 40 KB of code: so no kind is an error here.
struct Value<T>(T);

/// The kind of a value that should be an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Object,
    Null,
    Other,
}

impl<'a, T: Takes<'a>> DeserializeSeed<'a> for Value<T> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Shape, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a, T: Takes<'a>> Visitor<'a> for Value<T> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut members: A) -> Result<Shape, A::Error> {
        while let Some(name) = members.next_key::<&RawValue>()? {
            let name = text_of(name.get()).unwrap_or_default();
            self.0.take(&name, &mut members)?;
            if self.0.has_enough() {
                break;
            }
        }
        Ok(Shape::Object)
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<Shape, A::Error> {
        while self.0.take_element(&mut elements)? {}
        Ok(Shape::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<Shape, E> {
        self.0.take_text(text);
        Ok(Shape::Other)
    }
}

/// A message as a whole.
struct Message<'m, 'a>(&'m mut Members<'a>);

impl<'a> Takes<'a> for Message<'_, 'a> {
    fn take<A: MapAccess<'a>>(&mut self, name: &str, values: &mut A) -> Result<(), A::Error> {
        let members = &mut *self.0;
        members.answers |= matches!(name, "result" | "error");
        members.is_ambiguous |= match name {
            "jsonrpc" => keep(&mut members.jsonrpc, values.next_value()?),
            "id" => keep(&mut members.id, values.next_value()?),
            "method" => keep(&mut members.method, values.next_value()?),
            "result" => keep(&mut members.result, values.next_value()?),
            "error" => keep(&mut members.error, values.next_value()?),
            "message" => {
                members.has_two_texts |= keep(&mut members.text, values.next_value()?);
                false
            }
            "params" if members.params == Params::Absent => {
                members.params = Params::Begun;
                members.params = match values.next_value_seed(Value(InParams(members)))? {
                    Shape::Object => Params::Read,
                    Shape::Null => Params::Null,
                    Shape::Other => Params::NoObject,
                };
                false
            }
            name => {
                values.next_value::<IgnoredAny>()?;
                folds_to_any(name, &MESSAGE)
            }
        };
        Ok(())
    }

    fn has_enough(&self) -> bool {
        self.0.are_enough()
    }
}

/// The members of a message that matter.
const MESSAGE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// `params` of a message.
struct InParams<'m, 'a>(&'m mut Members<'a>);

impl<'a> Takes<'a> for InParams<'_, 'a> {
    fn take<A: MapAccess<'a>>(&mut self, name: &str, values: &mut A) -> Result<(), A::Error> {
        let members = &mut *self.0;
        members.is_ambiguous |= match name {
            "name" => keep(&mut members.name, values.next_value()?),
            "uri" => keep(&mut members.uri, values.next_value()?),
            "protocolVersion" => keep(&mut members.protocol_version, values.next_value()?),
            // The server judges a `_meta` that is no object.
            "_meta" if !members.has_meta => {
                members.has_meta = true;
                values.next_value_seed(Value(InMeta(members)))?;
                false
            }
            name => {
                values.next_value::<IgnoredAny>()?;
                folds_to_any(name, &PARAMS)
            }
        };
        Ok(())
    }

    fn has_enough(&self) -> bool {
        self.0.are_enough()
    }
}

/// The members of `params` that matter.
const PARAMS: [&str; 4] = ["name", "uri", "protocolVersion", "_meta"];

/// `params._meta` of a message.
struct InMeta<'m, 'a>(&'m mut Members<'a>);

impl<'a> Takes<'a> for InMeta<'_, 'a> {
    fn take<A: MapAccess<'a>>(&mut self, name: &str, values: &mut A) -> Result<(), A::Error> {
        if name == "io.modelcontextprotocol/protocolVersion" {
            self.0.is_ambiguous |= keep(&mut self.0.meta_version, values.next_value()?);
        } else {
            values.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The messages of an array, each passed on after it was read.
struct Batch<F>(F);

impl<'a, F: FnMut(&Members<'_>)> Takes<'a> for Batch<F> {
    fn take_element<A: SeqAccess<'a>>(&mut self, elements: &mut A) -> Result<bool, A::Error> {
        let mut members = Members::default();
        let element = elements.next_element_seed(Value(Message(&mut members)));
        if let Ok(None) = element {
            return Ok(false);
        }
        (self.0)(&members);
        element.map(|_| true)
    }
}

/// A string.
struct Text<'t>(&'t mut Option<String>);

impl Takes<'_> for Text<'_> {
    fn take_text(&mut self, text: &str) {
        *self.0 = Some(text.to_owned());
    }
}
