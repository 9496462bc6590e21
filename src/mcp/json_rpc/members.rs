//! The members of one message, collected while the reader passes them.
//!
//! A mistake of meaning (a member twice, a wrong type) is noted and does not stop the reader. So it still finds out
//! that a text is not JSON further on, and the members before a cut remain.

use super::text::text_of;
use crate::mcp::method::{Method, Target};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The members of a message so far. Values are JSON tokens. If a member came twice, the first value is kept.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) jsonrpc: Member<'a>,
    pub(super) id: Member<'a>,
    pub(super) method: Member<'a>,
    pub(super) result: Member<'a>,
    pub(super) error: Member<'a>,
    pub(super) params: Params,
    pub(super) name: Member<'a>,
    pub(super) uri: Member<'a>,
    pub(super) protocol_version: Member<'a>,
    pub(super) has_meta: bool,
    pub(super) meta_version: Member<'a>,
    /// The member `message`. An error has it, which is read as a message is; in a message it means nothing.
    pub(super) text: Member<'a>,
    pub(super) has_two_texts: bool,
    /// A result or an error has begun.
    pub(super) answers: bool,
    /// A member that matters came twice, or in a spelling that some servers read as the specification's. Servers
    /// differ in which one they take.
    pub(super) is_ambiguous: bool,
    /// Nothing but the method and its target is asked for.
    pub(super) are_glimpsed: bool,
}

/// The JSON token of a value; `None` if the member is absent or not complete.
type Member<'a> = Option<&'a str>;

/// How far `params` was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Params {
    #[default]
    Absent,
    Begun,
    Read,
    Null,
    NoObject,
}

impl<'a> Members<'a> {
    /// Whether this is an object of JSON-RPC 2.0 that all servers read alike.
    pub(super) fn are_well_formed(&self) -> bool {
        !self.is_ambiguous
            && self
                .jsonrpc
                .and_then(text_of)
                .is_some_and(|version| version == "2.0")
    }

    /// The method, if it is a string.
    pub(super) fn method_name(&self) -> Option<Cow<'a, str>> {
        self.method.and_then(text_of)
    }

    /// The target of a request with this method.
    pub(super) fn target_of(&self, method: Method) -> Option<Cow<'a, str>> {
        self.token(method.target()?).and_then(text_of)
    }

    /// `params.protocolVersion`, if the method defines it.
    pub(super) fn protocol_version_of(&self, method: Method) -> Option<Cow<'a, str>> {
        self.protocol_version
            .filter(|_| method == Method::Initialize)
            .and_then(text_of)
    }

    /// The revision stated in `params._meta`.
    pub(super) fn meta_version(&self) -> Option<Cow<'a, str>> {
        self.meta_version.and_then(text_of)
    }

    /// Whether later members can no longer change the method or its target.
    pub(super) fn are_settled(&self) -> bool {
        if self.method.is_none() {
            return false;
        }
        let params_are_over = matches!(self.params, Params::Read | Params::Null | Params::NoObject);
        let target = self
            .method_name()
            .and_then(|name| Method::from_bytes(name.as_bytes()).target());
        target.is_none_or(|target| params_are_over || self.token(target).is_some())
    }

    /// Whether the reader need not go on.
    pub(super) fn are_enough(&self) -> bool {
        self.are_glimpsed && self.are_settled()
    }

    fn token(&self, target: Target) -> Member<'a> {
        match target {
            Target::Name => self.name,
            Target::Uri => self.uri,
        }
    }
}

/// Keeps the first value of a member. Returns whether there was one before.
pub(super) fn keep<'a>(member: &mut Member<'a>, value: &'a RawValue) -> bool {
    let is_repeated = member.is_some();
    member.get_or_insert(value.get());
    is_repeated
}
