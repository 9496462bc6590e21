//! The sweep. Any root may do it, and none must. A root claims a group of buckets that is due, ends the sessions that
//! have outlived their time, and counts the rest. It works bucket by bucket, and goes on at its next tick when its
//! time is up. If the root dies meanwhile, its claim lapses and another root sweeps the group.

use core::time::Duration;

use super::strikes::Strikes;
use super::{Change, MAX_ATTEMPTS, Table};
use crate::session::settings::EndpointTag;
use crate::session::store::{GROUP_LEN, INDEXED_NAME_LEN, PRINCIPALS, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::bucket::Swept;
use crate::session::values::ledger::{Claim, GROUPS, GroupTally, Ledger};
use crate::session::values::record::{EndedSession, SessionKey};

/// Every group is counted at least this often, even if nothing in it is due.
const RECOUNT_EVERY: Duration = Duration::from_secs(30);

/// Buckets that are swept between two looks at the clock: about a thousand sessions at a million in all.
const AT_ONCE: u16 = 16;

/// The results of one sweep of one group.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// The sessions that it has ended.
    pub ended: Vec<EndedSession>,
    /// Counts that were wrong after a fault, and are now right.
    pub repaired: u32,
    /// Pending DELETEs that can be sent now.
    pub ready: Vec<(EndpointTag, SessionKey)>,
    /// Pending DELETEs that were given up.
    pub given_up: u32,
}

/// A sweep that goes on from tick to tick, since a group may take longer than requests can wait.
#[derive(Debug, Default)]
pub struct Sweep(Stage);

#[derive(Debug, Default)]
enum Stage {
    /// No group is claimed.
    #[default]
    Idle,
    /// The buckets of a group, one after another.
    Buckets(Box<GroupSweep>),
    /// The group is counted. Its ended sessions must still be taken off the books of principals.
    Strikes(Strikes),
}

impl Sweep {
    fn take_report(&mut self) -> SweepReport {
        match &mut self.0 {
            Stage::Buckets(group) => core::mem::take(&mut group.report),
            Stage::Idle | Stage::Strikes(_) => SweepReport::default(),
        }
    }
}

/// A group that is being swept.
#[derive(Debug)]
struct GroupSweep {
    claim: Claim,
    ledger: Ledger,
    tally: GroupTally,
    report: SweepReport,
    strikes: Strikes,
    /// The slot of the next bucket.
    next: u16,
}

impl GroupSweep {
    fn of(claim: Claim, ledger: Ledger, now: Timestamp) -> Self {
        Self {
            next: u16::from(claim.group) * GROUP_LEN,
            claim,
            ledger,
            tally: GroupTally {
                next_due: now.after(RECOUNT_EVERY),
                complete: true,
                ..GroupTally::default()
            },
            report: SweepReport::default(),
            strikes: Strikes::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.next >= (u16::from(self.claim.group) + 1) * GROUP_LEN
    }
}

/// The progress of a sweep.
#[derive(Debug, PartialEq, Eq)]
pub enum SweepProgress {
    /// A group is counted. The report has what was not reported before.
    Counted(SweepReport),
    /// The time is up. The report has the results so far.
    Cut(SweepReport),
    /// No group is due.
    NothingDue,
}

impl<S: Store> Table<S> {
    /// Sweeps the group of buckets that has been due longest, for as long as it takes; `None` if none is due.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn sweep(&self, now: Timestamp) -> Result<Option<SweepReport>, StoreError> {
        let mut sweep = Sweep::default();
        let SweepProgress::Counted(report) = self.sweep_on(&mut sweep, now, &|| false)? else {
            return Ok(None);
        };
        if let Stage::Strikes(strikes) = &mut sweep.0 {
            while self.strike_next(strikes) {}
        }
        Ok(Some(report))
    }

    /// Goes on with `sweep` until a group is counted or `is_time_up` says so. It is called after every
    /// [`AT_ONCE`] buckets. A group costs one read per bucket (256 at most) and a write for each that changes;
    /// then two reads and a write for each value with books of principals whose sessions have ended.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn sweep_on(
        &self,
        sweep: &mut Sweep,
        now: Timestamp,
        is_time_up: &dyn Fn() -> bool,
    ) -> Result<SweepProgress, StoreError> {
        loop {
            match core::mem::take(&mut sweep.0) {
                Stage::Idle => match self.claim_group(now)? {
                    Some(group) => sweep.0 = Stage::Buckets(Box::new(group)),
                    None => return Ok(SweepProgress::NothingDue),
                },
                Stage::Buckets(group) if group.is_over() => return self.count_group(sweep, *group, now),
                Stage::Buckets(mut group) => {
                    for _ in 0..AT_ONCE {
                        if !group.is_over() {
                            self.sweep_next_bucket(&mut group, now);
                        }
                    }
                    sweep.0 = Stage::Buckets(group);
                }
                Stage::Strikes(mut strikes) => {
                    if self.strike_next(&mut strikes) {
                        sweep.0 = Stage::Strikes(strikes);
                    }
                }
            }
            if is_time_up() {
                return Ok(SweepProgress::Cut(sweep.take_report()));
            }
        }
    }

    fn claim_group(&self, now: Timestamp) -> Result<Option<GroupSweep>, StoreError> {
        self.update_ledger(|ledger| match ledger.claim(now) {
            Some(claim) => Change::Write(Some(GroupSweep::of(claim, ledger.clone(), now))),
            None => Change::Nothing(None),
        })
    }

    fn sweep_next_bucket(&self, group: &mut GroupSweep, now: Timestamp) {
        let index = group.next;
        match self.sweep_bucket(index, &group.claim, &group.ledger, now) {
            Ok(bucket) => {
                group.next = bucket.end;
                for ended in &bucket.swept.ended {
                    group.strikes.add(&ended.session);
                }
                bucket.enter(&mut group.tally, &mut group.report);
            }
            Err(_) => {
                group.next = self.end_of_unread(index);
                group.tally.complete = false;
            }
        }
    }

    /// Enters the results into the ledger, once all buckets of the group are swept.
    fn count_group(
        &self,
        sweep: &mut Sweep,
        group: GroupSweep,
        now: Timestamp,
    ) -> Result<SweepProgress, StoreError> {
        let GroupSweep {
            claim,
            mut tally,
            mut report,
            strikes,
            ..
        } = group;
        let books = self.sweep_books(books_of(claim.group), now);
        tally.bytes = tally.bytes.saturating_add(books.unwrap_or(0));
        report.repaired = self.update_ledger(|ledger| Change::Write(ledger.finish(&claim, &tally, now)))?;
        sweep.0 = Stage::Strikes(strikes);
        Ok(SweepProgress::Counted(report))
    }

    fn sweep_bucket(
        &self,
        index: u16,
        claim: &Claim,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<SweptBucket, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut found = self.read_bucket(index)?;
            let (key, end, version) = (found.key(), found.end(), found.version);
            let bucket = &mut found.bucket;
            let swept = bucket.sweep(
                now,
                ledger.max_pending_deletes(bucket.depth()),
                |endpoint| ledger.lifespans(endpoint),
                |endpoint| ledger.is_named(endpoint, now),
            );
            if let Some(mark) = claim.mark() {
                bucket.leave_mark(mark);
            }
            let mark = bucket.mark();
            if !swept.changed && claim.mark().is_none() {
                let len = found.len;
                return Ok(SweptBucket {
                    swept,
                    mark,
                    len,
                    end,
                });
            }
            let value = found.bucket.into_value();
            let len = value.len();
            if self.replace(key, &value, version)? {
                return Ok(SweptBucket {
                    swept,
                    mark,
                    len,
                    end,
                });
            }
        }
        Err(StoreError::Contended)
    }
}

/// A bucket after its sweep.
struct SweptBucket {
    swept: Swept,
    mark: Timestamp,
    len: usize,
    /// The slot of the next bucket.
    end: u16,
}

impl SweptBucket {
    fn enter(self, tally: &mut GroupTally, report: &mut SweepReport) {
        tally.next_due = tally.next_due.min(self.swept.next_due);
        tally.bytes = tally.bytes.saturating_add(value_bytes(self.len));
        for endpoint in self.swept.alive {
            add(&mut tally.alive, endpoint);
        }
        for session in self.swept.ended {
            tally.ended.push((session.session.endpoint, self.mark));
            report.ended.push(session);
        }
        report.ready.extend(self.swept.ready);
        report.given_up += self.swept.given_up;
    }
}

fn add(counts: &mut Vec<(EndpointTag, u32)>, endpoint: EndpointTag) {
    match counts.iter_mut().find(|(tag, _)| *tag == endpoint) {
        Some((_, count)) => *count += 1,
        None => counts.push((endpoint, 1)),
    }
}

/// The values with books that are swept together with a group of buckets.
fn books_of(group: u8) -> core::ops::Range<u16> {
    const BOOKS: u16 = PRINCIPALS / GROUPS as u16;
    let first = u16::from(group) * BOOKS;
    first..first + BOOKS
}

/// Bytes of a key and value.
pub(super) fn value_bytes(value_len: usize) -> u32 {
    u32::try_from(INDEXED_NAME_LEN + value_len).unwrap_or(u32::MAX)
}
