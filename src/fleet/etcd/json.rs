//! JSON of a shallow and known form, borrowed: each object is read when it is wanted.

use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in the order of the text. Of a name that comes twice, the first counts.
pub(super) struct Object<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads a text that is one object. The names of its members must be plain.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A member's value.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .find(|(written, _)| *written == name)
            .map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = entries.next_entry()? {
            members.push(member);
        }
        Ok(Object(members))
    }
}

/// The items of an array.
pub(super) fn items(value: &RawValue) -> Option<Vec<&RawValue>> {
    struct Items<'a>(Vec<&'a RawValue>);

    impl<'de> Deserialize<'de> for Items<'de> {
        fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
            json.deserialize_seq(Elements)
        }
    }

    struct Elements;

    impl<'de> Visitor<'de> for Elements {
        type Value = Items<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Items<'de>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = elements.next_element()? {
                items.push(item);
            }
            Ok(Items(items))
        }
    }

    serde_json::from_str::<Items<'_>>(value.get())
        .ok()
        .map(|items| items.0)
}

/// A string without escapes: etcd writes none in Base64, nor in what it says of leases.
pub(super) fn text(value: &RawValue) -> Option<&str> {
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// A number of 64 bits, as a string or plain.
pub(super) fn number(value: &RawValue) -> Option<i64> {
    let digits = text(value).unwrap_or_else(|| value.get());
    digits.parse().ok()
}
