use core::fmt;
use core::time::Duration;

use super::{Terms, WhenLost};
use crate::session::{FleetSettings, FleetTag};

/// The fleet that this gateway belongs to, and its etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The Envoy cluster of etcd's client port.
    pub cluster: String,
    /// The `:authority` of the requests.
    pub authority: String,
    /// The fleet's name, with which its keys begin: 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`.
    pub name: String,
    /// What the protocol needs.
    pub terms: Terms,
    /// Further headers, names in lower case. They may hold credentials and must not be logged.
    pub headers: Vec<(String, String)>,
}

impl Settings {
    /// What all workers must know of it.
    pub fn in_table(&self) -> FleetSettings {
        FleetSettings {
            tag: FleetTag::of(&[self.cluster.as_bytes(), self.name.as_bytes()]),
            cap: self.terms.cap,
        }
    }
}

/// The defaults of what need not be written.
impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            authority: String::new(),
            name: String::new(),
            terms: Terms {
                cap: 0,
                lease: Duration::from_secs(10),
                when_lost: WhenLost::Local,
            },
            headers: Vec::new(),
        }
    }
}

/// Prints no header values: they may hold credentials.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Settings")
            .field("cluster", &self.cluster)
            .field("authority", &self.authority)
            .field("name", &self.name)
            .field("terms", &self.terms)
            .field("headers", &names)
            .finish()
    }
}
