//! One worker: its root context, its streams, and what Envoy does around them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::{Exchange, Gate, Site, vm_settings};
use mcp_session_filter::session::testing::Handle;
use mcp_session_filter::session::{
    Configuration, ConfigurationId, DeleteOutcome, EndedSession, RootTag, SessionKey, StoreError, Table,
    Timestamp,
};
use mcp_session_filter::worker::in_use::InUse;

use super::heard::Heard;
use super::store::Shared;

/// The configuration that all workers have.
#[derive(Debug)]
pub struct Configured {
    pub config: Config,
    pub sites: Vec<Rc<Site>>,
}

/// The state that the root context shares with its streams.
#[derive(Debug)]
pub struct Core {
    pub table: Table<Handle>,
    pub in_use: RefCell<InUse>,
}

/// A stream's reservation in the ledger. Its deadline is rounded down by up to a sixteenth of the timeout.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub site: usize,
    pub kept_until: u64,
    pub gone_at: u64,
}

/// An open request, and the world's knowledge of it.
#[derive(Debug)]
pub struct Stream {
    pub core: Rc<Core>,
    pub context: u32,
    pub exchange: Exchange,
    pub site: usize,
    pub verb: &'static str,
    pub answered: bool,
    pub place: Option<Place>,
    /// The number of the session that the request uses.
    pub uses: Option<usize>,
    /// It carries this id, which the table did not hold.
    pub unknown: Option<usize>,
    /// The number of the session that the stream is; both end together.
    pub is: Option<usize>,
}

/// A worker whose VM lives.
#[derive(Debug)]
pub struct Worker {
    pub handle: Handle,
    configuration: Configuration,
    pub core: Rc<Core>,
    pub streams: Vec<Stream>,
    next_context: u32,
}

/// The outcome of a tick.
#[derive(Debug, Default)]
pub struct Ticked {
    pub ended: Vec<EndedSession>,
    pub repaired: u32,
    /// Streams to be cut.
    pub closes: Vec<u32>,
    pub failed: bool,
    /// The worker has joined a table that others have begun anew.
    pub joined: bool,
}

impl Worker {
    /// Starts a VM, configures it and sends a request. `None` if the VM dies of that.
    pub fn start(shared: &Shared, configured: &Configured, root: u32, now: Timestamp) -> Option<Self> {
        let handle = shared.memory.handle();
        let core = join(&handle, root)?;
        let mut configuration = Configuration::new(ConfigurationId::of(&[]), settings(configured));
        core.table.load(&mut configuration, now).ok()?;
        core.table.serve(&mut configuration, now).ok()?;
        Some(Self {
            handle,
            configuration,
            core,
            streams: Vec::new(),
            next_context: 2,
        })
    }

    pub fn next_context(&mut self) -> u32 {
        self.next_context += 1;
        self.next_context
    }

    /// Does what a root context does at every tick.
    pub fn tick(&mut self, now: Timestamp, fresh_root: u32) -> Ticked {
        let mut ticked = Ticked::default();
        self.restore(now, fresh_root, &mut ticked);
        let Core { table, in_use } = &*self.core;
        let failed = &mut ticked.failed;
        in_use.borrow_mut().keep(table, now, |_, _| *failed = true);
        ticked.closes = in_use.borrow_mut().to_close(usize::MAX, now);
        loop {
            match table.sweep(now) {
                Ok(None) => break,
                Ok(Some(report)) => {
                    for (_, key) in &report.ready {
                        ticked.failed |= send_delete(table, *key, now).is_err();
                    }
                    ticked.ended.extend(report.ended);
                    ticked.repaired += report.repaired;
                }
                Err(_) => {
                    ticked.failed = true;
                    break;
                }
            }
        }
        ticked
    }

    fn restore(&mut self, now: Timestamp, fresh_root: u32, ticked: &mut Ticked) {
        match self.core.table.restore(&mut self.configuration, now) {
            Ok(Some(_)) => {}
            Ok(None) => {
                if let Some(core) = join(&self.handle, fresh_root) {
                    self.core = core;
                    ticked.joined = true;
                }
            }
            Err(_) => ticked.failed = true,
        }
    }
}

/// Plays a server that answers at once.
fn send_delete(table: &Table<Handle>, key: SessionKey, now: Timestamp) -> Result<(), StoreError> {
    match table.take_pending_delete(key, Duration::from_secs(5), now)? {
        Some(_) => table.settle_delete(key, DeleteOutcome::Answered, now).map(drop),
        None => Ok(()),
    }
}

fn join(handle: &Handle, root: u32) -> Option<Rc<Core>> {
    let mut secret = [0; 16];
    secret[..4].copy_from_slice(&root.to_le_bytes());
    let table = Table::attach(handle.clone(), RootTag::from_random(root), secret).ok()?;
    let in_use = RefCell::default();
    Some(Rc::new(Core { table, in_use }))
}

fn settings(configured: &Configured) -> mcp_session_filter::session::VmSettings {
    vm_settings(configured.config.max_sessions, &configured.sites)
}

impl Core {
    /// Runs an event of an exchange.
    pub fn run<T>(
        &self,
        configured: &Configured,
        now: Timestamp,
        event: impl FnOnce(&mut Gate<'_, Handle>, &mut Heard) -> T,
    ) -> (T, Heard) {
        let mut heard = Heard::default();
        let mut in_use = self.in_use.borrow_mut();
        let mut gate = Gate {
            config: &configured.config,
            sites: &configured.sites,
            table: &self.table,
            in_use: &mut in_use,
            now,
        };
        (event(&mut gate, &mut heard), heard)
    }
}
