//! What goes wrong, and what operators do.

use super::{Event, Fleet, GATEWAYS};

impl Fleet {
    /// Something goes wrong.
    pub(super) fn fault(&mut self) {
        self.tally.faults += 1;
        let any = self.any_process();
        let kind = self.choices.below(16);
        self.trace(&format_args!("fault {kind} at {any:?}"));
        match (kind, any) {
            (0, _) => self.is_etcd_down = true,
            (1, _) if self.processes.len() < GATEWAYS => self.start(),
            (2..=5, _) => self.mend(),
            (6, Some(number)) => self.kill(number),
            (7..=9, Some(number)) => self.stop(number),
            (10, Some(number)) => self.processes.get_mut(&number).unwrap().is_cut_off = true,
            (11, Some(number)) => self.lose_speaker(number),
            (12, Some(number)) => self.schedule(0, Event::TakeOver { process: number }),
            (13, _) => self.change_cap(),
            (14, Some(number)) => self.configure(number),
            _ => self.reach_all(),
        }
    }

    /// What happens in a calm world: gateways come, and operators change the cap.
    pub(super) fn change_calmly(&mut self) {
        if self.choices.once_in(16) && self.processes.len() < GATEWAYS {
            self.start();
        }
    }

    fn mend(&mut self) {
        self.is_etcd_down = false;
        for process in self.processes.values_mut() {
            process.is_cut_off = false;
        }
    }

    fn kill(&mut self, number: u64) {
        self.processes.remove(&number);
        if self.processes.is_empty() {
            self.start();
        }
    }

    /// SIGSTOP, or a paused machine.
    fn stop(&mut self, number: u64) {
        let lease = u64::try_from(self.terms.lease.as_millis()).unwrap();
        let spans = [100, 1_000, lease / 2, lease, 2 * lease];
        let until = self.now + self.choices.one_of(&spans);
        self.processes.get_mut(&number).unwrap().stopped = until;
    }

    /// The worker that speaks dies. Another one takes over within two seconds.
    fn lose_speaker(&mut self, number: u64) {
        self.processes.get_mut(&number).unwrap().speakers.clear();
        let after = self.choices.one_of(&[1, 300, 2_000]);
        self.schedule(after, Event::TakeOver { process: number });
    }

    /// The operator changes the cap; gateways load it one after the other.
    fn change_cap(&mut self) {
        let half = (self.terms.cap / 2).max(1);
        self.terms.cap = self
            .choices
            .one_of(&[half, self.terms.cap + 1, self.terms.cap * 2])
            .min(2_000);
    }

    fn configure(&mut self, number: u64) {
        let process = self.processes.get_mut(&number).unwrap();
        process.terms = self.terms;
        for speaker in &mut process.speakers {
            speaker.gateway.follow(process.terms);
        }
    }

    fn reach_all(&mut self) {
        let numbers: Vec<u64> = self.processes.keys().copied().collect();
        for number in numbers {
            self.configure(number);
        }
    }

    /// Ends everything that goes wrong.
    pub(super) fn heal(&mut self) {
        self.is_healed = true;
        self.mend();
        self.reach_all();
    }
}
