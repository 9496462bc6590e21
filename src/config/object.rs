//! An object of the configuration, read field by field.

use core::cell::RefCell;

use super::located::{Located, one_of};
use super::nearest::nearest;

/// The fields of one object. Every name that a reader asks for is a known field; [`Object::finish`] notes all others
/// as unknown.
pub(super) struct Object<'a, 'p> {
    at: &'p Located<'a>,
    entries: Vec<(&'a str, Located<'a>)>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a, 'p> Object<'a, 'p> {
    /// Notes a mistake if the value here is no object.
    pub(super) fn of(at: &'p Located<'a>) -> Option<Self> {
        let entries = at.entries()?;
        Some(Self {
            at,
            entries,
            known: RefCell::default(),
        })
    }

    /// How many fields were written, known or not.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes a mistake for each of these fields that was not written.
    pub(super) fn require(&self, names: &[&'static str]) {
        for name in names.iter().filter(|name| self.get(name).is_none()) {
            self.at.refuse_missing(name);
        }
    }

    /// The field, if it was written.
    pub(super) fn get(&self, name: &'static str) -> Option<&Located<'a>> {
        if !self.known.borrow().contains(&name) {
            self.known.borrow_mut().push(name);
        }
        self.entries
            .iter()
            .find(|(written, _)| *written == name)
            .map(|(_, at)| at)
    }

    /// Reads the field over its default. Returns its location, if the field was written and is right.
    pub(super) fn set<T>(
        &self,
        name: &'static str,
        slot: &mut T,
        read: impl FnOnce(&Located<'a>) -> Option<T>,
    ) -> Option<&Located<'a>> {
        let at = self.get(name)?;
        *slot = read(at)?;
        Some(at)
    }

    /// Notes a mistake for every field that no reader has asked for.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for (name, at) in self.entries.iter().filter(|(name, _)| !known.contains(name)) {
            at.refuse(unknown(name, &known));
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(meant) => format!("unknown field, did you mean \"{meant}\"?"),
        None => format!("unknown field, must be {}", one_of(known.iter().copied())),
    }
}
