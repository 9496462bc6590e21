//! Behaves as Envoy's shared data does (`src/shared_data.cc` of proxy-wasm-cpp-host).

use core::borrow::Borrow;
use core::hash::Hash;

use hashbrown::HashMap;

/// Values with a number each, drawn from one counter over all keys.
#[derive(Clone, Debug)]
pub struct SharedData<K> {
    values: HashMap<K, (Vec<u8>, u32)>,
    last_cas: u32,
}

/// The number of a write is no longer the value's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl<K> Default for SharedData<K> {
    fn default() -> Self {
        Self::counting_from(0)
    }
}

impl<K> SharedData<K> {
    /// An empty store whose next value gets the number after this one.
    pub fn counting_from(last_cas: u32) -> Self {
        Self {
            values: HashMap::new(),
            last_cas,
        }
    }

    /// How many keys there are. A key stays when its value becomes empty.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no key was ever written.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Every key with its value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &[u8])> {
        self.values
            .iter()
            .map(|(key, (value, _))| (key, value.as_slice()))
    }
}

impl<K: Eq + Hash> SharedData<K> {
    /// The value of an existing key, and its number.
    pub fn get<Q>(&self, key: &Q) -> Option<(&[u8], u32)>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (value, cas) = self.values.get(key)?;
        Some((value, *cas))
    }

    /// Writes the value. `cas` counts only if the key exists and `cas` is not 0. So `u32::MAX` writes only a missing
    /// key.
    ///
    /// # Errors
    /// [`Stale`] if the key has another number. Nothing is written then, and no number is used up.
    pub fn set<Q>(&mut self, key: &Q, value: &[u8], cas: u32) -> Result<(), Stale>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let next = next(self.last_cas);
        match self.values.get_mut(key) {
            Some((_, current)) if cas != 0 && cas != *current => return Err(Stale),
            Some((stored, current)) => {
                stored.clear();
                stored.extend_from_slice(value);
                *current = next;
            }
            None => drop(self.values.insert(key.to_owned(), (value.to_vec(), next))),
        }
        self.last_cas = next;
        Ok(())
    }

    /// Removes a key. No guest can do this; it happens when the last VM of a `vm_id` goes.
    pub fn remove(&mut self, key: &K) {
        self.values.remove(key);
    }
}

/// The counter wraps, and no value has the number 0.
fn next(cas: u32) -> u32 {
    cas.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT_IF_ABSENT: u32 = u32::MAX;

    #[test]
    fn an_absent_key_is_written_whatever_number_is_expected() {
        for cas in [0, 1, 77, PUT_IF_ABSENT] {
            let mut store = SharedData::<String>::default();
            assert_eq!(store.get("a"), None);
            assert_eq!(store.set("a", b"1", cas), Ok(()));
            assert_eq!(store.get("a"), Some((&b"1"[..], 1)));
        }
    }

    #[test]
    fn a_present_key_is_written_with_its_number_or_none() {
        let mut store = SharedData::<String>::default();
        store.set("a", b"1", 0).unwrap();
        store.set("b", b"1", 0).unwrap();
        assert_eq!(store.set("a", b"2", PUT_IF_ABSENT), Err(Stale));
        assert_eq!(store.set("a", b"2", 1), Ok(()));
        assert_eq!(store.get("a"), Some((&b"2"[..], 3)));
        assert_eq!(store.set("a", b"3", 1), Err(Stale));
        assert_eq!(store.set("a", b"4", 0), Ok(()));
        assert_eq!(store.get("a"), Some((&b"4"[..], 4)));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let mut store = SharedData::<String>::default();
        store.set("a", b"1", 0).unwrap();
        store.set("a", b"", 1).unwrap();
        assert_eq!(store.get("a"), Some((&b""[..], 2)));
        assert_eq!(store.len(), 1);
        assert_eq!(store.set("a", b"2", PUT_IF_ABSENT), Err(Stale));
    }

    #[test]
    fn numbers_wrap_and_skip_0() {
        let mut store = SharedData::<String>::counting_from(u32::MAX - 1);
        store.set("a", b"1", 0).unwrap();
        assert_eq!(store.get("a"), Some((&b"1"[..], u32::MAX)));
        // Put-if-absent overwrites only this value.
        assert_eq!(store.set("a", b"2", PUT_IF_ABSENT), Ok(()));
        assert_eq!(store.get("a"), Some((&b"2"[..], 1)));
    }

    #[test]
    fn a_key_that_is_gone_can_be_put_again() {
        let mut store = SharedData::<String>::default();
        store.set("a", b"1", 0).unwrap();
        store.remove(&"a".to_owned());
        assert!(store.is_empty());
        assert_eq!(store.set("a", b"2", PUT_IF_ABSENT), Ok(()));
        assert_eq!(store.iter().collect::<Vec<_>>(), [(&"a".to_owned(), &b"2"[..])]);
    }
}
