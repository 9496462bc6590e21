//! Writes JSON.

use core::fmt::{self, Write};

/// A text in quotation marks. Beside what JSON demands, everything is escaped that HTML or JavaScript gives a meaning,
/// so that the text is harmless wherever a document ends up.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"'
                | '\\'
                | '<'
                | '>'
                | '&'
                | '\''
                | '\0'..='\x1f'
                | '\x7f'..='\u{9f}'
                | '\u{2028}'
                | '\u{2029}' => {
                    write!(f, "\\u{:04x}", u32::from(letter))?;
                }
                letter => f.write_char(letter)?,
            }
        }
        f.write_char('"')
    }
}

/// JSON that is being written, member by member.
#[derive(Debug, Default)]
pub(super) struct Json(String);

impl Json {
    /// Writes the comma, if one is needed, and the name, unless it is empty as in a list.
    #[inline(never)]
    fn begin(&mut self, name: &str) {
        if !self.0.is_empty() && !self.0.ends_with(['{', '[']) {
            self.0.push(',');
        }
        if !name.is_empty() {
            self.put(&Quoted(name));
            self.0.push(':');
        }
    }

    #[inline(never)]
    fn put(&mut self, what: &dyn fmt::Display) {
        // Writing to a string never fails.
        let _ = write!(self.0, "{what}");
    }

    /// Adds a number.
    #[inline(never)]
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.begin(name);
        self.put(&value);
    }

    /// Adds `true` or `false`.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.begin(name);
        self.put(&value);
    }

    /// Adds a text, or `null`.
    #[inline(never)]
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        self.begin(name);
        match value {
            Some(text) => self.put(&Quoted(text)),
            None => self.0.push_str("null"),
        }
    }

    /// Adds an object. In a list it has no name.
    pub(super) fn object(&mut self, name: &str, members: impl FnOnce(&mut Self)) {
        self.begin(name);
        self.0.push('{');
        members(self);
        self.0.push('}');
    }

    /// Adds a list, item by item, until the whole has this many bytes. Returns false if items were left out.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        until: usize,
        items: impl IntoIterator<Item = T>,
        item: impl Fn(&mut Self, T),
    ) -> bool {
        self.begin(name);
        self.0.push('[');
        for value in items {
            let before = self.0.len();
            item(self, value);
            if self.0.len() >= until {
                self.0.truncate(before);
                self.0.push(']');
                return false;
            }
        }
        self.0.push(']');
        true
    }

    /// All that was written.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        Quoted(text).to_string()
    }

    #[test]
    fn nothing_that_html_or_a_script_knows_is_left_unescaped() {
        let text = "</script><b a='\"'>&amp;\u{2028}\u{2029}\u{85}\0\n";
        let written = quoted(text);
        assert!(written.is_ascii());
        assert!(!written.contains(['<', '>', '&', '\'', '\n', '\0']), "{written}");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }

    #[test]
    fn a_list_stops_before_it_is_too_long() {
        let mut json = Json::default();
        let mut whole = None;
        json.object("", |json| {
            whole = Some(json.list("a", 12, [1, 22, 333], |json, number| json.number("", number)));
            json.flag("b", true);
        });
        assert_eq!(whole, Some(false));
        assert_eq!(json.into_text(), r#"{"a":[1,22],"b":true}"#);
    }

    proptest! {
        #[test]
        fn every_text_survives(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&quoted(&text)).unwrap(), text);
        }
    }
}
