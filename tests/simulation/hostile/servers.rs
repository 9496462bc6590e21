//! Servers that answer whatever they like, and Envoy, which sometimes answers in their place.

use std::rc::Rc;

use super::filter::{self, Fields};
use super::{Hostile, Id, Ids, Open};

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) from_server: bool,
    /// How many ids it carries.
    pub(super) ids: usize,
    /// The id, if it is one and valid.
    pub(super) named: Option<Id>,
    fields: Fields,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        self.status.len() == 3 && self.status.starts_with('2')
    }

    /// Whether the answer means that the server has ended the session of the request's id.
    pub(super) fn ends(&self, verb: &str) -> bool {
        let gone = self.status == "404" && matches!(verb, "POST" | "DELETE");
        self.from_server && (gone || verb == "DELETE" && self.is_success())
    }
}

impl Hostile {
    /// Answers a request.
    pub(super) fn answer(&mut self, wanted: Option<usize>) {
        let Some((number, mut open)) = self.take_open(wanted) else {
            return;
        };
        if !open.answered {
            open.answered = true;
            self.tally.answers += 1;
            self.answered(number, &mut open);
        }
        if let Some(worker) = &mut self.workers[number] {
            worker.streams.push(open);
        }
    }

    fn answered(&mut self, number: usize, open: &mut Open) {
        let answer = self.any_answer(open);
        let named = answer.named;
        let (now, core) = (self.timestamp(), Rc::clone(&open.core));
        let before = self.before(number, &core, open.site, named);
        let own_was_there = open
            .own
            .is_some_and(|own| self.is_there_for(&core, open.site, own));
        self.name_keys(open, named);
        let concerned = [named, open.own].map(|id| Some((id?, self.opening_of(open.site, id?))));
        let (passes, heard) = match &mut open.exchange {
            Some(exchange) => {
                let (fields, from_server) = (&answer.fields, answer.from_server);
                filter::answer(exchange, &core, &self.configured, now, fields, from_server)
            }
            None => (true, super::Heard::default()),
        };
        for (id, opening) in concerned.into_iter().flatten() {
            if self.opening_of(open.site, id) != opening {
                self.books.owners.insert((open.site, id), open.user);
            }
        }
        if self.has_died(number) {
            self.books.orphans.extend(open.place.take());
            return;
        }
        self.trace(&(number, &*open, &answer, passes, &heard));
        let place = open.place.take();
        if !heard.failed.is_empty() {
            self.books.orphans.extend(place);
        }
        self.check_answer(open, &answer, (passes, &heard), (&before, own_was_there));
        self.note(&heard);
        self.follow(open, &answer, passes, &heard);
    }

    /// Notes the keys of the sessions that an answer may open.
    fn name_keys(&mut self, open: &Open, named: Option<Id>) {
        let (tag, table) = (self.configured.sites[open.site].tag, &open.core.table);
        for id in [named, open.own].into_iter().flatten() {
            for key in self.ids.keys(id, |text| table.track(tag, text).key()) {
                self.books.names.insert(*key.as_bytes(), (open.site, id));
            }
        }
    }

    fn any_answer(&mut self, open: &Open) -> Answer {
        let choices = &mut self.choices;
        let status = choices.one_of(&[
            "200", "200", "200", "200", "200", "202", "204", "299", "301", "400", "401", "404", "404", "405",
            "429", "500", "503", "x",
        ]);
        let from_server = !choices.once_in(8);
        let id = Ids::any(choices);
        let line = self.ids.spelled(id, choices);
        let others: Vec<_> = self.books.usable[open.site].keys().copied().collect();
        let (lines, named) = match choices.below(16) {
            0..=3 => (Vec::new(), None),
            4..=6 if open.own.is_some() => {
                let own = open.own.unwrap_or(id);
                (vec![self.ids.spelled(own, choices)], Some(own))
            }
            7 if !others.is_empty() => {
                let other = choices.one_of(&others);
                (vec![self.ids.spelled(other, choices)], Some(other))
            }
            8 => (vec![line.clone(), line], None),
            9 => (vec![Vec::new()], None),
            10 => (vec![b"not visible \xff".to_vec()], None),
            _ => (vec![line], Some(id)),
        };
        let mut fields = vec![(":status", status.into())];
        if choices.below(4) == 0 {
            fields.push(("content-type", b"text/event-stream".to_vec()));
        }
        let ids = lines.len();
        fields.extend(lines.into_iter().map(|line| ("mcp-session-id", line)));
        Answer {
            status,
            from_server,
            ids,
            named,
            fields: Fields(fields),
        }
    }

    /// Writes down what the client was given, and what the server has ended.
    fn follow(&mut self, open: &Open, answer: &Answer, passes: bool, heard: &super::Heard) {
        let site = open.site;
        if let Some(own) = open.own.filter(|_| answer.ends(open.verb)) {
            self.books.end(site, own);
        }
        self.tally.taken_off += u64::from(!passes);
        let given = answer
            .named
            .filter(|given| passes && answer.is_success() && !self.has_a_lost_secret(open, *given));
        if let Some(given) = given.filter(|given| Some(*given) != open.own) {
            self.tally.given += u64::from(self.books.give(site, given, open.user));
        }
        let Some(own) = open.own else { return };
        if heard.adopted > 0 {
            self.tally.adopted += 1;
            if !self.has_a_lost_secret(open, own) {
                self.books.give(site, own, open.user);
            }
        } else if heard.untracked > 0 && passes && !open.is_unread {
            self.tally.untracked += 1;
            self.books.apart.insert((site, own));
        } else if given == Some(own) && !answer.ends(open.verb) && self.is_there(site, own) {
            self.books.give(site, own, open.user);
        }
    }

    /// Whether the session was opened under the secret of before a loss of everything. No later request can use it.
    fn has_a_lost_secret(&self, open: &Open, id: Id) -> bool {
        !self.is_there(open.site, id) && self.is_there_for(&open.core, open.site, id)
    }

    /// Ends a request, for any reason.
    pub(super) fn leave(&mut self, wanted: Option<usize>) {
        let Some((number, mut open)) = self.take_open(wanted) else {
            return;
        };
        self.end_open(number, &mut open);
    }

    pub(super) fn end_open(&mut self, number: usize, open: &mut Open) {
        let (now, core) = (self.timestamp(), Rc::clone(&open.core));
        let place = open.place.take();
        let Some(exchange) = &mut open.exchange else {
            return;
        };
        let heard = filter::end(exchange, &core, &self.configured, now);
        if self.has_died(number) || !heard.failed.is_empty() {
            self.books.orphans.extend(place);
        }
        if !self.has_died(number) {
            assert_eq!(
                (heard.created, heard.adopted, heard.untracked, heard.rejected),
                (0, 0, 0, None),
                "counted at the end of a request"
            );
            self.note(&heard);
        }
    }

    fn take_open(&mut self, wanted: Option<usize>) -> Option<(usize, Open)> {
        let number = wanted.unwrap_or_else(|| self.choices.below(super::WORKERS));
        let open = self.open_requests(number);
        if open == 0 {
            return None;
        }
        let chosen = self.choices.below(open.min(256));
        let worker = self.workers[number].as_mut()?;
        Some((number, worker.streams.swap_remove(chosen)))
    }
}
