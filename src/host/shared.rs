use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::abi;
use super::clock;
use super::failure_log::FailureLog;
use super::held_answers::HeldAnswers;
use super::metrics::Metrics;
use super::newcomers::Newcomers;
use super::shared_data::SharedData;
use super::timer::Timer;
use crate::config::Config;
use crate::exchange::{Site, have_quotas, vm_settings};
use crate::session::{
    Configuration, ConfigurationId, Counts, EndedSession, EndpointCounts, EndpointTag, Kept, RootTag,
    Session, StoreError, Table, Timestamp, Version,
};
use crate::telemetry::{Delete, Event, SessionName};
use crate::worker::delete_queue::{DeleteInFlight, DeleteQueue};
use crate::worker::in_use::InUse;

/// Most times that one call writes the gauges, if others change the counts meanwhile.
const MAX_SHOWS: usize = 4;

/// The state that a root context shares with its streams.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Rc<Config>,
    pub(super) sites: Vec<Rc<Site>>,
    pub(super) table: Table<SharedData>,
    pub(super) metrics: Metrics,
    pub(super) in_use: RefCell<InUse>,
    pub(super) delete_queue: RefCell<DeleteQueue>,
    pub(super) callouts: RefCell<Vec<DeleteInFlight>>,
    /// It stays the same if the root joins a new table: streams of the old one still hold answers.
    pub(super) held_answers: Rc<HeldAnswers<Self>>,
    /// Those that wait for a place in the fleet. It stays the same, too.
    pub(super) newcomers: Rc<Newcomers<Self>>,
    pub(super) timer: Rc<Timer>,
    configuration: RefCell<Configuration>,
    /// Whether Envoy has ever called this root's streams for a body.
    pub(super) is_called_for_bodies: Cell<bool>,
    failures: FailureLog,
}

impl Shared {
    /// Joins the table. The settings in force stay as they are, since Envoy may still refuse the update with this
    /// configuration.
    pub(super) fn start(
        config: Rc<Config>,
        id: ConfigurationId,
        timer: Rc<Timer>,
    ) -> Result<Self, StartError> {
        let sites = Site::all(&config);
        let mut configuration = Configuration::new(id, vm_settings(&config, &sites));
        let shared = Self::join(config, configuration.clone(), timer)?;
        shared.table.load(&mut configuration, clock::now())?;
        shared.configuration.replace(configuration);
        shared.tell_paths();
        Ok(shared)
    }

    /// Tells the status views of other configurations where the endpoints are.
    fn tell_paths(&self) {
        let paths: Vec<_> = self.sites.iter().map(|site| site.endpoint_path()).collect();
        if let Err(error) = self.table.tell_paths(&self.configuration.borrow(), &paths) {
            self.failed("tell_paths", error);
        }
    }

    /// Joins the table that other workers have begun anew, with the same configuration and its old load number.
    pub(super) fn join_anew(&self) -> Result<Self, StartError> {
        let joined = Self::join(
            Rc::clone(&self.config),
            self.configuration.borrow().clone(),
            Rc::clone(&self.timer),
        )?;
        let joined = Self {
            held_answers: Rc::clone(&self.held_answers),
            newcomers: Rc::clone(&self.newcomers),
            ..joined
        };
        joined.tell_paths();
        Ok(joined)
    }

    fn join(config: Rc<Config>, configuration: Configuration, timer: Rc<Timer>) -> Result<Self, StartError> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|_| StartError::NoRandomness)?;
        let [a, b, c, d, secret @ ..] = random;
        let root = RootTag::from_random(u32::from_le_bytes([a, b, c, d]));
        let sites = Site::all(&config);
        let mut table = Table::attach(SharedData::default(), root, secret)?;
        if have_quotas(&sites) {
            table.keep_books()?;
        }
        Ok(Self {
            table,
            metrics: Metrics::define(&sites),
            delete_queue: RefCell::new(DeleteQueue::new(sites.len())),
            callouts: RefCell::default(),
            config,
            sites,
            configuration: RefCell::new(configuration),
            is_called_for_bodies: Cell::default(),
            in_use: RefCell::default(),
            held_answers: Rc::default(),
            newcomers: Rc::default(),
            timer,
            failures: FailureLog::default(),
        })
    }

    /// Which configuration this is.
    pub(super) fn configuration_id(&self) -> ConfigurationId {
        self.configuration.borrow().id()
    }

    /// Keeps the configuration in force, and restores what the host may have lost of the table. Returns false if
    /// others have begun a new table.
    pub(super) fn restore(&self, now: Timestamp) -> Result<bool, StoreError> {
        let restored = self.table.restore(&mut self.configuration.borrow_mut(), now)?;
        if let Some(kept) = restored {
            self.report(kept);
        }
        Ok(restored.is_some())
    }

    /// Handles the first request: this configuration's listener serves, so the configuration is in force. One that has
    /// nothing but a status view is not: until the first request at an endpoint comes, the configuration of the endpoint
    /// goes on to decide.
    pub(super) fn serve(&self) {
        let mut configuration = self.configuration.borrow_mut();
        if configuration.serves() || configuration.settings().decide_nothing() {
            return;
        }
        match self.table.serve(&mut configuration, clock::now()) {
            Ok(kept) => {
                drop(configuration);
                self.report(kept);
                self.tell_paths();
                self.show_counts();
            }
            Err(error) => self.failed("serve", error),
        }
    }

    /// Handles the root's end: its listener has drained, or Envoy has refused the update.
    pub(super) fn leave(&self) {
        let left = self.table.leave(&self.configuration.borrow(), clock::now());
        if let Err(error) = left {
            self.failed("leave", error);
        }
    }

    /// Handles the end of a request that was held until then. If no body has ever come on this root, the operator's own
    /// list of capabilities may lack the callback: then every held request hangs, and nothing else tells why.
    pub(super) fn held_in_vain(&self) {
        if !self.is_called_for_bodies.replace(true) {
            log::warn!(
                "event=no_body_came hint=\"if capability_restriction_config is set, it must allow \
                 proxy_on_request_body and proxy_on_request_trailers\""
            );
        }
    }

    fn report(&self, kept: Kept) {
        if kept.is_new {
            let version = env!("CARGO_PKG_VERSION");
            log::info!("event=configured version={version} {}", self.config.summary());
            for warning in &self.config.warnings {
                log::warn!("event=configuration_warning {warning}");
            }
        }
        if let Some((in_force, other)) = kept.differing_limits {
            log::warn!("event=configurations_differ field=max_sessions in_force={in_force} other={other}");
        }
        if let Some((in_force, other)) = kept.differing_fleets {
            match in_force.tag == other.tag {
                true => log::warn!(
                    "event=configurations_differ field=fleet.max_sessions in_force={} other={}",
                    in_force.cap,
                    other.cap
                ),
                false => log::warn!("event=configurations_differ field=fleet"),
            }
        }
    }

    /// Writes all gauges. Each tick calls this, so that no gauge stays wrong for longer.
    pub(super) fn show_counts(&self) {
        self.show(None);
    }

    /// Writes the gauges of the VM and of this endpoint, or of all. Another worker may change the counts and write
    /// its gauges between our read and our write. Then ours are old, and we write them anew.
    pub(super) fn show(&self, endpoint: Option<&str>) {
        let mut shown: Option<Version> = None;
        for _ in 0..MAX_SHOWS {
            match self.table.counts() {
                Ok((_, version)) if shown == Some(version) => return,
                Ok((mut counts, version)) => {
                    if !self.stand_in(&mut counts) {
                        return;
                    }
                    self.follow(&counts);
                    self.metrics.show(&counts, endpoint);
                    shown = Some(version);
                }
                Err(error) => return self.failed("counts", error),
            }
        }
    }

    /// On a fresh start the table has no configuration in force yet. Until it has one, this configuration's limits
    /// are shown. Returns false if it has none, and nothing is to be shown.
    fn stand_in(&self, counts: &mut Counts) -> bool {
        if counts.limit > 0 {
            return true;
        }
        let configuration = self.configuration.borrow();
        counts.limit = self.config.vm_cap();
        let settings = configuration.settings().endpoints.clone();
        counts.endpoints = settings.into_iter().map(EndpointCounts::none_of).collect();
        !configuration.settings().decide_nothing()
    }

    /// Follows the settings in force.
    fn follow(&self, counts: &Counts) {
        for site in &self.sites {
            let name = site.rules.name.as_str();
            let endpoint = counts.endpoints.iter().find(|row| row.settings.name == name);
            if let Some(endpoint) = endpoint
                && site.follow(&endpoint.settings)
            {
                self.in_use.borrow_mut().follow(site.tag, site.lifespans());
            }
        }
    }

    /// Logs that an operation of the table failed.
    pub(super) fn failed(&self, operation: &str, error: StoreError) {
        self.failures.add(operation, error, clock::now());
    }

    /// Counts and logs the end of a session.
    pub(super) fn report_end(&self, ended: &EndedSession) {
        if ended.leaves_pending_delete() {
            self.queue_delete(ended.session.endpoint, ended.session.key);
        }
        if ended.is_never_told() {
            self.metrics.delete(Delete::Failed, 1);
        }
        let name = self.endpoint_name(ended);
        let lived = ended.at.since(ended.session.opened);
        let lived_ms = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX);
        self.metrics.ended(&name, ended.reason, lived_ms);
        log::debug!(
            "event=session_ended endpoint={name} session={} reason={} lived_ms={lived_ms}",
            self.session_name(&ended.session).as_str().unwrap_or("-"),
            ended.reason.as_str(),
        );
    }

    /// Counts sessions that a tick has entered for their streams.
    pub(super) fn report_created(&self, endpoints: &[EndpointTag]) {
        for endpoint in endpoints {
            if let Some(site) = self.sites.iter().find(|site| site.tag == *endpoint) {
                self.metrics.count(site.index, Event::Created);
            }
        }
    }

    fn session_name(&self, session: &Session) -> SessionName {
        let id = String::from_utf8_lossy(&session.id);
        SessionName::new(self.config.log_session_id, &id, Some(session.digest))
    }

    /// Closes streams of this root.
    pub(super) fn close_streams(&self, streams: &[u32], root: u32) {
        if streams.is_empty() {
            return;
        }
        for stream in streams {
            // A stream that is already gone needs no closing.
            if abi::set_effective_context(*stream).is_ok()
                && let Err(error) = abi::close_response()
            {
                log::warn!("event=stream_not_closed status={error}");
            }
        }
        become_root(root);
    }

    /// The endpoint of an ended session. The ledger names the endpoint of another configuration.
    fn endpoint_name(&self, ended: &EndedSession) -> String {
        let tag = ended.session.endpoint;
        let own = self
            .sites
            .iter()
            .find(|site| site.tag == tag)
            .map(|site| site.rules.name.as_str().to_owned());
        own.or_else(|| self.table.endpoint_name(tag).ok().flatten())
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// The current time.
    pub(super) fn now() -> Timestamp {
        clock::now()
    }
}

/// Makes the root the current context again, after it has acted on streams.
pub(super) fn become_root(root: u32) {
    if let Err(error) = abi::set_effective_context(root) {
        log::warn!("event=context_not_restored status={error}");
    }
}

/// Why the filter could not start.
#[derive(Debug)]
pub(super) enum StartError {
    /// The host gives no random numbers.
    NoRandomness,
    /// The table cannot be reached.
    Table(StoreError),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Table(error)
    }
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoRandomness => f.write_str("the host gives no random numbers"),
            Self::Table(error) => write!(f, "the session table cannot be reached: {error}"),
        }
    }
}
