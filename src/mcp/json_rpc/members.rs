//! The members of one message, collected as the parser comes by them.
//!
//! Mistakes of meaning (a member twice, a wrong type) are noted and do not stop the parser: a text that is not
//! JSON further on is still found to be none, and a prefix that is cut off leaves behind what was seen.

use crate::mcp::method::{Method, Target};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What was seen of a message. Values are kept as JSON tokens, the first one where a member came twice.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    jsonrpc: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) method: Option<&'a str>,
    pub(super) result: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    params: Params,
    name: Option<&'a str>,
    uri: Option<&'a str>,
    protocol_version: Option<&'a str>,
    has_meta: bool,
    claimed_version: Option<&'a str>,
    /// A result or an error has begun.
    pub(super) answers: bool,
    /// A member that matters came twice.
    has_repeats: bool,
}

/// How far `params` was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Params {
    #[default]
    Absent,
    Begun,
    Read,
    NoObject,
}

impl<'a> Members<'a> {
    /// Reads one message that is the whole of `text`. After an error the members seen until then are there.
    pub(super) fn read(&mut self, text: &'a str) -> serde_json::Result<()> {
        parse(
            text,
            Object {
                place: Place::Message,
                members: self,
            },
        )
    }

    /// An object of JSON-RPC 2.0 without a repeated member.
    pub(super) fn are_well_formed(&self) -> bool {
        !self.has_repeats
            && self
                .jsonrpc
                .and_then(text)
                .is_some_and(|version| version == "2.0")
    }

    /// The method, if it is a string.
    pub(super) fn method_name(&self) -> Option<Cow<'a, str>> {
        self.method.and_then(text)
    }

    /// `params` is there and is not an object.
    pub(super) fn params_are_no_object(&self) -> bool {
        self.params == Params::NoObject
    }

    /// What a request with this method is about.
    pub(super) fn target_of(&self, method: Method) -> Option<Cow<'a, str>> {
        self.token(method.target()?).and_then(text)
    }

    /// `params.protocolVersion`, where the method is the one that defines it.
    pub(super) fn protocol_version_of(&self, method: Method) -> Option<Cow<'a, str>> {
        self.protocol_version
            .filter(|_| method == Method::Initialize)
            .and_then(text)
    }

    /// The revision stated in `params._meta`.
    pub(super) fn claimed_version(&self) -> Option<Cow<'a, str>> {
        self.claimed_version.and_then(text)
    }

    /// Nothing that may still come changes the method or its target.
    pub(super) fn are_settled(&self) -> bool {
        let params_are_over = matches!(self.params, Params::Read | Params::NoObject);
        let target = self
            .method_name()
            .and_then(|name| Method::from_bytes(name.as_bytes()).target());
        self.method.is_some() && target.is_none_or(|target| params_are_over || self.token(target).is_some())
    }

    fn token(&self, target: Target) -> Option<&'a str> {
        match target {
            Target::Name => self.name,
            Target::Uri => self.uri,
        }
    }

    fn read_message<A: MapAccess<'a>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            self.answers |= matches!(key, MessageKey::Result | MessageKey::Error);
            self.has_repeats |= match key {
                MessageKey::Jsonrpc => keep(&mut self.jsonrpc, &mut map)?,
                MessageKey::Id => keep(&mut self.id, &mut map)?,
                MessageKey::Method => keep(&mut self.method, &mut map)?,
                MessageKey::Result => keep(&mut self.result, &mut map)?,
                MessageKey::Error => keep(&mut self.error, &mut map)?,
                MessageKey::Params => self.enter_params(&mut map)?,
                MessageKey::Other => skip(&mut map)?,
            };
        }
        Ok(())
    }

    fn enter_params<A: MapAccess<'a>>(&mut self, map: &mut A) -> Result<bool, A::Error> {
        if self.params != Params::Absent {
            return skip(map).map(|_| true);
        }
        self.params = Params::Begun;
        map.next_value_seed(Object {
            place: Place::Params,
            members: self,
        })?;
        Ok(false)
    }

    fn read_params<A: MapAccess<'a>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            self.has_repeats |= match key {
                ParamsKey::Name => keep(&mut self.name, &mut map)?,
                ParamsKey::Uri => keep(&mut self.uri, &mut map)?,
                ParamsKey::ProtocolVersion => keep(&mut self.protocol_version, &mut map)?,
                ParamsKey::Meta => self.enter_meta(&mut map)?,
                ParamsKey::Other => skip(&mut map)?,
            };
        }
        self.params = Params::Read;
        Ok(())
    }

    fn enter_meta<A: MapAccess<'a>>(&mut self, map: &mut A) -> Result<bool, A::Error> {
        if self.has_meta {
            return skip(map).map(|_| true);
        }
        self.has_meta = true;
        map.next_value_seed(Object {
            place: Place::Meta,
            members: self,
        })?;
        Ok(false)
    }

    fn read_meta<A: MapAccess<'a>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            self.has_repeats |= match key {
                MetaKey::ProtocolVersion => keep(&mut self.claimed_version, &mut map)?,
                MetaKey::Other => skip(&mut map)?,
            };
        }
        Ok(())
    }

    /// Something else stands where an object should. In place of a message it leaves no members, which is
    /// mistake enough; in `_meta` it is for the server to judge.
    fn miss(&mut self, place: Place) {
        match place {
            Place::Params => self.params = Params::NoObject,
            Place::Message | Place::Meta => {}
        }
    }
}

/// Keeps the first value of a member; whether this one is another.
fn keep<'a, A: MapAccess<'a>>(token: &mut Option<&'a str>, map: &mut A) -> Result<bool, A::Error> {
    let value = map.next_value::<&'a RawValue>()?.get();
    let is_repeated = token.is_some();
    token.get_or_insert(value);
    Ok(is_repeated)
}

/// Passes over a value that does not matter, however often its key comes.
fn skip<'a, A: MapAccess<'a>>(map: &mut A) -> Result<bool, A::Error> {
    map.next_value::<IgnoredAny>().map(|_| false)
}

/// The text that a JSON string token stands for; `None` for other tokens, and for halves of surrogate pairs.
fn text(token: &str) -> Option<Cow<'_, str>> {
    if token.contains('\\') {
        return serde_json::from_str(token).ok().map(Cow::Owned);
    }
    token.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum MessageKey {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ParamsKey {
    Name,
    Uri,
    ProtocolVersion,
    #[serde(rename = "_meta")]
    Meta,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum MetaKey {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    ProtocolVersion,
    #[serde(other)]
    Other,
}

/// The objects that are looked into.
#[derive(Clone, Copy)]
enum Place {
    Message,
    Params,
    Meta,
}

/// Reads one value that should be an object into the members; one of another type is noted and passed over.
struct Object<'m, 'a> {
    place: Place,
    members: &'m mut Members<'a>,
}

impl Object<'_, '_> {
    fn miss<E>(self) -> Result<(), E> {
        self.members.miss(self.place);
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        match self.place {
            Place::Message => self.members.read_message(map),
            Place::Params => self.members.read_params(map),
            Place::Meta => self.members.read_meta(map),
        }
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        self.miss()
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.miss()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.miss()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.miss()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.miss()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.miss()
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.miss()
    }
}

/// Reads the messages of a batch one after the other, and hands each on.
pub(super) struct Elements<'f>(&'f mut dyn FnMut(&Members<'_>));

impl<'f> Elements<'f> {
    /// Reads an array that is the whole of `text`.
    pub(super) fn read(text: &str, each: &'f mut dyn FnMut(&Members<'_>)) -> serde_json::Result<()> {
        parse(text, Self(each))
    }
}

impl<'a> DeserializeSeed<'a> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC batch")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut members = Members::default();
        while elements
            .next_element_seed(Object {
                place: Place::Message,
                members: &mut members,
            })?
            .is_some()
        {
            self.0(&members);
            members = Members::default();
        }
        Ok(())
    }
}

/// Whether `text` is one JSON value.
pub(super) fn check(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

/// Reads `text` to its end: what follows the value may only be whitespace.
fn parse<'a, S: DeserializeSeed<'a, Value = ()>>(text: &'a str, seed: S) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut json)?;
    json.end()
}
