//! The ids of a hostile world, and their spellings.

use mcp_session_filter::session::SessionKey;

use super::Choices;

/// Ids without an envelope; few, so that requests meet the same id again and again.
const PLAIN: usize = 9;
/// An id of 8,000 bytes.
const LONG: usize = PLAIN;
/// Ids that also come in the envelope of Envoy's `stateful_session`. The part before `;UV:` is the host, which may
/// change.
const ENVELOPED: std::ops::Range<usize> = LONG + 1..LONG + 3;

/// Hosts that an envelope may name, in base64.
const HOSTS: [&str; 2] = ["MTAuMC4wLjE6ODA=", "MTAuMC4wLjI6ODA="];

/// An id, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(usize);

/// What the ids of one endpoint look like.
#[derive(Debug)]
pub(super) struct Ids(Vec<Vec<Vec<u8>>>);

impl Default for Ids {
    fn default() -> Self {
        Self(Self::all().map(spellings).collect())
    }
}

impl Ids {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Id> {
        (0..ENVELOPED.end).map(Id)
    }

    /// Any of them.
    pub(super) fn any(choices: &mut Choices) -> Id {
        Id(choices.below(ENVELOPED.end))
    }

    /// One way to write the id.
    pub(super) fn spelled(&self, id: Id, choices: &mut Choices) -> Vec<u8> {
        let ways = &self.0[id.0];
        ways[choices.below(ways.len())].clone()
    }

    /// The keys under which a table may keep the id, one for each spelling.
    pub(super) fn keys(&self, id: Id, key: impl Fn(&[u8]) -> SessionKey) -> Vec<SessionKey> {
        self.0[id.0].iter().map(|text| key(text)).collect()
    }
}

impl Id {
    /// Whether a record can keep its bytes for the DELETE.
    pub(super) fn can_be_told(self) -> bool {
        self.0 != LONG
    }
}

fn spellings(id: Id) -> Vec<Vec<u8>> {
    let Id(number) = id;
    if number == LONG {
        return vec![[b"long-".as_slice(), &[b'x'; 7_995]].concat()];
    }
    if ENVELOPED.contains(&number) {
        let (plain, encoded) = [("id-10", "aWQtMTA="), ("id-11", "aWQtMTE=")][number - ENVELOPED.start];
        let envelope = |host: &&str| format!("{host};UV:{encoded}").into_bytes();
        let all = HOSTS.iter().map(envelope);
        return all.chain([plain.into()]).collect();
    }
    vec![format!("session-{number}").into_bytes()]
}
