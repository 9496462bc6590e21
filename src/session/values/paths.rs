//! The paths of endpoints, for the status view: a listener with nothing but the view shows endpoints of other
//! configurations. The ledger has none of this, since every admission copies the ledger.
//!
//! ```text
//! paths = version:u8 count:u8 path*
//! path  = tag:4 loaded:5 transport:u8 len:u16 byte{len}
//! ```
//! A transport of 1 is HTTP+SSE.

use super::codec::{Reader, put, put_long, timestamp_bytes};
use crate::session::settings::EndpointTag;
use crate::session::store::{LAYOUT, StoreError};
use crate::session::time::Timestamp;

/// Most endpoints whose paths are kept, as many as the ledger has rows. If there are more, those of the oldest
/// configurations go.
const MOST: usize = 255;

/// Longest path that is kept, in bytes. A longer one is cut.
const LONGEST: usize = 1024;

/// Where an endpoint is, by its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPath {
    /// The endpoint.
    pub tag: EndpointTag,
    /// Whether it speaks HTTP+SSE, and not streamable HTTP.
    pub is_http_sse: bool,
    /// Its path, as the configuration writes it.
    pub path: String,
}

/// The paths of all endpoints, each with the load number of the configuration that wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Paths(Vec<(Timestamp, EndpointPath)>);

impl Paths {
    /// Decodes the value. Absent, empty or inconsistent bytes hold no paths.
    pub(in crate::session) fn from_value(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.first() {
            Some(&LAYOUT) => Ok(Self::read(bytes).unwrap_or_default()),
            None => Ok(Self::default()),
            Some(_) => Err(StoreError::Foreign),
        }
    }

    /// Encodes the paths.
    pub(in crate::session) fn to_value(&self) -> Vec<u8> {
        let count = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        let mut out = vec![LAYOUT, count];
        for (loaded, path) in self.0.iter().take(usize::from(count)) {
            put(&mut out, &path.tag.to_bytes());
            put(&mut out, &timestamp_bytes(*loaded));
            out.push(u8::from(path.is_http_sse));
            put_long(&mut out, path.path.as_bytes());
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let paths = (0..reader.u8()?).map(|_| {
            let tag = EndpointTag::from_bytes(reader.array()?);
            let loaded = reader.timestamp()?;
            let is_http_sse = reader.u8()? != 0;
            let len = reader.u16()?;
            let path = core::str::from_utf8(reader.bytes(usize::from(len))?)
                .ok()?
                .to_owned();
            let path = EndpointPath {
                tag,
                is_http_sse,
                path,
            };
            Some((loaded, path))
        });
        paths.collect::<Option<_>>().map(Self)
    }

    /// Enters the path that a configuration writes. A path that is there is replaced only by a configuration that
    /// serves and is no older. Returns true if anything has changed.
    pub(in crate::session) fn enter(&mut self, path: &EndpointPath, loaded: Timestamp, serves: bool) -> bool {
        let mut path = path.clone();
        path.path.truncate(LONGEST);
        if let Some(there) = self.0.iter_mut().find(|(_, there)| there.tag == path.tag) {
            let decides = serves && there.0 <= loaded && *there != (loaded, path.clone());
            if decides {
                *there = (loaded, path);
            }
            return decides;
        }
        self.0.push((loaded, path));
        if self.0.len() > MOST {
            let oldest = (0..).zip(&self.0).min_by_key(|(_, (loaded, _))| *loaded);
            if let Some((index, _)) = oldest {
                self.0.swap_remove(index);
            }
        }
        true
    }

    /// The path of an endpoint, if it is known.
    pub(in crate::session) fn of(&self, tag: EndpointTag) -> Option<&EndpointPath> {
        self.0
            .iter()
            .find(|(_, path)| path.tag == tag)
            .map(|(_, path)| path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn path(name: &str, path: &str) -> EndpointPath {
        EndpointPath {
            tag: EndpointTag::of(name),
            is_http_sse: name == "sse",
            path: path.to_owned(),
        }
    }

    #[test]
    fn paths_survive_the_round_trip() {
        let mut paths = Paths::default();
        assert_eq!(Paths::from_value(b""), Ok(Paths::default()));
        for (name, written) in [("mcp", "/mcp"), ("sse", "/sse"), ("long", &"/x".repeat(600))] {
            assert!(paths.enter(&path(name, written), at(7), false));
        }
        assert_eq!(
            paths.of(EndpointTag::of("long")).map(|long| long.path.len()),
            Some(1024)
        );
        assert_eq!(Paths::from_value(&paths.to_value()), Ok(paths));
        for version in [0, 1, 255] {
            assert_eq!(Paths::from_value(&[version]), Err(StoreError::Foreign));
        }
    }

    #[test]
    fn the_newest_configuration_that_serves_decides() {
        let mut paths = Paths::default();
        let shown = |paths: &Paths| paths.of(EndpointTag::of("a")).map(|path| path.path.clone());
        for (written, loaded, serves, expected) in [
            ("/first", 5, false, "/first"),
            ("/refused", 7, false, "/first"),
            ("/new", 8, true, "/new"),
            ("/draining", 6, true, "/new"),
        ] {
            paths.enter(&path("a", written), at(loaded), serves);
            assert_eq!(shown(&paths).as_deref(), Some(expected));
        }
        assert!(!paths.enter(&path("a", "/new"), at(8), true));
    }

    #[test]
    fn a_path_more_than_there_is_room_for_replaces_the_oldest() {
        let mut paths = Paths::default();
        for number in 0..=MOST {
            paths.enter(&path(&number.to_string(), "/"), at(number as u64), false);
        }
        assert_eq!(paths.of(EndpointTag::of("0")), None);
        assert!(paths.of(EndpointTag::of("1")).is_some());
        assert_eq!(Paths::from_value(&paths.to_value()), Ok(paths));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(
            rest in proptest::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..300),
        ) {
            let paths = Paths::from_value(&[vec![LAYOUT], rest].concat()).unwrap();
            prop_assert_eq!(Paths::from_value(&paths.to_value()), Ok(paths));
        }
    }
}
