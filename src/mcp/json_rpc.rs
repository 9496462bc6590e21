//! A shallow, borrowing reader of JSON-RPC 2.0 messages as MCP sends them.
//!
//! It looks at the few members that say what a message is and skips the rest, in linear time and without
//! copying. What it accepts, every server reads in the same way: a member that comes twice is refused, because
//! the server may act on the other one, and so is one whose name some servers fold to one that matters. A body that
//! streams by is only glimpsed at; both ways share one reader.

mod depth;
mod members;
mod reader;
mod spelling;
mod text;

use depth::nests_deeper;
use members::{Members, Params};
use reader::Broken;

use super::method::Method;
use std::borrow::Cow;

/// Deepest nesting of arrays and objects, the outermost included. The parsers of servers stop near it
/// (serde_json at 128; Envoy's own MCP filter refuses 99), and no MCP message comes near it.
pub const MAX_DEPTH: usize = 128;

/// Longest request id that is echoed, in bytes as written, a string's quotes left aside. A longer one still
/// makes a request.
pub const MAX_ID_BYTES: usize = 1024;

/// What the body of a POST holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// One message.
    Single(Message<'a>),
    /// Several at once (MCP 2025-03-26, `basic` § Batching).
    Batch(Batch),
}

/// One message, as far as the filter has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Request, notification or response.
    pub kind: Kind,
    /// The id, to be echoed; `None` where there is none, where it is `null`, or longer than [`MAX_ID_BYTES`].
    pub id: Option<RequestId<'a>>,
    /// The method as the client spelt it; `None` in a response.
    pub method: Option<Cow<'a, str>>,
    /// What the request is about: `params.name` of `tools/call` and `prompts/get`, `params.uri` of
    /// `resources/read`; `None` where it is missing, not a string, or the method has none.
    pub target: Option<Cow<'a, str>>,
    /// `params.protocolVersion` of an `initialize`.
    pub protocol_version: Option<Cow<'a, str>>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`: the revision that the message claims for
    /// itself (MCP 2026-07-28, `basic` § `_meta`).
    pub claimed_version: Option<Cow<'a, str>>,
}

/// The three kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id, and expects an answer. To some servers `null` is an id.
    Request(Method),
    /// Has a method and no id.
    Notification(Method),
    /// Has a result or an error: the answer to a request of the server's.
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

    /// Whether some server may open a session for the message as for an `initialize`: there are servers that take
    /// one without an id, which is a notification, and one whose id is `null`.
    pub fn may_initialize(self) -> bool {
        self.method() == Some(Method::Initialize)
    }
}

/// What is in a batch. Every member of it is a valid message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many messages there are, at least one.
    pub len: usize,
    /// A member has the method `initialize`, which must not be part of a batch.
    pub holds_initialize: bool,
    /// A member is a request, so an answer is expected.
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

/// A request id as the bytes that came: a number as written, or a string with its quotes and escapes. Always a
/// complete JSON token, so it can be put into an answer as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId<'a>(&'a str);

impl<'a> RequestId<'a> {
    /// The id of a request: a string or a number, nothing else, and not `null` (MCP 2025-03-26, `basic`
    /// § Requests). `Ok(None)` is an id too long to echo.
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

/// Why a body is no message (JSON-RPC 2.0, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not JSON: -32700.
    Parse,
    /// JSON, but no message, no batch, or nested deeper than [`MAX_DEPTH`]: -32600.
    Invalid,
}

/// Whether what real clients send, against the specifications, and official servers take is a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// A byte order mark before the JSON, `params: null` and `id: null` pass.
    Lenient,
    /// They do not.
    Strict,
}

/// Reads a whole body. Time is linear in its length; nothing is copied but strings with escapes.
///
/// # Errors
/// [`BodyError::Parse`] for what is not one JSON text in UTF-8, [`BodyError::Invalid`] for what is JSON but no valid
/// message, or one that servers read differently.
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

/// What is wrong with a text that could not be read as what it should be.
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

/// A message with a method. Parameters are an object where there are any: JSON-RPC knows arrays, MCP does not.
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
        claimed_version: members.claimed_version(),
    })
}

/// A message with a result or an error. An error may come without an id or, against the specification but from
/// real peers, with `null`: it opens nothing, so it passes.
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
        claimed_version: None,
    })
}

/// What the first bytes of a body tell about the message in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// The method, once it was seen; `None` for a batch or a response.
    pub method: Option<Method>,
    /// [`Message::target`], once it was seen.
    pub name: Option<String>,
    /// The message answers a request of the server's.
    pub is_response: bool,
    /// More bytes would tell nothing more of all that.
    pub complete: bool,
    /// Whether some server may read the body as an `initialize`.
    pub may_initialize: MayInitialize,
}

/// Whether some server may read a body as an `initialize`, whatever the filter reads it as: servers differ in which of
/// two methods they take, and whether `Method` is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MayInitialize {
    /// Nothing says so yet, but the body was not read to its end, or is nothing that the filter can read.
    #[default]
    Unknown,
    /// Some server may: what folds to a `method` of the message, or of a message in a batch, says so.
    Yes,
    /// None does. The body was read to its end.
    No,
}

/// Looks at the first bytes of a body that streams by and may be cut anywhere. Never an error: a body that is
/// not held is not judged either, and where a member comes twice the first one counts.
///
/// Time is linear in the prefix, so a caller that looks again as the body grows has to bound the prefix.
pub fn glimpse(prefix: &[u8]) -> Glimpse {
    let (text, is_spoilt) = valid_start(prefix);
    let is_all_text = text.len() == prefix.len();
    let text = without_mark(text);
    let mut members = Members::default();
    let (is_over, may_initialize) = match first_byte(text) {
        None => (false, MayInitialize::Unknown),
        Some(b'{') => {
            let reading = reader::read_message(text, &mut members);
            let is_read = is_all_text && reading.is_ok();
            (is_final(reading), may(members.may_initialize, is_read))
        }
        Some(b'[') => {
            let mut says_so = false;
            let reading = reader::read_batch(text, |members| says_so |= members.may_initialize);
            (true, may(says_so, is_all_text && reading.is_ok()))
        }
        Some(_) => (true, MayInitialize::Unknown),
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
        may_initialize,
    }
}

/// The id of the request that a body begins, as far as these bytes tell. None of a response, nor of a batch.
pub fn request_id(prefix: &[u8]) -> Option<RequestId<'_>> {
    let (text, _) = valid_start(prefix);
    let text = without_mark(text);
    let mut members = Members::default();
    if first_byte(text) == Some(b'{') {
        // Where the body ends early, what came before counts.
        let _ = reader::read_message(text, &mut members);
    }
    let is_request = !members.answers && (members.method.is_some() || members.params != Params::Absent);
    let token = members.id.filter(|token| is_request && *token != "null")?;
    RequestId::from_token(token).ok().flatten()
}

/// What is known once something says so, or all was read and nothing does.
fn may(says_so: bool, is_read: bool) -> MayInitialize {
    match (says_so, is_read) {
        (true, _) => MayInitialize::Yes,
        (false, true) => MayInitialize::No,
        (false, false) => MayInitialize::Unknown,
    }
}

/// The text without a byte order mark before it, which official servers pass over.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

/// The text up to the first byte that is not UTF-8, and whether that byte can never become UTF-8.
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

/// Whether a reading ended for good: at the closing bracket, or at a mistake that no further byte can mend.
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
