//! Compares names of members as servers do. Go's `encoding/json` and .NET's web defaults fold letters: they take
//! `Method` and `paramſ` for members of the specification.

use std::borrow::Cow;

/// Whether a server that folds letters (Unicode's simple case folding) takes a name for one of these.
pub(super) fn folds_to_any(name: &str, known: &[&str]) -> bool {
    let name = folded(name);
    known.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// The name, with two letters replaced that fold to ASCII: the long s and the kelvin sign.
fn folded(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let fold = |letter| match letter {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        letter => letter,
    };
    Cow::Owned(name.chars().map(fold).collect())
}
