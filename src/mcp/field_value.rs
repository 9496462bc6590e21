//! Values of header fields.

/// Removes the optional whitespace around a field value (RFC 9110, section 5.6.3): SP and HTAB only.
pub fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
