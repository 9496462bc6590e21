//! Revisions of the protocol, named by date, as `MCP-Protocol-Version` and message bodies state them.

/// The two ways of speaking MCP that share one URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: an `initialize` handshake, and sessions.
    Legacy,
    /// From 2026-07-28 on: no handshake and no sessions; every request carries its own metadata.
    Modern,
}

/// A well-formed revision date, `YYYY-MM-DD`, known or not. Revisions order as their dates do.
///
/// Only a well-formed date has an era. Any other value is for the server to refuse: if the filter took it for modern,
/// a client could avoid the session rules with an invented header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision([u8; 10]);

impl Revision {
    /// HTTP+SSE. The version header did not exist yet.
    pub const V2024_11_05: Self = Self(*b"2024-11-05");
    /// Streamable HTTP with sessions and batches. An absent version header means this revision (MCP 2025-06-18,
    /// `basic/transports` § Protocol Version Header).
    pub const V2025_03_26: Self = Self(*b"2025-03-26");
    /// Removes batches, and introduces the version header.
    pub const V2025_06_18: Self = Self(*b"2025-06-18");
    /// The last revision with sessions.
    pub const V2025_11_25: Self = Self(*b"2025-11-25");
    /// The first revision without sessions.
    pub const V2026_07_28: Self = Self(*b"2026-07-28");

    /// The revisions with sessions, the newest first.
    pub const WITH_SESSIONS: [Self; 4] = [
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];

    /// Reads `YYYY-MM-DD` with month 01 to 12 and day 01 to 31; `None` for anything else. Does not check the length
    /// of months: a date such as 02-31 still sorts between its neighbours, and only the order matters.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let date: [u8; 10] = bytes.try_into().ok()?;
        let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else {
            return None;
        };
        let year_is_digits = [y1, y2, y3, y4].iter().all(u8::is_ascii_digit);
        let in_calendar = matches!([m1, m2], [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2'])
            && matches!(
                [d1, d2],
                [b'0', b'1'..=b'9'] | [b'1' | b'2', b'0'..=b'9'] | [b'3', b'0' | b'1']
            );
        (year_is_digits && in_calendar).then_some(Self(date))
    }

    /// Which rules a request of this revision follows.
    pub fn era(self) -> Era {
        if self >= Self::V2026_07_28 {
            Era::Modern
        } else {
            Era::Legacy
        }
    }

    /// Whether the revision defines JSON-RPC batches. Only 2025-03-26 does (`basic` § Batching): the one before it
    /// says nothing about them, and 2025-06-18 removed them.
    ///
    /// For a request without the header, ask [`Self::V2025_03_26`]. If the header is no date, the server judges the
    /// request.
    pub fn allows_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// The date as written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The date as text. Never empty, because it holds only digits and hyphens.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RELEASED: [Revision; 5] = [
        Revision::V2024_11_05,
        Revision::V2025_03_26,
        Revision::V2025_06_18,
        Revision::V2025_11_25,
        Revision::V2026_07_28,
    ];

    #[test]
    fn released_revisions_read_back_as_themselves() {
        for revision in RELEASED {
            assert_eq!(Revision::parse(revision.as_bytes()), Some(revision));
            assert_eq!(revision.as_str().as_bytes(), revision.as_bytes());
        }
    }

    #[test]
    fn revisions_order_by_date() {
        assert!(RELEASED.is_sorted());
        assert!(Revision::parse(b"2026-07-27") < Some(Revision::V2026_07_28));
    }

    #[test]
    fn the_modern_era_begins_on_2026_07_28() {
        assert_eq!(
            Revision::parse(b"2026-07-27").map(Revision::era),
            Some(Era::Legacy)
        );
        assert_eq!(
            Revision::parse(b"2026-07-28").map(Revision::era),
            Some(Era::Modern)
        );
        assert_eq!(
            Revision::parse(b"2026-07-29").map(Revision::era),
            Some(Era::Modern)
        );
        assert_eq!(
            Revision::parse(b"9999-12-31").map(Revision::era),
            Some(Era::Modern)
        );
        assert_eq!(
            Revision::parse(b"1999-01-01").map(Revision::era),
            Some(Era::Legacy)
        );
    }

    #[test]
    fn the_revisions_with_sessions_are_those_of_the_legacy_era() {
        let legacy: Vec<_> = RELEASED
            .into_iter()
            .rev()
            .filter(|revision| revision.era() == Era::Legacy)
            .collect();
        assert_eq!(Revision::WITH_SESSIONS.as_slice(), legacy);
    }

    #[test]
    fn only_2025_03_26_has_batches() {
        let with_batches: Vec<_> = RELEASED.into_iter().filter(|r| r.allows_batches()).collect();
        assert_eq!(with_batches, [Revision::V2025_03_26]);
    }

    #[test]
    fn what_is_no_date_has_no_revision() {
        let malformed = [
            "",
            "2026",
            "draft",
            "2026-7-28",
            "2026-07-281",
            " 2026-07-28",
            "2026-07-28 ",
            "2026/07/28",
            "2026-00-28",
            "2026-13-28",
            "2026-20-28",
            "2026-07-00",
            "2026-07-32",
            "2026-07-40",
            "202x-07-28",
            "2026-0x-28",
            "2026-07-2x",
            "+026-07-28",
            "2026-07-28\0",
            "DRAFT-2026",
        ];
        for text in malformed {
            assert_eq!(Revision::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn every_month_and_day_of_the_calendar_is_read() {
        for (month, day) in (1..=12).flat_map(|month| (1..=31).map(move |day| (month, day))) {
            let date = format!("2025-{month:02}-{day:02}");
            assert!(Revision::parse(date.as_bytes()).is_some(), "{date}");
        }
    }

    proptest! {
        #[test]
        fn any_ten_bytes_are_read_or_refused(bytes in prop::array::uniform10(any::<u8>())) {
            if let Some(revision) = Revision::parse(&bytes) {
                prop_assert_eq!(revision.as_bytes(), bytes.as_slice());
            }
        }
    }
}
