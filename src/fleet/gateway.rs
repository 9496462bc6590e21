//! The protocol of one gateway.
//!
//! ```text
//!            granted              written                      its time is over, etcd does not know it
//!  no lease ---------> a lease ------------> a lease, joined ------------------------------------------> no lease
//!
//!            no answer for PATIENCE          written
//!  Asking ----------------------------> Lost -------> Joined
//!     ^  `-------------- written --------------------> |
//!     +------------------- the lease ends -------------+
//! ```

#[cfg(test)]
mod tests;
mod wish;

use core::time::Duration;

use super::call::{Answer, Ask, Call, Next};
use super::lease::{Kept, Lease};
use super::pace::Pace;
use super::view::{Entry, GatewayId, Plan, View};
use super::{Demand, Limit, Outlook, PATIENCE, Terms, WhenLost};
use crate::session::Timestamp;

/// A gateway at rest sends one call in this time: a look, or the renewal of its lease. If a renewal shows that others
/// have written meanwhile, a look follows.
const QUIET: Duration = Duration::from_secs(1);

/// A gateway whose newcomers wait for more places than there were looks so often.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A gateway writes so often if nobody is known to wait for it.
const WRITE_AGAIN: Duration = Duration::from_millis(250);

/// A gateway that was short says so for this long. Every other gateway looks within it.
const SHORT: Duration = Duration::from_secs(2);

/// No call waits longer than this for its answer, nor longer than a sixth of the lease.
const LONGEST_CALL: Duration = Duration::from_secs(1);

/// One gateway of the fleet.
#[derive(Clone, Debug)]
pub struct Gateway {
    id: GatewayId,
    terms: Terms,
    standing: Standing,
    lease: Option<Lease>,
    /// What this gateway allows itself once it has joined. Never above any value that its key in etcd may have.
    share: u32,
    view: View,
    /// The revision after which the own entry was not written, as far as this gateway knows.
    own_revision: i64,
    /// When the look was sent that the view comes from.
    looked: Timestamp,
    /// When it came.
    seen: Timestamp,
    /// When the last call was sent that has written the own entry.
    written: Timestamp,
    in_flight: Option<Call>,
    calls: u32,
    pace: Pace,
    /// When the next look or renewal may be sent without need.
    quiet_until: Timestamp,
    newcomers_wait: bool,
    /// Since when the share has grown by what newcomers waited for, and by no more.
    slackless_since: Option<Timestamp>,
    /// A renewal has shown that something has changed in etcd: then a look follows.
    is_outdated: bool,
    /// When this gateway last wanted more places than there were.
    short_at: Option<Timestamp>,
    /// Since when the others can read so.
    told_short: Option<Timestamp>,
    /// When the last look was sent that has shown a full fleet, after the others had time to give back their slack.
    full_at: Option<Timestamp>,
    tally: Tally,
}

/// How the gateway stands with etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has no share yet, or none any more. At this time it began to ask, or etcd has answered last.
    Asking(Timestamp),
    /// Etcd has not answered for too long. While it joins, nobody is let in, so that its entry is no less than what is in
    /// use.
    Lost { joins: bool },
    /// Its entry lies under its lease.
    Joined,
}

/// What has happened since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Places by which the share has grown.
    pub granted: u64,
    /// Places by which it has shrunk.
    pub returned: u64,
    /// Transactions before which another gateway had written.
    pub conflicts: u64,
    /// Calls without an answer that etcd would give.
    pub failed: u64,
}

impl Gateway {
    /// A gateway without a share. Its number must be drawn at random.
    pub fn new(id: GatewayId, terms: Terms, now: Timestamp) -> Self {
        Self {
            id,
            terms,
            standing: Standing::Asking(now),
            lease: None,
            share: 0,
            view: View::default(),
            own_revision: 0,
            looked: now,
            seen: now,
            written: Timestamp::START,
            in_flight: None,
            calls: 0,
            pace: Pace::new(id.0),
            quiet_until: now,
            newcomers_wait: false,
            slackless_since: None,
            is_outdated: false,
            short_at: None,
            told_short: None,
            full_at: None,
            tally: Tally::default(),
        }
    }

    /// Goes on where another worker of the same process has ended. `share` is the limit that is in force. A call of
    /// that worker may still be carried out: so the share is below every value that its key may have then, and any
    /// write of this one makes that call fail.
    pub fn resume(kept: Kept, share: u32, terms: Terms, now: Timestamp) -> Self {
        let mut gateway = Self::new(kept.gateway, terms, now);
        if kept.is_lost {
            gateway.standing = Standing::Lost { joins: false };
        } else if let Some(lease) = kept.lease.filter(|lease| now < lease.until) {
            gateway.lease = Some(lease);
            gateway.share = share;
            gateway.standing = Standing::Joined;
        }
        gateway
    }

    /// What another worker needs to go on.
    pub fn kept(&self) -> Kept {
        Kept {
            gateway: self.id,
            lease: self.lease.filter(|_| self.standing == Standing::Joined),
            is_lost: self.is_lost(),
        }
    }

    /// Follows a new configuration of the same fleet.
    pub fn follow(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// What the fleet allows this gateway.
    pub fn limit(&self) -> Limit {
        match (self.standing, self.lease, self.terms.when_lost) {
            (Standing::Joined, Some(lease), _) => Limit::Places {
                most: self.share,
                until: lease.until,
            },
            (Standing::Lost { joins: false }, _, WhenLost::Local) => Limit::Own,
            (Standing::Joined | Standing::Asking(_) | Standing::Lost { .. }, ..) => Limit::NOBODY,
        }
    }

    /// Whether etcd has not answered a gateway without a share for [`PATIENCE`].
    pub fn is_lost(&self) -> bool {
        matches!(self.standing, Standing::Lost { .. })
    }

    /// What a newcomer that came at `came`, and for which [`Gateway::limit`] has no room, must do.
    pub fn outlook(&self, came: Timestamp, now: Timestamp) -> Outlook {
        let refuses = self.is_lost() && self.terms.when_lost == WhenLost::Refuse;
        let has_lease = self.kept().lease.is_some_and(|lease| now < lease.until);
        Outlook::of(came, self.full_at, refuses, has_lease, now)
    }

    /// When the last look was sent that has shown a full fleet.
    pub fn full_at(&self) -> Option<Timestamp> {
        self.full_at
    }

    /// All shares as last seen.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The cap in force, as last seen.
    pub fn cap(&self) -> u32 {
        self.view.cap(self.id, self.terms.cap)
    }

    /// What has happened since the last report.
    pub fn take_tally(&mut self) -> Tally {
        core::mem::take(&mut self.tally)
    }

    /// Decides what is to be done at `now`. The demand must be counted after the last [`Gateway::limit`] came into
    /// force.
    pub fn advance(&mut self, demand: Demand, now: Timestamp) -> Next {
        self.pass(now);
        self.newcomers_wait = demand.waiting > 0;
        if let Some(call) = self.in_flight {
            return Next::Wait(call.until);
        }
        let was_short = self.was_short(now);
        let with_slack = self.may_take_slack(now);
        let plan = self
            .view
            .plan(self.id, self.terms.cap, demand, was_short, with_slack);
        self.note_shortage(&plan, now);
        let Some(ask) = self.wish(&plan, demand, now) else {
            return Next::Wait(self.next_wish(&plan, demand, now));
        };
        if now < self.pace.not_before() {
            return Next::Wait(self.pace.not_before());
        }
        match ask {
            Ask::Swap { entry, .. } if self.tighten(entry.share) => Next::Again,
            Ask::Grant(_) | Ask::Renew(_) | Ask::Look | Ask::Swap { .. } => Next::Send(self.send(ask, now)),
        }
    }

    /// Takes the answer to a call. [`Gateway::limit`] may have changed then.
    pub fn answered(&mut self, number: u32, answer: Answer, now: Timestamp) {
        self.pass(now);
        let Some(call) = self.in_flight.take_if(|call| call.number == number) else {
            return;
        };
        match (call.ask, answer) {
            (Ask::Grant(_), Answer::Granted { lease, lasts }) => {
                self.hear(now);
                self.lease = Some(Lease::counted(lease, call.sent, lasts, self.terms.lease));
            }
            (Ask::Renew(lease), Answer::Renewed { lasts, revision }) => {
                self.hear(now);
                self.is_outdated = revision != Some(self.view.revision);
                self.lease = Some(Lease::counted(lease, call.sent, lasts, self.terms.lease));
            }
            (Ask::Look, Answer::Seen(view)) => {
                self.hear(now);
                self.see(view, call.sent, now);
            }
            (Ask::Swap { entry, growth, .. }, Answer::Written(revision)) => {
                if growth.is_some() {
                    self.view.revision = revision;
                }
                self.own_revision = revision;
                self.write(entry, call.sent);
            }
            (Ask::Swap { .. }, Answer::Seen(view)) => {
                self.lose_race(now);
                self.see(view, call.sent, now);
            }
            (_, Answer::NoLease) => {
                self.pace.failed(now);
                self.lose_lease(now);
            }
            (Ask::Grant(_) | Ask::Renew(_) | Ask::Look | Ask::Swap { .. }, _) => self.fail(now),
        }
        self.pass(now);
    }

    /// Notes what the time alone brings: a call without an answer, the end of the lease, the end of patience.
    fn pass(&mut self, now: Timestamp) {
        if self.in_flight.take_if(|call| now >= call.until).is_some() {
            self.fail(now);
        }
        if self.lease.is_some_and(|lease| now >= lease.until) {
            self.lose_lease(now);
        }
        if let Standing::Asking(since) = self.standing
            && now >= since.after(PATIENCE)
        {
            self.standing = Standing::Lost { joins: false };
        }
    }

    fn fail(&mut self, now: Timestamp) {
        self.tally.failed += 1;
        self.pace.failed(now);
        self.quiet_until = now;
        if self.is_lost() {
            self.standing = Standing::Lost { joins: false };
        }
    }

    /// Begins anew. A call under the old lease may still be carried out. It harms nobody: the entry of this gateway
    /// then counts against the others, and this gateway does not use it.
    fn lose_lease(&mut self, now: Timestamp) {
        self.lease = None;
        self.share = 0;
        self.view = View::default();
        self.own_revision = 0;
        self.in_flight = None;
        self.told_short = None;
        self.full_at = None;
        self.standing = match self.standing {
            Standing::Asking(since) => Standing::Asking(since),
            Standing::Lost { .. } => Standing::Lost { joins: false },
            Standing::Joined => Standing::Asking(now),
        };
    }

    /// A look has shown the entries. If the own entry is lower than the share, or has gone, others may have what is
    /// missing.
    fn see(&mut self, view: View, sent: Timestamp, now: Timestamp) {
        let own = view.of(self.id);
        self.share = self.share.min(own.map_or(0, |own| own.share));
        if own.is_none_or(|own| !own.waiting) {
            self.told_short = None;
        }
        self.own_revision = view.revision;
        self.view = view;
        self.looked = sent;
        self.seen = now;
        self.is_outdated = false;
    }

    /// Another gateway has written first. Before its first look a gateway cannot know better.
    fn lose_race(&mut self, now: Timestamp) {
        self.hear(now);
        if self.view.revision != 0 {
            self.tally.conflicts += 1;
            let is_urgent = self.newcomers_wait || self.standing != Standing::Joined;
            self.pace.lost_race(is_urgent, now);
        }
    }

    /// Etcd has answered.
    fn hear(&mut self, now: Timestamp) {
        self.pace.answered();
        if let Standing::Asking(since) = &mut self.standing {
            *since = now;
        }
    }

    /// The entry is in etcd: now the share may grow.
    fn write(&mut self, entry: Entry, sent: Timestamp) {
        let before = self.view.of(self.id).map_or(0, |own| own.share);
        self.tally.granted += u64::from(entry.share.saturating_sub(before));
        self.tally.returned += u64::from(before.saturating_sub(entry.share));
        self.pace.written();
        self.written = sent;
        self.view.put(entry);
        self.share = entry.share;
        self.standing = Standing::Joined;
        self.told_short = match entry.waiting {
            true => self.told_short.or(Some(sent)),
            false => None,
        };
    }

    fn was_short(&self, now: Timestamp) -> bool {
        self.short_at.is_some_and(|short_at| now < short_at.after(SHORT))
    }

    /// Whether places may be taken for newcomers that may come. At first only those are taken for which newcomers wait:
    /// others may wait at other gateways at the same time, and this gateway cannot know it yet.
    fn may_take_slack(&self, now: Timestamp) -> bool {
        let since = self.slackless_since;
        !self.newcomers_wait || since.is_some_and(|since| now >= since.after(WRITE_AGAIN))
    }

    fn note_shortage(&mut self, plan: &Plan, now: Timestamp) {
        if plan.is_short && now < self.seen.after(LOOK_AGAIN) {
            self.short_at = Some(now);
        }
        let others_know = self
            .told_short
            .is_some_and(|told| told.after(SHORT) <= self.looked);
        if plan.is_full && others_know {
            self.full_at = Some(self.looked);
        }
    }

    /// Allows no more than will be written. Returns whether it has allowed more so far.
    fn tighten(&mut self, share: u32) -> bool {
        match self.standing {
            Standing::Asking(_) | Standing::Lost { joins: true } => false,
            Standing::Lost { joins: false } => {
                self.standing = Standing::Lost { joins: true };
                true
            }
            Standing::Joined => {
                let allowed_more = share < self.share;
                self.share = self.share.min(share);
                allowed_more
            }
        }
    }

    fn send(&mut self, ask: Ask, now: Timestamp) -> Call {
        if matches!(ask, Ask::Renew(_) | Ask::Look) && now >= self.quiet_until {
            self.quiet_until = now.after(QUIET);
        }
        if let Ask::Swap { .. } = ask {
            self.slackless_since = match self.may_take_slack(now) {
                true => None,
                false => self.slackless_since.or(Some(now)),
            };
        }
        self.calls = self.calls.wrapping_add(1);
        let call = Call {
            number: self.calls,
            ask,
            sent: now,
            until: now.after(LONGEST_CALL.min(self.terms.lease / 6)),
        };
        self.in_flight = Some(call);
        call
    }
}
