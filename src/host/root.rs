use core::time::Duration;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::fleet::FleetRoot;
use super::newcomers::Tried;
use super::shared::{Shared, become_root};
use super::stream::{Stream, WAITING_TICK, edit};
use super::timer::Timer;
use super::{abi, logger};
use crate::config::Config;
use crate::session::{ConfigurationId, Sweep, SweepProgress, SweepReport, Timestamp};
use crate::telemetry::Delete;

/// The longest time between two ticks, however long `sweep_interval` is: the root renews leases on each tick. A
/// request that saw no tick therefore took about this long at most.
const MAX_TICK: Duration = Duration::from_secs(1);

/// A tick sweeps, while requests wait, for this time at most. It is enough for all of a small table. Other roots, or the
/// next tick, sweep the rest.
const SWEEP_TIME: Duration = Duration::from_millis(20);

/// Most streams that one callback closes, or whose requests or answers it lets go. Envoy does so nested on one stack,
/// which about 300 overflow.
const MOST_CLOSED: usize = 32;

/// The timer's period while there are more of these streams: 1,600 a second.
const CLOSING_TICK: Duration = Duration::from_millis(20);

/// The timer's period while there are more newcomers to let in or to refuse: 6,400 a second.
const NEWCOMERS_TICK: Duration = Duration::from_millis(5);

/// One configuration of the filter on one worker.
#[derive(Debug)]
pub(super) struct Root {
    timer: Rc<Timer>,
    shared: Option<Rc<Shared>>,
    fleet: Option<FleetRoot>,
    /// While the timer fires faster than this root's work needs, the next work is due at this time.
    next_work: Timestamp,
    next_sweep: Timestamp,
    sweep: Sweep,
}

impl Root {
    pub(super) fn new(context: u32) -> Self {
        Self {
            timer: Rc::new(Timer::new(context)),
            shared: None,
            fleet: None,
            next_work: Timestamp::default(),
            next_sweep: Timestamp::default(),
            sweep: Sweep::default(),
        }
    }

    /// Reads a configuration of `size` bytes, and joins the table with it.
    fn configure(&mut self, size: usize) -> Result<(), String> {
        let bytes = abi::plugin_configuration(size)
            .map_err(|error| format!("the host does not hand over the configuration: status {error}"))?;
        let config = Config::parse(&bytes).map_err(|error| error.to_string())?;
        let tick = match &config.fleet {
            None => tick_period(&config),
            // The gateway should have a share before its first newcomer comes.
            Some(_) => WAITING_TICK,
        };
        self.fleet = match &config.fleet {
            None => None,
            Some(settings) => Some(FleetRoot::new(settings).ok_or("the host gives no random numbers")?),
        };
        let shared = Shared::start(Rc::new(config), identity(&bytes), Rc::clone(&self.timer))
            .map_err(|error| error.to_string())?;
        self.timer
            .start(tick)
            .map_err(|error| format!("the host gives no timer: status {error}"))?;
        shared.show_counts();
        self.shared = Some(Rc::new(shared));
        Ok(())
    }

    /// Restores what the host may have lost. If other workers have begun a new table meanwhile, joins that one: the
    /// sessions of the old table are gone.
    fn restore(&mut self, shared: Rc<Shared>, now: Timestamp) -> Rc<Shared> {
        match shared.restore(now) {
            Ok(true) => return shared,
            Ok(false) => {}
            Err(error) => {
                shared.failed("restore", error);
                return shared;
            }
        }
        match shared.join_anew() {
            Ok(joined) => {
                log::warn!("event=table_joined_anew");
                let joined = Rc::new(joined);
                self.sweep = Sweep::default();
                self.shared = Some(Rc::clone(&joined));
                joined
            }
            Err(error) => {
                log::warn!("event=table_not_joined error=\"{error}\"");
                shared
            }
        }
    }

    /// The work of a root, once in each period of its timer.
    fn work(&mut self, shared: Rc<Shared>, now: Timestamp) {
        let shared = self.restore(shared, now);
        if let Err(error) = shared.table.grow(&|| Shared::now().since(now) >= SWEEP_TIME) {
            shared.failed("grow", error);
        }
        // The renewal comes before the sweep: after a pause of the whole process, leases that this root should have
        // renewed may have run out.
        let created = shared
            .in_use
            .borrow_mut()
            .keep(&shared.table, now, |operation, error| {
                shared.failed(operation, error);
            });
        shared.report_created(&created);
        self.sweep(&shared, now);
        shared.send_deletes(now);
        shared.show_counts();
        shared.metrics.tell();
    }

    /// Attends to the fleet, and tries again to let newcomers in that wait for a place in it.
    fn attend(&mut self, now: Timestamp) -> Tried {
        let (Some(shared), Some(fleet)) = (&self.shared, &mut self.fleet) else {
            return Tried::default();
        };
        let Some(settings) = &shared.config.fleet else {
            return Tried::default();
        };
        fleet.attend(shared, settings, now);
        fleet.try_newcomers(shared, settings, MOST_CLOSED, now)
    }

    /// Lets answers go that are not whole in time, and closes the streams of sessions that have reached their lifetime,
    /// a few at a time; `acted` are the streams on which this callback has acted. Returns whether there may be more.
    fn close_streams(&self, mut acted: Vec<u32>, now: Timestamp) -> bool {
        let Some(shared) = &self.shared else { return false };
        let most = MOST_CLOSED.saturating_sub(acted.len());
        acted.extend(let_answers_go(shared, self.timer.root(), most, now));
        let most = MOST_CLOSED.saturating_sub(acted.len());
        let mut streams = shared.in_use.borrow_mut().to_close(most, now);
        let there_are_more = streams.len() == most;
        // Envoy does not bear two acts on one stream in one callback. The next tick closes it.
        streams.retain(|stream| !acted.contains(stream));
        shared.close_streams(&streams, self.timer.root());
        there_are_more
    }

    /// Sets the timer: to what the work needs, or faster while streams wait for it.
    fn set_timer(&self, closes_more: bool, tries_more: bool, now: Timestamp) {
        let Some(shared) = &self.shared else { return };
        let mut period = tick_period(&shared.config);
        let fleet = self.fleet.as_ref().and_then(|fleet| fleet.period(shared, now));
        let closing = closes_more.then_some(CLOSING_TICK);
        let trying = tries_more.then_some(NEWCOMERS_TICK);
        for faster in [fleet, closing, trying].into_iter().flatten() {
            period = period.min(faster);
        }
        self.timer.set(period);
    }

    /// Sweeps the groups that are due, if it is time. Leaves for the next tick what is too much for one.
    fn sweep(&mut self, shared: &Shared, now: Timestamp) {
        if now < self.next_sweep {
            return;
        }
        let is_time_up = || Shared::now().since(now) >= SWEEP_TIME;
        loop {
            match shared.table.sweep_on(&mut self.sweep, now, &is_time_up) {
                Ok(SweepProgress::NothingDue) => {
                    self.next_sweep = now.after(shared.config.sweep_interval);
                    return;
                }
                Ok(SweepProgress::Counted(report)) => report_sweep(shared, report),
                Ok(SweepProgress::Cut(report)) => return report_sweep(shared, report),
                Err(error) => return shared.failed("sweep", error),
            }
        }
    }
}

/// Lets answers go, `most` of them at most, that streams of this root hold and that are not whole in time. Returns these
/// streams.
fn let_answers_go(shared: &Shared, root: u32, most: usize, now: Timestamp) -> Vec<u32> {
    let streams = shared
        .held_answers
        .let_go(most, now, |context, shared, exchange| {
            // A stream that is already gone gets no answer.
            if abi::set_effective_context(context).is_err() {
                return;
            }
            edit(shared.run(|gate, effects| exchange.settle_answer(gate, effects, None)));
            if let Err(error) = abi::resume_response() {
                log::warn!("event=answer_not_resumed status={error}");
            }
        });
    if !streams.is_empty() {
        become_root(root);
    }
    streams
}

fn report_sweep(shared: &Shared, report: SweepReport) {
    report.ended.iter().for_each(|ended| shared.report_end(ended));
    for (endpoint, key) in report.ready {
        shared.queue_delete(endpoint, key);
    }
    shared.metrics.delete(Delete::Failed, report.given_up);
    if report.repaired > 0 {
        shared.metrics.repaired(report.repaired);
        log::warn!("event=counts_repaired count={}", report.repaired);
    }
}

/// Tells this configuration from all others under the `vm_id`. The roots of one configuration, one on each thread,
/// have the same identity.
fn identity(bytes: &[u8]) -> ConfigurationId {
    let name = abi::property(&[b"plugin_name"]);
    let root_id = abi::property(&[b"plugin_root_id"]);
    ConfigurationId::of(&[&name, &root_id, bytes])
}

fn tick_period(config: &Config) -> Duration {
    config.sweep_interval.min(MAX_TICK)
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, size: usize, _: usize) {
        let Some(shared) = &self.shared else { return };
        let now = Shared::now();
        let is_etcd_s =
            (self.fleet.as_mut()).is_some_and(|fleet| fleet.answered(token, headers > 0, size, now));
        if !is_etcd_s {
            return shared.answered(token, headers > 0);
        }
        let tried = self.attend(now);
        self.set_timer(false, tried.is_cut, now);
    }
}

/// Envoy destroys the root.
impl Drop for Root {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        if let Some(fleet) = &mut self.fleet {
            fleet.leave(shared, Shared::now());
        }
        shared.leave();
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        logger::follow_level();
        match self.configure(size) {
            Ok(()) => true,
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let Some(shared) = self.shared.clone() else { return };
        let now = Shared::now();
        let period = tick_period(&shared.config);
        if self.timer.period() >= period || self.next_work <= now {
            self.next_work = now.after(period);
            self.work(shared, now);
        }
        let Tried { streams, is_cut } = self.attend(now);
        let closes_more = self.close_streams(streams, now);
        self.set_timer(closes_more, is_cut, now);
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        if let Some(shared) = &self.shared {
            shared.serve();
        }
        Some(Box::new(Stream::new(context, self.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
