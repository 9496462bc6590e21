//! Base64 with the standard alphabet (RFC 4648, section 4).

/// The Base64 of some bytes, with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let digits = digits_of(group).into_iter().map(char::from);
        encoded.extend(digits.take(group.len() + 1));
        encoded.extend(core::iter::repeat_n('=', 3 - group.len()));
    }
    encoded
}

/// The digits of one to three bytes. For n bytes the first n + 1 digits count.
pub(crate) fn digits_of(bytes: &[u8]) -> [u8; 4] {
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    [18, 12, 6, 0].map(|shift| digit_of((bits >> shift & 63) as u8))
}

fn digit_of(value: u8) -> u8 {
    match value {
        0..26 => b'A' + value,
        26..52 => b'a' + value - 26,
        52..62 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    }
}

/// Decodes Base64 that is not empty. The padding must be complete, and the unused bits must be zero.
pub(crate) fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let (groups, []) = encoded.as_chunks::<4>() else {
        return None;
    };
    let (last, groups) = groups.split_last()?;
    let mut decoded = Vec::with_capacity(groups.len() * 3 + 3);
    for [a, b, c, d] in groups {
        decoded.extend(bytes_of([digit(*a)?, digit(*b)?, digit(*c)?, digit(*d)?]));
    }
    match *last {
        [a, b, b'=', b'='] => decoded.extend(begin_of::<1>([digit(a)?, digit(b)?, 0, 0])?),
        [a, b, c, b'='] => decoded.extend(begin_of::<2>([digit(a)?, digit(b)?, digit(c)?, 0])?),
        [a, b, c, d] => decoded.extend(bytes_of([digit(a)?, digit(b)?, digit(c)?, digit(d)?])),
    }
    Some(decoded)
}

/// The first bytes of a group; `None` if the other bytes are not zero.
fn begin_of<const N: usize>(digits: [u8; 4]) -> Option<[u8; N]> {
    let bytes = bytes_of(digits);
    let (begin, rest) = bytes.split_first_chunk::<N>()?;
    rest.iter().all(|byte| *byte == 0).then_some(*begin)
}

fn bytes_of(digits: [u8; 4]) -> [u8; 3] {
    let bits = digits.iter().fold(0, |bits, digit| bits << 6 | u32::from(*digit));
    let [_, bytes @ ..] = bits.to_be_bytes();
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}
