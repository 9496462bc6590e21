//! Streams of HTTP+SSE whose `endpoint` event has not come yet.
//!
//! Such a stream has a reservation. If the event does not come within `initialize_timeout`, or names no session, the
//! stream itself becomes the session: it is then counted until it closes.

use core::cell::RefCell;
use std::rc::Rc;

use crate::session::{
    EndpointTag, Lifespans, NewSession, Opened, Origin, Owner, Reservation, SessionKey, Store, StoreError,
    Table, Timestamp,
};

/// A stream, and the reservation for its session.
#[derive(Debug)]
pub struct UnnamedStream {
    /// The endpoint.
    pub endpoint: EndpointTag,
    /// How long its sessions live.
    pub lifespans: Lifespans,
    /// The principal that asked for the stream.
    pub owner: Owner,
    /// Whether only its owner may use the session.
    pub bound: bool,
    /// How many sessions its owner may have.
    pub quota: Option<u32>,
    /// The stream's context id on this root.
    pub context: u32,
    /// The stream's place under the cap.
    pub place: RefCell<Place>,
}

/// The place of an unnamed stream under the cap.
#[derive(Debug)]
pub enum Place {
    /// A reservation, if there is one: the event may still come.
    Reserved(Option<Reservation>),
    /// A session, opened at this time: the stream itself.
    Session(SessionKey, Timestamp),
}

impl UnnamedStream {
    /// Makes the stream itself the session. The caller then enters its use by [`super::in_use::InUse::enter_stream`].
    /// Returns [`Opened::Created`] if the session has a place now.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn become_session<S: Store>(&self, table: &Table<S>, now: Timestamp) -> Result<Opened, StoreError> {
        let reservation = match &mut *self.place.borrow_mut() {
            Place::Reserved(reservation) => reservation.take(),
            Place::Session(_, opened) => return Ok(Opened::Alive { opened: *opened }),
        };
        let id = table.track(self.endpoint, table.stream_id(self.context, now));
        let new = NewSession {
            endpoint: self.endpoint,
            lifespans: self.lifespans,
            owner: self.owner,
            bound: self.bound,
            quota: self.quota,
            key: id.key(),
            id: id.as_bytes(),
            digest: id.digest(),
            keep_id: false,
            delete_request: None,
        };
        let opened = table.open(&new, Origin::Announced(reservation), now)?;
        if opened == Opened::Created {
            *self.place.borrow_mut() = Place::Session(id.key(), now);
        }
        Ok(opened)
    }

    /// The session that the stream has become by itself, and when it was opened.
    pub fn session(&self) -> Option<(SessionKey, Timestamp)> {
        match &*self.place.borrow() {
            Place::Reserved(_) => None,
            Place::Session(key, opened) => Some((*key, *opened)),
        }
    }

    /// Whether the reservation runs out at `then` at the latest.
    fn runs_out_by(&self, then: Timestamp) -> bool {
        match &*self.place.borrow() {
            Place::Reserved(Some(reservation)) => reservation.until() <= then,
            Place::Reserved(None) | Place::Session(..) => false,
        }
    }
}

/// The unnamed streams of one root.
#[derive(Debug, Default)]
pub struct UnnamedStreams(Vec<Rc<UnnamedStream>>);

impl UnnamedStreams {
    /// Adds a stream. It stays until no other part holds it any more.
    pub fn add(&mut self, stream: Rc<UnnamedStream>) {
        self.0.push(stream);
    }

    /// The streams whose reservation runs out at `then` or before. Drops streams that are over.
    pub fn due_by(&mut self, then: Timestamp) -> Vec<Rc<UnnamedStream>> {
        self.0.retain(|stream| Rc::strong_count(stream) > 1);
        let due = self.0.iter().filter(|stream| stream.runs_out_by(then));
        due.map(Rc::clone).collect()
    }
}
