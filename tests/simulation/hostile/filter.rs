//! Calls the filter as its host does.

use std::fmt;

use mcp_session_filter::exchange::{Edit, Exchange, Interest, RequestHead, ResponseHead, Verdict};
use mcp_session_filter::header_map::HeaderMap;
use mcp_session_filter::principal::Caller;
use mcp_session_filter::session::Timestamp;

use super::super::world::heard::Heard;
use super::{Configured, Core};

/// Names, in lower case, and values.
pub(super) struct Fields(pub(super) Vec<(&'static str, Vec<u8>)>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            let value = String::from_utf8_lossy(&value[..value.len().min(40)]);
            write!(f, "{name}={value}|")?;
        }
        Ok(())
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letting {
    In { with_id: bool },
    Held,
    Refused { status: u16, reason: &'static str },
}

impl Letting {
    fn of(verdict: &Verdict<'_>) -> Self {
        match verdict {
            Verdict::Forward | Verdict::ForwardForPlainAnswer => Self::In { with_id: true },
            Verdict::ForwardWithoutId => Self::In { with_id: false },
            Verdict::Hold => Self::Held,
            Verdict::Wait => panic!("there is no fleet"),
            Verdict::Answer(answer) => Self::Refused {
                status: answer.status(),
                reason: answer.label().as_str(),
            },
        }
    }
}

/// The sender of a request.
#[derive(Debug)]
struct Sender(HeaderMap);

impl Caller for Sender {
    fn fields(&self) -> &HeaderMap {
        &self.0
    }

    fn property(&self, _: &[&[u8]]) -> Vec<u8> {
        Vec::new()
    }
}

/// Begins a request; `None` if no endpoint governs it.
pub(super) fn begin(
    core: &Core,
    configured: &Configured,
    now: Timestamp,
    fields: &Fields,
    has_body: bool,
    context: u32,
) -> (Option<(Exchange, Letting)>, Heard) {
    let sender = Sender(header_map(fields));
    let head = RequestHead::new(borrowed(fields), has_body).from_caller(&sender);
    core.run(configured, now, |gate, heard| {
        let (exchange, verdict) = Exchange::begin(gate, heard, &head, context)?;
        let letting = Letting::of(&verdict);
        Some((exchange, letting))
    })
}

/// The part of a request's body that the filter wants.
pub(super) fn interest(exchange: &Exchange) -> Interest {
    exchange.wants().request_body
}

/// Judges a whole message.
pub(super) fn judge(
    exchange: &mut Exchange,
    core: &Core,
    configured: &Configured,
    now: Timestamp,
    body: &[u8],
) -> (Letting, Heard) {
    core.run(configured, now, |gate, heard| {
        Letting::of(&exchange.judge(gate, heard, body))
    })
}

/// Answers a request. Returns false if the filter takes the ids off.
pub(super) fn answer(
    exchange: &mut Exchange,
    core: &Core,
    configured: &Configured,
    now: Timestamp,
    fields: &Fields,
    from_server: bool,
) -> (bool, Heard) {
    let head = ResponseHead::new(borrowed(fields));
    if !exchange.wants().answer_head || exchange.is_of_no_interest(&head) {
        return (true, Heard::default());
    }
    core.run(configured, now, |gate, heard| {
        match exchange.answered(gate, heard, &head, || from_server) {
            Edit::Keep => true,
            Edit::DropSessionId => false,
            Edit::Close | Edit::Replace(_) => panic!("an answer over streamable HTTP is closed or replaced"),
        }
    })
}

/// Ends a request.
pub(super) fn end(exchange: &mut Exchange, core: &Core, configured: &Configured, now: Timestamp) -> Heard {
    let ((), heard) = core.run(configured, now, |gate, heard| {
        if !exchange.end_locally(gate.in_use) {
            exchange.end(gate, heard);
        }
    });
    heard
}

fn borrowed(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields
        .0
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_slice()))
}

/// The fields in the bytes of a host.
fn header_map(fields: &Fields) -> HeaderMap {
    let size = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
    let mut bytes = size(fields.0.len()).to_vec();
    for (name, value) in &fields.0 {
        bytes.extend(size(name.len()));
        bytes.extend(size(value.len()));
    }
    for (name, value) in &fields.0 {
        bytes.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
    }
    HeaderMap::new(bytes)
}
