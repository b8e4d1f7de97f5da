//! Header fields as they stand in a message: [`Fields`]. Pure; on the hot path.
//!
//! One buffer with all names and values, and a list of where each is: a head is taken in with two allocations however
//! many fields it has, kept as it came (order, spelling, repetition), and written out by copying. A look-up walks the
//! list, which for the dozen fields of a request is faster than hashing. Names compare in any case (RFC 9110 section 5.1).

/// Header fields, in order.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a field is in the buffer.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: usize,
    name_end: usize,
    value: usize,
    value_end: usize,
}

impl Fields {
    /// No fields.
    pub const fn new() -> Fields {
        Fields { bytes: Vec::new(), lines: Vec::new() }
    }

    /// No fields, with room for `lines` of them in `bytes` bytes.
    pub fn with_capacity(bytes: usize, lines: usize) -> Fields {
        Fields { bytes: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines) }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many bytes names and values have, at most.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Names as spelt, and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.raw().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    /// The same, with names as bytes.
    pub fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.name(line), self.value(line)))
    }

    /// The first value of the field `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The same, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all lines of the field `name`.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &[u8]> + use<'_, 'n> {
        self.lines.iter().filter(move |line| self.is(line, name)).map(|line| self.value(line))
    }

    /// Whether the field is there.
    pub fn contains(&self, name: &str) -> bool {
        self.lines.iter().any(|line| self.is(line, name))
    }

    /// Adds a line. Bytes that a value must not have (line ends above all) are left out (RFC 9110 section 5.5), so that
    /// no value can become a line of its own. `name` must be a token; the callers have it from the parser or the compiler.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let line = self.store(name, value);
        self.lines.push(line);
    }

    /// The field has this value and no other; it stays where it was.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let Some(at) = self.lines.iter().position(|line| self.is(line, name)) else {
            return self.add(name.as_bytes(), value);
        };
        let line = self.store(name.as_bytes(), value);
        self.lines[at] = line;
        let mut index = 0;
        let bytes = &self.bytes;
        self.lines.retain(|line| {
            index += 1;
            index - 1 <= at || !bytes[line.name..line.name_end].eq_ignore_ascii_case(name.as_bytes())
        });
    }

    /// All lines of the field are gone.
    pub fn remove(&mut self, name: &str) {
        let bytes = &self.bytes;
        self.lines.retain(|line| !bytes[line.name..line.name_end].eq_ignore_ascii_case(name.as_bytes()));
    }

    /// The value of each line of the field is what `change` makes of it.
    pub fn change(&mut self, name: &str, mut change: impl FnMut(&str) -> String) {
        for index in 0..self.lines.len() {
            let line = self.lines[index];
            if self.is(&line, name)
                && let Ok(text) = std::str::from_utf8(self.value(&line))
            {
                let changed = change(text);
                self.lines[index] = self.store(name.as_bytes(), changed.as_bytes());
            }
        }
    }

    fn store(&mut self, name: &[u8], value: &[u8]) -> Line {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len();
        // Nearly always nothing is to leave out; asked of all bytes at once, without a way out, the processor sees many
        // at a time.
        if value.iter().fold(false, |any, &byte| any | forbidden(byte)) {
            self.bytes.extend(value.iter().copied().filter(|&byte| !forbidden(byte)));
        } else {
            self.bytes.extend_from_slice(value);
        }
        Line { name: start, name_end: middle, value: middle, value_end: self.bytes.len() }
    }

    fn is(&self, line: &Line, name: &str) -> bool {
        self.name(line).eq_ignore_ascii_case(name.as_bytes())
    }

    fn name(&self, line: &Line) -> &[u8] {
        &self.bytes[line.name..line.name_end]
    }

    fn value(&self, line: &Line) -> &[u8] {
        &self.bytes[line.value..line.value_end]
    }
}

fn forbidden(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') | (byte == 0x7F)
}

/// The members of the comma-separated field `name` (RFC 9110 section 5.6.1); values that are not text are left out.
pub fn tokens<'a>(fields: &'a Fields, name: &'static str) -> impl Iterator<Item = &'a str> {
    fields
        .all(name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Whether the comma-separated field `name` holds `token`, in any case.
pub fn has_token(fields: &Fields, name: &'static str, token: &str) -> bool {
    tokens(fields, name).any(|item| item.eq_ignore_ascii_case(token))
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

impl PartialEq for Fields {
    /// The same lines in the same order, names in any case.
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
            |fields| fields.change("a", |old| format!("{old}!")),
            &[("a", "1!"), ("b", "2"), ("a", "3!"), ("c", "4")],
        );
        check(|fields| fields.set("b", b"x\r\ny: z\0\t"), &[("a", "1"), ("b", "xy: z\t"), ("a", "3"), ("c", "4")]);
    }

    #[test]
    fn look_ups() {
        let fields: Fields = [("Host", "a"), ("Via", "x, Y"), ("via", "z"), ("odd", "\u{e9}")].into_iter().collect();
        assert_eq!(fields.text("host"), Some("a"));
        assert_eq!(fields.get("hos"), None);
        assert_eq!(fields.all("VIA").count(), 2);
        assert_eq!(tokens(&fields, "via").collect::<Vec<_>>(), ["x", "Y", "z"]);
        assert!(has_token(&fields, "via", "y") && !has_token(&fields, "via", "w"));
        assert!(fields.contains("ODD") && !fields.contains("even"));
    }
}
