//! Header fields of a message: [`Fields`]. Pure; on the hot path.
//!
//! It has one buffer with all lines as they are written (`name: value` and a line end), and a list of their positions: a head is
//! parsed with one copy and two allocations for any number of fields, keeps its order, spelling and repetition, and is written
//! by copying whole ranges. A lookup walks the list, which for the dozen fields of a request is faster than hashing. Names are
//! case-insensitive (RFC 9110 section 5.1).

/// Header fields, in order.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<FieldLine>,
}

/// The position of a line in the buffer. The name is followed by `: `, the value by a line end.
#[derive(Debug, Clone, Copy)]
struct FieldLine {
    start: u32,
    name_end: u32,
    end: u32,
}

impl Fields {
    /// Creates an empty list.
    pub const fn new() -> Fields {
        Fields { bytes: Vec::new(), lines: Vec::new() }
    }

    /// Creates an empty list with capacity for `lines` of them in `bytes` bytes.
    pub fn with_capacity(bytes: usize, lines: usize) -> Fields {
        Fields { bytes: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines) }
    }

    /// Creates a copy with capacity for `lines` more in `bytes` bytes.
    pub fn with_room(&self, bytes: usize, lines: usize) -> Fields {
        let mut fields = Fields::with_capacity(self.bytes.len() + bytes, self.lines.len() + lines);
        fields.bytes.extend_from_slice(&self.bytes);
        fields.lines.extend_from_slice(&self.lines);
        fields
    }

    /// Builds fields from the lines of a head, which a parser has found in `block`, in order: names are tokens, and no
    /// value contains a forbidden byte. Lines in the usual format are copied all at once.
    pub fn parsed<'b>(block: &'b [u8], lines: impl ExactSizeIterator<Item = (&'b [u8], &'b [u8])>) -> Fields {
        let mut fields = Fields::with_capacity(block.len(), lines.len());
        fields.bytes.extend_from_slice(block);
        let within = |part: &[u8]| part.as_ptr().addr().wrapping_sub(block.as_ptr().addr());
        for (name, value) in lines {
            let (start, value_start) = (within(name), within(value));
            let (name_end, end) = (start + name.len(), value_start + value.len());
            let as_written = value_start == name_end + 2
                && block.get(name_end..value_start) == Some(b": ".as_slice())
                && block.get(end..end + 2) == Some(b"\r\n".as_slice());
            match (as_written, u32::try_from(start), u32::try_from(name_end), u32::try_from(end)) {
                (true, Ok(start), Ok(name_end), Ok(end)) => fields.lines.push(FieldLine { start, name_end, end }),
                _ => fields.add(name, value),
            }
        }
        fields
    }

    /// Serializes the fields: the positions of names and lines, then the lines as in a message.
    pub fn packed(&self) -> Vec<u8> {
        let compact = self.compact();
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
        let mut fields = Fields::with_capacity(block.len() + bytes, count + lines);
        fields.bytes.extend_from_slice(block);
        let mut start = 0;
        for &[name_end, end] in ends.as_chunks::<4>().0.as_chunks::<2>().0 {
            let (name_end, end) = (u32::from_le_bytes(name_end), u32::from_le_bytes(end));
            let line = FieldLine { start, name_end, end };
            start = end.checked_add(2).filter(|&next| next as usize <= block.len())?;
            if name_end < line.start || end < name_end.checked_add(2)? {
                return None;
            }
            fields.lines.push(line);
        }
        Some(fields)
    }

    /// Returns the number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns the size of names and values in bytes, at most.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the memory that it takes, in bytes.
    pub fn weight(&self) -> usize {
        self.bytes.capacity() + self.lines.capacity() * size_of::<FieldLine>()
    }

    /// Returns a copy without spare capacity.
    pub fn compact(&self) -> Fields {
        let mut fields =
            Fields::with_capacity(self.raw().map(|(name, value)| name.len() + value.len() + 4).sum(), self.len());
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
        self.lines.iter().map(|line| (self.name(line), self.value(line)))
    }

    /// Returns the first value of the field `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Returns the values of all lines of the field `name`.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &[u8]> + use<'_, 'n> {
        self.lines.iter().filter(move |line| self.is(line, name)).map(|line| self.value(line))
    }

    /// Appends all lines as in a message, each with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (mut start, mut end) = (0, 0);
        for line in &self.lines {
            if line.start as usize != end {
                out.extend_from_slice(&self.bytes[start..end]);
                start = line.start as usize;
            }
            end = line.end as usize + 2;
        }
        out.extend_from_slice(&self.bytes[start..end]);
    }

    /// Returns whether the field is present.
    pub fn contains(&self, name: &str) -> bool {
        self.lines.iter().any(|line| self.is(line, name))
    }

    /// Adds a line. Bytes that are forbidden in a value (above all, line ends) are removed (RFC 9110 section 5.5), so that
    /// no value can become a separate line. `name` must be a token; it comes from the parser or the compiler.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let line = self.store(name, value);
        self.lines.push(line);
    }

    /// Replaces the field with a single value, at its first position.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let Some(at) = self.lines.iter().position(|line| self.is(line, name)) else {
            return self.add(name.as_bytes(), value);
        };
        let line = self.store(name.as_bytes(), value);
        self.lines[at] = line;
        let mut index = 0;
        self.retain(|found, _| {
            index += 1;
            index - 1 <= at || !found.eq_ignore_ascii_case(name.as_bytes())
        });
    }

    /// Keeps only the lines for which `keep` returns `true`, given name and value.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let bytes = &self.bytes;
        self.lines.retain(|line| {
            let (start, name_end, end) = (line.start as usize, line.name_end as usize, line.end as usize);
            keep(&bytes[start..name_end], &bytes[name_end + 2..end])
        });
    }

    /// Removes all lines of the field.
    pub fn remove(&mut self, name: &str) {
        if self.contains(name) {
            self.retain(|found, _| !found.eq_ignore_ascii_case(name.as_bytes()));
        }
    }

    /// Replaces the value of each line of the field with the result of `change`.
    pub fn change(&mut self, name: &str, mut change: impl FnMut(&[u8]) -> Vec<u8>) {
        for index in 0..self.lines.len() {
            let line = self.lines[index];
            if self.is(&line, name) {
                let changed = change(self.value(&line));
                self.lines[index] = self.store(name.as_bytes(), &changed);
            }
        }
    }

    fn store(&mut self, name: &[u8], value: &[u8]) -> FieldLine {
        self.bytes.reserve(name.len() + value.len() + 4);
        let start = self.place();
        self.bytes.extend_from_slice(name);
        let name_end = self.place();
        self.bytes.extend_from_slice(b": ");
        // Nearly always nothing is to leave out: all bytes are looked at without a way out, so that the processor sees many at a time.
        if value.iter().fold(false, |any, &byte| any | forbidden(byte)) {
            self.bytes.extend(value.iter().copied().filter(|&byte| !forbidden(byte)));
        } else {
            self.bytes.extend_from_slice(value);
        }
        let end = self.place();
        self.bytes.extend_from_slice(b"\r\n");
        FieldLine { start, name_end, end }
    }

    /// Returns the position of the next byte. Limits keep heads in kilobytes, including values of templates.
    fn place(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("no head has 4 GiB")
    }

    fn is(&self, line: &FieldLine, name: &str) -> bool {
        self.name(line).eq_ignore_ascii_case(name.as_bytes())
    }

    fn name(&self, line: &FieldLine) -> &[u8] {
        &self.bytes[line.start as usize..line.name_end as usize]
    }

    fn value(&self, line: &FieldLine) -> &[u8] {
        &self.bytes[line.name_end as usize + 2..line.end as usize]
    }
}

fn forbidden(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7F)
}

/// Returns whether a field is hop-by-hop (RFC 9110 section 7.6.1), or frames a message. On the hot path, called for
/// each field of each message: the length distinguishes most of them.
pub const fn of_connection(name: &[u8]) -> bool {
    match name.len() {
        2 => name.eq_ignore_ascii_case(b"te"),
        7 => name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        14 => name.eq_ignore_ascii_case(b"content-length"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        18 => name.eq_ignore_ascii_case(b"proxy-authenticate"),
        19 => name.eq_ignore_ascii_case(b"proxy-authorization"),
        _ => false,
    }
}

/// Returns whether a field belongs to a message itself: to its connection, its framing, or its routing. It must not be set by the
/// site or copied to another message.
pub const fn of_message(name: &[u8]) -> bool {
    of_connection(name)
        || name.eq_ignore_ascii_case(b"host")
        || name.eq_ignore_ascii_case(b"trailer")
        || name.eq_ignore_ascii_case(b"expect")
}

/// Returns the members of the comma-separated field `name`, over all its lines, without empty ones (RFC 9110 section 5.6.1). They
/// need not be tokens.
pub fn tokens<'a>(fields: &'a Fields, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    fields.all(name).flat_map(members)
}

/// Returns the members of a comma-separated list.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Returns whether the comma-separated field `name` contains `token`, ignoring case.
pub fn has_token(fields: &Fields, name: &'static str, token: &str) -> bool {
    tokens(fields, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns whether this is a token (RFC 9110 section 5.6.2), such as a field name.
pub fn is_token(bytes: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is)
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
        let find = |part: &str| {
            let at = block.windows(part.len()).position(|found| found == part.as_bytes()).expect("there");
            &block[at..at + part.len()]
        };
        let lines = [("Host", "a"), ("X", "y"), ("Z", "w"), ("Via", "b")];
        let mut fields = Fields::parsed(block, lines.iter().map(|(name, value)| (find(name), find(value))));
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
}
