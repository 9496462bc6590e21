//! The ends of sessions, and what workers report.

use std::rc::Rc;

use mcp_session_filter::session::{EndReason, EndedSession, SessionKey};

use super::heard::Heard;
use super::worker::{Stream, Ticked};
use super::{SSE, World};

/// The table remembers the id of an ended session for at least this time.
const REMEMBERED_MS: u64 = 60_000;

/// A stream of HTTP+SSE becomes a session this long before its reservation runs out: two ticks.
const TICKS_AHEAD_MS: u64 = 2_000;

impl World {
    pub(super) fn after_tick(&mut self, number: usize, ticked: Ticked) {
        if ticked.failed || ticked.joined {
            self.books.reported = None;
        } else {
            self.books.last_reap = self.now;
        }
        if !ticked.failed {
            let became = ticked.waited.iter().filter(|(_, session)| session.is_some());
            assert_eq!(ticked.created, became.count(), "reported wrongly");
        }
        for (context, session) in &ticked.waited {
            self.waited(number, *context, *session, ticked.failed);
        }
        if !ticked.failed && !ticked.joined {
            self.assert_none_waits_longer(number);
        }
        let heard = Heard {
            created: u32::try_from(ticked.created).unwrap(),
            ended: ticked.ended,
            ..Heard::default()
        };
        self.note(number, &heard);
        // A worker that died within an operation leaves counts to repair, and so does a heavy fault.
        let nothing_happened =
            self.books.reported.is_some() && !self.books.disturbed && !self.books.clock_went_back;
        assert!(
            !(nothing_happened && ticked.repaired > 0),
            "repaired what no fault had broken"
        );
        for context in ticked.closes {
            let Some(worker) = &mut self.workers[number] else {
                return;
            };
            if let Some(at) = worker.streams.iter().position(|stream| stream.context == context) {
                let mut stream = worker.streams.swap_remove(at);
                self.end_stream(number, &mut stream);
            }
        }
    }

    /// Writes down what was reported.
    pub(super) fn note(&mut self, number: usize, heard: &Heard) {
        let opened = i64::from(heard.created + heard.adopted);
        self.tally.sessions += u64::from(heard.created + heard.adopted);
        if let Some(reported) = &mut self.books.reported {
            *reported += opened - i64::try_from(heard.ended.len()).unwrap();
        }
        for ended in &heard.ended {
            self.note_end(number, ended);
        }
        // An id that was taken off an answer is that of an ended session, as long as the filter ends it at the server.
        for (site, key) in &heard.pending {
            if let Some(id) = self.id_of(number, *site, *key) {
                self.books
                    .remembered
                    .insert((*site, id), self.now + REMEMBERED_MS);
            }
        }
    }

    fn note_end(&mut self, number: usize, ended: &EndedSession) {
        let sites = &self.configured.sites;
        let site = sites
            .iter()
            .position(|site| site.tag == ended.session.endpoint)
            .unwrap();
        let Some(id) = self.id_of(number, site, ended.session.key) else {
            return self.note_end_of_unnamed(ended);
        };
        // What the server has ended is unknown again, so that a server that has lost it can take it up anew.
        if ended.reason == EndReason::UpstreamGone {
            self.books.remembered.remove(&(site, id));
        } else {
            self.books.remembered.insert((site, id), self.now + REMEMBERED_MS);
        }
        if !self.books.disturbed {
            self.assert_ended_rightly(site, id, ended);
        }
        for stream in self
            .workers
            .iter_mut()
            .flatten()
            .flat_map(|worker| &mut worker.streams)
        {
            if (stream.site, stream.uses) == (site, Some(id)) {
                stream.uses = None;
                stream.is = None;
            }
        }
    }

    fn assert_ended_rightly(&self, site: usize, id: usize, ended: &EndedSession) {
        let lifespans = self.configured.sites[site].lifespans();
        let millis = |span: Option<core::time::Duration>| u64::try_from(span.unwrap().as_millis()).unwrap();
        match ended.reason {
            EndReason::ClientDelete | EndReason::UpstreamGone => assert_ne!(site, SSE),
            EndReason::StreamClosed => assert_eq!(site, SSE),
            EndReason::Evicted => {
                let users = self.users(site, id);
                assert_eq!(users, 0, "evicted while in use: {ended:?}");
            }
            EndReason::Lifetime => {
                let age = ended.at.since(ended.session.opened);
                assert!(Some(age) >= lifespans.lifetime, "ended at the age of {age:?}");
            }
            EndReason::Idle => {
                let users = self.users(site, id);
                assert_eq!(users, 0, "ended for being idle while in use: {ended:?}");
                if let Some(used) = self.books.last_used.get(&(site, id)) {
                    let idle = self.now.saturating_sub(*used);
                    assert!(idle >= millis(lifespans.idle), "ended after {idle} ms: {ended:?}");
                }
            }
        }
    }

    fn users(&self, site: usize, id: usize) -> usize {
        let workers = self.workers.iter().flatten();
        let streams =
            workers.flat_map(|worker| worker.streams.iter().filter(|stream| stream.is_of(&worker.core)));
        streams
            .filter(|stream| (stream.site, stream.uses) == (site, Some(id)))
            .count()
    }

    /// A stream whose event has not come in time is a session by itself now, or has lost its place.
    fn waited(&mut self, number: usize, context: u32, session: Option<SessionKey>, failed: bool) {
        let Some(worker) = &mut self.workers[number] else {
            return;
        };
        let Some(stream) = worker.streams.iter_mut().find(|stream| stream.context == context) else {
            return;
        };
        let place = stream.place.take();
        let is_early = place.is_some_and(|place| place.kept_until > self.now + TICKS_AHEAD_MS);
        assert!(!is_early, "a session before its event was late: {stream:?}");
        stream.itself = session;
        self.tally.unnamed += u64::from(session.is_some());
        if failed {
            self.books.orphans.extend(place);
        }
    }

    /// No stream waits for its event longer than its reservation lasts, since it would then be without a place.
    fn assert_none_waits_longer(&self, number: usize) {
        let Some(worker) = &self.workers[number] else {
            return;
        };
        let waits = |stream: &&Stream| stream.exchange.wants().answer_body > 0 && stream.is_of(&worker.core);
        for stream in worker.streams.iter().filter(waits) {
            let is_late = stream
                .place
                .is_some_and(|place| place.gone_at <= self.now + TICKS_AHEAD_MS);
            assert!(!is_late, "it has waited too long: {stream:?}");
        }
    }

    /// The session of a stream that has named none has ended.
    fn note_end_of_unnamed(&mut self, ended: &EndedSession) {
        let streams = self.workers.iter_mut().flatten().flat_map(|worker| {
            let core = Rc::clone(&worker.core);
            worker
                .streams
                .iter_mut()
                .map(move |stream| (stream.is_of(&core), stream))
        });
        let is_it = |stream: &Stream| stream.itself == Some(ended.session.key);
        for (is_current, stream) in streams.filter(|(_, stream)| is_it(stream)) {
            let is_in_use = matches!(ended.reason, EndReason::Evicted | EndReason::Idle);
            assert!(
                self.books.disturbed || !(is_current && is_in_use),
                "ended for being idle while it streams: {ended:?}"
            );
            stream.itself = None;
        }
    }
}
