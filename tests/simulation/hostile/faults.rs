//! The faults of a hostile world.

use std::collections::BTreeMap;

use mcp_session_filter::session::Key;

use super::books::User;
use super::{Hostile, Id, Place, WORKERS};

/// No reservation lasts longer than `initialize_timeout`.
const LONGEST_PLACE_MS: u64 = 16_000;

impl Hostile {
    pub(super) fn fault(&mut self) {
        self.tally.faults += 1;
        if self.heavy && self.choices.once_in(4) {
            self.books.disturb();
            return self.heavy_fault();
        }
        let number = self.choices.below(WORKERS);
        self.trace(&("light fault", number));
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
        let number = self.choices.below(WORKERS);
        let fault = self.choices.below(9);
        self.trace(&("heavy fault", fault, number));
        match fault {
            0 | 1 => {
                let calls = 1 + u32::try_from(self.choices.below(40)).unwrap();
                if let Some(worker) = &self.workers[number] {
                    worker.handle.be_refused(calls);
                }
            }
            2 => self.now -= 1_000 * u64::try_from(self.choices.below(60)).unwrap(),
            3 | 4 => {
                if let Some(bucket) = self.inhabited() {
                    self.shared.memory.lose(bucket);
                    self.forget_what_is_not_there();
                }
            }
            5 => {
                self.books.uncounted = true;
                self.shared.memory.lose(Key::Ledger);
            }
            6 => {
                self.books.uncounted = true;
                self.shared.lose_everything();
                self.books.foreign.clear();
                self.books.hidden.clear();
                self.books.owners.clear();
                self.books.usable.iter_mut().for_each(BTreeMap::clear);
            }
            7 => {
                if let Some(bucket) = self.inhabited() {
                    self.become_foreign(bucket);
                    let hidden = self.forget_what_is_not_there();
                    self.books.hidden.extend(hidden);
                }
            }
            _ => {
                self.books.uncounted = true;
                self.become_foreign(Key::Ledger);
            }
        }
    }

    fn inhabited(&mut self) -> Option<Key> {
        let choices = &mut self.choices;
        self.shared.inhabited(|count| choices.below(count.min(256)))
    }

    fn become_foreign(&mut self, key: Key) {
        self.books.foreign.extend(self.shared.become_foreign(key));
    }

    /// Kills the worker's VM, with all that it knew. Clients that wait for its answers get none.
    fn kill(&mut self, number: usize) {
        let Some(worker) = self.workers[number].take() else {
            return;
        };
        self.books
            .orphans
            .extend(worker.streams.iter().filter_map(|open| open.place));
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
        self.books.remembered.clear();
        let place = |site| Place {
            site,
            kept_until: self.now,
            gone_at: self.now + LONGEST_PLACE_MS,
        };
        let places: Vec<_> = (0..self.setting.endpoints.len()).map(place).collect();
        self.books.orphans.extend(places);
        match self.choices.below(4) {
            0 => self.request(Some(number)),
            1 => self.answer(Some(number)),
            2 => self.leave(Some(number)),
            _ => self.tick_one(Some(number)),
        }
        self.kill(number);
        self.forget_what_is_not_there();
    }

    /// Whether the worker has died during this event, so that its result reaches no client.
    pub(super) fn has_died(&self, number: usize) -> bool {
        self.workers[number]
            .as_ref()
            .is_some_and(|worker| worker.handle.is_dead())
    }

    /// After a fault, sessions that are gone are not usable, even if no client was told. Returns them.
    pub(super) fn forget_what_is_not_there(&mut self) -> Vec<(usize, Id, User)> {
        let mut gone = Vec::new();
        if self.books.uncounted {
            return gone;
        }
        let mut usable = core::mem::take(&mut self.books.usable);
        for (site, ids) in usable.iter_mut().enumerate() {
            ids.retain(|id, user| {
                let is_there = self.is_there(site, *id);
                if !is_there {
                    gone.push((site, *id, *user));
                }
                is_there
            });
        }
        self.books.usable = usable;
        gone
    }

    /// Makes ids usable again whose sessions are back with a value that was another version's. Meanwhile others may
    /// have been let in.
    fn remember_what_is_back(&mut self) {
        for (site, id, user) in core::mem::take(&mut self.books.hidden) {
            if self.is_there(site, id) {
                self.books.usable[site].entry(id).or_insert(user);
            }
        }
        self.allow_for_what_is_there();
    }

    /// Lets a round of sweeps pass after the faults. Then everything must be right.
    pub(super) fn heal(&mut self) {
        self.trace(&"heal");
        for (key, ours) in core::mem::take(&mut self.books.foreign) {
            self.shared.memory.put(key, &ours);
        }
        self.remember_what_is_back();
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
        self.is_healed();
    }

    fn is_healed(&mut self) {
        let counts = self.counts().expect("the ledger is there again");
        for (site, endpoint) in self.rows(&counts) {
            let there = self.shared.count(self.tag_bytes(site));
            let counted = endpoint.active as usize;
            assert!(counted >= there, "{there} are there after a round: {endpoint:?}");
        }
        if core::mem::take(&mut self.books.uncounted) {
            self.forget_what_is_not_there();
            self.allow_for_what_is_there();
        }
        if core::mem::take(&mut self.books.disturbed) {
            self.books.strange_places_until = self.now + LONGEST_PLACE_MS;
            self.books.remembered.clear();
            let workers = self.workers.iter_mut().flatten();
            for open in workers.flat_map(|worker| &mut worker.streams) {
                open.place = None;
            }
        }
        let last_reap = self.books.last_reap;
        self.books.orphans.retain(|place| place.gone_at > last_reap);
        self.books.reported = Some(i64::try_from(self.shared.records().len()).unwrap());
    }

    /// Allows for the sessions that the caps could not prevent while the counts were unknown.
    fn allow_for_what_is_there(&mut self) {
        for capped in self.all_capped() {
            let (count, cap) = self.usable_under(capped);
            if count > cap {
                self.books.excess.insert(capped, count);
            }
        }
    }
}
