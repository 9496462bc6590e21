//! Reads a `google.protobuf.Struct` into a tree of JSON values.
//!
//! The reader is written by hand: the messages of `struct.proto` have six fields, unchanged since 2014, and a library
//! for all of protobuf weighs more than this file.

use super::json::Json;

/// Deepest nesting of lists and objects that the reader accepts.
const MAX_DEPTH: usize = 127;

/// Reads a `google.protobuf.Struct`, which Envoy hands over as its bytes (`MessageUtil::anyToBytes`). As every
/// protobuf reader does, this one skips fields that `struct.proto` does not define.
///
/// The bytes must begin with the tag of the only field. Without that check, many a text would be read as an empty
/// Struct, with all its fields skipped.
pub(super) fn read_struct(bytes: &[u8]) -> Option<Json> {
    const TAG_OF_FIELDS: u8 = 0x0A;
    let tagged = bytes.first() == Some(&TAG_OF_FIELDS);
    tagged.then(|| struct_of(bytes, MAX_DEPTH)).flatten()
}

/// `Struct { map<string, Value> fields = 1; }`. A map has no order, so the entries are sorted by name. Of two entries
/// with one name the later counts.
fn struct_of(bytes: &[u8], depth: usize) -> Option<Json> {
    let mut entries: Vec<(String, Json)> = Vec::new();
    for field in Fields(bytes) {
        match field? {
            (1, Payload::Bytes(entry)) => {
                let (name, value) = entry_of(entry, depth)?;
                match entries.binary_search_by(|(known, _)| known.cmp(&name)) {
                    Ok(at) => entries.get_mut(at)?.1 = value,
                    Err(at) => entries.insert(at, (name, value)),
                }
            }
            (1, _) => return None,
            _ => {}
        }
    }
    Some(Json::Object(entries))
}

/// `{ string key = 1; Value value = 2; }`
fn entry_of(bytes: &[u8], depth: usize) -> Option<(String, Json)> {
    let (mut name, mut value) = (String::new(), Json::Null);
    for field in Fields(bytes) {
        match field? {
            (1, Payload::Bytes(text)) => name = string_of(text)?,
            (2, Payload::Bytes(bytes)) => value = value_of(bytes, depth)?,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Some((name, value))
}

/// `Value { oneof kind { NullValue null = 1; double number = 2; string string = 3; bool bool = 4; Struct struct = 5;
/// ListValue list = 6; } }`. A value with no kind is null; of several kinds the last counts.
fn value_of(bytes: &[u8], depth: usize) -> Option<Json> {
    let mut value = Json::Null;
    for field in Fields(bytes) {
        value = match field? {
            (1, Payload::Varint(_)) => Json::Null,
            (2, Payload::Fixed64(bytes)) => Json::Number(f64::from_le_bytes(bytes)),
            (3, Payload::Bytes(text)) => Json::String(string_of(text)?),
            (4, Payload::Varint(bit)) => Json::Bool(bit != 0),
            (5, Payload::Bytes(bytes)) => struct_of(bytes, depth.checked_sub(1)?)?,
            (6, Payload::Bytes(bytes)) => list_of(bytes, depth.checked_sub(1)?)?,
            (1..=6, _) => return None,
            _ => value,
        };
    }
    Some(value)
}

/// `ListValue { repeated Value values = 1; }`
fn list_of(bytes: &[u8], depth: usize) -> Option<Json> {
    let mut values = Vec::new();
    for field in Fields(bytes) {
        match field? {
            (1, Payload::Bytes(bytes)) => values.push(value_of(bytes, depth)?),
            (1, _) => return None,
            _ => {}
        }
    }
    Some(Json::List(values))
}

fn string_of(bytes: &[u8]) -> Option<String> {
    core::str::from_utf8(bytes).map(str::to_owned).ok()
}

/// The content of a field, by its wire type. Groups are deprecated, and `struct.proto` has none.
enum Payload<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a message, by number. `None` for bytes that are no message; the iteration must stop there.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Payload<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field())
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Payload<'a>)> {
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(self.take(8)?.try_into().ok()?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Payload::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Payload::Fixed32)?,
            _ => return None,
        };
        Some((tag >> 3, payload))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
