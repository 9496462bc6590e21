//! A shallow, borrowing reader of JSON-RPC 2.0 messages as MCP sends them.
//!
//! The reader looks at the few members that say what a message is and skips the rest, in linear time and without
//! copying. It accepts only messages that every server reads in the same way. It refuses a member that comes twice,
//! because the server may act on the other one. It also refuses a member whose name some servers fold to a name that
//! matters. Of a body that streams by, it only glimpses at the beginning. One reader does both.

mod depth;
mod initialize;
mod members;
mod reader;
mod spelling;
mod text;

use depth::nests_deeper;
pub use initialize::{is_plain_initialize, starts_with_mark};
use members::{Members, Params};
use reader::Broken;
use text::text_of;

use super::method::Method;
use std::borrow::Cow;

/// Deepest nesting of arrays and objects, the outermost included. The parsers of servers have similar limits
/// (serde_json stops at 128; Envoy's own MCP filter refuses 99), and real MCP messages stay far below.
pub const MAX_DEPTH: usize = 128;

/// Longest request id that an answer echoes, in bytes as written, without a string's quotes. A message with a longer
/// id is still a request.
pub const MAX_ID_BYTES: usize = 1024;

/// The content of a POST's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// One message.
    Single(Message<'a>),
    /// Several messages at once (MCP 2025-03-26, `basic` § Batching).
    Batch(Batch),
}

/// One message, with the parts that the filter must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Request, notification or response.
    pub kind: Kind,
    /// The id to echo. `None` if the id is absent, `null`, or longer than [`MAX_ID_BYTES`].
    pub id: Option<RequestId<'a>>,
    /// The method as the client spelt it; `None` in a response.
    pub method: Option<Cow<'a, str>>,
    /// The request's target: `params.name` of `tools/call` and `prompts/get`, `params.uri` of `resources/read`.
    /// `None` if the parameter is missing or not a string, or the method has none.
    pub target: Option<Cow<'a, str>>,
    /// `params.protocolVersion` of an `initialize`.
    pub protocol_version: Option<Cow<'a, str>>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`: the revision that the message itself states (MCP
    /// 2026-07-28, `basic` § `_meta`).
    pub meta_version: Option<Cow<'a, str>>,
}

/// The three kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id, and expects an answer. Some servers take `null` for an id.
    Request(Method),
    /// Has a method and no id.
    Notification(Method),
    /// Has a result or an error: it answers a request that the server sent.
    Response,
}

impl Kind {
    /// The method; `None` in a response.
    pub fn method(self) -> Option<Method> {
        match self {
            Self::Request(method) | Self::Notification(method) => Some(method),
            Self::Response => None,
        }
    }

    /// Whether some server may open a session for the message, as for an `initialize`. Some servers take an
    /// `initialize` without an id, which is a notification, or with the id `null`.
    pub fn may_initialize(self) -> bool {
        self.method() == Some(Method::Initialize)
    }
}

/// The content of a batch. Every member is a valid message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The number of messages, at least one.
    pub len: usize,
    /// A member has the method `initialize`, which the specification forbids in a batch.
    pub holds_initialize: bool,
    /// A member is a request, so the batch expects an answer.
    pub holds_request: bool,
}

impl Batch {
    fn add(&mut self, kind: Kind) {
        self.len += 1;
        self.holds_initialize |= kind.may_initialize();
        self.holds_request |= match kind {
            Kind::Request(_) => true,
            Kind::Notification(_) | Kind::Response => false,
        };
    }
}

/// A request id as the bytes that came: a number as written, or a string with its quotes and escapes. It is always a
/// complete JSON token, so an answer can contain it unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId<'a>(&'a str);

impl<'a> RequestId<'a> {
    /// The id of a request: a string or a number, and not `null` (MCP 2025-03-26, `basic` § Requests). `Ok(None)`
    /// means that the id is too long to echo.
    fn from_token(token: &'a str) -> Result<Option<Self>, BodyError> {
        match token.as_bytes() {
            [b'"', content @ .., b'"'] | content @ [b'-' | b'0'..=b'9', ..] => {
                Ok((content.len() <= MAX_ID_BYTES).then_some(Self(token)))
            }
            _ => Err(BodyError::Invalid),
        }
    }

    /// The JSON token.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The JSON token as text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// A copy of a request id, for an answer that is given when the body is not at hand any more.
#[derive(Debug)]
pub struct KeptId(Box<str>);

impl KeptId {
    /// The copy of this id.
    pub fn of(id: RequestId<'_>) -> Self {
        Self(id.0.into())
    }

    /// The id.
    pub fn as_id(&self) -> RequestId<'_> {
        RequestId(&self.0)
    }
}

/// Why a body is no message (JSON-RPC 2.0, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not JSON: -32700.
    Parse,
    /// JSON, but no message, no batch, or nested deeper than [`MAX_DEPTH`]: -32600.
    Invalid,
}

/// Whether the reader accepts what real clients send and official servers take, against the specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Accepts a byte order mark before the JSON, `params: null` and `id: null`.
    Lenient,
    /// Refuses these.
    Strict,
}

/// Reads a whole body. Time is linear in its length. Copies nothing but strings with escapes.
///
/// # Errors
/// [`BodyError::Parse`] if the body is not one JSON text in UTF-8. [`BodyError::Invalid`] if the body is JSON but no
/// valid message, or a message that servers read differently.
pub fn read(bytes: &[u8], strictness: Strictness) -> Result<Body<'_>, BodyError> {
    let text = str::from_utf8(bytes).map_err(|_| BodyError::Parse)?;
    let text = match strictness {
        Strictness::Lenient => without_mark(text),
        Strictness::Strict => text,
    };
    if nests_deeper(bytes, MAX_DEPTH) {
        return Err(BodyError::Invalid);
    }
    match first_byte(text) {
        Some(b'{') => read_message(text, strictness).map(Body::Single),
        Some(b'[') => read_batch(text, strictness).map(Body::Batch),
        _ => Err(unreadable(text)),
    }
}

/// Why the reader failed at a text: it is not JSON, or it is JSON of another kind.
#[cold]
fn unreadable(text: &str) -> BodyError {
    if reader::is_json(text) {
        BodyError::Invalid
    } else {
        BodyError::Parse
    }
}

fn read_message(text: &str, strictness: Strictness) -> Result<Message<'_>, BodyError> {
    let mut members = Members::default();
    reader::read_message(text, &mut members).map_err(|_| unreadable(text))?;
    message(&members, strictness)
}

fn read_batch(text: &str, strictness: Strictness) -> Result<Batch, BodyError> {
    let mut batch = Ok(Batch::default());
    let add = |members: &Members<'_>| match (&mut batch, message(members, strictness)) {
        (Ok(batch), Ok(message)) => batch.add(message.kind),
        (batch, Err(error)) => *batch = Err(error),
        (Err(_), Ok(_)) => {}
    };
    reader::read_batch(text, add).map_err(|_| unreadable(text))?;
    batch.and_then(|batch| {
        if batch.len == 0 {
            Err(BodyError::Invalid)
        } else {
            Ok(batch)
        }
    })
}

fn message<'a>(members: &Members<'a>, strictness: Strictness) -> Result<Message<'a>, BodyError> {
    if !members.are_well_formed() {
        return Err(BodyError::Invalid);
    }
    if members.method.is_some() {
        call(members, strictness)
    } else {
        response(members)
    }
}

/// A message with a method. Its parameters, if any, must be an object: JSON-RPC allows arrays, MCP does not.
fn call<'a>(members: &Members<'a>, strictness: Strictness) -> Result<Message<'a>, BodyError> {
    let name = members.method_name().ok_or(BodyError::Invalid)?;
    let is_lenient = strictness == Strictness::Lenient;
    let has_odd_params = match members.params {
        Params::Absent | Params::Begun | Params::Read => false,
        Params::Null => !is_lenient,
        Params::NoObject => true,
    };
    if members.result.is_some() || members.error.is_some() || has_odd_params {
        return Err(BodyError::Invalid);
    }
    let id = members.id.filter(|token| !(is_lenient && *token == "null"));
    let method = Method::from_bytes(name.as_bytes());
    let kind = if members.id.is_some() {
        Kind::Request(method)
    } else {
        Kind::Notification(method)
    };
    Ok(Message {
        kind,
        id: id.map_or(Ok(None), RequestId::from_token)?,
        method: Some(name),
        target: members.target_of(method),
        protocol_version: members.protocol_version_of(method),
        meta_version: members.meta_version(),
    })
}

/// A message with a result or an error. An error may come without an id. Real peers also send errors with the id
/// `null`, against the specification; these pass too, since a response opens nothing.
fn response<'a>(members: &Members<'a>) -> Result<Message<'a>, BodyError> {
    if members.result.is_none() && members.error.is_none() {
        return Err(BodyError::Invalid);
    }
    let id = members.id.filter(|token| *token != "null");
    Ok(Message {
        kind: Kind::Response,
        id: id.map_or(Ok(None), RequestId::from_token)?,
        method: None,
        target: None,
        protocol_version: None,
        meta_version: None,
    })
}

/// The text of `error.message`, if the body is one JSON-RPC error. `None` for any other body, a batch included, and for
/// an error that servers and clients may read differently.
pub fn error_message(body: &[u8]) -> Option<Cow<'_, str>> {
    let text = without_mark(str::from_utf8(body).ok()?);
    if nests_deeper(body, MAX_DEPTH) || first_byte(text) != Some(b'{') {
        return None;
    }
    let mut members = Members::default();
    reader::read_message(text, &mut members).ok()?;
    if !members.are_well_formed() || members.method.is_some() || members.result.is_some() {
        return None;
    }
    let mut error = Members::default();
    reader::read_message(members.error?, &mut error).ok()?;
    error.text.filter(|_| !error.has_two_texts).and_then(text_of)
}

/// What the first bytes of a body say about the message in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// The method, once its value is complete; `None` for a batch or a response.
    pub method: Option<Method>,
    /// [`Message::target`], once its value is complete.
    pub name: Option<String>,
    /// The message answers a request that the server sent.
    pub is_response: bool,
    /// More bytes would change none of the fields above.
    pub complete: bool,
}

/// Looks at the first bytes of a body that streams by; the bytes may end anywhere. Never fails: a body that is not
/// held is not judged either. If a member comes twice, the first one counts.
///
/// Time is linear in the prefix. A caller that looks again as the body grows must bound the prefix.
pub fn glimpse(prefix: &[u8]) -> Glimpse {
    let (text, is_spoilt) = valid_start(prefix);
    let text = without_mark(text);
    let mut members = Members {
        are_glimpsed: true,
        ..Members::default()
    };
    let is_over = match first_byte(text) {
        None => false,
        Some(b'{') => is_final(reader::read_message(text, &mut members)),
        Some(_) => true,
    };
    let method = members
        .method_name()
        .map(|name| Method::from_bytes(name.as_bytes()));
    Glimpse {
        method,
        name: method
            .and_then(|method| members.target_of(method))
            .map(Cow::into_owned),
        is_response: method.is_none() && members.answers,
        complete: is_over || is_spoilt || members.are_settled(),
    }
}

/// The id of the request at the beginning of a body, as far as these bytes go. `None` for a response or a batch.
pub fn request_id(prefix: &[u8]) -> Option<RequestId<'_>> {
    let (text, _) = valid_start(prefix);
    let text = without_mark(text);
    let mut members = Members::default();
    if first_byte(text) == Some(b'{') {
        // If the body ends early, the members before its end still count.
        let _ = reader::read_message(text, &mut members);
    }
    let is_request = !members.answers && (members.method.is_some() || members.params != Params::Absent);
    let token = members.id.filter(|token| is_request && *token != "null")?;
    RequestId::from_token(token).ok().flatten()
}

/// The text without a byte order mark before it. Official servers skip the mark.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

/// The text up to the first byte that is not UTF-8, and whether more bytes cannot make it UTF-8.
fn valid_start(prefix: &[u8]) -> (&str, bool) {
    match str::from_utf8(prefix) {
        Ok(text) => (text, false),
        Err(error) => {
            let valid = prefix.get(..error.valid_up_to()).unwrap_or_default();
            (
                str::from_utf8(valid).unwrap_or_default(),
                error.error_len().is_some(),
            )
        }
    }
}

/// Whether more bytes cannot change the reading: it came to the closing bracket, or to a mistake.
fn is_final(reading: Result<(), Broken>) -> bool {
    reading != Err(Broken::Cut)
}

/// The first byte that is not JSON whitespace (RFC 8259, section 2).
fn first_byte(text: &str) -> Option<u8> {
    text.bytes()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests;
