//! The labels under which POSTs are counted by their revision.

use crate::mcp::revision::Revision;

/// What `MCP-Protocol-Version` says. All values that name no known revision share one label, so that clients cannot
/// create metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionLabel {
    /// `2024-11-05`
    V2024_11_05,
    /// `2025-03-26`
    V2025_03_26,
    /// `2025-06-18`
    V2025_06_18,
    /// `2025-11-25`
    V2025_11_25,
    /// `2026-07-28`
    V2026_07_28,
    /// The header is absent.
    None,
    /// Any other value, or several.
    Other,
}

impl RevisionLabel {
    /// Every label, each at its [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
        Self::None,
        Self::Other,
    ];

    /// The label of a request. `is_stated` means that the header is there, with any value.
    pub fn of(is_stated: bool, revision: Option<Revision>) -> Self {
        match revision {
            _ if !is_stated => Self::None,
            Some(Revision::V2024_11_05) => Self::V2024_11_05,
            Some(Revision::V2025_03_26) => Self::V2025_03_26,
            Some(Revision::V2025_06_18) => Self::V2025_06_18,
            Some(Revision::V2025_11_25) => Self::V2025_11_25,
            Some(Revision::V2026_07_28) => Self::V2026_07_28,
            Some(_) | None => Self::Other,
        }
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
            Self::None => "none",
            Self::Other => "other",
        }
    }

    /// Position in [`Self::ALL`], for arrays with one entry per label.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_stands_at_its_index() {
        for (position, label) in RevisionLabel::ALL.iter().enumerate() {
            assert_eq!(label.index(), position);
        }
    }

    #[test]
    fn a_revision_has_its_own_label_and_all_else_shares_one() {
        let label = |text: &str| RevisionLabel::of(true, Revision::parse(text.as_bytes())).as_str();
        for label_of_revision in &RevisionLabel::ALL[..5] {
            assert_eq!(label(label_of_revision.as_str()), label_of_revision.as_str());
        }
        for text in ["", "2026-07-29", "1999-01-01", "draft"] {
            assert_eq!(label(text), "other");
        }
        assert_eq!(RevisionLabel::of(false, None).as_str(), "none");
    }
}
