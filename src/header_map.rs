//! A header map, or a map of properties, in the host's bytes.

/// A map in the host's bytes: a count, two lengths for each field, then names and values, each followed by a zero
/// byte (`PairsUtil::marshalPairs` of proxy-wasm-cpp-host).
#[derive(Debug)]
pub struct HeaderMap(Vec<u8>);

impl HeaderMap {
    /// Takes the bytes as they came; [`Self::iter`] reads them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Names, in lower case, and values. Ends early if a length runs past the bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (count, sizes) = self
            .0
            .split_first_chunk::<4>()
            .map_or((0, &[][..]), |(count, rest)| {
                (u32::from_le_bytes(*count) as usize, rest)
            });
        let (sizes, mut text) = sizes
            .split_at_checked(count.saturating_mul(8))
            .unwrap_or_default();
        let (sizes, _) = sizes.as_chunks::<4>();
        let (pairs, _) = sizes.as_chunks::<2>();
        pairs.iter().map_while(move |[name, value]| {
            let name = next_string(&mut text, *name)?;
            let value = next_string(&mut text, *value)?;
            Some((name, value))
        })
    }
}

fn next_string<'a>(text: &mut &'a [u8], size: [u8; 4]) -> Option<&'a [u8]> {
    let (string, rest) = text.split_at_checked(u32::from_le_bytes(size) as usize)?;
    *text = rest.split_first()?.1;
    Some(string)
}
