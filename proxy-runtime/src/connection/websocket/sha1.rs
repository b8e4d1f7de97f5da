//! SHA-1 (RFC 3174), for the WebSocket handshake alone (RFC 6455 section 4.2.2). It has no security function there, and no other
//! code may use it. It runs once per WebSocket, over 60 bytes, which does not justify a library.

/// Computes the digest.
pub(super) fn digest(message: &[u8]) -> [u8; 20] {
    // Section 4: a one bit, zeros, and the length in bits, padded to whole blocks.
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64), 0);
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(8 * message.len() as u64).to_be_bytes());

    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in padded.as_chunks::<64>().0 {
        let changed = rounds(state, block);
        for (word, changed) in state.iter_mut().zip(changed) {
            *word = word.wrapping_add(changed);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Section 6.1.
fn rounds([mut a, mut b, mut c, mut d, mut e]: [u32; 5], block: &[u8; 64]) -> [u32; 5] {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for at in 16..80 {
        words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
    }
    for (at, word) in words.into_iter().enumerate() {
        let (mixed, constant) = match at {
            0..20 => (b & c | !b & d, 0x5A82_7999),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6),
        };
        let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(word).wrapping_add(constant);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    [a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        let check = |message: &str, expected: &str| {
            assert_eq!(data_encoding::HEXLOWER.encode(&digest(message.as_bytes())), expected, "{message:?}");
        };
        check("", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        check("abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
        check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        check(&"a".repeat(55), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
        check(&"a".repeat(63), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
        check(&"a".repeat(64), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    }
}
