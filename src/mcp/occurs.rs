//! How often something occurs in a message.

/// A header field or a parameter that may be there once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occurs<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there once, with this value.
    One(T),
    /// It is there more than once: servers may believe the first, the last, or all of them joined.
    Several,
}

impl<T> Occurs<T> {
    /// What there is with one more value.
    #[must_use]
    pub fn and(self, value: T) -> Self {
        match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    /// Whether there is none.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::One(_) | Self::Several => false,
        }
    }

    /// The value, where there is exactly one.
    pub fn one(self) -> Option<T> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Several => None,
        }
    }

    /// The same of something made of the value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Occurs<U> {
        match self {
            Self::Absent => Occurs::Absent,
            Self::One(value) => Occurs::One(make(value)),
            Self::Several => Occurs::Several,
        }
    }
}
