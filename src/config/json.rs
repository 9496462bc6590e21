//! The configuration's bytes as a tree of JSON values.
//!
//! A tree of our own: it keeps a name that was written twice, which a map would lose, and it holds every number as
//! the double that a Struct makes of it.

use core::fmt;

use hifijson::num::LexWrite as _;
use hifijson::str::LexAlloc as _;
use hifijson::token::Lex as _;
use hifijson::{Read as _, SliceLexer};

use super::bounds::ECHOED_CHARS;

/// Deepest nesting of lists and objects that is read, in either form.
const MAX_DEPTH: usize = 127;

/// A JSON value. Its display is a bounded quotation on one line for error messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    List(Vec<Self>),
    /// In the order of the text, a repeated name repeated.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads JSON text or, where that fails, a serialised Struct. No bytes at all, as of an empty Struct, and white
    /// space are an empty object. Both decoders bound the depth.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::Object(Vec::new()));
        }
        let text = read_text(bytes);
        text.or_else(|mistake| {
            read_struct(bytes).ok_or_else(|| format!("must be JSON or a Struct: {mistake}"))
        })
    }
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

/// To three decimals. The standard library's exact printing of doubles would add 20 KB to the module.
fn quote_number(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if value.is_nan() || value.abs() >= 1e15 {
        return f.write_str("a huge number");
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let (whole, thousandths) = (value.abs().trunc(), value.abs().fract() * 1_000.0);
    let exact = whole + thousandths.round() / 1_000.0 == value.abs();
    let decimals = if exact { thousandths.round() } else { thousandths };
    let number = format!("{sign}{}.{:03}", whole as u64, decimals as u64);
    if exact {
        f.write_str(number.trim_end_matches('0').trim_end_matches('.'))
    } else {
        write!(f, "{number}...")
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

/// Why bytes are no JSON, and where: the place of the byte that does not fit, or the end.
#[derive(Debug)]
struct Mistake {
    what: &'static str,
    line: usize,
    column: usize,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.what, self.line, self.column)
    }
}

/// Reads JSON text (RFC 8259): one value, and but for it only white space.
fn read_text(bytes: &[u8]) -> Result<Json, Mistake> {
    let mut lexer = SliceLexer::new(bytes);
    let value = value(&mut lexer, MAX_DEPTH).and_then(|value| match lexer.ws_peek() {
        None => Ok(value),
        Some(_) => Err("trailing characters"),
    });
    value.map_err(|what| mistake(what, bytes, lexer.as_slice().len()))
}

/// A mistake at the first of the last `left` bytes. Lines and columns count from one, columns in bytes.
fn mistake(what: &'static str, bytes: &[u8], left: usize) -> Mistake {
    let end = bytes.len().min(bytes.len().saturating_sub(left) + 1);
    let read = bytes.get(..end).unwrap_or_default();
    let column = read.iter().rev().take_while(|byte| **byte != b'\n').count();
    let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
    Mistake { what, line, column }
}

fn value(lexer: &mut SliceLexer<'_>, depth: usize) -> Result<Json, &'static str> {
    match lexer.ws_peek().ok_or("EOF while parsing a value")? {
        b'n' | b't' | b'f' => {
            let word = lexer.null_or_bool().ok_or("expected ident")?;
            Ok(word.map_or(Json::Null, Json::Bool))
        }
        b'-' | b'0'..=b'9' => {
            let (token, _) = lexer.num_string().validated().map_err(|_| "invalid number")?;
            double(token).map(Json::Number).ok_or("number out of range")
        }
        b'"' => string(lexer).map(Json::String),
        b'[' => list(lexer.discarded(), inside(depth)?),
        b'{' => object(lexer.discarded(), inside(depth)?),
        _ => Err("expected value"),
    }
}

fn inside(depth: usize) -> Result<usize, &'static str> {
    depth.checked_sub(1).ok_or("recursion limit exceeded")
}

fn string(lexer: &mut SliceLexer<'_>) -> Result<String, &'static str> {
    let text = lexer.discarded().str_string();
    text.map(|text| text.into_owned()).map_err(|error| match error {
        hifijson::str::Error::Control => "control character in a string",
        hifijson::str::Error::Escape(_) => "invalid escape",
        hifijson::str::Error::Eof => "EOF while parsing a string",
        hifijson::str::Error::Utf8(_) => "invalid unicode code point",
    })
}

/// The items up to the bracket `close`; the one that opens is read.
fn items<T>(
    lexer: &mut SliceLexer<'_>,
    close: u8,
    cut: &'static str,
    item: impl Fn(&mut SliceLexer<'_>) -> Result<T, &'static str>,
) -> Result<Vec<T>, &'static str> {
    let mut items = Vec::new();
    if lexer.ws_peek().ok_or(cut)? == close {
        lexer.take_next();
        return Ok(items);
    }
    loop {
        items.push(item(lexer)?);
        let next = lexer.ws_peek().ok_or(cut)?;
        if next != b',' && next != close {
            return Err("expected `,` or a closing bracket");
        }
        lexer.take_next();
        if next == close {
            return Ok(items);
        }
        if lexer.ws_peek() == Some(close) {
            return Err("trailing comma");
        }
    }
}

fn list(lexer: &mut SliceLexer<'_>, depth: usize) -> Result<Json, &'static str> {
    let item = |lexer: &mut SliceLexer<'_>| value(lexer, depth);
    items(lexer, b']', "EOF while parsing a list", item).map(Json::List)
}

const CUT_OBJECT: &str = "EOF while parsing an object";

fn object(lexer: &mut SliceLexer<'_>, depth: usize) -> Result<Json, &'static str> {
    let entry = |lexer: &mut SliceLexer<'_>| entry(lexer, depth);
    items(lexer, b'}', CUT_OBJECT, entry).map(Json::Object)
}

fn entry(lexer: &mut SliceLexer<'_>, depth: usize) -> Result<(String, Json), &'static str> {
    let name = match lexer.ws_peek().ok_or(CUT_OBJECT)? {
        b'"' => string(lexer)?,
        _ => return Err("key must be a string"),
    };
    match lexer.ws_peek().ok_or(CUT_OBJECT)? {
        b':' => Ok((name, value(lexer.discarded(), depth)?)),
        _ => Err("expected `:`"),
    }
}

/// The double that a number token stands for; `None` for one too large.
///
/// The nearest there is for up to 15 digits and small exponents, hence for everything that means something in a
/// configuration; near it for others. The standard library is exact for all, with 16 KB of tables and code.
fn double(token: &str) -> Option<f64> {
    let (digits, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or((1.0, whole), |whole| (-1.0, whole));
    let mut exponent = exponent_of(exponent).saturating_sub_unsigned(u32::try_from(fraction.len()).ok()?);
    let mut significand: u64 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if significand < u64::MAX / 10 {
            significand = significand * 10 + u64::from(digit - b'0');
        } else {
            exponent = exponent.saturating_add(1);
        }
    }
    let value = match (significand, exponent) {
        (0, _) => 0.0,
        (_, 0..) => significand as f64 * 10_f64.powi(exponent),
        _ => significand as f64 / 10_f64.powi(exponent.saturating_neg()),
    };
    value.is_finite().then_some(sign * value)
}

/// The exponent, or one so far out that it makes any number 0 or infinite.
fn exponent_of(digits: &str) -> i32 {
    let far = if digits.starts_with('-') {
        -1_000_000
    } else {
        1_000_000
    };
    digits.parse().unwrap_or(far)
}

/// Reads a `google.protobuf.Struct`, which Envoy hands over as its bytes (`MessageUtil::anyToBytes`). The messages of
/// `struct.proto` are few, and fields they do not know are passed over, as by every reader of protobuf.
///
/// The bytes begin with the tag of its only field: without that check, passing over unknown fields
/// would make an empty Struct out of many a text.
fn read_struct(bytes: &[u8]) -> Option<Json> {
    const TAG_OF_FIELDS: u8 = 0x0A;
    let tagged = bytes.first() == Some(&TAG_OF_FIELDS);
    tagged.then(|| struct_of(bytes, MAX_DEPTH)).flatten()
}

/// `Struct { map<string, Value> fields = 1; }`. A map has no order: the entries are put in that of their names, and
/// of two with one name the later counts.
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
/// ListValue list = 6; } }`, where none is null and the last of several counts.
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

/// What a field holds, by its wire type. Groups are long deprecated, and none of ours.
enum Payload<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a message, by number; `None` for bytes that are no message, after which nothing sensible follows.
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

#[cfg(test)]
mod tests {
    use super::*;
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
            assert_eq!(Json::parse(bytes), Ok(object(&[])), "{bytes:?}");
        }
    }

    #[test]
    fn keeps_a_name_that_was_written_twice() {
        let twice = object(&[("a", Json::Number(1.0)), ("a", Json::Null)]);
        assert_eq!(Json::parse(br#"{"a": 1, "a": null}"#), Ok(twice));
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
        assert_eq!(Json::parse(&bytes), Json::parse(text));
    }

    #[test]
    fn says_where_the_text_breaks() {
        assert_eq!(
            Json::parse(b"{\n  \"a\": 1,\n}").unwrap_err(),
            "must be JSON or a Struct: trailing comma at line 3 column 1"
        );
    }

    #[test]
    fn text_is_never_taken_for_a_struct_with_other_fields() {
        // Read as protobuf: a 32-bit field 13 and nothing more.
        for bytes in [&b"maxim"[..], b"\xFF\xFE", b"\n\x7Fa", b"max: 1", b"\n{\"a\":}"] {
            assert!(Json::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn refuses_a_tree_too_deep_to_walk() {
        let text = "[".repeat(100_000);
        assert!(
            Json::parse(text.as_bytes())
                .unwrap_err()
                .contains("recursion limit")
        );
        let mut deep = value(Kind::NullValue(0));
        for _ in 0..200 {
            deep = value(Kind::ListValue(ListValue { values: vec![deep] }));
        }
        assert!(Json::parse(&bytes_of([("a", deep)])).is_err());
    }

    #[test]
    fn quotations_are_short_and_on_one_line() {
        let quote = |text: &str| Json::parse(text.as_bytes()).unwrap().to_string();
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
            assert_eq!(Json::parse(text.as_bytes()).unwrap().to_string(), quotation);
        }
        assert_eq!(Json::Number(f64::NAN).to_string(), "a huge number");
    }
}
