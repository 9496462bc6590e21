use core::time::Duration;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::shared::{Shared, become_root};
use super::stream::{Stream, edit};
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

/// Most streams that one callback closes, or whose answers it lets go. Envoy does so nested on one stack, which about
/// 300 overflow.
const MOST_CLOSED: usize = 32;

/// The timer's period while there are more of these streams: 1,600 a second.
const CLOSING_TICK: Duration = Duration::from_millis(20);

/// One configuration of the filter on one worker.
#[derive(Debug)]
pub(super) struct Root {
    context: u32,
    shared: Option<Rc<Shared>>,
    next_sweep: Timestamp,
    sweep: Sweep,
    /// While there are streams to close or answers to let go, the timer fires only for them, until this time.
    closes_until: Option<Timestamp>,
}

impl Root {
    pub(super) fn new(context: u32) -> Self {
        Self {
            context,
            shared: None,
            next_sweep: Timestamp::default(),
            sweep: Sweep::default(),
            closes_until: None,
        }
    }

    /// Reads a configuration of `size` bytes, and joins the table with it.
    fn configure(&mut self, size: usize) -> Result<(), String> {
        let bytes = abi::plugin_configuration(size)
            .map_err(|error| format!("the host does not hand over the configuration: status {error}"))?;
        let config = Config::parse(&bytes).map_err(|error| error.to_string())?;
        let tick = tick_period(&config);
        let shared = Shared::start(Rc::new(config), identity(&bytes)).map_err(|error| error.to_string())?;
        abi::set_tick_period(tick).map_err(|error| format!("the host gives no timer: status {error}"))?;
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

    /// Lets answers go that are not whole in time, and closes the streams of sessions that have reached their lifetime,
    /// a few at a time. While there may be more, the timer fires faster.
    fn close_streams(&mut self, now: Timestamp) {
        let Some(shared) = &self.shared else { return };
        let let_go = let_answers_go(shared, self.context, now);
        let most = MOST_CLOSED.saturating_sub(let_go.len());
        let mut streams = shared.in_use.borrow_mut().to_close(most, now);
        let there_are_more = streams.len() == most;
        // Envoy does not bear two acts on one stream in one callback. The next tick closes it.
        streams.retain(|stream| !let_go.contains(stream));
        shared.close_streams(&streams, self.context);
        let was_closing = self.closes_until.is_some();
        let period = tick_period(&shared.config);
        let until = self.closes_until.filter(|until| now < *until);
        self.closes_until = there_are_more.then(|| until.unwrap_or_else(|| now.after(period)));
        if there_are_more == was_closing {
            return;
        }
        let next = if there_are_more { CLOSING_TICK } else { period };
        if let Err(error) = abi::set_tick_period(next) {
            log::warn!("event=timer_not_set status={error}");
        }
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

/// Lets answers go that streams of this root hold and that are not whole in time. Returns these streams.
fn let_answers_go(shared: &Shared, root: u32, now: Timestamp) -> Vec<u32> {
    let streams = shared
        .held_answers
        .let_go(MOST_CLOSED, now, |context, shared, exchange| {
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
    fn on_http_call_response(&mut self, token: u32, headers: usize, _: usize, _: usize) {
        if let Some(shared) = &self.shared {
            shared.answered(token, headers > 0);
        }
    }
}

/// Envoy destroys the root.
impl Drop for Root {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.leave();
        }
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
        if self.closes_until.is_none_or(|until| until <= now) {
            self.work(shared, now);
        }
        self.close_streams(now);
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
