//! A table in memory with many sessions in it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use mcp_session_filter::session::testing::Memory;
use mcp_session_filter::session::{
    Configuration, ConfigurationId, EndReason, EndedSession, EndpointSettings, EndpointTag, IdDigest,
    Lifespans, NewSession, Origin, Owner, RootTag, SessionKey, Table, Timestamp, VmSettings,
};

/// How many sessions are in the table.
pub const SIZES: [u64; 3] = [0, 10_000, 1_000_000];

/// A cap above every size, so that no bench reaches it.
const CAP: u32 = 2_000_000;

/// When the sessions were opened, in milliseconds.
pub const OPENED: u64 = 1_000_000;

/// No session ends by itself while it is measured.
pub const LIFESPANS: Lifespans = Lifespans {
    idle: Some(Duration::from_secs(720 * 3600)),
    lifetime: None,
    evictable: false,
    idle_from: Timestamp::START,
};

/// A table, its sessions, and a clock.
pub struct World {
    pub table: Table<Memory>,
    pub endpoint: EndpointTag,
    size: u64,
    clock: Cell<u64>,
    next: Cell<u64>,
}

impl World {
    /// The world of this size. Each is made once, since a million sessions take seconds.
    pub fn of(size: u64) -> &'static Self {
        thread_local! {
            static WORLDS: RefCell<HashMap<u64, &'static World>> = RefCell::default();
        }
        let made = WORLDS.with_borrow(|worlds| worlds.get(&size).copied());
        made.unwrap_or_else(|| {
            let world = Box::leak(Box::new(Self::new(size)));
            WORLDS.with_borrow_mut(|worlds| worlds.insert(size, world));
            world
        })
    }

    fn new(size: u64) -> Self {
        let root = RootTag::from_random(1);
        let table = Table::attach(Memory::default(), root, *b"no secret at all").expect("memory");
        let settings = EndpointSettings {
            name: "mcp".to_owned(),
            max_sessions: CAP,
            quota: None,
            max_streams: None,
            max_streams_per_principal: None,
            lifespans: LIFESPANS,
            evict_after: Duration::ZERO,
        };
        let settings = VmSettings {
            max_sessions: Some(CAP),
            fleet: None,
            endpoints: vec![settings],
        };
        let mut configuration = Configuration::new(ConfigurationId::of(&[]), settings);
        table
            .serve(&mut configuration, Timestamp::from_millis(OPENED))
            .expect("memory");
        let world = Self {
            table,
            endpoint: EndpointTag::of("mcp"),
            size,
            clock: Cell::new(OPENED),
            next: Cell::new(0),
        };
        for _ in 0..size {
            world.open();
        }
        world
    }

    /// The id of a session in the table. The ids come in turn, far apart from each other. In an empty table, an id
    /// that the table does not hold.
    pub fn some_id(&self) -> String {
        let turn = self.next.get();
        self.next.set(turn + 1);
        id(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.size.max(1))
    }

    /// An id that was never used.
    pub fn fresh_id(&self) -> String {
        let turn = self.next.get();
        self.next.set(turn + 1);
        id(self.size + turn)
    }

    pub fn key(&self, id: &str) -> SessionKey {
        self.table.key(self.endpoint, id.as_bytes())
    }

    /// When the sessions were opened. No stamp is older.
    pub fn opened(&self) -> Timestamp {
        Timestamp::from_millis(OPENED)
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.get())
    }

    /// A second later.
    pub fn a_second_later(&self) -> Timestamp {
        self.clock.set(self.clock.get() + 1000);
        self.now()
    }

    /// Enters a session with this id.
    pub fn open_session(&self, id: &str) {
        let new = NewSession {
            endpoint: self.endpoint,
            lifespans: LIFESPANS,
            owner: Owner::UNKNOWN,
            bound: false,
            quota: None,
            key: self.table.key(self.endpoint, id.as_bytes()),
            id: id.as_bytes(),
            digest: IdDigest([0; 8]),
            keep_id: false,
            delete_request: None,
        };
        self.table
            .open(&new, Origin::Minted(None), self.now())
            .expect("there is room");
    }

    /// Ends it.
    pub fn end_session(&self, id: &str) -> Option<EndedSession> {
        let (key, now) = (self.key(id), self.now());
        self.table
            .end(key, EndReason::ClientDelete, false, LIFESPANS, now)
            .expect("memory")
    }

    fn open(&self) {
        let number = self.next.get();
        self.next.set((number + 1) % self.size);
        self.open_session(&id(number));
    }
}

fn id(number: u64) -> String {
    format!("5f2b6c1e-0d3a-4c58-9a53-{number:012x}")
}
