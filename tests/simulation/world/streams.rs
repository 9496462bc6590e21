//! Open streams of streamable HTTP: what the world expects of their counts and their cap.

use mcp_session_filter::answer::Reason;
use mcp_session_filter::session::Counts;

use super::answers::Answer;
use super::books::{Before, Letting, Outcome};
use super::traffic::Request;
use super::worker::Stream;
use super::{SSE, World};

impl World {
    /// Notes whether a request that was judged has a place for the stream that it asks for.
    pub(super) fn note_asked(&mut self, stream: &mut Stream, request: &Request, outcome: &Outcome) {
        let rejected = outcome.heard.rejected;
        match outcome.letting {
            Letting::In => {
                stream.asks = request.asks_for_stream(outcome.is_read);
                stream.is_counted = stream.asks && self.cap_of(stream.site).is_some();
                self.tally.asked += u64::from(stream.is_counted);
            }
            Letting::Refused(429) if rejected == Some(Reason::Streams) => {
                assert!(request.asks_for_stream(outcome.is_read), "{request:?}");
                stream.is_counted = false;
                self.tally.refused += 1;
            }
            Letting::Refused(_) => stream.is_counted &= stream.answered,
            Letting::Held => {}
        }
    }

    /// Whether the refusal of a stream was right.
    pub(super) fn check_refused_stream(&self, site: usize, before: &Before) {
        let Some(counts) = before.counts.as_ref().filter(|_| before.is_calm) else {
            return;
        };
        let cap = self.cap_of(site).expect("only a cap refuses");
        let there = counts.endpoints.iter();
        let name = self.configured.sites[site].rules.name.as_str();
        let streams = there
            .filter(|row| row.settings.name == name)
            .map(|row| row.streams);
        assert!(streams.sum::<u32>() >= cap, "a stream was refused with room left");
    }

    /// Notes what an answer makes of a stream.
    pub(super) fn note_answered(stream: &mut Stream, answer: &Answer) {
        stream.is_counted = answer.is_success() && (stream.is_counted || stream.asks);
    }

    /// Every worker counts its own streams, no worker's are missing in the ledger, and no cap is exceeded.
    pub(super) fn audit_streams(&mut self, counts: Option<&Counts>) {
        let mut over = false;
        for site in 0..SSE {
            let tag = self.configured.sites[site].tag;
            let mut all = 0;
            for worker in self.workers.iter().flatten() {
                if worker.handle.is_dead() {
                    continue;
                }
                let own = worker.streams.iter();
                let own = own.filter(|stream| stream.is_of(&worker.core) && stream.site == site);
                let open = own.filter(|stream| stream.is_counted).count();
                let counted = worker.core.in_use.borrow().open_streams.count(tag);
                assert_eq!(counted as usize, open, "streams of one worker at {site}");
                all += counted;
            }
            let name = self.configured.sites[site].rules.name.as_str();
            let row = counts.and_then(|counts| counts.endpoints.iter().find(|row| row.settings.name == name));
            let Some(row) = row else { continue };
            assert!(row.streams >= all, "{all} streams are open: {row:?}");
            over |= self.cap_of(site).is_some_and(|cap| row.streams > cap);
        }
        if counts.is_some() {
            assert!(!over || self.books.streams_over, "over the cap: {counts:?}");
            self.books.streams_over = over;
        }
    }

    fn cap_of(&self, site: usize) -> Option<u32> {
        self.configured.sites[site].rules.max_streams
    }
}
