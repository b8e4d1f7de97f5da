//! Integers of QUIC (RFC 9000 section 16): [`read`] and [`write`]. Pure.

/// The largest integer.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Parses an integer, and returns its length; `None` if it is incomplete.
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let &first = bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    Some((rest.iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte)), length))
}

/// Writes an integer in its shortest form; larger ones than [`MAX`] do not exist.
pub(crate) fn write(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX);
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        // The examples of RFC 9000 appendix A.1, and the borders.
        let check = |value: u64, bytes: &[u8]| {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(read(bytes), Some((value, bytes.len())), "{value}");
            assert_eq!(read(&bytes[..bytes.len() - 1]), None, "{value}");
        };
        check(0, b"\x00");
        check(37, b"\x25");
        check(63, b"\x3f");
        check(64, b"\x40\x40");
        check(15_293, b"\x7b\xbd");
        check(16_383, b"\x7f\xff");
        check(16_384, b"\x80\x00\x40\x00");
        check(494_878_333, b"\x9d\x7f\x3e\x7d");
        check(151_288_809_941_952_652, b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c");
        check(MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(read(b"\x40\x25x"), Some((37, 2)));
    }
}
