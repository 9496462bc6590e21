//! JSON of a shallow and known form, borrowed: each object is read when it is wanted.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The parts of a value.
enum Parts<'a> {
    Object(Object<'a>),
    List(Vec<&'a RawValue>),
    Other,
}

/// An object's members in the order of the text. Of a name that comes twice, the first counts.
pub(super) struct Object<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads a text that is one object.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        match serde_json::from_str(text) {
            Ok(Parts::Object(object)) => Some(object),
            Ok(Parts::List(_) | Parts::Other) | Err(_) => None,
        }
    }

    /// A member's value.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .find(|(written, _)| *written == name)
            .map(|(_, value)| *value)
    }
}

/// The items of an array.
pub(super) fn items(value: &RawValue) -> Option<Vec<&RawValue>> {
    match serde_json::from_str(value.get()) {
        Ok(Parts::List(items)) => Some(items),
        Ok(Parts::Object(_) | Parts::Other) | Err(_) => None,
    }
}

/// A string without escapes: etcd writes none in names, in Base64, nor in what it says of leases.
pub(super) fn text(value: &RawValue) -> Option<&str> {
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// A number of 64 bits, as a string or plain.
pub(super) fn number(value: &RawValue) -> Option<i64> {
    let digits = text(value).unwrap_or_else(|| value.get());
    digits.parse().ok()
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Reader)
    }
}

/// Reads a value of any kind. For a kind that is not wanted serde_json has errors that quote the value, and to quote a
/// double is 40 KB of code: so no kind is an error here.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parts<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = entries.next_key::<&RawValue>()? {
            members.push((text(name).unwrap_or_default(), entries.next_value()?));
        }
        Ok(Parts::Object(Object(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parts<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = elements.next_element()? {
            items.push(item);
        }
        Ok(Parts::List(items))
    }

    fn visit_unit<E: Error>(self) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }
}
