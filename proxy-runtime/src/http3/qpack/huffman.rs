//! The Huffman code of strings ([`decode`]; RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: the codes of one length are consecutive numbers, so a code's length and place follow from its value.

use super::QpackError;
use crate::protocol::huffman::HUFFMAN_CODES;

/// Decodes a string, and appends it to `out`.
///
/// # Errors
/// It has an invalid code or padding, or is longer than `most`.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), QpackError> {
    let (mut window, mut bits, mut rest) = (0_u64, 0_u32, bytes.iter());
    let end = out.len().saturating_add(most);
    loop {
        while bits <= 32
            && let Some(&byte) = rest.next()
        {
            window |= u64::from(byte) << (56 - bits);
            bits += 8;
        }
        let value = window >> 32;
        let (place, of) = place(value);
        match SYMBOLS.get(place) {
            Some(&symbol) if of <= bits => {
                if out.len() >= end {
                    return Err(QpackError::TooLarge);
                }
                out.push(symbol);
                (window, bits) = (window << of, bits - of);
            }
            // The padding is the beginning of the longest code, and shorter than a byte.
            _ if bits < 8 && window | (u64::MAX >> bits) == u64::MAX => return Ok(()),
            _ => return Err(QpackError::Malformed),
        }
    }
}

/// Returns the index of the code that 32 bits begin with, and its length.
fn place(value: u64) -> (usize, u32) {
    let (mut start, mut first) = (0, 0);
    for (end, of) in HUFFMAN_CODES {
        if value < end {
            return (first + ((value - start) >> (32 - of)) as usize, of);
        }
        first += ((end - start) >> (32 - of)) as usize;
        start = end;
    }
    (SYMBOLS.len(), 30)
}

/// The symbols, in the order of their codes; the end-of-string code, which may not appear, follows them.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100,
    102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81,
    82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39,
    43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224,
    226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160,
    163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140,
    141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239,
    9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210,
    213, 218, 219, 238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250,
    251, 252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30,
    31, 127, 220, 249, 10, 13, 22,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<&str, QpackError>) {
        let mut out = b"before".to_vec();
        let outcome = decode(bytes, &mut out, 30).map(|()| String::from_utf8_lossy(&out[6..]).into_owned());
        assert_eq!(outcome.as_deref(), expected.as_ref().copied(), "{bytes:x?}");
    }

    #[test]
    fn strings() {
        check(b"", Ok(""));
        // Examples of RFC 7541 appendix C.
        check(b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", Ok("www.example.com"));
        check(b"\xa8\xeb\x10\x64\x9c\xbf", Ok("no-cache"));
        check(b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", Ok("custom-key"));
        check(
            b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
            Ok("Mon, 21 Oct 2013 20:13:21 GMT"),
        );
        // The longest code, of a line end, has thirty bits.
        check(b"\xff\xff\xff\xf3", Ok("\n"));
    }

    #[test]
    fn malformed_strings() {
        // A byte of padding, padding that is not all ones, and the end-of-string code.
        check(b"\xff", Err(QpackError::Malformed));
        check(b"\x1f\xff", Err(QpackError::Malformed));
        check(b"\x00", Err(QpackError::Malformed));
        check(b"\xff\xff\xff\xff", Err(QpackError::Malformed));
        check(&[0; 25], Err(QpackError::TooLarge));
    }
}
