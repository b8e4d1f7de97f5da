//! Searches in the few dozen bytes of a name or a value, eight at a time. Pure; on the hot path.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Returns the place of the first byte that is less than `limit`, which is at most 0x80, or DEL.
pub(crate) fn first_below(bytes: &[u8], limit: u8) -> Option<usize> {
    search(bytes, |word| below(word, limit) | zero(word ^ (ONES * 0x7F)), |byte| byte < limit || byte == 0x7F)
}

/// Returns the place of the first `wanted`.
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

/// Returns the first place that `find` marks in a word, or for which `is` returns `true`.
#[inline]
fn search(bytes: &[u8], find: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks();
    for (at, word) in words.iter().enumerate() {
        let found = find(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    match bytes.last_chunk() {
        _ if rest.is_empty() => None,
        // The last eight, of which the first ones were looked at before.
        Some(word) => match find(u64::from_le_bytes(*word)) {
            0 => None,
            found => Some(bytes.len() - 8 + found.trailing_zeros() as usize / 8),
        },
        None => bytes.iter().position(|&byte| is(byte)),
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
            for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
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
