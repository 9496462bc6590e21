//! The root that speaks for this gateway to its fleet, and those that wait for their turn.
//!
//! Every root of a configuration with `fleet` attends on its ticks. One of them speaks: it asks the protocol
//! ([`Gateway`]) what to say next, and puts the protocol's limit in force in the table *before* its call is sent. What
//! the next root needs to go on lies in the table, too.

use crate::fleet::{
    Answer, Call, Demand, Entry, Gateway, GatewayId, Kept, Lease, Limit, Next, Outlook, Tally, Terms, View,
    WhenLost,
};
use crate::session::{
    Attendant, Attended, Findings, Gateways, KnownGateway, Store, StoreError, Table, Timestamp,
};

/// Most steps of the protocol at one time. Two of them are enough, unless newcomers come in between.
const MOST_STEPS: usize = 8;

/// A root of one configuration with a fleet. It speaks, or waits for its turn.
#[derive(Debug, Default)]
pub struct Speaker {
    turn: Option<Turn>,
    turns: u32,
}

/// A root's turn at speaking.
#[derive(Debug)]
struct Turn {
    /// Tells this turn from the root's others, so that no answer to an earlier one is taken for one to this.
    number: u32,
    term: u32,
    gateway: Gateway,
    /// What the other roots know.
    told: Findings,
    shown: Option<Gateways>,
}

/// What a root has found and said.
#[derive(Debug)]
pub struct Attention {
    /// What is known to all roots.
    pub findings: Findings,
    /// What the root has said; `None` if it does not speak.
    pub spoken: Option<Spoken>,
}

/// What comes of speaking.
#[derive(Debug)]
pub struct Spoken {
    /// This is to be sent.
    pub call: Option<Call>,
    /// The number with which the answer to it must come back.
    pub turn: u32,
    /// The root should attend again at this time at the latest.
    pub next: Timestamp,
    /// What the gauges show.
    pub numbers: Numbers,
    /// What has happened since the last time.
    pub tally: Tally,
    /// What the log says.
    pub news: News,
}

/// The gauges of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The cap in force.
    pub limit: u32,
    /// This gateway's share of it.
    pub share: u32,
    /// The sessions and reservations of this gateway.
    pub used: u32,
    /// How many gateways have a share.
    pub gateways: u32,
    /// Whether this gateway is lost.
    pub is_lost: bool,
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The gateway is lost now.
    pub is_lost: bool,
    /// It was lost, and is not any more.
    pub is_back: bool,
    /// Gateways write different caps: the smallest and the largest.
    pub caps: Option<(u32, u32)>,
}

impl Speaker {
    /// Says how many newcomers wait on this root, and speaks if it is this root's turn. A call that is returned must be
    /// sent now, or answered with [`Answer::Nothing`].
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written. Then nothing is to be sent.
    pub fn attend<S: Store>(
        &mut self,
        table: &Table<S>,
        attendant: &Attendant,
        terms: Terms,
        waiting: u32,
        now: Timestamp,
    ) -> Result<Attention, StoreError> {
        let attended = table.attend(attendant, waiting, now)?;
        let mut findings = attended.findings;
        let mut spoken = None;
        if self.takes_turn(table, &attended, terms, now)? {
            spoken = self.speak(table, attended.waiting, now)?;
            findings = self.turn.as_ref().map_or(findings, |turn| turn.told);
        }
        Ok(Attention { findings, spoken })
    }

    /// Takes the answer to a call of the turn with this number. The root attends next.
    pub fn answered(&mut self, turn: u32, call: u32, answer: Answer, now: Timestamp) {
        if let Some(own) = self.turn.as_mut().filter(|own| own.number == turn) {
            own.gateway.answered(call, answer, now);
        }
    }

    /// Ends this root's turn: the root is destroyed.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written; the turn then ends by itself.
    pub fn leave<S: Store>(&mut self, table: &Table<S>, now: Timestamp) -> Result<bool, StoreError> {
        match self.turn.take() {
            Some(turn) => table.stop_speaking(turn.term, now),
            None => Ok(false),
        }
    }

    /// Whether it is this root's turn. At its beginning the root takes over what the last one has left.
    fn takes_turn<S: Store>(
        &mut self,
        table: &Table<S>,
        attended: &Attended,
        terms: Terms,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(term) = attended.term else {
            self.turn = None;
            return Ok(false);
        };
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.term == term) {
            turn.gateway.follow(terms);
            return Ok(true);
        }
        self.turn = None;
        let Some(limit) = table.begin_term(term)? else {
            return Ok(false);
        };
        self.turns = self.turns.wrapping_add(1);
        self.turn = Some(Turn {
            number: self.turns,
            term,
            gateway: resume(attended, limit, terms, now),
            told: attended.findings,
            shown: None,
        });
        Ok(true)
    }

    /// Does what the protocol wants. `None` if the turn is over.
    fn speak<S: Store>(
        &mut self,
        table: &Table<S>,
        waiting: u32,
        now: Timestamp,
    ) -> Result<Option<Spoken>, StoreError> {
        let Some(turn) = &mut self.turn else {
            return Ok(None);
        };
        let (mut news, mut next, mut call, mut used) = (News::default(), now, None, 0);
        for _ in 0..MOST_STEPS {
            used = table.used(now)?;
            let step = turn.gateway.advance(Demand { used, waiting }, now);
            if !turn.put_in_force(table, &mut news)? {
                self.turn = None;
                return Ok(None);
            }
            match step {
                Next::Again => continue,
                Next::Send(send) => (call, next) = (Some(send), send.until),
                Next::Wait(until) => next = until,
            }
            break;
        }
        turn.show(table)?;
        Ok(Some(Spoken {
            call,
            turn: turn.number,
            next,
            numbers: turn.numbers(used, now),
            tally: turn.gateway.take_tally(),
            news,
        }))
    }
}

/// What a newcomer that came at `came` must do, as far as all roots know.
pub fn outlook(findings: &Findings, when_lost: WhenLost, came: Timestamp, now: Timestamp) -> Outlook {
    let refuses = findings.is_lost && when_lost == WhenLost::Refuse;
    let has_lease = findings.lease.is_some_and(|(_, _, until)| now < until);
    Outlook::of(came, findings.full_at, refuses, has_lease, now)
}

/// The gateway where the last root has left it. That root has told of the lease first, and written the limit under it
/// then: so a limit that ends with another lease is none.
fn resume(attended: &Attended, limit: Limit, terms: Terms, now: Timestamp) -> Gateway {
    let Findings { lease, is_lost, .. } = attended.findings;
    let (share, end) = match limit {
        Limit::Own => (0, None),
        Limit::Places { most, until } => (most, Some(until)),
    };
    let lease = lease.filter(|(_, _, until)| end == Some(*until));
    let kept = Kept {
        gateway: GatewayId(attended.gateway),
        lease: lease.map(|(number, renewed, until)| Lease {
            number,
            renewed,
            until,
        }),
        is_lost,
    };
    Gateway::resume(kept, share, terms, now)
}

impl Turn {
    /// Tells what the protocol knows now, then puts its limit in force. Returns false if the turn is over.
    fn put_in_force<S: Store>(&mut self, table: &Table<S>, news: &mut News) -> Result<bool, StoreError> {
        let findings = self.findings();
        if findings != self.told {
            if !table.tell(self.term, findings)? {
                return Ok(false);
            }
            news.is_lost |= findings.is_lost && !self.told.is_lost;
            news.is_back |= self.told.is_lost && !findings.is_lost;
            if findings.caps_differ && !self.told.caps_differ {
                news.caps = caps(self.gateway.view());
            }
            self.told = findings;
        }
        table.set_limit(self.term, self.gateway.limit())
    }

    fn findings(&self) -> Findings {
        let Kept { lease, is_lost, .. } = self.gateway.kept();
        let view = self.gateway.view();
        Findings {
            lease: lease.map(|lease| (lease.number, lease.renewed, lease.until)),
            is_lost,
            caps_differ: match view.entries.is_empty() {
                true => self.told.caps_differ,
                false => view.caps_differ(),
            },
            full_at: self.gateway.full_at(),
        }
    }

    /// Shows the gateways to status views, if they have changed.
    fn show<S: Store>(&mut self, table: &Table<S>) -> Result<(), StoreError> {
        let known = |entry: &Entry| KnownGateway {
            id: entry.gateway.0,
            share: entry.share,
            waits: entry.waiting,
        };
        let gateways = Gateways {
            own: self.gateway.kept().gateway.0,
            cap: self.gateway.cap(),
            all: self.gateway.view().entries.iter().map(known).collect(),
        };
        if self.shown.as_ref() != Some(&gateways) {
            table.tell_gateways(&gateways)?;
            self.shown = Some(gateways);
        }
        Ok(())
    }

    fn numbers(&self, used: u32, now: Timestamp) -> Numbers {
        Numbers {
            limit: self.gateway.cap(),
            share: match self.gateway.limit() {
                Limit::Places { most, until } if now < until => most,
                Limit::Places { .. } | Limit::Own => 0,
            },
            used,
            gateways: u32::try_from(self.gateway.view().entries.len()).unwrap_or(u32::MAX),
            is_lost: self.gateway.is_lost(),
        }
    }
}

/// The smallest and the largest cap that gateways write.
fn caps(view: &View) -> Option<(u32, u32)> {
    let caps = || view.entries.iter().map(|entry| entry.cap);
    caps().min().zip(caps().max())
}
