//! The network between gateways and etcd.

use mcp_session_filter::fleet::Call;

use super::{Event, Fleet};

impl Fleet {
    /// A call sets out to etcd.
    pub(super) fn send(&mut self, process: u64, term: u32, call: Call) {
        self.tally.calls += 1;
        if let Some(delay) = self.way(process) {
            self.schedule(delay, Event::Request { process, term, call });
        }
    }

    /// A call reaches etcd, which may be down. Its answer sets out, once, twice or never, as it is or spoilt.
    pub(super) fn serve(&mut self, process: u64, term: u32, call: Call) {
        if self.is_etcd_down {
            return;
        }
        let request = self.codec.request(&call.ask);
        let before = self.etcd.shares();
        let mut body = self.etcd.serve(request.path, &request.body, self.now);
        self.audit
            .write(process, term, &call, &before, &self.etcd.shares());
        let copies = match self.goes_wrong(16) {
            true => 2,
            false => 1,
        };
        for _ in 0..copies {
            if self.goes_wrong(24) {
                body = self.spoilt(&body);
            }
            if let Some(delay) = self.way(process) {
                let body = body.clone();
                self.schedule(
                    delay,
                    Event::Answer {
                        process,
                        term,
                        call,
                        body,
                    },
                );
            }
        }
    }

    /// How long a message is under way; `None` if it gets lost.
    fn way(&mut self, process: u64) -> Option<u64> {
        let is_cut_off = self
            .processes
            .get(&process)
            .is_some_and(|process| process.is_cut_off);
        if self.is_calm || self.is_healed {
            return Some(1 + self.choices.below(10) as u64);
        }
        if is_cut_off && !self.choices.once_in(4) || self.choices.once_in(24) {
            return None;
        }
        let spans = match is_cut_off {
            true => [900, 3_000, 9_000, 12_000, 15_000],
            false => [1, 2, 5, 20, 400],
        };
        let rarely = self.choices.once_in(24);
        Some(if rarely {
            4_000
        } else {
            self.choices.one_of(&spans)
        })
    }

    fn goes_wrong(&mut self, once_in: usize) -> bool {
        !self.is_calm && !self.is_healed && self.choices.once_in(once_in)
    }

    fn spoilt(&mut self, body: &[u8]) -> Vec<u8> {
        if body.is_empty() {
            return Vec::new();
        }
        match self.choices.below(8) {
            0 => Vec::new(),
            1 => b"upstream connect error or disconnect/reset before headers".to_vec(),
            2 => br#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#.to_vec(),
            3 => b"{}".to_vec(),
            4 => vec![b'['; 600 * 1_024],
            5 => br#"{"header":{"revision":"0"},"succeeded":true,"responses":[]}"#.to_vec(),
            6 => {
                let mut body = body.to_vec();
                let at = self.choices.below(256) % body.len();
                body[at] = [b'"', b'}', 0xff, b'\\', b'!'][self.choices.below(5)];
                body
            }
            _ => body[..self.choices.below(256) % body.len()].to_vec(),
        }
    }
}
