//! `--name value` on the command line.

use std::str::FromStr;
use std::time::Duration;

/// What is left of a command line to be read.
pub struct Options(Vec<String>);

impl Options {
    /// The words of a command line, the command itself left out.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        Self(words.into_iter().collect())
    }

    /// The first word, if it is not an option.
    pub fn word(&mut self) -> Option<String> {
        let is_word = self.0.first().is_some_and(|word| !word.starts_with("--"));
        is_word.then(|| self.0.remove(0))
    }

    /// Whether `--name` is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let place = self.0.iter().position(|word| word == name);
        place.map(|place| self.0.remove(place)).is_some()
    }

    /// The value of `--name`, or `default`.
    ///
    /// # Errors
    /// If there is no value, or not one of this kind.
    pub fn value<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, String> {
        let Some(place) = self.0.iter().position(|word| word == name) else {
            return Ok(default);
        };
        if place + 1 >= self.0.len() {
            return Err(format!("{name} needs a value"));
        }
        let value = self.0.remove(place + 1);
        self.0.remove(place);
        value
            .parse()
            .map_err(|_| format!("{name}: not a valid value: {value}"))
    }

    /// The value of `--name` in seconds, or `default`.
    ///
    /// # Errors
    /// As [`Options::value`].
    pub fn seconds(&mut self, name: &str, default: f64) -> Result<Duration, String> {
        let seconds = self.value(name, default)?;
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("{name}: not a number of seconds"))
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// With what is left.
    pub fn end(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(format!("unknown option: {word}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_asked_for_and_refuses_the_rest() {
        let words = ["fill", "--sessions", "12", "--json", "--what"];
        let mut options = Options::new(words.map(str::to_owned));
        assert_eq!(options.word().as_deref(), Some("fill"));
        assert_eq!(options.value("--sessions", 1), Ok(12));
        assert_eq!(options.value("--connections", 8), Ok(8));
        assert!(options.flag("--json") && !options.flag("--json"));
        assert!(options.end().unwrap_err().contains("--what"));
    }
}
