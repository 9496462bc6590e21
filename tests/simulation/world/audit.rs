//! Checks the invariants of a world.

use std::collections::HashSet;

use mcp_session_filter::answer::Reason;
use mcp_session_filter::endpoint::UnknownSession;
use mcp_session_filter::session::{Counts, EndpointCounts, RootTag, Table};

use super::books::{Before, Letting, Outcome};
use super::faults::LONGEST_PLACE_MS;
use super::heard::Heard;
use super::traffic::Request;
use super::worker::{Core, Place, Stream};
use super::{IDS, SSE, World, tag_bytes};

/// Most calls of the store for a request, an answer or an end without interference, however many sessions there are.
const MAX_CALLS: u64 = 16;

/// Every bucket, and a few calls for each of four sessions that end to admit one newcomer.
const MAX_LOOK_CALLS: u64 = 16_384 + 4 * 16;

impl World {
    pub(super) fn counts(&self) -> Option<Counts> {
        let table = &self.workers.iter().flatten().next()?.core.table;
        // The audit's own read is no call of a worker, but it may use up a waiting fault.
        table.counts().ok().map(|(counts, _)| counts)
    }

    pub(super) fn before(&self, number: usize, site: usize, id: Option<usize>) -> Before {
        let counts = if self.books.disturbed {
            None
        } else {
            self.ledger_counts()
        };
        let disturbed = |worker: &super::Worker| worker.handle.is_disturbed() || worker.handle.is_dead();
        Before {
            is_calm: !self.books.disturbed && !self.workers[number].as_ref().is_some_and(disturbed),
            counts,
            is_there: id.is_some_and(|id| self.is_there(site, id)),
            calls: self.shared.calls(),
        }
    }

    /// The counts, read through a handle without faults.
    fn ledger_counts(&self) -> Option<Counts> {
        let table = Table::attach(self.shared.memory.handle(), RootTag::from_random(0), [0; 16]);
        table.ok()?.counts().ok().map(|(counts, _)| counts)
    }

    /// The ledger's row of each endpoint, in the ledger's order.
    fn rows(&self, counts: &Counts) -> Vec<(usize, EndpointCounts)> {
        let row = |name: &str| {
            counts
                .endpoints
                .iter()
                .find(|row| row.settings.name == name)
                .cloned()
        };
        let rows = self
            .configured
            .sites
            .iter()
            .map(|site| row(site.rules.name.as_str()));
        (0..)
            .zip(rows)
            .filter_map(|(site, row)| Some((site, row?)))
            .collect()
    }

    fn is_there(&self, site: usize, id: usize) -> bool {
        let worker = self.workers.iter().flatten().next();
        worker.is_some_and(|worker| self.is_there_for(&worker.core, site, id))
    }

    /// The same as a stream of `core` sees it: if everything was lost, a stream that began before has another secret.
    pub(super) fn is_there_for(&self, core: &Core, site: usize, id: usize) -> bool {
        let tag = self.configured.sites[site].tag;
        let key = core.table.key(tag, super::id_text(id).as_bytes());
        self.shared
            .records()
            .iter()
            .any(|record| record.key == *key.as_bytes())
    }

    /// Checks the verdict on a request.
    pub(super) fn judged(
        &mut self,
        number: usize,
        stream: &mut Stream,
        request: &Request,
        before: Before,
        outcome: Outcome,
    ) {
        self.note_asked(stream, request, &outcome);
        let Outcome {
            heard,
            letting,
            is_read,
        } = outcome;
        stream.takes_no_id = request.takes_no_id(is_read);
        let by_stream = u32::from(stream.is_counted);
        self.note(number, &heard);
        let calm = before.is_calm && heard.failed.is_empty();
        self.assert_few_calls(calm, before.calls);
        match (letting, request.expected(is_read)) {
            (Letting::Held, None) => {}
            // A request with an id is judged before its message is read, and again with it if the id is unknown.
            (Letting::In | Letting::Held, Some(id)) if before.is_there => {
                stream.uses = self.session_of(stream);
                let is_its_own = stream.uses == Some(id);
                // If the table could not be read, the id may be unknown.
                stream.unknown = Some(id).filter(|_| !is_its_own && stream.is_adoptable());
                assert!(!calm || is_its_own, "{:?} is in use, and not {id}", stream.uses);
                // If the worker died during the event, it has not used the session.
                if calm || is_its_own {
                    self.books.last_used.insert((stream.site, id), self.now);
                }
            }
            (Letting::In | Letting::Held, Some(id)) => {
                let rules = &self.configured.sites[stream.site].rules;
                let adopts = rules.unknown_session == UnknownSession::Adopt;
                assert!(!calm || adopts, "an unknown id was let in: {request:?}");
                let remembered = self.books.remembered.get(&(stream.site, id));
                let has_ended = remembered.is_some_and(|until| self.now < *until);
                assert!(
                    !(calm && has_ended),
                    "the id of an ended session was let in: {request:?}"
                );
                stream.unknown = stream.is_adoptable().then_some(id);
                self.enter_place(stream, &heard, by_stream);
            }
            (Letting::In, None) => {
                self.enter_place(stream, &heard, by_stream);
                assert!(!request.is_head_of_stream(), "HEAD was let in: {request:?}");
                let is_without = request.needs_a_place(is_read) && stream.place.is_none();
                assert!(!(calm && is_without), "let in without a place: {request:?}");
            }
            (Letting::Refused(429), _) if heard.rejected == Some(Reason::Streams) => {
                if calm {
                    self.check_refused_stream(stream.site, &before);
                }
            }
            (Letting::Refused(429), _) => {
                let counts = before.counts.filter(|_| calm);
                let had_room = counts.is_some_and(|counts| self.has_room(&counts, stream.site));
                assert!(!had_room, "refused although there was room");
            }
            (Letting::Refused(404), Some(id)) if calm => {
                self.check_not_found(stream.site, id, &before, &heard)
            }
            (Letting::Refused(_), _) => {}
        }
    }

    /// Checks the verdict on a request of which only the beginning of its message told that it asks for a stream.
    pub(super) fn judged_late(
        &mut self,
        number: usize,
        stream: &mut Stream,
        request: &Request,
        before: Before,
        heard: Heard,
        letting: Letting,
    ) {
        let outcome = Outcome {
            heard,
            letting,
            is_read: true,
        };
        self.note_asked(stream, request, &outcome);
        self.note(number, &outcome.heard);
        let calm = before.is_calm && outcome.heard.failed.is_empty();
        if calm && matches!(outcome.letting, Letting::Refused(_)) {
            self.check_refused_stream(stream.site, &before);
        }
        // The reservation of a request without a session comes back with the refusal.
        if matches!(outcome.letting, Letting::Refused(_)) {
            let place = stream.place.take();
            if !calm {
                self.books.orphans.extend(place);
            }
        }
    }

    /// Checks that an id that gets 404 belongs to no session. Under `adopt` it must have belonged to one.
    fn check_not_found(&self, site: usize, id: usize, before: &Before, heard: &Heard) {
        let is_lost = before.is_there && heard.ended.is_empty();
        assert!(
            !is_lost,
            "session {id} of endpoint {site} is alive and was answered 404"
        );
        let rules = &self.configured.sites[site].rules;
        let is_remembered = self.books.remembered.contains_key(&(site, id));
        assert!(
            is_remembered || rules.unknown_session == UnknownSession::Reject,
            "{id} of endpoint {site} is unknown and was answered 404"
        );
    }

    /// Enters the reservation of a request that was let in, if it has made one.
    fn enter_place(&self, stream: &mut Stream, heard: &Heard, by_stream: u32) {
        if heard.moves > by_stream {
            stream.place = Some(self.new_reservation(stream.site));
        }
    }

    /// Checks the state after a part of a stream; `id` is the id that the stream named, if any.
    pub(super) fn announced(
        &mut self,
        number: usize,
        stream: &mut Stream,
        id: Option<usize>,
        before: Before,
        heard: Heard,
    ) {
        self.note(number, &heard);
        self.assert_few_calls(before.is_calm, before.calls);
        if !heard.counts_moved && heard.untracked == 0 {
            return;
        }
        let place = stream.place.take();
        if !heard.failed.is_empty() {
            self.books.orphans.extend(place);
        }
        let was_itself = stream.itself.take().is_some();
        self.tally.named_late += u64::from(was_itself && id.is_some());
        let is_placed = heard.untracked == 0;
        if id.is_none() && is_placed {
            stream.itself = stream.exchange.session();
        }
        let opened = id.filter(|_| is_placed);
        if let Some(id) = opened {
            self.tally.streams += 1;
            // The stream that named the id last is the session.
            self.each_stream(|other| {
                if other.is == Some(id) {
                    other.is = None;
                }
            });
            self.books.last_used.insert((stream.site, id), self.now);
        }
        stream.uses = opened;
        stream.is = opened;
    }

    fn each_stream(&mut self, change: impl FnMut(&mut Stream)) {
        let workers = self.workers.iter_mut().flatten();
        workers.flat_map(|worker| &mut worker.streams).for_each(change);
    }

    /// Checks the state after a stream's end; its session ends too, if the stream is one.
    pub(super) fn left(&mut self, number: usize, stream: &mut Stream, before: &Before, heard: &Heard) {
        let is_calm = before.is_calm && heard.failed.is_empty();
        let (named, itself) = (stream.is.take(), stream.itself.take());
        if is_calm && (named.is_some() || itself.is_some()) {
            assert_eq!(
                heard.ended.len(),
                1,
                "the session of a stream has not ended with it"
            );
            let is_there = named.is_some_and(|id| self.is_there_for(&stream.core, stream.site, id));
            assert!(!is_there, "it has ended and is there");
        }
        self.note(number, heard);
        let place = stream.place.take();
        if !heard.failed.is_empty() {
            self.books.orphans.extend(place);
        }
        if let Some(id) = stream.uses.take() {
            self.books.last_used.insert((stream.site, id), self.now);
        }
    }

    /// If sessions may be evicted, a newcomer may scan the table, but no more of it than the bound.
    fn most_calls(&self) -> u64 {
        let evicts = |site: &std::rc::Rc<mcp_session_filter::exchange::Site>| site.lifespans().evictable;
        let looks = self.configured.sites.iter().any(evicts);
        MAX_CALLS + if looks { MAX_LOOK_CALLS } else { 0 }
    }

    pub(super) fn assert_few_calls(&self, calm: bool, before: u64) {
        let calls = self.shared.calls() - before;
        assert!(!calm || calls <= self.most_calls(), "{calls} calls for one event");
    }

    /// Checks the invariants, after every step.
    pub(super) fn audit(&mut self) {
        let records = self.shared.records();
        let keys: HashSet<_> = records.iter().map(|record| record.key).collect();
        assert_eq!(keys.len(), records.len(), "a session is in the table twice");
        for worker in self.workers.iter().flatten() {
            assert!(worker.core.in_use.borrow().len() <= worker.streams.len());
        }
        if self.books.disturbed {
            self.audit_streams(None);
            return;
        }
        let counts = self.ledger_counts().unwrap();
        self.audit_streams(Some(&counts));
        self.audit_caps(&counts);
        self.audit_reservations(&counts);
        if let Some(reported) = self.books.reported {
            assert_eq!(
                i64::try_from(records.len()).unwrap(),
                reported,
                "reports do not add up"
            );
        }
        let sites = self.configured.sites[..SSE].iter();
        let named: usize = sites.map(|site| self.shared.count(tag_bytes(site))).sum();
        assert!(
            named <= SSE * IDS,
            "{named} sessions have {IDS} ids at each endpoint"
        );
    }

    fn audit_caps(&mut self, counts: &Counts) {
        let mut over = counts.active + counts.reserved > counts.limit;
        for (site, endpoint) in self.rows(counts) {
            let there = self.shared.count(tag_bytes(&self.configured.sites[site]));
            assert!(
                there <= endpoint.active as usize,
                "{there} sessions are there: {endpoint:?}"
            );
            over |= endpoint.active + endpoint.reserved > endpoint.settings.max_sessions;
        }
        assert!(!over || self.books.over_the_cap, "over the cap: {counts:?}");
        self.books.over_the_cap = over;
    }

    /// Each reservation of a stream is counted once, and no other is counted.
    fn audit_reservations(&self, counts: &Counts) {
        if self.now < self.books.strange_places_until {
            return;
        }
        let streams = || self.workers.iter().flatten().flat_map(|worker| &worker.streams);
        for (site, endpoint) in self.rows(counts) {
            let is_here = |place: &Place| place.site == site;
            let held = streams().filter_map(|stream| stream.place).filter(is_here);
            let orphans = self.books.orphans.iter().copied().filter(is_here);
            let (held, orphans): (Vec<_>, Vec<_>) = (held.collect(), orphans.collect());
            Place::audit(&held, &orphans, (self.now, self.books.last_reap), &endpoint);
        }
    }

    /// After a round of sweeps no fault leaves a trace.
    pub(super) fn assert_healed(&mut self) {
        let counts = self.counts().unwrap();
        for (site, endpoint) in self.rows(&counts) {
            let there = self.shared.count(tag_bytes(&self.configured.sites[site]));
            let counted = endpoint.active as usize;
            let is_right = counted == there || self.books.clock_went_back && counted > there;
            assert!(is_right, "{there} are there after a round: {endpoint:?}");
        }
        if self.books.disturbed {
            self.books.disturbed = false;
            self.books.strange_places_until = self.now + LONGEST_PLACE_MS;
            self.books.over_the_cap = true;
            self.books.streams_over = true;
            self.books.last_used.clear();
            self.books.doubt_memory();
            for stream in self
                .workers
                .iter_mut()
                .flatten()
                .flat_map(|worker| &mut worker.streams)
            {
                stream.place = None;
                stream.uses = None;
                stream.is = None;
                stream.itself = None;
            }
        }
        let last_reap = self.books.last_reap;
        self.books.orphans.retain(|place| place.gone_at > last_reap);
        self.books.reported = Some(i64::try_from(self.shared.records().len()).unwrap());
    }

    pub(super) fn has_room(&self, counts: &Counts, site: usize) -> bool {
        let rows = self.rows(counts);
        let of_endpoint =
            |endpoint: &EndpointCounts| endpoint.active + endpoint.reserved < endpoint.settings.max_sessions;
        counts.active + counts.reserved < counts.limit
            && rows.get(site).is_some_and(|(_, row)| of_endpoint(row))
    }
}
