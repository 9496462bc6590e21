//! One gateway's process: its sessions, the newcomers that wait, the limit in force, and the workers that speak.

use mcp_session_filter::fleet::{Gateway, GatewayId, Kept, Limit, Terms};
use mcp_session_filter::session::Timestamp;

/// A worker that speaks to etcd.
#[derive(Debug)]
pub struct Speaker {
    pub term: u32,
    pub gateway: Gateway,
}

/// A process. What is not in `speakers` lies in shared data.
#[derive(Debug)]
pub struct Process {
    pub id: GatewayId,
    pub terms: Terms,
    /// Its own cap.
    pub own_cap: u32,
    pub limit: Limit,
    pub kept: Kept,
    /// Which worker may speak: the one with this number.
    pub term: u32,
    /// The worker that speaks, and those that do not know yet that another has taken over.
    pub speakers: Vec<Speaker>,
    pub used: u32,
    /// Sessions that were let in, or lived on, without a lease.
    pub carried: u32,
    /// When each newcomer came, by this process's clock.
    pub waiting: Vec<Timestamp>,
    /// The last alarm that was set for the worker that speaks.
    pub wake: u64,
    /// It is stopped until this time.
    pub stopped: u64,
    pub is_cut_off: bool,
    /// Its clock: what it shows at the start of the world, and by how many thousandths it is fast.
    pub clock: (u64, i64),
}

impl Process {
    pub fn new(id: GatewayId, terms: Terms, own_cap: u32, clock: (u64, i64)) -> Self {
        Self {
            id,
            terms,
            own_cap,
            limit: Limit::NOBODY,
            kept: Kept {
                gateway: id,
                lease: None,
                is_lost: false,
            },
            term: 0,
            speakers: Vec::new(),
            used: 0,
            carried: 0,
            waiting: Vec::new(),
            wake: 0,
            stopped: 0,
            is_cut_off: false,
            clock,
        }
    }

    /// What its clock shows.
    pub fn local(&self, now: u64) -> Timestamp {
        let (begin, fast) = self.clock;
        let part = i64::try_from(now).unwrap() * fast / 1_000;
        Timestamp::from_millis((begin + now).wrapping_add_signed(part))
    }

    /// Another worker begins to speak.
    pub fn take_over(&mut self, now: u64) {
        self.term += 1;
        let share = match self.limit {
            Limit::Places { most, .. } => most,
            Limit::Own => 0,
        };
        let gateway = Gateway::resume(self.kept, share, self.terms, self.local(now));
        let term = self.term;
        self.limit = gateway.limit();
        self.speakers.push(Speaker { term, gateway });
    }

    /// Whether the limit comes from a lease that lives by its clock.
    pub fn is_bound(&self, now: u64) -> bool {
        let local = self.local(now);
        self.limit != Limit::Own && self.kept.lease.is_some_and(|lease| local < lease.until)
    }

    /// Lets one in, if the limit allows it.
    pub fn let_in(&mut self, now: u64) -> bool {
        let may = self.limit.has_room(self.used, self.local(now)) && self.used < self.own_cap;
        if may && self.limit != Limit::Own {
            assert!(
                self.is_bound(now),
                "let in by a lease that is over: {:?}",
                self.kept
            );
        }
        self.used += u32::from(may);
        may
    }

    /// Notes that sessions live on without a lease.
    pub fn carry(&mut self, now: u64) {
        if !self.is_bound(now) {
            self.carried = self.used;
        }
    }

    /// One session ends.
    pub fn end_one(&mut self) {
        self.used = self.used.saturating_sub(1);
        self.carried = self.carried.min(self.used);
    }
}
