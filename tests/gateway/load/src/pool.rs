//! Workers that many sessions share.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::figures::Recorder;
use crate::requests::Target;
use crate::worker::Worker;

/// A bounded number of workers. If all are busy, a caller waits, and its latency includes the wait.
pub struct Pool {
    idle: RefCell<Vec<Worker>>,
    permits: Semaphore,
    target: Rc<Target>,
    recorder: Rc<Recorder>,
}

/// A worker on loan. Goes back with this value.
pub struct Loan<'a> {
    pool: &'a Pool,
    worker: Option<Worker>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Pool {
    /// A pool of at most `size` workers, made as they are needed.
    pub fn new(size: usize, target: &Rc<Target>, recorder: &Rc<Recorder>) -> Self {
        Self {
            idle: RefCell::default(),
            permits: Semaphore::new(size),
            target: Rc::clone(target),
            recorder: Rc::clone(recorder),
        }
    }

    /// A worker, once one is free.
    pub async fn worker(&self) -> Loan<'_> {
        // The semaphore is never closed.
        let permit = self.permits.acquire().await.ok();
        let idle = self.idle.borrow_mut().pop();
        Loan {
            pool: self,
            worker: Some(idle.unwrap_or_else(|| Worker::new(&self.target, &self.recorder))),
            _permit: permit,
        }
    }
}

impl Deref for Loan<'_> {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.worker.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.pool.idle.borrow_mut().extend(self.worker.take());
    }
}
