//! Searches in the few dozen bytes of a name or a value, sixteen at a time. Pure; on the hot path.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Returns the place of the first byte that is less than `limit`, which is at most 0x80, or DEL.
#[inline]
pub(crate) fn first_below(bytes: &[u8], limit: u8) -> Option<usize> {
    search(bytes, |word| below(word, limit) | zero(word ^ (ONES * 0x7F)), |byte| (byte < limit) | (byte == 0x7F))
}

/// Returns the place of the first `wanted`.
#[inline]
pub(crate) fn first(bytes: &[u8], wanted: u8) -> Option<usize> {
    search(bytes, |word| zero(word ^ (ONES * u64::from(wanted))), |byte| byte == wanted)
}

/// Returns a word with the top bit of each byte that is zero, and maybe of later ones.
fn zero(word: u64) -> u64 {
    below(word, 1)
}

/// Returns a word with the top bit of each byte that is less than `limit`, and maybe of later ones.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS
}

/// Returns the first place for which `is` returns `true`, without a branch; `mark` marks it in a word.
#[inline]
fn search(bytes: &[u8], mark: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    // The compiler makes a handful of vector instructions of this, on any processor.
    let is_in = |part: &[u8; 16]| part.iter().fold(false, |found, &byte| found | is(byte));
    let (parts, rest) = bytes.as_chunks();
    for (at, part) in parts.iter().enumerate() {
        if is_in(part) {
            return place(part, &mark).map(|place| at * 16 + place);
        }
    }
    match bytes.last_chunk() {
        _ if rest.is_empty() => None,
        // The last sixteen, of which the first ones were looked at before.
        Some(part) if is_in(part) => place(part, &mark).map(|place| bytes.len() - 16 + place),
        Some(_) => None,
        None => few(bytes, mark, is),
    }
}

/// Returns the first place that is marked in sixteen bytes.
#[inline]
fn place(part: &[u8; 16], mark: impl Fn(u64) -> u64) -> Option<usize> {
    let [first, second] = part.as_chunks::<8>().0 else { return None };
    let marked = |word: &[u8; 8]| match mark(u64::from_le_bytes(*word)) {
        0 => None,
        found => Some(found.trailing_zeros() as usize / 8),
    };
    marked(first).or_else(|| marked(second).map(|place| 8 + place))
}

/// Searches in fewer than sixteen bytes.
#[inline]
fn few(bytes: &[u8], mark: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
        return bytes.iter().position(|&byte| is(byte));
    };
    let (first, last) = (mark(u64::from_le_bytes(*first)), mark(u64::from_le_bytes(*last)));
    match (first, last) {
        (0, 0) => None,
        (0, last) => Some(bytes.len() - 8 + last.trailing_zeros() as usize / 8),
        (first, _) => Some(first.trailing_zeros() as usize / 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |bytes: &[u8]| {
            for limit in [0x20, 0x21] {
                let naive = bytes.iter().position(|&byte| byte < limit || byte == 0x7F);
                assert_eq!(first_below(bytes, limit), naive, "{bytes:?}");
            }
            for wanted in [b':', b'a', 0, 0xFF] {
                assert_eq!(first(bytes, wanted), bytes.iter().position(|&byte| byte == wanted), "{bytes:?}");
            }
        };
        check(b"");
        for byte in 0..=u8::MAX {
            for (length, at) in (1..40).flat_map(|length| (0..length).map(move |at| (length, at))) {
                let mut bytes = vec![b'b'; length];
                bytes[at] = byte;
                check(&bytes);
                bytes[length - 1] = 0;
                check(&bytes);
                bytes.fill(0xFF);
                bytes[at] = byte;
                check(&bytes);
            }
        }
    }
}
