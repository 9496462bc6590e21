//! Strings of a JSON text, borrowed from it if they have no escapes.

use super::reader::read_string;
use std::borrow::Cow;

/// The text of a JSON string token; `None` for other tokens, and for halves of surrogate pairs.
pub(super) fn text_of(token: &str) -> Option<Cow<'_, str>> {
    let content = token.strip_prefix('"')?.strip_suffix('"')?;
    if content.contains('\\') {
        resolved(token)
    } else {
        Some(Cow::Borrowed(content))
    }
}

#[cold]
fn resolved(token: &str) -> Option<Cow<'_, str>> {
    read_string(token).map(Cow::Owned)
}
