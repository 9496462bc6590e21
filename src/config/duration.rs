//! Durations as operators write them: `"250ms"`, `"30s"`, `"1.5h"`.

use core::fmt;
use core::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a duration to the millisecond: digits, up to three decimals, a unit. `None` if the text is anything else.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)))?;
    let (whole, decimals) = number
        .split_once('.')
        .map_or((number, "0"), |(whole, decimals)| (whole, decimals));
    if !is_digits(whole) || !is_digits(decimals) {
        return None;
    }
    let thousandths = thousandths(decimals)? * unit;
    let rest = thousandths.is_multiple_of(1_000).then_some(thousandths / 1_000)?;
    Some(Duration::from_millis(at_most_a_trillion(whole) * unit + rest))
}

/// Writes a duration in the largest unit that leaves a whole number, as `30m` and `720h`.
pub(super) struct Words(pub(super) Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = |(_, unit): &&(&str, u64)| millis != 0 && millis.is_multiple_of(*unit);
        match UNITS.iter().rev().find(fits) {
            Some((name, unit)) => write!(f, "{}{name}", millis / unit),
            None => f.write_str("0s"),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn thousandths(decimals: &str) -> Option<u64> {
    if decimals.len() > 3 {
        None
    } else {
        format!("{decimals:0<3}").parse().ok()
    }
}

/// Parses digits, at most 10^12. The limit is out of every range, and too small to overflow in any unit. Digits fail
/// to parse only if the number is larger still.
fn at_most_a_trillion(digits: &str) -> u64 {
    const TRILLION: u64 = 1_000_000_000_000;
    digits.parse().unwrap_or(TRILLION).min(TRILLION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_to_the_millisecond() {
        let cases = [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("0.5s", 500),
            ("1.001s", 1_001),
            ("30m", 1_800_000),
            ("1.5h", 5_400_000),
            ("007s", 7_000),
            ("1.0ms", 1),
            ("720h", 2_592_000_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let wrong = [
            "", "s", "30", "30 s", " 30s", "30S", "30d", "1m30s", "-1s", "+1s", "1e3s", ".5s", "1.s", "0.5ms",
        ];
        for text in wrong
            .into_iter()
            .chain(["0.0001s", "1.2.3s", "\u{663}s", "30us", "infs"])
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_huge_number_is_a_long_time_and_not_an_overflow() {
        for text in [
            "99999999999999999999999h",
            "18446744073709551615.999h",
            "1000000000000h",
        ] {
            assert!(parse(text).unwrap() > Duration::from_hours(1_000_000), "{text}");
        }
    }

    #[test]
    fn words_use_the_largest_unit_that_fits() {
        let words = |text| Words(parse(text).unwrap()).to_string();
        assert_eq!(
            ["0h", "100ms", "60s", "90s", "1.5h", "720h"].map(words),
            ["0s", "100ms", "1m", "90s", "90m", "720h"]
        );
    }
}
