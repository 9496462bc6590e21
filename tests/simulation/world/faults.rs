//! The faults of a world.

use mcp_session_filter::session::Key;

use super::World;
use super::worker::Place;

/// No reservation lasts longer than the longest `initialize_timeout`.
pub(super) const LONGEST_PLACE_MS: u64 = 60_000;

/// How long a worker may use a session before the table knows: the worker takes a lease after a quarter of the idle
/// timeout, and after a minute at most.
const UNTOLD_MS: u64 = 60_000;

impl World {
    pub(super) fn fault(&mut self) {
        self.tally.faults += 1;
        if self.heavy && self.choices.once_in(4) {
            self.books.disturb();
            return self.heavy_fault();
        }
        let number = self.choices.below(super::WORKERS);
        match self.choices.below(4) {
            0 => self.kill(number),
            1 | 2 => self.die_within_an_event(number),
            _ => {
                let races = 1 + u32::try_from(self.choices.below(6)).unwrap();
                if let Some(worker) = &self.workers[number] {
                    worker.handle.lose_races(races);
                }
            }
        }
    }

    fn heavy_fault(&mut self) {
        let number = self.choices.below(super::WORKERS);
        match self.choices.below(9) {
            0 | 1 => {
                let calls = 1 + u32::try_from(self.choices.below(40)).unwrap();
                if let Some(worker) = &self.workers[number] {
                    worker.handle.be_refused(calls);
                }
            }
            2 => {
                self.now -= 1_000 * u64::try_from(self.choices.below(60)).unwrap();
                self.books.clock_went_back = true;
            }
            3 | 4 => {
                if let Some(bucket) = self.inhabited() {
                    self.shared.memory.lose(bucket);
                }
            }
            5 => self.shared.memory.lose(Key::Ledger),
            6 => {
                self.shared.lose_everything();
                self.books.foreign.clear();
            }
            7 => {
                if let Some(bucket) = self.inhabited() {
                    self.become_foreign(bucket);
                }
            }
            _ => self.become_foreign(Key::Ledger),
        }
    }

    fn inhabited(&mut self) -> Option<Key> {
        let choices = &mut self.choices;
        self.shared.inhabited(|count| choices.below(count.min(256)))
    }

    fn become_foreign(&mut self, key: Key) {
        self.books.foreign.extend(self.shared.become_foreign(key));
    }

    /// Kills the worker's VM, with all that it knew.
    pub(super) fn kill(&mut self, number: usize) {
        let Some(worker) = self.workers[number].take() else {
            return;
        };
        for stream in worker.streams {
            self.books.orphans.extend(stream.place);
            if let Some(id) = stream.uses {
                let told = self.now.saturating_sub(UNTOLD_MS);
                let last = self.books.last_used.entry((stream.site, id)).or_default();
                *last = told.max(*last);
            }
        }
    }

    /// Kills the worker between two of its calls, in the middle of the next event.
    fn die_within_an_event(&mut self, number: usize) {
        let calls = u64::try_from(self.choices.below(12)).unwrap();
        let Some(worker) = &self.workers[number] else {
            return;
        };
        worker.handle.die_after(calls);
        // The last reports of the worker are lost.
        self.books.reported = None;
        self.books.doubt_memory();
        for site in 0..=super::SSE {
            self.books.orphans.push(Place {
                site,
                kept_until: self.now,
                gone_at: self.now + LONGEST_PLACE_MS,
            });
        }
        match self.choices.below(4) {
            0 => self.request(Some(number)),
            1 => self.answer(Some(number)),
            2 => self.leave(Some(number)),
            _ => self.tick_one(Some(number)),
        }
        self.kill(number);
    }

    /// Lets a round of sweeps pass after the faults. Then everything must be right.
    pub(super) fn heal(&mut self) {
        self.tally.rounds += 1;
        for (key, ours) in core::mem::take(&mut self.books.foreign) {
            self.shared.memory.put(key, &ours);
        }
        for worker in self.workers.iter().flatten() {
            worker.handle.be_refused(0);
            worker.handle.lose_races(0);
        }
        self.now = self.now.max(self.latest);
        if self.workers.iter().all(Option::is_none) {
            self.start_worker(0);
        }
        self.pass(super::ROUND_MS);
        self.pass(2_000);
        self.assert_healed();
    }
}
