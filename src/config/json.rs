//! A tree of JSON values, as the configuration is read into.
//!
//! The tree keeps a name that was written twice, which a map would lose. It holds every number as a double, as a
//! Struct does.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::bounds::ECHOED_CHARS;

/// A JSON value. Its display is a short quotation on one line for error messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    List(Vec<Self>),
    /// The fields in the order of the text. A name that was written twice is here twice.
    Object(Vec<(String, Self)>),
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => quote_number(*value, f),
            Self::String(text) => Quoted(text).fmt(f),
            Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

/// Quotes a number to three decimals. Its digits come from integers: the standard library's way to write any double is
/// 24 KB of code.
fn quote_number(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let size = value.abs();
    if value.is_nan() || size >= 1e15 {
        return f.write_str("a huge number");
    }
    let whole = size as u64 * 1000;
    let part = (size - size as u64 as f64) * 1000.0;
    let nearest = whole + (part + 0.5) as u64;
    let is_exact = part == 0.0 || nearest as f64 / 1000.0 == size;
    let thousandths = if is_exact { nearest } else { whole + part as u64 };
    let digits = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    f.write_str(if value < 0.0 { "-" } else { "" })?;
    if is_exact {
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    } else {
        write!(f, "{digits}...")
    }
}

/// Text in quotation marks, on one line and cut to [`ECHOED_CHARS`].
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self
            .0
            .char_indices()
            .nth(ECHOED_CHARS)
            .and_then(|(end, _)| self.0.get(..end))
        {
            Some(start) => write!(f, "{start:?}..."),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// Any value that JSON has. The recursion limit of serde_json bounds the depth.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::read;
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value};

    fn object(entries: &[(&str, Json)]) -> Json {
        Json::Object(
            entries
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn bytes_of(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Vec<u8> {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Struct { fields }.encode_to_vec()
    }

    #[test]
    fn nothing_and_white_space_are_an_empty_object() {
        for bytes in [&b""[..], b" \r\n\t ", b"\n", b"{}", &bytes_of([])] {
            assert_eq!(read(bytes), Ok(object(&[])), "{bytes:?}");
        }
    }

    #[test]
    fn keeps_a_name_that_was_written_twice() {
        let twice = object(&[("a", Json::Number(1.0)), ("a", Json::Null)]);
        assert_eq!(read(br#"{"a": 1, "a": null}"#), Ok(twice));
    }

    #[test]
    fn a_struct_and_its_json_read_the_same() {
        let list = ListValue {
            values: vec![value(Kind::NullValue(0)), value(Kind::BoolValue(true))],
        };
        let inner = Struct {
            fields: [("s".to_owned(), value(Kind::StringValue("t".to_owned())))].into(),
        };
        let bytes = bytes_of([
            ("l", value(Kind::ListValue(list))),
            ("n", value(Kind::NumberValue(100.0))),
            ("o", value(Kind::StructValue(inner))),
            ("z", Value { kind: None }),
        ]);
        let text = br#"{"l": [null, true], "n": 100, "o": {"s": "t"}, "z": null}"#;
        assert_eq!(read(&bytes), read(text));
    }

    #[test]
    fn says_where_the_text_breaks() {
        assert_eq!(
            read(b"{\n  \"a\": 1,\n}").unwrap_err(),
            "must be JSON or a Struct: trailing comma at line 3 column 1"
        );
    }

    #[test]
    fn text_is_never_taken_for_a_struct_with_other_fields() {
        // Read as protobuf, these bytes are a 32-bit field 13 and nothing more.
        for bytes in [&b"maxim"[..], b"\xFF\xFE", b"\n\x7Fa", b"max: 1", b"\n{\"a\":}"] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn refuses_a_tree_too_deep_to_walk() {
        let text = "[".repeat(100_000);
        assert!(read(text.as_bytes()).unwrap_err().contains("recursion limit"));
        let mut deep = value(Kind::NullValue(0));
        for _ in 0..200 {
            deep = value(Kind::ListValue(ListValue { values: vec![deep] }));
        }
        assert!(read(&bytes_of([("a", deep)])).is_err());
    }

    #[test]
    fn quotations_are_short_and_on_one_line() {
        let quote = |text: &str| read(text.as_bytes()).unwrap().to_string();
        assert_eq!(quote("\"a\\nb\""), r#""a\nb""#);
        assert_eq!(
            quote(&format!("\"{}\"", "é".repeat(1000))),
            format!("\"{}\"...", "é".repeat(64))
        );
        assert_eq!(
            (quote("[1]"), quote("{}"), quote("null")),
            ("a list".into(), "an object".into(), "null".into())
        );
    }

    #[test]
    fn quotes_numbers_to_three_decimals() {
        let cases = [
            ("0", "0"),
            ("-0.0", "0"),
            ("100.0", "100"),
            ("-17", "-17"),
            ("1.5", "1.5"),
            ("-1.1", "-1.1"),
            ("0.125", "0.125"),
            ("0.0001", "0.000..."),
            ("2.9999", "2.999..."),
            ("999999999999999", "999999999999999"),
            ("1e15", "a huge number"),
            ("-1e300", "a huge number"),
        ];
        for (text, quotation) in cases {
            assert_eq!(read(text.as_bytes()).unwrap().to_string(), quotation);
        }
        assert_eq!(Json::Number(f64::NAN).to_string(), "a huge number");
    }

    /// The digits as the standard library writes them, cut after the third decimal.
    fn cut(number: f64) -> String {
        let digits = number.to_string();
        match digits.find('.').and_then(|point| digits.get(..point + 4)) {
            Some(start) if start.len() < digits.len() => format!("{start}..."),
            _ => digits,
        }
    }

    #[test]
    fn quotes_every_thousandth_of_small_numbers_whole() {
        for thousandths in 0..=20_000 {
            let number = f64::from(thousandths) / 1000.0;
            assert_eq!(Json::Number(number).to_string(), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn quotes_the_digits_that_the_standard_library_writes(
            digits in -1e12..1e12,
            magnitude in 0..20,
            decimals in 0..5_usize,
        ) {
            let number = digits / 10_f64.powi(magnitude);
            let rounded = format!("{number:.decimals$}").parse::<f64>().unwrap() + 0.0;
            prop_assert_eq!(Json::Number(number).to_string(), cut(number));
            prop_assert_eq!(Json::Number(rounded).to_string(), cut(rounded));
        }
    }
}
