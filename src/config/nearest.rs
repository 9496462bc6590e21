//! Finds the known name that a misspelt name was probably meant to be.

/// Longer names are no misspelling of ours. The limit keeps the quadratic comparison small.
const LONGEST: usize = 64;

/// The known name with the fewest changed letters. `None` if more than a third of its letters would change.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let distances = known
        .iter()
        .map(|candidate| (edit_distance(name, candidate), *candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= candidate.len()).then_some(candidate)
}

/// How many bytes must be inserted, deleted or replaced to turn one text into the other (Levenshtein), row by row.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from_byte) in from.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (above, to_byte) in row.iter().skip(1).zip(to.bytes()) {
            let replaced = diagonal + usize::from(from_byte != to_byte);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ];
        for (from, to, distance) in cases {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
        }
    }

    #[test]
    fn finds_what_was_meant() {
        let known = ["max_sessions", "max_lifetime", "path", "idle_timeout"];
        let cases = [
            ("max_session", Some("max_sessions")),
            ("maxSessions", Some("max_sessions")),
            ("idle_time_out", Some("idle_timeout")),
            ("pth", Some("path")),
            ("colour", None),
            ("", None),
        ];
        for (name, meant) in cases {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
        assert_eq!(nearest(&"path".repeat(1000), &known), None);
        assert_eq!(nearest("path", &[]), None);
    }
}
