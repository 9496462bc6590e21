//! Counts how often a value occurs in a message.

/// A header field or a parameter that should occur at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occurs<T> {
    /// It is absent.
    #[default]
    Absent,
    /// It occurs once, with this value.
    One(T),
    /// It occurs more than once. Servers may take the first value, the last, or all of them joined.
    Several,
}

impl<T> Occurs<T> {
    /// The result after one more value.
    #[must_use]
    pub fn and(self, value: T) -> Self {
        match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    /// Whether there is no value.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::One(_) | Self::Several => false,
        }
    }

    /// The same count, with the value borrowed.
    pub fn as_ref(&self) -> Occurs<&T> {
        match self {
            Self::Absent => Occurs::Absent,
            Self::One(value) => Occurs::One(value),
            Self::Several => Occurs::Several,
        }
    }

    /// The value, if there is exactly one.
    pub fn one(self) -> Option<T> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Several => None,
        }
    }

    /// The same count, with `make` applied to the value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Occurs<U> {
        match self {
            Self::Absent => Occurs::Absent,
            Self::One(value) => Occurs::One(make(value)),
            Self::Several => Occurs::Several,
        }
    }
}
