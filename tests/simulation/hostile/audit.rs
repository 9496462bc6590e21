//! Checks what must hold in a hostile world after every step.

use std::collections::HashSet;

use mcp_session_filter::session::Counts;

use super::books::Capped;
use super::{Hostile, Place};

impl Hostile {
    /// Checks what must hold after every step.
    pub(super) fn audit(&mut self) {
        let records = self.shared.records();
        let keys: HashSet<_> = records.iter().map(|record| record.key).collect();
        assert_eq!(keys.len(), records.len(), "a session is in the table twice");
        self.audit_untracked();
        if self.books.uncounted {
            return;
        }
        self.audit_caps();
        let Some(counts) = self.counts() else { return };
        for (site, endpoint) in self.rows(&counts) {
            let usable = self.books.usable[site].len();
            assert!(
                usable <= endpoint.active as usize,
                "{usable} ids are usable, {} sessions are there: {endpoint:?}, {:?}",
                self.shared.count(self.tag_bytes(site)),
                self.books.usable[site]
            );
        }
        if self.books.disturbed {
            return;
        }
        self.audit_reservations(&counts);
        if let Some(reported) = self.books.reported {
            let there = i64::try_from(records.len()).unwrap();
            assert_eq!(there, reported, "reports do not add up");
        }
    }

    fn audit_untracked(&self) {
        for (site, id) in &self.books.apart {
            let adopts = self.setting.endpoints[*site].adopts;
            assert!(adopts, "{id:?} was taken up without a place under reject");
        }
    }

    /// How many ids are usable under a cap, and how many may be.
    pub(super) fn usable_under(&self, capped: Capped) -> (usize, usize) {
        let (count, cap) = match capped {
            Capped::Vm => (self.books.usable_in_all(), self.setting.vm_cap),
            Capped::Endpoint(site) => (self.books.usable[site].len(), self.setting.endpoints[site].cap),
            Capped::Principal(site, user) => {
                let quota = self.setting.endpoints[site].quota;
                (self.books.usable_of(site, user), quota.unwrap_or(u32::MAX))
            }
        };
        (count, cap as usize)
    }

    /// Places under a cap that are certainly taken.
    fn places_under(&self, capped: Capped) -> usize {
        let kept = self.all_open().filter(|open| match capped {
            Capped::Vm => true,
            Capped::Endpoint(site) => open.site == site,
            Capped::Principal(site, user) => (open.site, open.user) == (site, user),
        });
        kept.filter_map(|open| open.place)
            .filter(|place| place.kept_until > self.now)
            .count()
    }

    fn audit_caps(&mut self) {
        let mut is_full = false;
        for capped in self.all_capped() {
            let (count, cap) = self.usable_under(capped);
            let most = self.books.excess.get(&capped).copied().unwrap_or(0).max(cap);
            assert!(
                count <= most,
                "{count} usable ids, and not {most}: {capped:?}, {:?}",
                self.books.usable
            );
            let let_in = count + self.places_under(capped);
            assert!(
                self.books.disturbed || let_in <= most,
                "{let_in} are let in, and not {most}: {capped:?}"
            );
            is_full |= count == cap;
            if count > cap {
                self.books.excess.insert(capped, count);
            } else {
                self.books.excess.remove(&capped);
            }
        }
        self.tally.full += u64::from(is_full);
    }

    /// Each reservation of a request is counted once, and no other is counted.
    fn audit_reservations(&self, counts: &Counts) {
        if self.now < self.books.strange_places_until {
            return;
        }
        for (site, endpoint) in self.rows(counts) {
            let is_here = |place: &Place| place.site == site;
            let held = self.all_open().filter_map(|open| open.place).filter(is_here);
            let orphans = self.books.orphans.iter().copied().filter(is_here);
            let (held, orphans): (Vec<_>, Vec<_>) = (held.collect(), orphans.collect());
            Place::audit(&held, &orphans, (self.now, self.books.last_reap), &endpoint);
        }
    }

    /// Everything that has a cap.
    pub(super) fn all_capped(&self) -> Vec<Capped> {
        let mut all = vec![Capped::Vm];
        for (site, endpoint) in self.setting.endpoints.iter().enumerate() {
            all.push(Capped::Endpoint(site));
            let users = [None, Some(0), Some(1), Some(2)];
            let principals = users.map(|user| Capped::Principal(site, user));
            all.extend(principals.into_iter().filter(|_| endpoint.quota.is_some()));
        }
        all
    }
}
