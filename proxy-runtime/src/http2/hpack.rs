//! Scans field blocks (HPACK, RFC 7541) beside the library that decodes them: [`Scanner`], from bytes of
//! blocks to [`FieldBlock`]s.
//!
//! The library drops misplaced pseudo-header fields, and does not report the size of blocks that it refuses. Each block is therefore
//! scanned a second time, without making strings: only the kind and length of each field are needed. Entries of the dynamic
//! table are as small. A block without new entries costs some nanoseconds for each field, and no allocation.

use std::collections::VecDeque;

use crate::protocol::huffman::HUFFMAN_CODES;

/// The overhead of each field, by RFC 7541 section 4.1 and RFC 9113 section 6.5.2.
pub(super) const OVERHEAD: usize = 32;

/// The size of the dynamic table, in bytes: the initial value, as no other is announced (`SETTINGS_HEADER_TABLE_SIZE`).
const TABLE: usize = 4096;

/// The kind of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Field,
    /// `:status`, of a final or interim response.
    Status {
        interim: bool,
    },
    /// Any other pseudo-header field.
    Pseudo,
}

/// A table entry.
#[derive(Debug, Clone, Copy)]
struct TableEntry {
    kind: FieldKind,
    name: usize,
    size: usize,
}

/// The summary of a field block.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldBlock {
    /// `:status`: whether it is of an interim response.
    pub(super) interim: Option<bool>,
    /// Whether there is another pseudo-header field.
    pub(super) pseudo: bool,
    /// The size of its fields (RFC 9113 section 6.5.2); Huffman-coded strings count with their largest possible length.
    pub(super) size: usize,
}

/// Why scanning a block failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HpackError {
    /// The block is not valid HPACK.
    Malformed,
    /// Its fields exceed the limit.
    TooLarge,
}

/// Scans the field blocks of one side of a connection.
pub(super) struct Scanner {
    dynamic: VecDeque<TableEntry>,
    /// The size of the dynamic table, and its maximum.
    size: usize,
    max_size: usize,
    /// The largest allowed block.
    limit: usize,
    /// The beginning of an incomplete field.
    rest: Vec<u8>,
    block: FieldBlock,
    /// The block has had a field: the table may not be resized any more (RFC 7541 section 4.2).
    begun: bool,
}

impl Scanner {
    /// Creates a scanner for blocks of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Scanner {
        Scanner {
            dynamic: VecDeque::new(),
            size: 0,
            max_size: TABLE,
            limit,
            rest: Vec::new(),
            block: FieldBlock::default(),
            begun: false,
        }
    }

    /// Scans a part of a block.
    pub(super) fn feed(&mut self, part: &[u8]) -> Result<(), HpackError> {
        if self.rest.is_empty() {
            let used = self.fields(part)?;
            self.rest.extend_from_slice(&part[used..]);
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(part);
            let used = self.fields(&all)?;
            all.drain(..used);
            self.rest = all;
        }
        if self.rest.len() + self.block.size >= self.limit { Err(HpackError::TooLarge) } else { Ok(()) }
    }

    /// Ends the block, and returns its summary.
    pub(super) fn finish(&mut self) -> Result<FieldBlock, HpackError> {
        self.begun = false;
        let block = std::mem::take(&mut self.block);
        if self.rest.is_empty() { Ok(block) } else { Err(HpackError::Malformed) }
    }

    /// Scans complete fields; returns how many bytes they have.
    fn fields(&mut self, bytes: &[u8]) -> Result<usize, HpackError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(after) = self.field(rest)? else { break };
            rest = after;
            if self.block.size >= self.limit {
                return Err(HpackError::TooLarge);
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Scans a field (RFC 7541 section 6) and returns the bytes after it; `None` if it is incomplete.
    fn field<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, HpackError> {
        let (prefix, inserts) = match bytes[0] {
            0x80.. => {
                let Some((index, rest)) = integer(bytes, 7)? else { return Ok(None) };
                let entry = self.entry(index)?;
                self.found(entry.kind, entry.size);
                return Ok(Some(rest));
            }
            0x20..0x40 => {
                let Some((size, rest)) = integer(bytes, 5)? else { return Ok(None) };
                if self.begun || size > TABLE {
                    return Err(HpackError::Malformed);
                }
                self.max_size = size;
                self.evict(0);
                return Ok(Some(rest));
            }
            0x40.. => (6, true),
            _ => (4, false),
        };
        let Some((index, rest)) = integer(bytes, prefix)? else { return Ok(None) };
        let (mut kind, name, rest) = match index {
            0 => {
                let Some((text, rest)) = StringLiteral::read(rest)? else { return Ok(None) };
                (text.kind(), text.length(inserts), rest)
            }
            _ => {
                let entry = self.entry(index)?;
                (entry.kind, entry.name, rest)
            }
        };
        let Some((value, rest)) = StringLiteral::read(rest)? else { return Ok(None) };
        if let FieldKind::Status { interim } = &mut kind {
            *interim = value.is_interim();
        }
        let size = name + value.length(inserts) + OVERHEAD;
        self.found(kind, size);
        if inserts {
            self.evict(size);
            // An entry larger than the table empties it, and is not added (RFC 7541 section 4.4).
            if size <= self.max_size {
                self.size += size;
                self.dynamic.push_front(TableEntry { kind, name, size });
            }
        }
        Ok(Some(rest))
    }

    fn found(&mut self, kind: FieldKind, size: usize) {
        self.begun = true;
        self.block.size += size;
        match kind {
            FieldKind::Field => {}
            FieldKind::Status { interim } => self.block.interim = Some(interim),
            FieldKind::Pseudo => self.block.pseudo = true,
        }
    }

    fn entry(&self, index: usize) -> Result<TableEntry, HpackError> {
        if let Some(&(name, value)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            let kind = match index {
                1..=7 => FieldKind::Pseudo,
                8..=14 => FieldKind::Status { interim: false },
                _ => FieldKind::Field,
            };
            return Ok(TableEntry { kind, name: name.into(), size: usize::from(name) + usize::from(value) + OVERHEAD });
        }
        let at = index.checked_sub(STATIC.len() + 1).ok_or(HpackError::Malformed)?;
        self.dynamic.get(at).copied().ok_or(HpackError::Malformed)
    }

    /// Evicts entries to make space for one of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.max_size {
            let Some(last) = self.dynamic.pop_back() else { break };
            self.size -= last.size;
        }
    }
}

/// Parses an integer (RFC 7541 section 5.1), and returns the bytes after it; `None` if it is incomplete.
fn integer(bytes: &[u8], prefix: u8) -> Result<Option<(usize, &[u8])>, HpackError> {
    let Some((&first, mut rest)) = bytes.split_first() else { return Ok(None) };
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Ok(Some((value, rest)));
    }
    for shift in [0, 7, 14, 21] {
        let Some((&byte, after)) = rest.split_first() else { return Ok(None) };
        rest = after;
        value += usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((value, rest)));
        }
    }
    Err(HpackError::Malformed)
}

/// A string literal (RFC 7541 section 5.2), as it is encoded.
#[derive(Clone, Copy)]
struct StringLiteral<'a> {
    bytes: &'a [u8],
    huffman: bool,
}

impl<'a> StringLiteral<'a> {
    fn read(bytes: &'a [u8]) -> Result<Option<(StringLiteral<'a>, &'a [u8])>, HpackError> {
        let Some((length, rest)) = integer(bytes, 7)? else { return Ok(None) };
        let Some((text, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        Ok(Some((StringLiteral { bytes: text, huffman: bytes[0] & 0x80 != 0 }, rest)))
    }

    /// Returns the kind of a field with this name. A string has exactly one Huffman encoding.
    fn kind(self) -> FieldKind {
        let (colon, status): (_, &[u8]) = if self.huffman {
            // The code of `:` has seven bits.
            (self.bytes.first().is_some_and(|byte| byte >> 1 == 0b101_1100), &[0xb8, 0x84, 0x8d, 0x36, 0xa3])
        } else {
            (self.bytes.first() == Some(&b':'), b":status")
        };
        match (colon, self.bytes == status) {
            (false, _) => FieldKind::Field,
            (true, true) => FieldKind::Status { interim: false },
            (true, false) => FieldKind::Pseudo,
        }
    }

    /// Returns whether this is the status of an interim response: it begins with `1`, whose Huffman code has five bits.
    fn is_interim(self) -> bool {
        let begins = |&byte: &u8| if self.huffman { byte >> 3 == 1 } else { byte == b'1' };
        self.bytes.first().is_some_and(begins)
    }

    /// Returns its decoded length; without `exactly`, an upper bound, which is cheaper.
    fn length(self, exactly: bool) -> usize {
        match (self.huffman, exactly) {
            (false, _) => self.bytes.len(),
            (true, false) => self.bytes.len() * 8 / 5,
            (true, true) => decoded_length(self.bytes),
        }
    }
}

/// Returns the decoded length of a Huffman-coded string. The code is canonical, so the length of each code follows from
/// its value.
fn decoded_length(bytes: &[u8]) -> usize {
    let (mut window, mut bits, mut length) = (0_u64, 0, 0);
    let mut rest = bytes.iter();
    loop {
        while bits <= 32
            && let Some(&byte) = rest.next()
        {
            window |= u64::from(byte) << (56 - bits);
            bits += 8;
        }
        let code = HUFFMAN_CODES.iter().find(|(end, _)| window >> 32 < *end);
        match code {
            Some((_, of)) if *of <= bits => (window, bits, length) = (window << of, bits - of, length + 1),
            // Padding. The decoder reports malformed padding.
            _ => return length,
        }
    }
}

/// The lengths of names and values in the static table (RFC 7541 appendix A).
const STATIC: [(u8, u8); 61] = [
    (10, 0),
    (7, 3),
    (7, 4),
    (5, 1),
    (5, 11),
    (7, 4),
    (7, 5),
    (7, 3),
    (7, 3),
    (7, 3),
    (7, 3),
    (7, 3),
    (7, 3),
    (7, 3),
    (14, 0),
    (15, 13),
    (15, 0),
    (13, 0),
    (6, 0),
    (27, 0),
    (3, 0),
    (5, 0),
    (13, 0),
    (13, 0),
    (19, 0),
    (16, 0),
    (16, 0),
    (14, 0),
    (16, 0),
    (13, 0),
    (12, 0),
    (6, 0),
    (4, 0),
    (4, 0),
    (6, 0),
    (7, 0),
    (4, 0),
    (4, 0),
    (8, 0),
    (17, 0),
    (13, 0),
    (8, 0),
    (19, 0),
    (13, 0),
    (4, 0),
    (8, 0),
    (12, 0),
    (18, 0),
    (19, 0),
    (5, 0),
    (7, 0),
    (7, 0),
    (11, 0),
    (6, 0),
    (10, 0),
    (25, 0),
    (17, 0),
    (10, 0),
    (4, 0),
    (3, 0),
    (16, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans blocks one after another, each at once, and byte by byte, with the same result.
    fn check(blocks: &[&[u8]], expected: Result<FieldBlock, HpackError>) {
        let scan = |size: usize| {
            let mut scanner = Scanner::new(1000);
            let mut last = Ok(FieldBlock::default());
            for block in blocks {
                last = block.chunks(size).try_for_each(|part| scanner.feed(part)).and_then(|()| scanner.finish());
                if last.is_err() {
                    break;
                }
            }
            last
        };
        assert_eq!(scan(usize::MAX), expected, "{blocks:x?}");
        assert_eq!(scan(1), expected, "{blocks:x?}, byte by byte");
    }

    fn head(size: usize) -> Result<FieldBlock, HpackError> {
        Ok(FieldBlock { interim: Some(false), pseudo: false, size })
    }

    #[test]
    fn responses() {
        check(&[b"\x88"], head(42));
        check(&[b"\x88\x5f\x0atext/plain"], head(42 + 12 + 10 + 32));
        // RFC 7541 appendix C.6: three responses that use the table.
        let first = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\
            \x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\
            \x43\xd3";
        check(&[first], head(222));
        check(&[first, b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf"], head(222));
        let third = b"\x88\xc1\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x84\xa6\x2d\x1b\
            \xff\xc0\x5a\x83\x9b\xd9\xab\x77\xad\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\
            \x27\x08\x7f\x36\x72\xc1\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07";
        check(&[first, b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf", third], head(42 + 52 + 65 + 63 + 52 + 98));
    }

    #[test]
    fn kinds() {
        let check = |block: &[u8], interim: Option<bool>, pseudo: bool| {
            check(&[block], Ok(FieldBlock { interim, pseudo, size: sizes(block) }));
        };
        fn sizes(block: &[u8]) -> usize {
            let mut scanner = Scanner::new(1000);
            scanner.feed(block).and_then(|()| scanner.finish()).expect("a block").size
        }
        check(b"", None, false);
        for index in 1..=7 {
            check(&[0x80 | index], None, true);
            check(&[index, 1, b'x'], None, true);
        }
        for index in 8..=14 {
            check(&[0x80 | index], Some(false), false);
            check(&[index, 3, b'1', b'0', b'3'], Some(true), false);
            check(&[index, 3, b'5', b'0', b'3'], Some(false), false);
        }
        check(&[0x8f], None, false);
        check(b"\x00\x07:status\x03100", Some(true), false);
        check(b"\x00\x05:path\x01/", None, true);
        check(b"\x00\x02:x\x01/", None, true);
        check(b"\x00\x01x\x01:", None, false);
        // Huffman-coded: `:status: 103`, `:path: /`, `x: y`.
        check(b"\x00\x85\xb8\x84\x8d\x36\xa3\x82\x08\x19", Some(true), false);
        check(b"\x00\x84\xb9\x58\xd3\x3f\x81\x63", None, true);
        check(b"\x00\x81\xf3\x81\xf5", None, false);
    }

    #[test]
    fn tables() {
        let pseudo = |size| Ok(FieldBlock { interim: None, pseudo: true, size });
        check(&[b"\x40\x05:path\x01/", b"\xbe"], pseudo(38));
        check(&[b"\x40\x05:path\x01/\x40\x01x\x01y", b"\xbf"], pseudo(38));
        check(&[b"\x40\x07:status\x03103", b"\xbe"], Ok(FieldBlock { interim: Some(true), pseudo: false, size: 42 }));
        // The name of an entry with another value.
        check(&[b"\x40\x07:status\x03103", b"\x7e\x03200"], head(42));
        check(&[b"\x40\x05:path\x01/", b"\x20", b"\xbe"], Err(HpackError::Malformed));
        // 75 bytes have space for two entries of 34, not for three.
        check(&[b"\x3f\x2c\x40\x01x\x01y\x40\x01x\x01z\xbf"], Ok(FieldBlock { size: 102, ..FieldBlock::default() }));
        check(&[b"\x3f\x2c\x40\x01x\x01y\x40\x01x\x01z\x40\x01x\x01z\xc0"], Err(HpackError::Malformed));
    }

    #[test]
    fn malformed_blocks() {
        for block in [
            &b"\x80"[..],
            b"\xbe",
            b"\x7e\x01x",
            b"\x88\x20",
            b"\x3f\xe2\x1f",
            b"\xff\xff\xff\xff\xff\x7f",
            b"\xff",
            b"\x00",
            b"\x00\x02x",
            b"\x00\x01x\x02y",
            b"\x00\x01x",
        ] {
            check(&[block], Err(HpackError::Malformed));
        }
        check(&[&[0x88; 23]], head(42 * 23));
        check(&[&[0x88; 24]], Err(HpackError::TooLarge));
        check(&[&[&b"\x00\x01x\x7f\xff\x7f"[..], &[b'y'; 1000]].concat()], Err(HpackError::TooLarge));
    }

    #[test]
    fn lengths() {
        let check = |bytes: &[u8], expected: usize| assert_eq!(decoded_length(bytes), expected, "{bytes:x?}");
        check(b"", 0);
        // Examples of RFC 7541 appendix C.
        check(b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "www.example.com".len());
        check(b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache".len());
        check(b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3", "https://www.example.com".len());
        // The longest code, of a line end, has thirty bits.
        check(b"\xff\xff\xff\xf3", 1);
        check(b"\xff\xff\xff\xf3\xff\xff\xff\xcf\xff\xff\xff\x3f", 3);
    }
}
