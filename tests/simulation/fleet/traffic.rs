//! Newcomers, and sessions that end.

use mcp_session_filter::fleet::Outlook;

use super::{Event, Fleet};

/// The longest time that a newcomer waits, in milliseconds, by any clock; with a tick's delay.
const LONGEST_WAIT_MS: u64 = 1_000;

impl Fleet {
    /// Some newcomers come to one gateway, if the fleet is not as full as this world should be.
    pub(super) fn newcomers(&mut self) {
        let Some(number) = self.any_process() else { return };
        let there: u32 = (self.processes.values())
            .map(|process| process.used + process.waiting.len() as u32)
            .sum();
        let most = (u64::from(self.terms.cap) * u64::from(self.tenths) / 10) as u32;
        // Below eight tenths means below.
        let room = most.saturating_sub(there + u32::from(self.tenths < 8));
        let comes = (1 + self.choices.below(4) as u32) * (1 + self.terms.cap / 200);
        for _ in 0..comes.min(room) {
            self.newcomer(number);
        }
    }

    pub(super) fn any_process(&mut self) -> Option<u64> {
        let numbers: Vec<u64> = (self.processes.iter())
            .filter(|(_, process)| process.stopped <= self.now)
            .map(|(number, _)| *number)
            .collect();
        (!numbers.is_empty()).then(|| numbers[self.choices.below(numbers.len())])
    }

    pub(super) fn newcomer(&mut self, number: u64) {
        self.tally.newcomers += 1;
        let now = self.now;
        let process = self.processes.get_mut(&number).unwrap();
        if process.waiting.is_empty() && process.let_in(now) {
            self.tally.at_once += 1;
            return;
        }
        let came = process.local(now);
        process.waiting.push(came);
        self.schedule(LONGEST_WAIT_MS + 20, Event::Wait { process: number });
        self.tell_speaker(number);
    }

    /// The worker that holds a newcomer wakes the one that speaks.
    fn tell_speaker(&mut self, number: u64) {
        let term = self.processes[&number].term;
        self.schedule(
            0,
            Event::Look {
                process: number,
                term,
                wake: 0,
            },
        );
    }

    /// Lets those in that wait, as far as the limit allows it, and refuses those that have no hope.
    pub(super) fn admit_waiting(&mut self, number: u64) {
        let now = self.now;
        let process = self.processes.get_mut(&number).unwrap();
        let local = process.local(now);
        let mut waiting = core::mem::take(&mut process.waiting);
        let mut refused = 0;
        waiting.retain(|came| {
            if process.let_in(now) {
                match local.since(*came).as_millis() {
                    0 => self.tally.at_once += 1,
                    1..=250 => self.tally.soon += 1,
                    _ => self.tally.late += 1,
                }
                return false;
            }
            let speaker = process
                .speakers
                .iter()
                .find(|speaker| speaker.term == process.term);
            let outlook = speaker.map(|speaker| speaker.gateway.outlook(*came, local));
            let waits = match outlook {
                Some(Outlook::Wait) => true,
                Some(Outlook::Full | Outlook::Lost) => false,
                None => local.since(*came).as_millis() < u128::from(LONGEST_WAIT_MS),
            };
            refused += u64::from(!waits);
            waits
        });
        process.waiting = waiting;
        self.tally.refused += refused;
        let used: u32 = self.processes.values().map(|process| process.used).sum();
        if refused > 0 && used < self.terms.cap {
            self.tally.unlucky += refused;
            assert!(
                !self.is_calm || self.tenths >= 8,
                "a newcomer is refused below eight tenths of the cap"
            );
        }
    }

    /// Some newcomers find their places while another worker is at work.
    pub(super) fn slip_in(&mut self, number: u64) {
        if self.tenths > 8 && !self.is_healed && self.choices.once_in(3) {
            let now = self.now;
            let process = self.processes.get_mut(&number).unwrap();
            for _ in 0..self.choices.below(3) {
                let came = process.let_in(now);
                self.tally.newcomers += u64::from(came);
                self.tally.at_once += u64::from(came);
            }
        }
    }

    /// Some sessions of one gateway end. The worker that speaks learns it at its next tick, or at once.
    pub(super) fn end_some(&mut self) {
        let Some(number) = self.any_process() else { return };
        let process = self.processes.get_mut(&number).unwrap();
        let most = match self.choices.below(8) {
            0 => process.used,
            few => few as u32 * (1 + self.terms.cap / 400),
        };
        for _ in 0..most.min(process.used) {
            process.end_one();
        }
        if self.choices.once_in(2) {
            self.tell_speaker(number);
        }
    }
}
