//! A root's part in the fleet: it attends on its ticks, and sends what the protocol says to etcd. Only a root can send,
//! because Envoy gives the answers only to a root's callbacks.

use core::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

use super::abi;
use super::metrics::FleetMetrics;
use super::newcomers::{Newcomer, Tried};
use super::shared::{Shared, become_root};
use super::stream::{WAITING_TICK, let_go};
use crate::exchange::Exchange;
use crate::fleet::{Answer, COUNT_EVERY, Call, Etcd, MAX_ANSWER_BYTES, Outlook, Settings};
use crate::session::{Attendant, Findings, Timestamp};
use crate::worker::speaker::{News, Numbers, Speaker, Spoken, outlook};

/// The root that speaks attends at least so often: newcomers of other workers wait for it.
const ATTEND_EVERY: Duration = Duration::from_millis(100);

/// The root that speaks attends at most so often.
const SHORTEST: Duration = Duration::from_millis(1);

const _: () = assert!(ATTEND_EVERY.as_millis() <= COUNT_EVERY.as_millis());

/// A root of a configuration with `fleet`.
#[derive(Debug)]
pub(super) struct FleetRoot {
    codec: Etcd,
    metrics: FleetMetrics,
    /// The gateway's number, if it gets it from this root.
    gateway: u64,
    speaker: Speaker,
    in_flight: Option<InFlight>,
    findings: Findings,
    /// When this root must attend again, if it speaks.
    next: Option<Timestamp>,
    /// How many newcomers wait here, as the other roots know.
    told_waiting: u32,
}

/// A call without an answer yet.
#[derive(Debug)]
struct InFlight {
    /// The number under which the host tells of the answer.
    token: u32,
    turn: u32,
    call: Call,
}

impl FleetRoot {
    /// A root of a configuration with these settings; `None` if the host gives no random numbers.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).ok()?;
        Some(Self {
            codec: Etcd::new(&settings.name),
            metrics: FleetMetrics::define(),
            gateway: u64::from_le_bytes(random),
            speaker: Speaker::default(),
            in_flight: None,
            findings: Findings::default(),
            next: None,
            told_waiting: 0,
        })
    }

    /// How long the root may be without a tick, if it speaks or newcomers wait.
    pub(super) fn period(&self, shared: &Shared, now: Timestamp) -> Option<Duration> {
        let until = self.next.map(|next| next.since(now));
        let speaking = until.map(|until| until.clamp(SHORTEST, ATTEND_EVERY));
        let waits = self.told_waiting > 0 || !shared.newcomers.is_empty();
        let waiting = waits.then_some(WAITING_TICK);
        speaking.into_iter().chain(waiting).min()
    }

    /// Attends: says how many newcomers wait here, and speaks, if it is this root's turn.
    pub(super) fn attend(&mut self, shared: &Shared, settings: &Settings, now: Timestamp) {
        let attendant = Attendant {
            configuration: shared.configuration_id(),
            fleet: settings.in_table().tag,
            gateway: self.gateway,
        };
        let waiting = shared.newcomers.count();
        (self.next, self.told_waiting) = (None, waiting);
        let attention = self
            .speaker
            .attend(&shared.table, &attendant, settings.terms, waiting, now);
        match attention {
            Ok(attention) => {
                self.findings = attention.findings;
                if let Some(spoken) = attention.spoken {
                    self.report(settings, &spoken);
                    self.next = Some(spoken.next);
                    self.send(settings, &spoken, now);
                }
            }
            Err(error) => shared.failed("attend", error),
        }
    }

    fn report(&self, settings: &Settings, spoken: &Spoken) {
        self.metrics.show(&spoken.numbers);
        self.metrics.count(spoken.tally);
        let name = &settings.name;
        let News {
            is_lost,
            is_back,
            caps,
        } = spoken.news;
        if is_lost {
            log::warn!("event=fleet_lost name={name} cluster={}", settings.cluster);
        }
        if is_back {
            log::info!("event=fleet_back name={name}");
        }
        if let Some((in_force, other)) = caps {
            log::warn!("event=fleet_caps_differ name={name} in_force={in_force} other={other}");
        }
    }

    /// Sends a call, if there is one.
    fn send(&mut self, settings: &Settings, spoken: &Spoken, now: Timestamp) {
        let Some(call) = spoken.call else { return };
        match dispatch(settings, &self.codec, &call, now) {
            Ok(token) => {
                let turn = spoken.turn;
                self.in_flight = Some(InFlight { token, turn, call });
            }
            Err(status) => {
                log::debug!(
                    "event=fleet_call_not_sent cluster={} status={status:?}",
                    settings.cluster
                );
                self.speaker
                    .answered(spoken.turn, call.number, Answer::Nothing, now);
            }
        }
    }

    /// Takes an answer of `size` bytes, or its absence when Envoy has given up waiting. Returns false if it is no answer
    /// to a call of this root's.
    pub(super) fn answered(&mut self, token: u32, has_head: bool, size: usize, now: Timestamp) -> bool {
        let Some(InFlight { turn, call, .. }) = self.in_flight.take_if(|call| call.token == token) else {
            return false;
        };
        let answer = match has_head && size <= MAX_ANSWER_BYTES {
            true => self.codec.answer(&call.ask, &abi::call_response_body(size)),
            false => Answer::Nothing,
        };
        self.speaker.answered(turn, call.number, answer, now);
        true
    }

    /// Tries again to let newcomers in that wait on this root, `most` of them at most.
    pub(super) fn try_newcomers(
        &self,
        shared: &Shared,
        settings: &Settings,
        most: usize,
        now: Timestamp,
    ) -> Tried {
        if shared.newcomers.is_empty() {
            return Tried::default();
        }
        let when_lost = settings.terms.when_lost;
        let tried = shared.newcomers.try_again(most, |newcomer, shared, exchange| {
            let outlook = outlook(&self.findings, when_lost, newcomer.came, now);
            try_again(newcomer, shared, exchange, outlook)
        });
        become_root(shared.timer.root());
        tried
    }

    /// Handles the root's end: another takes over at once. If none does, the fleet is gone, and so are its numbers.
    pub(super) fn leave(&mut self, shared: &Shared, now: Timestamp) {
        match self.speaker.leave(&shared.table, now) {
            Ok(true) => self.metrics.show(&Numbers::default()),
            Ok(false) => {}
            Err(error) => shared.failed("stop_speaking", error),
        }
    }
}

/// Returns whether the newcomer goes on waiting.
fn try_again(
    newcomer: &Newcomer<Shared>,
    shared: &Shared,
    exchange: &mut Exchange,
    outlook: Outlook,
) -> bool {
    // A stream that is already gone gets no answer.
    if abi::set_effective_context(newcomer.lent.context).is_err() {
        return false;
    }
    let is_arriving = newcomer.is_arriving.get();
    shared.run(|gate, effects| {
        exchange.try_again(gate, effects, outlook, |verdict| let_go(verdict, is_arriving))
    })
}

fn dispatch(settings: &Settings, codec: &Etcd, call: &Call, now: Timestamp) -> Result<u32, Status> {
    let request = codec.request(&call.ask);
    let mut headers = vec![
        (":method", "POST"),
        (":path", request.path),
        (":authority", &*settings.authority),
        ("content-type", "application/json"),
    ];
    let further = settings.headers.iter();
    headers.extend(further.map(|(name, value)| (name.as_str(), value.as_str())));
    let timeout = call.until.since(now).max(SHORTEST);
    #[allow(
        clippy::disallowed_methods,
        reason = "the SDK hands an answer on only if it has sent the request; it panics at statuses other than \
                  BadArgument and InternalFailure, and Envoy's `Context::httpCall` has no others"
    )]
    hostcalls::dispatch_http_call(
        &settings.cluster,
        headers,
        Some(request.body.as_bytes()),
        Vec::new(),
        timeout,
    )
}
