//! Measures how deep arrays and objects nest. The reader skips values without recursion, and so would take any depth.

/// Whether arrays and objects of a JSON text nest deeper than `max` levels, the outermost included.
///
/// Counting brackets is quick, and almost no text has more than `max` of them. Only such a text is examined closely.
pub(super) fn nests_deeper(json: &[u8], max: usize) -> bool {
    opening_brackets(json) > max && deepest(json) > max
}

/// The number of opening brackets, including those in strings.
fn opening_brackets(json: &[u8]) -> usize {
    json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count()
}

fn deepest(json: &[u8]) -> usize {
    let (mut deepest, mut depth) = (0_usize, 0_usize);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => pass_string(&mut bytes),
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Skips the rest of a string.
fn pass_string(bytes: &mut core::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.find(|byte| matches!(byte, b'"' | b'\\')) {
        match byte {
            b'"' => return,
            _ => bytes.next(),
        };
    }
}
