//! The ends of sessions, and what workers report.

use mcp_session_filter::session::{EndReason, EndedSession};

use super::heard::Heard;
use super::worker::Ticked;
use super::{SSE, World};

impl World {
    pub(super) fn after_tick(&mut self, number: usize, ticked: Ticked) {
        if ticked.failed || ticked.joined {
            self.books.reported = None;
        } else {
            self.books.last_reap = self.now;
        }
        let heard = Heard {
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
    }

    fn note_end(&mut self, number: usize, ended: &EndedSession) {
        let sites = &self.configured.sites;
        let site = sites
            .iter()
            .position(|site| site.tag == ended.session.endpoint)
            .unwrap();
        let Some(id) = self.id_of(number, site, ended.session.key) else {
            return;
        };
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
}
