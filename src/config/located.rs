//! A value of the configuration with its path, so that a mistake can name the path.

use core::fmt::Display;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::duration::{self, Words};
use super::json::{Json, Quoted};
use super::mistakes::Mistakes;

/// A value and its path. Each reader notes a mistake and returns `None`, so that the next field is still read.
pub(super) struct Located<'a> {
    path: String,
    value: &'a Json,
    mistakes: &'a Mistakes,
}

impl<'a> Located<'a> {
    /// The configuration as a whole, whose path is empty.
    pub(super) fn root(value: &'a Json, mistakes: &'a Mistakes) -> Self {
        Self {
            path: String::new(),
            value,
            mistakes,
        }
    }

    /// The path, as `endpoints[1].idle_timeout`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Notes a mistake here.
    #[cold]
    pub(super) fn refuse(&self, problem: impl Into<String>) {
        self.mistakes.add(&self.path, problem.into());
    }

    /// Notes a warning here: the value is accepted, but the operator should change it.
    #[cold]
    pub(super) fn warn(&self, warning: &str) {
        self.mistakes.warn(&self.path, warning);
    }

    /// Notes a mistake here and quotes the value. Not for values that may be credentials.
    #[cold]
    pub(super) fn refuse_value(&self, wanted: impl Display) {
        self.refuse(format!("{wanted}, got {}", self.value));
    }

    fn or_refuse_value<T>(&self, read: Option<T>, wanted: impl Display) -> Option<T> {
        if read.is_none() {
            self.refuse_value(wanted);
        }
        read
    }

    /// A boolean. A word such as `"true"` is none.
    pub(super) fn flag(&self) -> Option<bool> {
        let read = if let Json::Bool(value) = self.value {
            Some(*value)
        } else {
            None
        };
        self.or_refuse_value(read, "must be true or false")
    }

    /// A whole number in the range. `100.0` is 100.
    pub(super) fn whole_number(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let read = self.as_whole_number().filter(|number| range.contains(number));
        self.or_refuse_value(
            read,
            format_args!("must be a whole number from {} to {}", range.start(), range.end()),
        )
    }

    /// A whole number of at least zero, or `None`. Notes no mistake.
    pub(super) fn as_whole_number(&self) -> Option<u32> {
        let Json::Number(number) = self.value else {
            return None;
        };
        // The cast cuts fractions off and stops at the ends of u32, so only a whole number within them comes back the
        // same.
        let whole = *number as u32;
        (f64::from(whole) == *number).then_some(whole)
    }

    /// A string of any length.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.or_refuse_value(self.as_text(), "must be a string")
    }

    /// The text, or `None` for other values. Notes no mistake, and so quotes nothing.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        if let Json::String(text) = self.value {
            Some(text)
        } else {
            None
        }
    }

    /// Text that a type of the domain accepts. Otherwise the mistake has the type's own words.
    pub(super) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, &'static str>) -> Option<T> {
        parse(self.text()?)
            .map_err(|wanted| self.refuse_value(wanted))
            .ok()
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let chosen = |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, choice)| *choice)
        };
        let words = choices.iter().map(|(word, _)| *word);
        self.or_refuse_value(
            self.as_text().and_then(chosen),
            format_args!("must be {}", one_of(words)),
        )
    }

    /// A duration in the range.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.as_duration()
            .and_then(|duration| self.within(duration, &range))
    }

    /// A duration. Zero, in any unit, turns the timeout off.
    pub(super) fn timeout(&self, range: RangeInclusive<Duration>) -> Option<Option<Duration>> {
        let duration = self.as_duration()?;
        if duration.is_zero() {
            Some(None)
        } else {
            self.within(duration, &range).map(Some)
        }
    }

    fn as_duration(&self) -> Option<Duration> {
        let read = self.as_text().and_then(duration::parse);
        self.or_refuse_value(read, "must be a duration in ms, s, m or h, such as \"30s\"")
    }

    fn within(&self, duration: Duration, range: &RangeInclusive<Duration>) -> Option<Duration> {
        if duration < *range.start() {
            self.refuse_value(format_args!("must be at least {}", Words(*range.start())));
        } else if duration > *range.end() {
            self.refuse_value(format_args!("must be at most {}", Words(*range.end())));
        }
        range.contains(&duration).then_some(duration)
    }

    /// The entries of a list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        let items = self.as_items();
        if items.is_none() {
            self.refuse_kind("a list");
        }
        items
    }

    /// The entries of a list, or `None` for other values. Notes no mistake.
    pub(super) fn as_items(&self) -> Option<Vec<Self>> {
        let Json::List(items) = self.value else {
            return None;
        };
        let item = |(index, value)| self.inside(format!("{}[{index}]", self.path), value);
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of an object in the order of the text. A name that was written twice is here once, and the second
    /// is noted as a mistake.
    pub(super) fn entries(&self) -> Option<Vec<(&'a str, Self)>> {
        let Json::Object(object) = self.value else {
            self.refuse_kind("an object");
            return None;
        };
        let mut entries: Vec<(&str, Self)> = Vec::new();
        for (name, value) in object {
            let at = self.inside(self.path_of(name), value);
            if entries.iter().any(|(earlier, _)| earlier == name) {
                at.refuse("written twice");
            } else {
                entries.push((name, at));
            }
        }
        Some(entries)
    }

    /// Notes that a field is missing here.
    pub(super) fn refuse_missing(&self, name: &str) {
        self.mistakes.add(&self.path_of(name), "required".to_owned());
    }

    /// Notes that a list or an object was wanted. Names only the kind of the value here: the value may be a secret.
    fn refuse_kind(&self, wanted: &str) {
        let got = match self.value {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        };
        self.refuse(format!("must be {wanted}, got {got}"));
    }

    fn inside(&self, path: String, value: &'a Json) -> Self {
        Self {
            path,
            value,
            mistakes: self.mistakes,
        }
    }

    fn path_of(&self, name: &str) -> String {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        match (self.path.is_empty(), plain && (1..=64).contains(&name.len())) {
            (true, true) => name.to_owned(),
            (false, true) => format!("{}.{name}", self.path),
            (_, false) => format!("{}[{}]", self.path, Quoted(name)),
        }
    }
}

/// Words in quotation marks, the last two joined by "or".
pub(super) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| Quoted(word).to_string()).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
