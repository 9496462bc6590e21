//! Holds answers as the host does: until they are whole, too long, or too late.

use std::collections::BTreeMap;

use mcp_session_filter::exchange::{Edit, Exchange, Gate, HELD_ANSWER_BYTES, HELD_ANSWER_TIME, ResponseHead};
use mcp_session_filter::session::Timestamp;
use mcp_session_filter::session::testing::Handle;

use crate::recorder::Recorder;

/// The answers that are held, by the names of their streams.
#[derive(Debug, Default)]
pub(crate) struct HeldAnswers(BTreeMap<String, Held>);

/// An answer that is held.
#[derive(Debug)]
pub(crate) struct Held {
    until: Timestamp,
    bytes: Vec<u8>,
}

impl HeldAnswers {
    /// Enters the answer of a stream, if its exchange says that it is held.
    pub(crate) fn note(&mut self, name: &str, holds: bool, now: Timestamp) {
        if holds {
            let until = now.after(HELD_ANSWER_TIME);
            let bytes = Vec::new();
            self.0.insert(name.to_owned(), Held { until, bytes });
        }
    }

    /// Takes the answer of a stream, if it is held.
    pub(crate) fn take(&mut self, name: &str) -> Option<Held> {
        self.0.remove(name)
    }

    /// Puts an answer back that is still held.
    pub(crate) fn put(&mut self, name: &str, held: Held) {
        self.0.insert(name.to_owned(), held);
    }

    /// Takes the answers that are not whole in time.
    pub(crate) fn take_overdue(&mut self, now: Timestamp) -> Vec<String> {
        let overdue = self.0.extract_if(.., |_, held| held.until <= now);
        overdue.map(|(name, _)| name).collect()
    }
}

/// Keeps the head of an answer if it must be held. Returns false if it must not.
pub(crate) fn hold(exchange: &mut Exchange, recorder: &mut Recorder, head: &ResponseHead<'_>) -> bool {
    let holds = exchange.reads(head);
    if holds {
        exchange.hold_answer(head);
        recorder.verdict = Some("answer held".to_owned());
    }
    holds
}

/// Sends a part of an answer that is held.
pub(crate) fn send(
    held: &mut Held,
    (part, last): (&[u8], bool),
    gate: &mut Gate<'_, Handle>,
    recorder: &mut Recorder,
    exchange: &mut Exchange,
) {
    if !exchange.holds_answer() {
        return;
    }
    held.bytes.extend_from_slice(part);
    let fits = held.bytes.len() <= HELD_ANSWER_BYTES;
    if !fits || last || held.until <= gate.now {
        let whole = (fits && last).then_some(&*held.bytes);
        let edit = exchange.settle_answer(gate, recorder, whole);
        record(recorder, edit);
    }
}

/// Records what becomes of an answer that was held.
pub(crate) fn record(recorder: &mut Recorder, edit: Edit) {
    recorder.edit(edit);
    match edit {
        Edit::Keep => recorder.verdict = Some("let go".to_owned()),
        Edit::DropSessionId => recorder.verdict = Some("let go, id taken off".to_owned()),
        Edit::Close | Edit::Replace(_) => {}
    }
}
