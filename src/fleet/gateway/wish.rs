//! What a gateway wants to ask of etcd, and when.

use super::{Gateway, LOOK_AGAIN, QUIET, SHORT, Standing, WRITE_AGAIN};
use crate::fleet::Demand;
use crate::fleet::call::Ask;
use crate::fleet::view::{Entry, Plan};
use crate::session::Timestamp;

impl Gateway {
    /// What to ask next, if anything.
    pub(super) fn wish(&self, plan: &Plan, demand: Demand, now: Timestamp) -> Option<Ask> {
        let Some(lease) = self.lease else {
            return Some(Ask::Grant(self.terms.lease));
        };
        let is_quiet = now >= self.quiet_until;
        let renews = is_quiet && now >= lease.renew_from();
        let renew = Some(Ask::Renew(lease.number));
        let entry = self.entry(plan, now);
        let swap = self.must_write(&entry, plan, demand, now).then_some(Ask::Swap {
            entry,
            lease: lease.number,
            own: self.own_revision,
            growth: self.grows(&entry).then_some(self.view.revision),
        });
        if swap.is_some() && self.must_look_first(&entry, demand, now) {
            return Some(Ask::Look);
        }
        if self.looks_again(plan, demand) && now >= self.seen.after(LOOK_AGAIN) {
            return Some(Ask::Look);
        }
        if swap.is_some() && demand.waiting > 0 && now < lease.renew_soon_from() {
            return swap;
        }
        if renews || swap.is_some() {
            return renew.filter(|_| renews).or(swap);
        }
        let looks = self.is_outdated || is_quiet && now >= self.looked.after(QUIET);
        looks.then_some(Ask::Look)
    }

    /// The own entry as it should be.
    fn entry(&self, plan: &Plan, now: Timestamp) -> Entry {
        Entry {
            gateway: self.id,
            share: plan.share,
            cap: self.terms.cap,
            waiting: self.was_short(now),
        }
    }

    /// Whether the entry takes places or lowers the cap.
    fn grows(&self, entry: &Entry) -> bool {
        let written = self.view.of(self.id);
        written.is_none_or(|written| entry.share > written.share || entry.cap < written.cap)
    }

    /// Whether places are to be taken for which nobody waits here, while others may have said that they are short since
    /// the last look.
    fn must_look_first(&self, entry: &Entry, demand: Demand, now: Timestamp) -> bool {
        let takes_slack = entry.share > demand.used.saturating_add(demand.waiting) && self.grows(entry);
        self.standing == Standing::Joined && takes_slack && now >= self.looked.after(WRITE_AGAIN)
    }

    /// Whether newcomers wait for more places than there were.
    fn looks_again(&self, plan: &Plan, demand: Demand) -> bool {
        demand.waiting > 0 && plan.is_short
    }

    /// Whether the own entry must change now.
    fn must_write(&self, entry: &Entry, plan: &Plan, demand: Demand, now: Timestamp) -> bool {
        let Some(written) = self.view.of(self.id) else {
            return true;
        };
        let somebody_gains = if entry.share > self.share {
            demand.waiting > 0 || demand.used > self.share
        } else {
            plan.others_are_short && entry.share < written.share
        };
        self.standing != Standing::Joined
            || written.cap != entry.cap
            || written.waiting != entry.waiting
            || somebody_gains
            || self.is_off(entry, plan, demand) && now >= self.written.after(WRITE_AGAIN)
    }

    /// Whether the share is not good enough, though nobody waits for a better one. While newcomers wait, no places are
    /// given back without need: they are on their way in.
    fn is_off(&self, entry: &Entry, plan: &Plan, demand: Demand) -> bool {
        if demand.waiting > 0 && entry.share <= self.share {
            return false;
        }
        let written = self.view.of(self.id).map_or(0, |written| written.share);
        let off = entry
            .share
            .abs_diff(written)
            .max(entry.share.abs_diff(self.share));
        u64::from(off) * 2 > u64::from(plan.slack)
    }

    /// When there may be a wish again, if the demand stays.
    pub(super) fn next_wish(&self, plan: &Plan, demand: Demand, now: Timestamp) -> Timestamp {
        let Some(lease) = self.lease else { return now };
        let quiet = self.looked.after(QUIET).min(lease.renew_from());
        let mut next = quiet.max(self.quiet_until);
        if self.looks_again(plan, demand) {
            next = next.min(self.seen.after(LOOK_AGAIN));
        }
        if let (Some(short_at), Some(_)) = (self.short_at, self.told_short) {
            next = next.min(short_at.after(SHORT));
        }
        if self.is_off(&self.entry(plan, now), plan, demand) {
            next = next.min(self.written.after(WRITE_AGAIN));
        }
        next
    }
}
