//! The tokens of a JSON text (RFC 8259), one after the other, borrowed and without recursion.

use hifijson::escape::{self, Lex as _, Lit};
use hifijson::num::Lex as _;
use hifijson::token::Lex as _;
use hifijson::{Read as _, SliceLexer};
use std::borrow::Cow;

/// Why a text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp::json_rpc) enum Broken {
    /// It ends too early: more bytes may mend it.
    Cut,
    /// No byte that follows can mend it.
    Wrong,
}

/// Reads a text from its beginning on.
pub(super) struct Tokens<'a> {
    text: &'a str,
    rest: SliceLexer<'a>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let rest = SliceLexer::new(text.as_bytes());
        Self { text, rest }
    }

    /// The first byte of what comes next; white space is passed over.
    pub(super) fn peek(&mut self) -> Result<u8, Broken> {
        self.rest.ws_peek().ok_or(Broken::Cut)
    }

    /// Only white space may be left.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        self.rest.ws_peek().map_or(Ok(()), |_| Err(Broken::Wrong))
    }

    /// Enters the array or object whose bracket is next; whether anything is in it.
    pub(super) fn enter(&mut self) -> Result<bool, Broken> {
        let close = closing(self.rest.take_next().unwrap_or_default());
        let is_empty = self.peek()? == close;
        if is_empty {
            self.rest.take_next();
        }
        Ok(!is_empty)
    }

    /// Goes on behind a value in what `close` will end; whether there is more in it.
    pub(super) fn goes_on(&mut self, close: u8) -> Result<bool, Broken> {
        match self.peek()? {
            b',' => Ok(self.rest.take_next().is_some()),
            byte if byte == close => Ok(self.rest.take_next().is_none()),
            _ => Err(Broken::Wrong),
        }
    }

    /// The key of a member, its escapes resolved; the value is next. Halves of surrogate pairs are no key.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, Broken> {
        if self.peek()? != b'"' {
            return Err(Broken::Wrong);
        }
        let key = self.value()?;
        if self.peek()? != b':' {
            return Err(Broken::Wrong);
        }
        self.rest.take_next();
        text(key).ok_or(Broken::Wrong)
    }

    /// Passes over a value of any depth and gives back its text.
    pub(super) fn value(&mut self) -> Result<&'a str, Broken> {
        self.peek()?;
        let start = self.position();
        self.skip()?;
        Ok(self.text.get(start..self.position()).unwrap_or_default())
    }

    /// Passes over a value of any depth.
    pub(super) fn skip(&mut self) -> Result<(), Broken> {
        let mut closing_brackets = Vec::new();
        loop {
            let first = self.peek()?;
            if matches!(first, b'[' | b'{') {
                if self.enter()? {
                    closing_brackets.push(closing(first));
                    self.skip_key(closing(first))?;
                    continue;
                }
            } else {
                self.skip_scalar(first)?;
            }
            loop {
                let Some(&close) = closing_brackets.last() else {
                    return Ok(());
                };
                if self.goes_on(close)? {
                    self.skip_key(close)?;
                    break;
                }
                closing_brackets.pop();
            }
        }
    }

    fn skip_key(&mut self, close: u8) -> Result<(), Broken> {
        if close != b'}' {
            return Ok(());
        }
        if self.peek()? != b'"' {
            return Err(Broken::Wrong);
        }
        self.skip_string()?;
        if self.peek()? != b':' {
            return Err(Broken::Wrong);
        }
        self.rest.take_next();
        Ok(())
    }

    fn skip_scalar(&mut self, first: u8) -> Result<(), Broken> {
        match first {
            b'"' => self.skip_string(),
            b'-' | b'0'..=b'9' => {
                let number = self.rest.num_ignore().validate();
                number.map(drop).map_err(|_| self.cut_or_wrong())
            }
            _ => self.skip_word(),
        }
    }

    fn skip_string(&mut self) -> Result<(), Broken> {
        self.rest.take_next();
        loop {
            self.rest
                .skip_until(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F));
            match self.rest.take_next() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.skip_escape()?,
                Some(_) => return Err(Broken::Wrong),
                None => return Err(Broken::Cut),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), Broken> {
        match self.rest.take_next() {
            None => Err(Broken::Cut),
            Some(b'u') => self.rest.hex::<u16>().map(drop).map_err(|error| match error {
                escape::Error::Eof => Broken::Cut,
                escape::Error::InvalidKind(_)
                | escape::Error::InvalidHex(_)
                | escape::Error::InvalidChar(_)
                | escape::Error::ExpectedLowSurrogate => Broken::Wrong,
            }),
            Some(kind) => Lit::try_from(kind).map(drop).ok_or(Broken::Wrong),
        }
    }

    fn skip_word(&mut self) -> Result<(), Broken> {
        let rest = self.rest.as_slice();
        match self.rest.null_or_bool() {
            Some(_) => Ok(()),
            None if ["null", "true", "false"]
                .iter()
                .any(|word| word.as_bytes().starts_with(rest)) =>
            {
                Err(Broken::Cut)
            }
            None => Err(Broken::Wrong),
        }
    }

    fn cut_or_wrong(&self) -> Broken {
        if self.rest.as_slice().is_empty() {
            Broken::Cut
        } else {
            Broken::Wrong
        }
    }

    /// Bytes read so far.
    fn position(&self) -> usize {
        self.text.len().saturating_sub(self.rest.as_slice().len())
    }
}

/// The text that a JSON string token stands for; `None` for other tokens, and for halves of surrogate pairs.
pub(super) fn text(token: &str) -> Option<Cow<'_, str>> {
    let content = token.strip_prefix('"')?.strip_suffix('"')?;
    if content.contains('\\') {
        resolve(content).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(content))
    }
}

/// The content of a string token with its escapes resolved.
#[cold]
fn resolve(content: &str) -> Option<String> {
    let mut text = String::with_capacity(content.len());
    let mut plain = content;
    while let Some((before, escaped)) = plain.split_once('\\') {
        text.push_str(before);
        let mut rest = SliceLexer::new(escaped.as_bytes());
        let kind = rest.take_next()?;
        text.push(rest.escape(kind).ok()?);
        plain = escaped.get(escaped.len() - rest.as_slice().len()..)?;
    }
    text.push_str(plain);
    Some(text)
}

/// The bracket that ends what `open` begins.
fn closing(open: u8) -> u8 {
    if open == b'{' { b'}' } else { b']' }
}
