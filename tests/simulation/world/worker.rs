//! One worker: its root context, its streams, and what Envoy does around them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::{Exchange, Gate, Site, have_quotas, vm_settings};
use mcp_session_filter::session::testing::Handle;
use mcp_session_filter::session::{
    Configuration, ConfigurationId, DeleteOutcome, EndedSession, EndpointCounts, RootTag, SessionKey,
    StoreError, Table, Timestamp,
};
use mcp_session_filter::worker::in_use::InUse;
use mcp_session_filter::worker::unnamed_streams::UnnamedStream;

use super::heard::Heard;
use super::store::Shared;

/// A stream of HTTP+SSE becomes a session this long before its reservation runs out.
pub const TICKS_AHEAD: Duration = Duration::from_secs(2);

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

impl Place {
    /// Checks the reservations that the ledger counts at an endpoint, if open requests hold `held` and requests that
    /// ended without a word left `orphans`. Those that were gone at the `last_reap` may not be counted.
    pub fn audit(held: &[Self], orphans: &[Self], (now, last_reap): (u64, u64), counted: &EndpointCounts) {
        let least = held.iter().filter(|place| place.kept_until > now).count();
        let all = held.iter().chain(orphans);
        let most = all.filter(|place| place.gone_at > last_reap).count();
        let reserved = counted.reserved as usize;
        assert!(
            (least..=most).contains(&reserved),
            "{reserved} places are kept, not {least} to {most}: {counted:?}"
        );
    }
}

/// An open request, and the world's knowledge of it.
#[derive(Debug)]
pub struct Stream {
    pub core: Rc<Core>,
    pub context: u32,
    pub exchange: Exchange,
    pub site: usize,
    pub verb: &'static str,
    /// Every id comes off its answer: it is of a revision without sessions, or over HTTP+SSE.
    pub takes_no_id: bool,
    pub answered: bool,
    pub place: Option<Place>,
    /// It asks for a stream of streamable HTTP, as the filter knows.
    pub asks: bool,
    /// The worker counts it as such a stream.
    pub is_counted: bool,
    /// The number of the session that the request uses.
    pub uses: Option<usize>,
    /// It carries this id, which the table did not hold.
    pub unknown: Option<usize>,
    /// The number of the session that the stream is; both end together.
    pub is: Option<usize>,
    /// The session that the stream is by itself, because it has named none. Both end together.
    pub itself: Option<SessionKey>,
}

/// A worker whose VM lives.
#[derive(Debug)]
pub struct Worker<S = Stream> {
    pub handle: Handle,
    keeps_books: bool,
    configuration: Configuration,
    pub core: Rc<Core>,
    pub streams: Vec<S>,
    next_context: u32,
}

/// The outcome of a tick.
#[derive(Debug, Default)]
pub struct Ticked {
    pub ended: Vec<EndedSession>,
    pub repaired: u32,
    /// Sessions whose DELETE has been sent.
    pub deleted: Vec<SessionKey>,
    /// Streams to be cut.
    pub closes: Vec<u32>,
    /// Streams of HTTP+SSE that have waited too long for their event, and the sessions that they are now.
    pub waited: Vec<(u32, Option<SessionKey>)>,
    /// How many sessions the worker reports that such streams have become.
    pub created: usize,
    pub failed: bool,
    /// The worker has joined a table that others have begun anew.
    pub joined: bool,
}

impl<S> Worker<S> {
    /// Starts a VM, configures it and sends a request. `None` if the VM dies of that.
    pub fn start(shared: &Shared, configured: &Configured, root: u32, now: Timestamp) -> Option<Self> {
        let handle = shared.memory.handle();
        let keeps_books = have_quotas(&configured.sites);
        let core = join(&handle, keeps_books, root)?;
        let mut configuration = Configuration::new(ConfigurationId::of(&[]), settings(configured));
        core.table.load(&mut configuration, now).ok()?;
        core.table.serve(&mut configuration, now).ok()?;
        Some(Self {
            handle,
            keeps_books,
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
        ticked.failed |= self.core.table.grow(&|| false).is_err();
        let Core { table, in_use } = &*self.core;
        let due = in_use.borrow_mut().unnamed_streams.due_by(now.after(TICKS_AHEAD));
        let failed = &mut ticked.failed;
        let created = in_use.borrow_mut().keep(table, now, |_, _| *failed = true);
        ticked.created = created.len();
        let now_is = |stream: &Rc<UnnamedStream>| (stream.context, stream.session().map(|(key, _)| key));
        ticked.waited = due.iter().map(now_is).collect();
        ticked.closes = in_use.borrow_mut().to_close(usize::MAX, now);
        loop {
            match table.sweep(now) {
                Ok(None) => break,
                Ok(Some(report)) => {
                    for (_, key) in &report.ready {
                        match say_farewell(table, *key, now) {
                            Ok(true) => ticked.deleted.push(*key),
                            Ok(false) => {}
                            Err(_) => ticked.failed = true,
                        }
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
                if let Some(core) = join(&self.handle, self.keeps_books, fresh_root) {
                    self.core = core;
                    ticked.joined = true;
                }
            }
            Err(_) => ticked.failed = true,
        }
    }
}

/// Plays a server that answers at once. Returns false if nothing was to be sent.
fn say_farewell(table: &Table<Handle>, key: SessionKey, now: Timestamp) -> Result<bool, StoreError> {
    match table.take_pending_delete(key, Duration::from_secs(5), now)? {
        Some(_) => table
            .settle_delete(key, DeleteOutcome::Answered, now)
            .map(|_| true),
        None => Ok(false),
    }
}

fn join(handle: &Handle, keeps_books: bool, root: u32) -> Option<Rc<Core>> {
    let mut secret = [0; 16];
    secret[..4].copy_from_slice(&root.to_le_bytes());
    let mut table = Table::attach(handle.clone(), RootTag::from_random(root), secret).ok()?;
    if keeps_books {
        table.keep_books().ok()?;
    }
    let in_use = RefCell::default();
    Some(Rc::new(Core { table, in_use }))
}

fn settings(configured: &Configured) -> mcp_session_filter::session::VmSettings {
    vm_settings(&configured.config, &configured.sites)
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
