//! Answers of the server and of Envoy, and what becomes of their ids.

use super::books::Before;
use super::heard::Heard;
use super::traffic::Fields;
use super::worker::Stream;
use super::{IDS, SSE, World, id_text};

/// An answer of the server or of Envoy.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) from_server: bool,
    pub(super) named: Named,
}

/// What an answer's `Mcp-Session-Id` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Nothing,
    /// An id that no client could send back.
    Nonsense,
    Id(usize),
}

impl Answer {
    /// Whether the server accepted the request.
    pub(super) fn is_success(&self) -> bool {
        self.status.starts_with('2')
    }

    /// Whether the answer means that the server has ended the session of the request.
    pub(super) fn ends(&self, verb: &str) -> bool {
        let is_gone = self.status == "404" && matches!(verb, "POST" | "DELETE");
        self.from_server && (is_gone || verb == "DELETE" && self.is_success())
    }

    pub(super) fn id(&self) -> Option<usize> {
        match self.named {
            Named::Id(id) => Some(id),
            Named::Nothing | Named::Nonsense => None,
        }
    }

    pub(super) fn fields(&self) -> Fields {
        let mut fields = vec![(":status".to_owned(), self.status.into())];
        let value = match self.named {
            Named::Nothing => return fields,
            Named::Nonsense => b"not visible \xff".to_vec(),
            Named::Id(id) => id_text(id).into_bytes(),
        };
        fields.push(("mcp-session-id".to_owned(), value));
        fields
    }
}

impl World {
    pub(super) fn any_answer(&mut self, stream: &Stream) -> Answer {
        let choices = &mut self.choices;
        let status = choices.one_of(&["200", "200", "200", "202", "404", "400", "500", "x"]);
        let from_server = !choices.once_in(6);
        let minted = choices.below(IDS);
        let named = match choices.below(8) {
            0 | 1 => Named::Nothing,
            2 => Named::Nonsense,
            3 => Named::Id(stream.uses.or(stream.unknown).unwrap_or(minted)),
            _ => Named::Id(minted),
        };
        Answer {
            status,
            from_server,
            named,
        }
    }

    /// Checks what became of an answer's id: it is the request's own, or the table holds it, or it comes off. `own` is
    /// the session that the request had.
    pub(super) fn check_answer(
        &self,
        number: usize,
        stream: &Stream,
        (own, answer, passes): (Option<usize>, &Answer, bool),
        (before, heard): (&Before, &Heard),
    ) {
        let site = stream.site;
        let is_own = !stream.takes_no_id && answer.id().is_some() && answer.id() == own.or(stream.unknown);
        let is_minted = !stream.takes_no_id && !is_own && answer.is_success();
        if answer.named == Named::Nothing || is_own {
            assert!(passes, "nothing was to be taken off: {answer:?} to {stream:?}");
        } else if answer.id().is_none() || !is_minted {
            assert!(!passes, "passed with an id: {answer:?} to {stream:?}");
        }
        let is_dead = self.workers[number]
            .as_ref()
            .is_none_or(|worker| worker.handle.is_dead());
        if !before.is_calm || is_dead || !heard.failed.is_empty() {
            return;
        }
        if let Some(id) = answer.id().filter(|_| is_minted) {
            let is_placed = stream.place.is_some_and(|place| place.kept_until > self.now);
            let must_pass = is_placed || before.is_there;
            assert!(
                passes || !must_pass,
                "taken off although it has a place: {answer:?} to {stream:?}"
            );
            let counts = before.counts.as_ref().filter(|_| !passes);
            let had_room = counts.is_some_and(|counts| self.has_room(counts, site));
            assert!(
                !had_room,
                "taken off although there was room: {answer:?} to {stream:?}"
            );
            assert!(
                !passes || self.is_there_for(&stream.core, site, id),
                "passed without a place: {answer:?} to {stream:?}"
            );
        }
        if let Some(own) = own.filter(|_| site != SSE && answer.ends(stream.verb)) {
            assert!(
                !self.is_there_for(&stream.core, site, own),
                "the server has ended it, and it is there: {answer:?} to {stream:?}"
            );
        }
    }

    /// Checks the state after an answer. `own` is the session that the request had before.
    pub(super) fn opened(
        &mut self,
        number: usize,
        stream: &mut Stream,
        (own, answer, passes): (Option<usize>, &Answer, bool),
        before: Before,
        heard: Heard,
    ) {
        self.note(number, &heard);
        self.assert_few_calls(before.is_calm, before.calls);
        if stream.exchange.wants().answer_body > 0 {
            // The reservation waits for the `endpoint` event.
            return;
        }
        let place = stream.place.take();
        if !heard.failed.is_empty() {
            self.books.orphans.extend(place);
        }
        let opened = self.session_of(stream).filter(|_| own.is_none());
        let minted = answer.id().filter(|_| passes && answer.is_success());
        for id in [opened, minted.filter(|id| Some(*id) != own)]
            .into_iter()
            .flatten()
        {
            self.books.last_used.insert((stream.site, id), self.now);
        }
        stream.uses = opened.or(stream.uses);
        stream.unknown = None;
        if !heard.ended.is_empty() {
            stream.uses = None;
        }
    }
}
