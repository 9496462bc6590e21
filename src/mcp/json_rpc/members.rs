//! The members of one message, collected as the parser comes by them.
//!
//! Mistakes of meaning (a member twice, a wrong type) are noted and do not stop the parser: a text that is not
//! JSON further on is still found to be none, and a prefix that is cut off leaves behind what was seen.

mod tokens;

pub(super) use self::tokens::Broken;
use self::tokens::{Tokens, text};
use crate::mcp::method::{Method, Target};
use std::borrow::Cow;

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
    pub(super) fn read(&mut self, text: &'a str) -> Result<(), Broken> {
        let mut tokens = Tokens::new(text);
        self.read_message(&mut tokens)?;
        tokens.end()
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

    /// Something else in place of a message leaves no members, which is mistake enough.
    fn read_message(&mut self, tokens: &mut Tokens<'a>) -> Result<(), Broken> {
        if tokens.peek()? != b'{' {
            return tokens.skip();
        }
        let mut has_more = tokens.enter()?;
        while has_more {
            let key = tokens.key()?;
            self.answers |= matches!(&*key, "result" | "error");
            self.has_repeats |= match &*key {
                "jsonrpc" => keep(&mut self.jsonrpc, tokens)?,
                "id" => keep(&mut self.id, tokens)?,
                "method" => keep(&mut self.method, tokens)?,
                "result" => keep(&mut self.result, tokens)?,
                "error" => keep(&mut self.error, tokens)?,
                "params" => self.enter_params(tokens)?,
                _ => skip(tokens)?,
            };
            has_more = tokens.goes_on(b'}')?;
        }
        Ok(())
    }

    fn enter_params(&mut self, tokens: &mut Tokens<'a>) -> Result<bool, Broken> {
        if self.params != Params::Absent {
            return skip(tokens).map(|_| true);
        }
        self.params = Params::Begun;
        if tokens.peek()? == b'{' {
            self.read_params(tokens)?;
            self.params = Params::Read;
        } else {
            tokens.skip()?;
            self.params = Params::NoObject;
        }
        Ok(false)
    }

    fn read_params(&mut self, tokens: &mut Tokens<'a>) -> Result<(), Broken> {
        let mut has_more = tokens.enter()?;
        while has_more {
            self.has_repeats |= match &*tokens.key()? {
                "name" => keep(&mut self.name, tokens)?,
                "uri" => keep(&mut self.uri, tokens)?,
                "protocolVersion" => keep(&mut self.protocol_version, tokens)?,
                "_meta" => self.enter_meta(tokens)?,
                _ => skip(tokens)?,
            };
            has_more = tokens.goes_on(b'}')?;
        }
        Ok(())
    }

    /// A `_meta` that is no object is for the server to judge.
    fn enter_meta(&mut self, tokens: &mut Tokens<'a>) -> Result<bool, Broken> {
        if self.has_meta {
            return skip(tokens).map(|_| true);
        }
        self.has_meta = true;
        if tokens.peek()? == b'{' {
            self.read_meta(tokens)?;
        } else {
            tokens.skip()?;
        }
        Ok(false)
    }

    fn read_meta(&mut self, tokens: &mut Tokens<'a>) -> Result<(), Broken> {
        let mut has_more = tokens.enter()?;
        while has_more {
            self.has_repeats |= match &*tokens.key()? {
                "io.modelcontextprotocol/protocolVersion" => keep(&mut self.claimed_version, tokens)?,
                _ => skip(tokens)?,
            };
            has_more = tokens.goes_on(b'}')?;
        }
        Ok(())
    }
}

/// Keeps the first value of a member; whether this one is another.
fn keep<'a>(token: &mut Option<&'a str>, tokens: &mut Tokens<'a>) -> Result<bool, Broken> {
    let value = tokens.value()?;
    let is_repeated = token.is_some();
    token.get_or_insert(value);
    Ok(is_repeated)
}

/// Passes over a value that does not matter, however often its key comes.
fn skip(tokens: &mut Tokens<'_>) -> Result<bool, Broken> {
    tokens.skip().map(|()| false)
}

/// Reads the messages of a batch one after the other, and hands each on.
pub(super) struct Elements;

impl Elements {
    /// Reads an array that is the whole of `text`.
    pub(super) fn read(text: &str, each: &mut dyn FnMut(&Members<'_>)) -> Result<(), Broken> {
        let mut tokens = Tokens::new(text);
        Self::read_all(&mut tokens, each)?;
        tokens.end()
    }

    fn read_all(tokens: &mut Tokens<'_>, each: &mut dyn FnMut(&Members<'_>)) -> Result<(), Broken> {
        if tokens.peek()? != b'[' {
            return Err(Broken::Wrong);
        }
        let mut has_more = tokens.enter()?;
        while has_more {
            let mut members = Members::default();
            members.read_message(tokens)?;
            each(&members);
            has_more = tokens.goes_on(b']')?;
        }
        Ok(())
    }
}

/// Whether `text` is one JSON value.
pub(super) fn check(text: &str) -> Result<(), Broken> {
    let mut tokens = Tokens::new(text);
    tokens.skip()?;
    tokens.end()
}
