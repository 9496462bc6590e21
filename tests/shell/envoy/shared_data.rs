//! Envoy's key/value store.

use std::collections::HashMap;

use proxy_wasm::types::Status;

/// Values with a number each, drawn from one counter over all keys.
#[derive(Default)]
pub(crate) struct SharedData {
    values: HashMap<String, (Vec<u8>, u32)>,
    last_cas: u32,
}

impl SharedData {
    pub(crate) fn get(&self, key: &str) -> Result<(&[u8], u32), Status> {
        let (value, cas) = self.values.get(key).ok_or(Status::NotFound)?;
        Ok((value, *cas))
    }

    /// Looks at `cas` only where the key is there, and only where it is not 0.
    pub(crate) fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
        match self.values.get_mut(key) {
            Some((_, current)) if cas != 0 && cas != *current => return Err(Status::CasMismatch),
            Some((stored, current)) => {
                self.last_cas = next(self.last_cas);
                *current = self.last_cas;
                stored.clear();
                stored.extend_from_slice(value);
            }
            None => {
                self.last_cas = next(self.last_cas);
                self.values
                    .insert(key.to_owned(), (value.to_vec(), self.last_cas));
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

/// The counter wraps, and no value has the number 0.
fn next(cas: u32) -> u32 {
    cas.checked_add(1).unwrap_or(1)
}

#[test]
fn an_absent_key_is_written_whatever_number_is_expected() {
    let mut store = SharedData::default();
    assert_eq!(store.get("a"), Err(Status::NotFound));
    assert_eq!(store.set("a", b"1", u32::MAX), Ok(()));
    assert_eq!(store.get("a"), Ok((&b"1"[..], 1)));
}

#[test]
fn a_present_key_is_written_with_its_number_or_none() {
    let mut store = SharedData::default();
    store.set("a", b"1", 0).unwrap();
    store.set("b", b"1", 0).unwrap();
    assert_eq!(store.set("a", b"2", u32::MAX), Err(Status::CasMismatch));
    assert_eq!(store.set("a", b"2", 1), Ok(()));
    assert_eq!(store.get("a"), Ok((&b"2"[..], 3)));
    assert_eq!(store.set("a", b"3", 1), Err(Status::CasMismatch));
    assert_eq!(store.set("a", b"", 0), Ok(()));
    assert_eq!(store.get("a"), Ok((&b""[..], 4)));
}
