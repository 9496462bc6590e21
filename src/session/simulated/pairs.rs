//! Every pair of operations: one interrupts the other at each of its calls. `interleaved` finds such cases by chance;
//! this finds all that need one interruption.

use std::sync::{Arc, Mutex};

use super::*;

/// An operation of a worker. All of them act on the same three sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Reserve,
    Release,
    /// Opens a new session with its reservation.
    Open,
    /// The same, after the reservation was given back.
    OpenLate,
    Adopt,
    /// Opens a session whose id is alive already.
    Remint,
    /// Has a stream of HTTP+SSE name the id of a session that is alive.
    Announce,
    End,
    /// Ends a session that the server has lost.
    Lose,
    Renew,
    Rest,
    /// Uses a session that has outlived its time.
    UseOverdue,
    /// Sweeps the group that is due, with the overdue session in it.
    Sweep,
    /// The same, as a recount that keeps writers out.
    Recount,
}

impl Op {
    pub(super) const ALL: [Self; 14] = [
        Self::Reserve,
        Self::Release,
        Self::Open,
        Self::OpenLate,
        Self::Adopt,
        Self::Remint,
        Self::Announce,
        Self::End,
        Self::Lose,
        Self::Renew,
        Self::Rest,
        Self::UseOverdue,
        Self::Sweep,
        Self::Recount,
    ];
}

/// One session alive, one overdue, one not opened yet; a reservation of each of two workers, and room for one more.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) workers: [Worker; 2],
    reservations: [Reservation; 2],
}

pub(super) fn alive() -> &'static Id {
    &ids(0)[0]
}

fn overdue() -> &'static Id {
    // An id in the same bucket as the others, so that all operations meet there.
    ids(1)
        .iter()
        .find(|id| id.key.bucket() == alive().key.bucket())
        .unwrap()
}

pub(super) fn new() -> &'static Id {
    ids(0)[1..]
        .iter()
        .find(|id| id.key.bucket() == alive().key.bucket())
        .unwrap()
}

impl Stage {
    pub(super) fn new() -> Self {
        let world = World::new(settings(5, 4, 5));
        let workers = [world.worker(1), world.worker(2)];
        world.admit(&workers[0], overdue()).unwrap();
        world.rest(&workers[0], overdue()).unwrap();
        world.advance(secs(6));
        world.admit(&workers[0], alive()).unwrap();
        let reservations = [0, 1].map(|index| world.reserve(&workers[index], new()).unwrap().unwrap());
        Self {
            world,
            workers,
            reservations,
        }
    }

    pub(super) fn fork(&self) -> Self {
        let world = self.world.fork();
        Self {
            workers: [world.worker(1), world.worker(2)],
            reservations: [0, 1].map(|index| self.reservation(index)),
            world,
        }
    }

    fn reservation(&self, index: usize) -> Reservation {
        let Reservation { endpoint, until, .. } = self.reservations[index];
        Reservation {
            endpoint,
            until,
            principal: None,
        }
    }

    /// Does `op` as worker `index`. Returns the result of an opening.
    pub(super) fn act(&self, index: usize, op: Op) -> Result<Option<Opened>, StoreError> {
        let (world, worker) = (&self.world, &self.workers[index]);
        match op {
            Op::Reserve => world.reserve(worker, new()).map(|_| None),
            Op::Release => worker.release(self.reservation(index)).map(|()| None),
            Op::Open => world
                .open(worker, new(), Origin::Minted(Some(self.reservation(index))))
                .map(Some),
            Op::OpenLate => world.open(worker, new(), Origin::Minted(None)).map(Some),
            Op::Adopt => world.open(worker, new(), Origin::Adopted(None)).map(Some),
            Op::Remint => world
                .open(worker, alive(), Origin::Minted(Some(self.reservation(index))))
                .map(Some),
            Op::Announce => world
                .open(worker, alive(), Origin::Announced(Some(self.reservation(index))))
                .map(Some),
            Op::End => world.end(worker, alive()).map(|_| None),
            Op::Lose => world
                .end_for(worker, alive(), EndReason::UpstreamGone, true)
                .map(|_| None),
            Op::Renew => world.renew(worker, alive()).map(|()| None),
            Op::Rest => world.rest(worker, alive()).map(|()| None),
            Op::UseOverdue => world.use_session(worker, overdue()).map(|_| None),
            Op::Recount => {
                world.suspect(worker)?;
                Self::sweep(world, worker)
            }
            Op::Sweep => Self::sweep(world, worker),
        }
    }

    fn sweep(world: &World, worker: &Worker) -> Result<Option<Opened>, StoreError> {
        while worker.sweep(world.now())?.is_some() {}
        Ok(None)
    }

    pub(super) fn assert_nothing_stays_reserved(&self) {
        self.world.advance(TIMEOUT);
        self.workers[1].keep_leases(&[], self.world.now()).unwrap();
        assert_eq!(self.world.counts().reserved, 0);
    }
}

#[test]
fn no_operation_is_hurt_by_another_that_comes_at_any_of_its_calls() {
    let base = Stage::new();
    for first in Op::ALL {
        for second in Op::ALL {
            let mut call = 0;
            while interrupted(&base, first, second, call) {
                call += 1;
            }
            assert!(call > 0, "{first:?} makes no calls");
        }
    }
}

/// Runs `first`, interrupted by `second` at `call`. Returns false if `first` made fewer calls.
fn interrupted(base: &Stage, first: Op, second: Op, call: u64) -> bool {
    let stage = Arc::new(base.fork());
    let came_to = Arc::new(Mutex::new(None));
    let (other, result) = (stage.clone(), came_to.clone());
    stage.workers[0]
        .store
        .interrupt_at(call, move || *result.lock().unwrap() = Some(other.act(1, second)));
    let opened = stage.act(0, first).unwrap();
    if stage.workers[0].store.interrupt_is_pending() {
        return false;
    }
    let context = format!("{first:?} interrupted by {second:?} at call {call}");
    came_to
        .lock()
        .unwrap()
        .as_ref()
        .unwrap()
        .as_ref()
        .expect(&context);
    println!("{context}");
    stage.world.assert_counts_are_true();
    // The first operation ends last, so its result about a session that it opened still holds. The exception: the
    // other operation came when the session was in the bucket already, and only the reservation was left to give
    // back.
    let seen = if first == Op::Remint {
        // The session is alive and freshly stamped, so nothing is written.
        call > 0
    } else {
        first == Op::Announce && call > 1
    };
    let was_in = seen && matches!(second, Op::End | Op::Lose);
    if matches!(
        opened,
        Some(Opened::Created | Opened::Alive { .. } | Opened::Renewed)
    ) && !was_in
    {
        let of_alive = matches!(first, Op::Remint | Op::Announce);
        let id = if of_alive { alive() } else { new() };
        let standing = stage.world.use_session(&stage.workers[1], id).unwrap();
        assert!(
            matches!(standing, Standing::Alive(_)),
            "{context}: {opened:?}, yet {standing:?}"
        );
    }
    stage.assert_nothing_stays_reserved();
    true
}
