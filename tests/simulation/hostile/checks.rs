//! Checks each event of a hostile world.

use mcp_session_filter::session::{Counts, EndReason, EndedSession, EndpointCounts, IdDigest};

use super::super::world::worker::{Core, Ticked};
use super::books::User;
use super::clients::Request;
use super::filter::Letting;
use super::servers::Answer;
use super::{Heard, Hostile, Id, Open, Place};

/// The table remembers the id of an ended session for at least this time.
const REMEMBERED_MS: u64 = 60_000;

/// The state before an event.
pub(super) struct Before {
    counts: Option<Counts>,
    /// The id of the request, or of the answer, was that of a session.
    was_there: bool,
    /// Nothing disturbs the worker, so that everything must be exact.
    is_calm: bool,
}

impl Hostile {
    pub(super) fn before(&self, number: usize, core: &Core, site: usize, id: Option<Id>) -> Before {
        let worker = self.workers[number].as_ref();
        let is_disturbed = worker.is_some_and(|worker| worker.handle.is_disturbed());
        Before {
            counts: self.counts().filter(|_| !self.books.disturbed),
            was_there: id.is_some_and(|id| self.is_there_for(core, site, id)),
            is_calm: !self.books.disturbed && !is_disturbed,
        }
    }

    /// The counts.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.table()?.counts().ok().map(|(counts, _)| counts)
    }

    /// The ledger's row of each endpoint, in the ledger's order.
    pub(super) fn rows(&self, counts: &Counts) -> Vec<(usize, EndpointCounts)> {
        let sites = self.configured.sites.iter().enumerate();
        sites
            .filter_map(|(site, rules)| {
                let name = rules.rules.name.as_str();
                let row = counts.endpoints.iter().find(|row| row.settings.name == name)?;
                Some((site, row.clone()))
            })
            .collect()
    }

    /// An endpoint's tag as records hold it.
    pub(super) fn tag_bytes(&self, site: usize) -> [u8; 4] {
        let name = self.configured.sites[site].rules.name.as_str();
        let IdDigest([a, b, c, d, ..]) = IdDigest::of(name.as_bytes());
        [a, b, c, d]
    }

    /// Checks the verdict on a request, by its head or by its message. Returns false if the request is refused.
    pub(super) fn judged(
        &mut self,
        open: &mut Open,
        request: &Request,
        before: Before,
        (letting, heard): (Letting, Heard),
    ) -> bool {
        let before = Before {
            is_calm: before.is_calm && heard.failed.is_empty(),
            ..before
        };
        self.trace(&(request, letting, &heard.failed));
        self.note(&heard);
        let rejected = heard.rejected.map(|reason| reason.as_str());
        assert_eq!((heard.created, heard.adopted), (0, 0), "opened before the answer");
        assert!(
            !before.is_calm || heard.untracked == 0,
            "untracked before the answer"
        );
        match letting {
            Letting::Held => assert_eq!(rejected, None),
            Letting::In { with_id } => {
                assert_eq!(rejected, None);
                self.check_guarded(request, with_id);
                open.own = request.own.filter(|_| with_id);
                open.place = heard.counts_moved.then(|| self.new_place(open.site));
                open.was_alive = open.own.is_some() && before.was_there;
                open.is_unread = !heard.failed.is_empty();
                if before.is_calm {
                    self.check_let_in(open, request, &before);
                }
            }
            Letting::Refused { status, reason } => {
                self.tally.refused += 1;
                assert_eq!(rejected, Some(reason), "counted for another reason");
                self.check_refused(open, request, &before, (status, reason, &heard));
            }
        }
        !matches!(letting, Letting::Refused { .. })
    }

    /// The reservation of a request. Its deadline is rounded down by up to a sixteenth of the timeout.
    fn new_place(&self, site: usize) -> Place {
        Place {
            site,
            kept_until: self.now + 15_000,
            gone_at: self.now + 16_000,
        }
    }

    fn may_use(&self, site: usize, id: Id, user: User) -> bool {
        let owner = self.books.usable[site].get(&id);
        !self.setting.endpoints[site].bound || owner.is_none_or(|owner| *owner == user)
    }

    fn check_let_in(&self, open: &Open, request: &Request, before: &Before) {
        let site = open.site;
        let endpoint = &self.setting.endpoints[site];
        if let Some(own) = open.own {
            assert!(
                before.was_there || endpoint.adopts,
                "an unknown id was let in: {request:?}"
            );
            let is_foreign = before.was_there && !self.may_use(site, own, open.user);
            assert!(!is_foreign, "another's id was let in: {request:?}");
            let remembered = self.books.remembered.get(&(site, own));
            let has_ended = remembered.is_some_and(|until| self.now < *until) && !before.was_there;
            assert!(!has_ended, "the id of an ended session was let in: {request:?}");
        }
        let held = request.is_held_by(endpoint.holds);
        if before.was_there && open.own.is_some() || open.place.is_some() || !request.is_ordinary(held) {
            return;
        }
        let opens = request.is_initialize(endpoint.holds);
        if request.is_modern() && !(held && opens) {
            return;
        }
        let must_have_a_place = open.own.is_none() || opens || self.has_room(site, open.user, before);
        assert!(!must_have_a_place, "let in without a place: {request:?}");
    }

    /// Whether a newcomer finds room without an eviction; false if that is uncertain.
    fn has_room(&self, site: usize, user: User, before: &Before) -> bool {
        let Some(counts) = &before.counts else {
            return false;
        };
        self.is_sure(site) && self.has_free_places(site, counts) && self.is_under_quota(site, user)
    }

    /// Whether the books and the table agree on sessions and reservations.
    fn is_sure(&self, site: usize) -> bool {
        let there = self.shared.count(self.tag_bytes(site));
        self.books.reported.is_some()
            && self.books.orphans.is_empty()
            && there == self.books.usable[site].len()
    }

    fn has_free_places(&self, site: usize, counts: &Counts) -> bool {
        let rows = self.rows(counts);
        let row = rows.iter().find(|(row, _)| *row == site);
        counts.active + counts.reserved < counts.limit
            && row.is_some_and(|(_, row)| row.active + row.reserved < row.settings.max_sessions)
    }

    fn is_under_quota(&self, site: usize, user: User) -> bool {
        let Some(quota) = self.setting.endpoints[site].quota else {
            return true;
        };
        let kept = self
            .all_open()
            .filter(|open| (open.site, open.user) == (site, user));
        let kept = kept.filter(|open| open.place.is_some()).count();
        self.books.usable_of(site, user) + kept < quota as usize
    }

    fn check_refused(
        &mut self,
        open: &Open,
        request: &Request,
        before: &Before,
        (status, reason, heard): (u16, &str, &Heard),
    ) {
        let site = open.site;
        let endpoint = &self.setting.endpoints[site];
        if reason == "session_not_found" {
            let own = request.own.expect("only an id can be unknown");
            assert_eq!(status, 404);
            let is_alive = before.was_there && self.books.is_usable(site, own);
            let may_use = self.may_use(site, own, open.user);
            let is_lost = before.is_calm && is_alive && may_use && heard.ended.is_empty();
            assert!(!is_lost, "{own:?} is alive and was answered 404: {request:?}");
            if may_use {
                self.books.end(site, own);
            }
        }
        if reason != "capacity" && reason != "principal_quota" {
            return;
        }
        let is_newcomer = request.own.is_none() || request.is_initialize(endpoint.holds);
        let in_doubt = !before.is_calm;
        assert!(in_doubt || is_newcomer, "refused for load: {request:?}");
        let free = before
            .counts
            .as_ref()
            .is_some_and(|counts| self.has_free_places(site, counts));
        assert!(
            in_doubt || reason != "capacity" || !free,
            "refused although there was room"
        );
        let under_quota = self.is_sure(site) && self.is_under_quota(site, open.user);
        assert!(
            in_doubt || reason != "principal_quota" || !under_quota,
            "refused below the quota: {request:?}"
        );
    }

    /// Checks an answer, which passes with its ids or without.
    pub(super) fn check_answer(
        &self,
        open: &Open,
        answer: &Answer,
        (passes, heard): (bool, &Heard),
        (before, own_was_there): (&Before, bool),
    ) {
        let is_own = answer.named.is_some() && answer.named == open.own;
        if passes {
            assert!(
                answer.ids == usize::from(answer.named.is_some()),
                "passed with ids that nobody can use: {answer:?} to {open:?}"
            );
            assert!(
                answer.ids == 0 || answer.is_success() || is_own,
                "a refusal passed with an id: {answer:?} to {open:?}"
            );
        } else {
            assert!(
                answer.ids > 0 && !is_own,
                "nothing was to be taken off: {answer:?}"
            );
        }
        if before.is_calm && heard.failed.is_empty() {
            self.check_counters(open, answer, (passes, heard), before, own_was_there);
        }
    }

    /// Checks the counters of an answer, if nothing disturbs the worker.
    fn check_counters(
        &self,
        open: &Open,
        answer: &Answer,
        (passes, heard): (bool, &Heard),
        before: &Before,
        own_was_there: bool,
    ) {
        let is_own = answer.named.is_some() && answer.named == open.own;
        // If the secret was lost, the id may belong to another session now.
        let ended = open
            .own
            .filter(|_| !self.heavy && open.was_alive && answer.ends(open.verb));
        let lives = ended.is_some_and(|own| self.is_there(open.site, own) && Some(own) != answer.named);
        assert!(
            !lives,
            "the server has ended it, and the table holds it: {answer:?} to {open:?}"
        );
        let endpoint = &self.setting.endpoints[open.site];
        let is_minted = passes && answer.is_success() && answer.named.is_some() && !is_own;
        // The id may belong to another user now.
        let is_theirs = own_was_there
            && open
                .own
                .is_some_and(|own| self.may_use(open.site, own, open.user));
        let is_taken_up = !passes || is_minted || is_theirs || answer.ends(open.verb);
        let adopts = open.own.is_some()
            && (!open.was_alive || open.is_unread)
            && (endpoint.adopts || open.is_unread)
            && matches!(open.verb, "GET" | "POST")
            && answer.is_success()
            && answer.from_server
            && !is_taken_up;
        let opened = (heard.created, heard.adopted, heard.untracked);
        let expected = match () {
            () if !passes => [(0, 0, 1)].as_slice(),
            () if is_minted && !before.was_there => &[(1, 0, 0)],
            // What the worker could not read was a session's record, or something else.
            () if adopts && open.was_alive => &[(0, 0, 0), (0, 1, 0), (0, 0, 1)],
            () if adopts => &[(0, 1, 0), (0, 0, 1)],
            () => &[(0, 0, 0)],
        };
        assert!(
            expected.contains(&opened),
            "created, adopted, untracked are {opened:?}: {answer:?} to {open:?}"
        );
        let is_told = !passes && endpoint.terminates && answer.named.is_some_and(Id::can_be_told);
        assert!(
            !is_told || before.was_there || !heard.pending.is_empty(),
            "the server of an id that was taken off is not told: {answer:?} to {open:?}"
        );
        if let Some(named) = answer.named.filter(|_| is_minted) {
            assert!(
                self.may_use(open.site, named, open.user),
                "another's id was given: {open:?}"
            );
        }
    }

    pub(super) fn after_tick(&mut self, number: usize, ticked: Ticked) {
        if self.has_died(number) {
            return;
        }
        self.trace(&("tick", number, &ticked));
        if ticked.failed || ticked.joined {
            self.books.reported = None;
        } else {
            self.books.last_reap = self.now;
        }
        for key in ticked.deleted {
            let is_alive = self
                .shared
                .records()
                .iter()
                .any(|record| record.key == *key.as_bytes());
            assert!(!is_alive, "the server was told to end a session that is alive");
        }
        let heard = Heard {
            ended: ticked.ended,
            ..Heard::default()
        };
        self.note(&heard);
        if ticked.failed {
            self.forget_what_is_not_there();
        }
        for context in ticked.closes {
            let Some(worker) = &mut self.workers[number] else {
                return;
            };
            if let Some(at) = worker.streams.iter().position(|open| open.context == context) {
                let mut open = worker.streams.swap_remove(at);
                self.end_open(number, &mut open);
            }
        }
    }

    /// Writes down what was reported.
    pub(super) fn note(&mut self, heard: &Heard) {
        if let Some(reported) = &mut self.books.reported {
            *reported += i64::from(heard.created + heard.adopted);
            *reported -= i64::try_from(heard.ended.len()).unwrap();
        }
        for ended in &heard.ended {
            self.note_end(ended);
        }
        for (_, key) in &heard.pending {
            let is_alive = self
                .shared
                .records()
                .iter()
                .any(|record| record.key == *key.as_bytes());
            assert!(
                !is_alive,
                "the server is to be told to end a session that is alive"
            );
        }
        if !heard.failed.is_empty() {
            self.books.reported = None;
            self.forget_what_is_not_there();
        }
    }

    fn note_end(&mut self, ended: &EndedSession) {
        self.tally.ended += 1;
        let key = ended.session.key;
        let Some((site, id)) = self.books.names.get(key.as_bytes()).copied() else {
            return;
        };
        // Under a lost secret the session belongs to no id.
        let is_known = self.keys_of(site, id).contains(&key);
        self.trace(&("ended", site, id, ended.reason));
        self.books.end(site, id);
        if ended.reason != EndReason::UpstreamGone && is_known {
            self.books.remembered.insert((site, id), self.now + REMEMBERED_MS);
        }
    }
}
