//! Header fields of a message: [`Fields`]. Pure; on the hot path.
//!
//! It has one buffer with all lines as they are written (`name: value` and a line end), and a list of their positions: a head is
//! parsed with one copy, into memory that the thread uses again, keeps its order, spelling and repetition, and is written
//! by copying whole ranges. Names are case-insensitive (RFC 9110 section 5.1), and are looked up when they are stored
//! ([`KnownField`]): a search for a field that is absent is one look at a word, and others compare numbers.

use std::cell::RefCell;

use bytes::Bytes;

use super::names::{FieldKey, KnownField, KnownFields};
use super::octets;
use crate::recycled::Free;

/// Header fields, in order.
///
/// Their memory is used again by the thread that drops them.
#[derive(Default)]
pub struct Fields {
    block: Option<Box<StoredFields>>,
}

/// The lines of fields, and where they are.
struct StoredFields {
    bytes: Vec<u8>,
    lines: Vec<FieldLine>,
    /// Which fields there are; of those that were replaced, maybe some as well.
    present: KnownFields,
}

/// The position of a line in the buffer. The name is followed by `: `, the value by a line end.
#[derive(Debug, Clone, Copy)]
struct FieldLine {
    start: u32,
    name_end: u32,
    end: u32,
    known: KnownField,
}

/// The lines of a head that is being read; see [`Fields`].
pub struct FieldLines<'h> {
    block: Box<StoredFields>,
    /// The lines that are written in another way than here, each with its place among the others.
    unusual: Vec<(usize, &'h [u8], &'h [u8])>,
}

impl<'h> FieldLines<'h> {
    /// Begins without lines.
    pub fn begin() -> FieldLines<'h> {
        FieldLines { block: StoredFields::taken(), unusual: Vec::new() }
    }

    /// Returns the number of lines so far.
    pub fn count(&self) -> usize {
        self.block.lines.len()
    }

    /// Adds a line that is written as it is stored: it begins at `start` of the head, with a name of `name` bytes, `: ` and a value
    /// without forbidden bytes; after these `length` bytes is CRLF.
    pub fn push(&mut self, known: KnownField, start: usize, name: usize, length: usize) {
        let [start, name_end, end] = [start, start + name, start + length].map(place);
        self.block.push(FieldLine { start, name_end, end, known });
    }

    /// Adds a line that is written in another way.
    pub fn push_unusual(&mut self, known: KnownField, name: &'h [u8], value: &'h [u8]) {
        self.unusual.push((self.count(), name, value));
        self.push(known, 0, 0, 0);
    }

    /// Returns the fields, given the head that they are in, which is copied as a whole.
    pub fn into_fields(mut self, head: &[u8]) -> Fields {
        self.block.bytes.extend_from_slice(head);
        for (at, name, value) in self.unusual {
            self.block.lines[at] = self.block.store(name, self.block.lines[at].known, value);
        }
        Fields { block: Some(self.block) }
    }
}

impl Fields {
    /// Creates an empty list.
    pub const fn new() -> Fields {
        Fields { block: None }
    }

    /// Creates an empty list with capacity for `lines` of them in `bytes` bytes.
    pub fn with_capacity(bytes: usize, lines: usize) -> Fields {
        let mut block = StoredFields::taken();
        block.bytes.reserve(bytes);
        block.lines.reserve(lines);
        Fields { block: Some(block) }
    }

    fn block(&self) -> &StoredFields {
        static EMPTY: StoredFields =
            StoredFields { bytes: Vec::new(), lines: Vec::new(), present: KnownFields::of(&[]) };
        self.block.as_deref().unwrap_or(&EMPTY)
    }

    fn block_mut(&mut self) -> &mut StoredFields {
        self.block.get_or_insert_with(StoredFields::taken)
    }

    /// Creates a copy with capacity for `lines` more in `bytes` bytes.
    pub fn with_room(&self, bytes: usize, lines: usize) -> Fields {
        let ours = self.block();
        let mut fields = Fields::with_capacity(ours.bytes.len() + bytes, ours.lines.len() + lines);
        let block = fields.block_mut();
        block.bytes.extend_from_slice(&ours.bytes);
        block.lines.extend_from_slice(&ours.lines);
        block.present = ours.present;
        fields
    }

    /// Serializes the fields: the positions of names and lines, then the lines as in a message.
    pub fn packed(&self) -> Vec<u8> {
        let compact = self.compact();
        let compact = compact.block();
        let ends = compact.lines.iter().flat_map(|line| [line.name_end, line.end]);
        let count = std::iter::once(compact.lines.len() as u32);
        let mut packed: Vec<u8> = count.chain(ends).flat_map(u32::to_le_bytes).collect();
        packed.extend_from_slice(&compact.bytes);
        packed
    }

    /// Deserializes the result of [`Fields::packed`], with capacity for `lines` more in `bytes` bytes; empty for any other
    /// input. Two copies.
    pub fn unpacked(packed: &[u8], (bytes, lines): (usize, usize)) -> Fields {
        Fields::unpack(packed, (bytes, lines)).unwrap_or_default()
    }

    fn unpack(packed: &[u8], (bytes, lines): (usize, usize)) -> Option<Fields> {
        let (count, rest) = packed.split_first_chunk()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (ends, block) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut fields = Fields::with_capacity(block.len() + bytes, count.min(block.len()) + lines);
        let into = fields.block_mut();
        into.bytes.extend_from_slice(block);
        let mut start = 0;
        for &[name_end, end] in ends.as_chunks::<4>().0.as_chunks::<2>().0 {
            let (name_end, end) = (u32::from_le_bytes(name_end), u32::from_le_bytes(end));
            let known = KnownField::named(block.get(start as usize..name_end as usize)?);
            let line = FieldLine { start, name_end, end, known };
            start = end.checked_add(2).filter(|&next| next as usize <= block.len())?;
            if name_end < line.start || end < name_end.checked_add(2)? {
                return None;
            }
            into.push(line);
        }
        Some(fields)
    }

    /// Returns the number of lines.
    pub fn len(&self) -> usize {
        self.block().lines.len()
    }

    /// Returns the size of names and values in bytes, at most.
    pub fn size(&self) -> usize {
        self.block().bytes.len()
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.block().lines.is_empty()
    }

    /// Returns the memory that it takes, in bytes.
    pub fn weight(&self) -> usize {
        let block = self.block();
        size_of::<StoredFields>() + block.bytes.capacity() + block.lines.capacity() * size_of::<FieldLine>()
    }

    /// Returns a copy without spare capacity.
    pub fn compact(&self) -> Fields {
        let bytes = self.raw().map(|(name, value)| name.len() + value.len() + 4).sum();
        let block = StoredFields {
            bytes: Vec::with_capacity(bytes),
            lines: Vec::with_capacity(self.len()),
            present: KnownFields::default(),
        };
        let mut fields = Fields { block: Some(Box::new(block)) };
        for (name, value) in self.raw() {
            fields.add(name, value);
        }
        fields
    }

    /// Names as spelt, and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.raw().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    /// Names as bytes, and values, in order.
    pub fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let block = self.block();
        block.lines.iter().map(|line| (block.name(line), block.value(line)))
    }

    /// Returns which fields they are, their names, and their values as parts of one copy.
    pub fn shared(&self) -> impl Iterator<Item = (KnownField, &[u8], Bytes)> {
        let block = self.block();
        let copy = Bytes::copy_from_slice(&block.bytes);
        let value = move |line: &FieldLine| copy.slice(line.name_end as usize + 2..line.end as usize);
        block.lines.iter().map(move |line| (line.known, block.name(line), value(line)))
    }

    /// Returns the first value of the field `name`.
    #[inline]
    pub fn get(&self, name: impl FieldKey) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Returns the values of all lines of the field `name`.
    pub fn all<N: FieldKey>(&self, name: N) -> impl Iterator<Item = &[u8]> + use<'_, N> {
        let (known, block) = (name.known(), self.block());
        let lines = if block.present.has(known) { block.lines.as_slice() } else { &[] };
        lines.iter().filter(move |line| block.is(line, known, name)).map(|line| block.value(line))
    }

    /// Returns which fields there may be; all others are certainly absent.
    pub fn present(&self) -> KnownFields {
        self.block().present
    }

    /// Appends all lines as in a message, each with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let StoredFields { bytes, lines, .. } = self.block();
        let (mut start, mut end) = (0, 0);
        for line in lines {
            if line.start as usize != end {
                out.extend_from_slice(&bytes[start..end]);
                start = line.start as usize;
            }
            end = line.end as usize + 2;
        }
        out.extend_from_slice(&bytes[start..end]);
    }

    /// Returns whether the field is present.
    pub fn contains(&self, name: impl FieldKey) -> bool {
        self.all(name).next().is_some()
    }

    /// Adds a line. Bytes that are forbidden in a value (above all, line ends) are removed (RFC 9110 section 5.5), so that
    /// no value can become a separate line. `name` must be a token; it comes from the parser or the compiler.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let block = self.block_mut();
        let line = block.store(name, KnownField::named(name), value);
        block.push(line);
    }

    /// Adds a line of a known field, as [`Fields::add`] does.
    pub fn add_known(&mut self, field: KnownField, value: &[u8]) {
        let block = self.block_mut();
        let line = block.store(field.text(), field, value);
        block.push(line);
    }

    /// Replaces the field with a single value, at its first position.
    pub fn set(&mut self, name: impl FieldKey, value: &[u8]) {
        let (known, block) = (name.known(), self.block_mut());
        let is = |block: &StoredFields, line: &FieldLine| block.is(line, known, name);
        let first = if block.present.has(known) { block.lines.iter().position(|line| is(block, line)) } else { None };
        let line = block.store(name.text(), known, value);
        let Some(first) = first else { return block.push(line) };
        block.lines[first] = line;
        let mut at = first + 1;
        while at < block.lines.len() {
            if is(block, &block.lines[at]) {
                block.lines.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Keeps only the lines for which `keep` returns `true`, given name and value.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let Some(block) = &mut self.block else { return };
        let mut present = KnownFields::default();
        block.lines.retain(|line| {
            let (start, name_end, end) = (line.start as usize, line.name_end as usize, line.end as usize);
            let keeps = keep(&block.bytes[start..name_end], &block.bytes[name_end + 2..end]);
            if keeps {
                present.add(line.known);
            }
            keeps
        });
        block.present = present;
    }

    /// Removes all lines of the fields in a set, of which those that stand for several names are not looked at closer.
    pub fn remove_all(&mut self, fields: KnownFields) {
        if let Some(block) = &mut self.block
            && block.present.meets(fields)
        {
            block.lines.retain(|line| !fields.has(line.known));
            block.present = block.present.without(fields);
        }
    }

    /// Removes all lines of the field.
    pub fn remove(&mut self, name: impl FieldKey) {
        if self.contains(name) {
            self.retain(|found, _| !found.eq_ignore_ascii_case(name.text()));
        }
    }

    /// Replaces the value of each line of the field with the result of `change`.
    pub fn change(&mut self, name: impl FieldKey, mut change: impl FnMut(&[u8]) -> Vec<u8>) {
        let known = name.known();
        let Some(block) = self.block.as_mut().filter(|block| block.present.has(known)) else { return };
        for index in 0..block.lines.len() {
            let line = block.lines[index];
            if block.is(&line, known, name) {
                let changed = change(block.value(&line));
                block.lines[index] = block.store(name.text(), known, &changed);
            }
        }
    }
}

impl StoredFields {
    /// Returns an empty one, which the thread has used before if there is one.
    fn taken() -> Box<StoredFields> {
        BLOCKS.try_with(|blocks| blocks.borrow_mut().take()).ok().flatten().unwrap_or_default()
    }

    fn push(&mut self, line: FieldLine) {
        self.present.add(line.known);
        self.lines.push(line);
    }

    fn store(&mut self, name: &[u8], known: KnownField, value: &[u8]) -> FieldLine {
        self.bytes.reserve(name.len() + value.len() + 4);
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(name);
        let name_end = place(self.bytes.len());
        self.bytes.extend_from_slice(b": ");
        if octets::first_below(value, 0x20).is_none() {
            self.bytes.extend_from_slice(value);
        } else {
            self.bytes.extend(value.iter().copied().filter(|&byte| !forbidden(byte)));
        }
        let end = place(self.bytes.len());
        self.bytes.extend_from_slice(b"\r\n");
        FieldLine { start, name_end, end, known }
    }

    fn is(&self, line: &FieldLine, known: KnownField, name: impl FieldKey) -> bool {
        line.known == known && (known.is_one() || self.name(line).eq_ignore_ascii_case(name.text()))
    }

    fn name(&self, line: &FieldLine) -> &[u8] {
        &self.bytes[line.start as usize..line.name_end as usize]
    }

    fn value(&self, line: &FieldLine) -> &[u8] {
        &self.bytes[line.name_end as usize + 2..line.end as usize]
    }
}

/// Returns a position in the buffer. Limits keep heads in kilobytes, including values of templates.
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("no head has 4 GiB")
}

fn forbidden(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7F)
}

/// Returns whether a field is hop-by-hop (RFC 9110 section 7.6.1), or frames a message.
pub fn of_connection(name: &[u8]) -> bool {
    KnownFields::OF_CONNECTION.has(KnownField::named(name))
}

/// Returns whether a field belongs to a message itself: to its connection, its framing, or its routing. It must not be set by the
/// site or copied to another message.
pub const fn of_message(name: &[u8]) -> bool {
    KnownFields::OF_MESSAGE.names(name)
}

/// Returns the members of the comma-separated field `name`, over all its lines, without empty ones (RFC 9110 section 5.6.1). They
/// need not be tokens.
pub fn tokens<N: FieldKey>(fields: &Fields, name: N) -> impl Iterator<Item = &[u8]> + use<'_, N> {
    fields.all(name).flat_map(members)
}

/// Returns the members of a comma-separated list.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Returns whether the comma-separated field `name` contains `token`, ignoring case.
pub fn has_token(fields: &Fields, name: impl FieldKey, token: &str) -> bool {
    tokens(fields, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a byte may be in a token (RFC 9110 section 5.6.2).
pub const TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// Returns whether this is a token, such as a field name.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Returns the parts before and after the first `byte`.
pub fn split_once(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Parses a number of digits alone, as in fields; one that overflows becomes the largest number.
pub fn number(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, &byte: &u8| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

impl Clone for Fields {
    fn clone(&self) -> Fields {
        self.with_room(0, 0)
    }
}

impl Default for StoredFields {
    fn default() -> StoredFields {
        StoredFields {
            bytes: Vec::with_capacity(BYTES),
            lines: Vec::with_capacity(LINES),
            present: KnownFields::default(),
        }
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        if let Some(mut block) = self.block.take()
            && block.bytes.capacity() <= MOST_BYTES
            && block.lines.capacity() <= MOST_LINES
        {
            block.bytes.clear();
            block.lines.clear();
            block.present = KnownFields::default();
            // While a thread ends, there may be no list any more.
            let _ = BLOCKS.try_with(|blocks| blocks.borrow_mut().give(block));
        }
    }
}

/// The space in new fields: that of the head of a small request.
const BYTES: usize = 512;
const LINES: usize = 16;

/// The space in fields whose memory is used again, at most.
const MOST_BYTES: usize = 8 << 10;
const MOST_LINES: usize = 256;

thread_local! {
    static BLOCKS: RefCell<Free<Box<StoredFields>>> = const { RefCell::new(Free::new()) };
}

/// Frees the memory of this thread that was not needed since the last sweep.
#[cfg(feature = "serve")]
pub(crate) fn sweep() {
    BLOCKS.with(|blocks| blocks.borrow_mut().sweep());
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, crate::protocol::escape::shown(value)))).finish()
    }
}

impl PartialEq for Fields {
    /// Compares lines in order, ignoring the case of names.
    fn eq(&self, other: &Fields) -> bool {
        self.len() == other.len()
            && self
                .raw()
                .zip(other.raw())
                .all(|(ours, theirs)| ours.0.eq_ignore_ascii_case(theirs.0) && ours.1 == theirs.1)
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.add(name.as_ref(), value.as_ref());
        }
        fields
    }
}

/// Returns whether a field is allowed in trailers: not if it frames, routes or authenticates a message (RFC 9110 section
/// 6.5.1).
pub fn may_trail(name: &[u8]) -> bool {
    const NEVER: [&str; 18] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ];
    !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Fields), expected: &[(&str, &str)]) {
        let mut fields: Fields = [("A", "1"), ("b", "2"), ("a", "3"), ("C", "4")].into_iter().collect();
        change(&mut fields);
        assert_eq!(fields, expected.iter().copied().collect());
    }

    #[test]
    fn changes() {
        check(|fields| fields.add(b"b", b"5"), &[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")]);
        check(|fields| fields.set("a", b"5"), &[("a", "5"), ("b", "2"), ("c", "4")]);
        check(|fields| fields.set("B", b"5"), &[("a", "1"), ("b", "5"), ("a", "3"), ("c", "4")]);
        check(|fields| fields.set("d", b"5"), &[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("d", "5")]);
        check(|fields| fields.remove("A"), &[("b", "2"), ("c", "4")]);
        check(
            |fields| fields.change("a", |old| [old, b"!"].concat()),
            &[("a", "1!"), ("b", "2"), ("a", "3!"), ("c", "4")],
        );
        check(|fields| fields.set("b", b"x\r\ny: z\0\t"), &[("a", "1"), ("b", "xy: z\t"), ("a", "3"), ("c", "4")]);
    }

    #[test]
    fn parsed_and_written() {
        let block = b"GET / HTTP/1.1\r\nHost: a\r\nX:y\r\nZ:  w \r\nVia: b\r\n\r\n";
        let lines = [("Host", "a"), ("X", "y"), ("Z", "w"), ("Via", "b")];
        let mut parsed = FieldLines::begin();
        for (name, value) in lines {
            let (text, known) = (format!("{name}: {value}"), KnownField::named(name.as_bytes()));
            match block.windows(text.len()).position(|found| found == text.as_bytes()) {
                Some(start) => parsed.push(known, start, name.len(), text.len()),
                None => parsed.push_unusual(known, name.as_bytes(), value.as_bytes()),
            }
        }
        let mut fields = parsed.into_fields(block);
        assert_eq!(fields, lines.into_iter().collect());
        let written = |fields: &Fields| {
            let mut out = b"| ".to_vec();
            fields.write(&mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(&fields), "| Host: a\r\nX: y\r\nZ: w\r\nVia: b\r\n");
        fields.remove("x");
        fields.set("host", b"c");
        fields = fields.with_room(10, 1);
        fields.add(b"last", b"");
        assert_eq!(written(&fields), "| host: c\r\nZ: w\r\nVia: b\r\nlast: \r\n");
    }

    #[test]
    fn packed_and_unpacked() {
        for lines in [&[][..], &[("host", "a"), ("empty", ""), ("x", "y: z")]] {
            let mut fields: Fields = [("gone", "1")].into_iter().chain(lines.iter().copied()).collect();
            fields.remove("gone");
            let packed = fields.packed();
            assert_eq!(Fields::unpacked(&packed, (0, 0)), fields);
            for cut in 0..packed.len() {
                assert!(Fields::unpacked(&packed[..cut], (0, 0)).is_empty(), "{cut}");
            }
        }
        for bytes in [[0xff; 40], [1; 40], [0x10; 40]] {
            assert!(Fields::unpacked(&bytes, (0, 0)).is_empty(), "{bytes:?}");
        }
        // For any positions in it, the fields are read, or there are none.
        let packed = [("host", "a"), ("x", "y: z")].into_iter().collect::<Fields>().packed();
        for (at, byte) in (0..packed.len()).flat_map(|at| [0, 1, 2, 5, 0x7f, 0xff].map(|byte| (at, byte))) {
            let mut damaged = packed.clone();
            damaged[at] = byte;
            let mut out = Vec::new();
            Fields::unpacked(&damaged, (0, 0)).write(&mut out);
            assert!(out.len() <= packed.len(), "{at} {byte}");
        }
    }

    #[test]
    fn look_ups() {
        let fields: Fields = [("Host", "a"), ("Via", "x, Y"), ("via", "z"), ("odd", "\u{e9}")].into_iter().collect();
        assert_eq!(fields.get("host"), Some(b"a".as_slice()));
        assert_eq!(fields.get("hos"), None);
        assert_eq!(fields.all("VIA").count(), 2);
        assert_eq!(tokens(&fields, "via").collect::<Vec<_>>(), [b"x", b"Y", b"z"]);
        assert!(has_token(&fields, "via", "y") && !has_token(&fields, "via", "w"));
        assert!(fields.contains("ODD") && !fields.contains("even"));
    }

    /// A value that is not UTF-8 hides neither itself nor others (RFC 9110 section 5.5).
    #[test]
    fn values_may_have_any_bytes() {
        let mut fields: Fields = [("a", b"\xe9, b,, \xff".as_slice()), ("a", b"c\xe9")].into_iter().collect();
        assert_eq!(tokens(&fields, "a").collect::<Vec<_>>(), [b"\xe9".as_slice(), b"b", b"\xff", b"c\xe9"]);
        assert!(has_token(&fields, "a", "b"));
        fields.change("a", |old| [old, b"!"].concat());
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [b"\xe9, b,, \xff!".as_slice(), b"c\xe9!"]);
        assert_eq!(format!("{fields:?}"), "{\"a\": \"\\\\xE9, b,, \\\\xFF!\", \"a\": \"c\\\\xE9!\"}");
    }

    #[test]
    fn numbers() {
        let check = |digits: &[u8], expected| assert_eq!(number(digits), expected, "{digits:?}");
        check(b"0", Some(0));
        check(b"0042", Some(42));
        check(b"18446744073709551615", Some(u64::MAX));
        check(b"18446744073709551616", Some(u64::MAX));
        for other in [b"".as_slice(), b"-1", b"+1", b" 1", b"1.0", b"1\xe9", "\u{663}".as_bytes()] {
            check(other, None);
        }
    }

    #[test]
    fn name_tokens() {
        assert!(is_token(b"X-A_b.1") && !is_token(b"") && !is_token(b"a b") && !is_token(b"\xe9") && !is_token(b"*,"));
    }

    /// A list of names and values, with the changes that fields have.
    type Naive = Vec<(String, String)>;

    fn changed(naive: &mut Naive, fields: &mut Fields, change: usize, name: &str, value: &str) {
        let is = |found: &str| found.eq_ignore_ascii_case(name);
        match change {
            0 => {
                naive.push((name.to_owned(), value.to_owned()));
                fields.add(name.as_bytes(), value.as_bytes());
            }
            1 => {
                match naive.iter().position(|(found, _)| is(found)) {
                    Some(first) => {
                        naive[first] = (name.to_owned(), value.to_owned());
                        let mut at = 0..;
                        naive.retain(|(found, _)| at.next() <= Some(first) || !is(found));
                    }
                    None => naive.push((name.to_owned(), value.to_owned())),
                }
                fields.set(name, value.as_bytes());
            }
            2 => {
                naive.retain(|(found, _)| !is(found));
                fields.remove(name);
            }
            3 => {
                naive.retain(|(found, _)| !KnownFields::OF_CONNECTION.names(found.as_bytes()));
                fields.remove_all(KnownFields::OF_CONNECTION);
            }
            4 => {
                naive
                    .iter_mut()
                    .filter(|(found, _)| is(found))
                    .for_each(|line| *line = (name.to_owned(), value.to_owned()));
                fields.change(name, |_| value.as_bytes().to_vec());
            }
            5 => *fields = Fields::unpacked(&fields.packed(), (0, 0)),
            _ => *fields = fields.with_room(10, 1),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..Default::default()
        })]

        /// Whatever is done to them, fields are a list of names and values.
        #[test]
        fn as_a_plain_list(changes in proptest::collection::vec((0..7_usize, 0..9_usize, "[a-c]"), 0..20)) {
            const NAMES: [&str; 9] = ["Host", "host", "x-a", "X-A", "te", "Upgrade", "x_a", "x-original-a", "x-original-b"];
            let (mut naive, mut fields) = (Naive::new(), Fields::new());
            for (change, name, value) in changes {
                changed(&mut naive, &mut fields, change, NAMES[name], &value);
                let expected: Fields = naive.iter().map(|(name, value)| (name, value)).collect();
                proptest::prop_assert_eq!(&fields, &expected);
                for name in NAMES {
                    let all: Vec<&[u8]> = fields.all(name).collect();
                    let expected = naive.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
                    proptest::prop_assert_eq!(all, expected.map(|(_, value)| value.as_bytes()).collect::<Vec<_>>());
                }
            }
        }
    }
}
