//! QPACK (RFC 9204) without a dynamic table: [`decode`] and [`Encoder`]. Pure.
//!
//! The announced capacity of the dynamic table is 0, so field sections refer to the static table alone: they are independent of each
//! other, none waits for another, and a connection keeps no state for them.

mod huffman;
mod static_table;

use self::static_table::{STATIC_FIELDS, STATIC_NAMES};

/// The overhead of each field (RFC 9114 section 4.2.2).
const OVERHEAD: usize = 32;

/// Why a field section can't be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QpackError {
    /// The section is invalid.
    Malformed,
    /// Its fields exceed the limit.
    TooLarge,
}

/// Decodes a field section of up to `limit` bytes: passes each field to `field`, in order.
///
/// # Errors
/// The section is invalid or too large.
pub(crate) fn decode(section: &[u8], limit: usize, mut field: impl FnMut(&[u8], &[u8])) -> Result<(), QpackError> {
    let (required, rest) = integer(section, 8)?;
    let (sign, base) = (rest.first().is_some_and(|byte| byte & 0x80 != 0), integer(rest, 7)?);
    // Section 4.5.1: no section may depend on entries of a table that has none.
    if required != 0 || sign {
        return Err(QpackError::Malformed);
    }
    let (mut rest, mut left) = (base.1, limit);
    let (mut name, mut value) = (Vec::new(), Vec::new());
    while let Some(&first) = rest.first() {
        name.clear();
        value.clear();
        let known = match first {
            0xc0.. => {
                let (index, after) = integer(rest, 6)?;
                rest = after;
                Some(*STATIC_FIELDS.get(index).ok_or(QpackError::Malformed)?)
            }
            0x50..0x60 | 0x70..0x80 => {
                let (index, after) = integer(rest, 4)?;
                let (known, _) = *STATIC_FIELDS.get(index).ok_or(QpackError::Malformed)?;
                name.extend_from_slice(known.as_bytes());
                rest = string(after, 7, &mut value, left)?;
                None
            }
            0x20..0x40 => {
                rest = string(rest, 3, &mut name, left)?;
                rest = string(rest, 7, &mut value, left)?;
                None
            }
            // These refer to the dynamic table.
            _ => return Err(QpackError::Malformed),
        };
        let (name, value) = match &known {
            Some((name, value)) => (name.as_bytes(), value.as_bytes()),
            None => (name.as_slice(), value.as_slice()),
        };
        left = left.checked_sub(name.len() + value.len() + OVERHEAD).ok_or(QpackError::TooLarge)?;
        field(name, value);
    }
    Ok(())
}

/// Parses an integer with a prefix of some bits (RFC 7541 section 5.1), and returns the bytes after it.
pub(crate) fn integer(bytes: &[u8], prefix: u32) -> Result<(usize, &[u8]), QpackError> {
    let (&first, mut rest) = bytes.split_first().ok_or(QpackError::Malformed)?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (&byte, after) = rest.split_first().ok_or(QpackError::Malformed)?;
        rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(QpackError::Malformed)
}

/// Parses a string whose length has a prefix of some bits, after the bit that says whether it is Huffman-coded. Returns the bytes
/// after it.
fn string<'a>(bytes: &'a [u8], prefix: u32, out: &mut Vec<u8>, most: usize) -> Result<&'a [u8], QpackError> {
    let huffman = bytes.first().is_some_and(|byte| byte & (1 << prefix) != 0);
    let (length, rest) = integer(bytes, prefix)?;
    let (text, rest) = rest.split_at_checked(length).ok_or(QpackError::Malformed)?;
    if huffman {
        huffman::decode(text, out, most)?;
    } else if text.len() > most {
        return Err(QpackError::TooLarge);
    } else {
        out.extend_from_slice(text);
    }
    Ok(rest)
}

/// Encodes a field section: with names of the static table where it has them, and without Huffman codes.
pub(crate) struct Encoder<'a>(&'a mut Vec<u8>);

impl Encoder<'_> {
    /// Begins a section at the end of `out`.
    pub(crate) fn new(out: &mut Vec<u8>) -> Encoder<'_> {
        // No entry of the dynamic table is required.
        out.extend_from_slice(&[0, 0]);
        Encoder(out)
    }

    /// Adds a field, whose name is in lower case.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        let known = match std::str::from_utf8(name) {
            Ok(name) => STATIC_NAMES.get(name),
            Err(_) => None,
        };
        match known {
            Some(&index) => {
                let same = STATIC_FIELDS[usize::from(index)..].iter().take_while(|(known, _)| known.as_bytes() == name);
                let found = (index..).zip(same).find(|(_, (_, known))| known.as_bytes() == value);
                if let Some((index, _)) = found {
                    return write_integer(self.0, 0xc0, 6, index.into());
                }
                write_integer(self.0, 0x50, 4, index.into());
            }
            None => {
                write_integer(self.0, 0x20, 3, name.len());
                self.0.extend_from_slice(name);
            }
        }
        write_integer(self.0, 0, 7, value.len());
        self.0.extend_from_slice(value);
    }
}

/// Writes an integer with a prefix of some bits, after the bits of `first`.
fn write_integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        return out.push(first | value as u8);
    }
    out.push(first | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(String, String)>;

    fn decoded(section: &[u8]) -> Result<Pairs, QpackError> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decode(section, 300, |name, value| fields.push((text(name), text(value)))).map(|()| fields)
    }

    fn check(section: &[u8], expected: &[(&str, &str)]) {
        let pairs = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(decoded(section), Ok(pairs), "{section:x?}");
    }

    #[test]
    fn sections() {
        check(b"\x00\x00", &[]);
        // RFC 9204 appendix B.1.
        check(b"\x00\x00\x51\x0b/index.html", &[(":path", "/index.html")]);
        check(b"\x00\x00\xd1\xd7\xc1", &[(":method", "GET"), (":scheme", "https"), (":path", "/")]);
        // A name and a value as they are, and Huffman-coded; never to be indexed.
        check(b"\x00\x00\x21x\x01y", &[("x", "y")]);
        check(b"\x00\x00\x31x\x01y", &[("x", "y")]);
        check(b"\x00\x00\x29\xf3\x81\xf5", &[("x", "y")]);
        check(b"\x00\x00\x71\x82\x08\x19", &[(":path", "103")]);
        // The last entry, and a length of two bytes.
        check(b"\x00\x00\xff\x23", &[("x-frame-options", "sameorigin")]);
        check(b"\x00\x00\x27\x00longest\x00", &[("longest", "")]);
    }

    #[test]
    fn malformed_sections() {
        for section in [
            &b""[..],
            b"\x00",
            b"\x01\x00",
            b"\x00\x80",
            b"\x00\x00\xff\x24",
            b"\x00\x00\x80",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            b"\x00\x00\x40\x00",
            b"\x00\x00\x5f\x80\x80\x80\x80\x01\x00",
            b"\x00\x00\x21",
            b"\x00\x00\x21x",
            b"\x00\x00\x21x\x02y",
            b"\x00\x00\x21x\x81\x00",
        ] {
            assert_eq!(decoded(section), Err(QpackError::Malformed), "{section:x?}");
        }
        // 300 bytes have space for seven of these fields, not for eight.
        check(&[&b"\x00\x00"[..], &[0xd1; 7]].concat(), &[(":method", "GET"); 7]);
        assert_eq!(decoded(&[&b"\x00\x00"[..], &[0xd1; 8]].concat()), Err(QpackError::TooLarge));
        let long = [&b"\x00\x00\x21x\x7f\xff\x01"[..], &[b'y'; 382]].concat();
        assert_eq!(decoded(&long), Err(QpackError::TooLarge));
    }

    #[test]
    fn encoded_sections() {
        let fields: Pairs = [
            (":status", "200"),
            (":status", "204"),
            (":status", "599"),
            ("content-type", "text/html"),
            ("vary", "accept-encoding"),
            ("x-long", &"y".repeat(130)),
            ("x-frame-options", "deny"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out);
        for (name, value) in &fields {
            encoder.field(name.as_bytes(), value.as_bytes());
        }
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decode(&out, 1000, |name, value| found.push((text(name), text(value)))).expect("a section");
        assert_eq!(found, fields);
        assert_eq!(&out[..3], b"\x00\x00\xd9");
    }
}
