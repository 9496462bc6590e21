//! Names of members as servers read them. Go's `encoding/json` and .NET's web defaults fold letters, so that to them
//! `Method` and `paramſ` are members of the specification.

use std::borrow::Cow;

/// Whether a name is one of these to a server that folds letters (Unicode's simple case folding).
pub(super) fn folds_to_any(name: &str, known: &[&str]) -> bool {
    let name = folded(name);
    known.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// The name with those letters that fold to one of ASCII: there are two, the long s and the sign for kelvin.
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
