//! Reads the syntax of a head in one pass: its first line, and its fields with the numbers of their names. Pure; on the hot path.
//!
//! A head that is incomplete so far, but already broken, is broken.

use crate::failure::Failure;
use crate::protocol::fields::{FieldLines, Fields, TOKEN, is_token};
use crate::protocol::names::{KnownField, KnownFields};
use crate::protocol::octets;

/// Why there is no head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is incomplete.
    Partial,
    /// It is not HTTP/1.
    Malformed,
    /// It has too many fields.
    TooMany,
    /// Its version is not HTTP/1.
    OtherMajor,
}

/// A head whose syntax is right.
#[derive(Debug)]
pub(super) struct ScannedHead<S> {
    pub(super) start: S,
    pub(super) fields: Fields,
    pub(super) size: usize,
}

/// The first line of a request: method and target, and whether it is HTTP/1.0.
pub(super) type RequestLine<'b> = (&'b [u8], &'b [u8], bool);

/// The first line of a response: whether it is HTTP/1.0, its status, and its reason phrase.
pub(super) type StatusLine<'b> = (bool, u16, &'b [u8]);

/// Reads the head of a request.
pub(super) fn request(bytes: &[u8], most: usize) -> Result<ScannedHead<RequestLine<'_>>, Unread> {
    let mut scan = Scan::new(bytes);
    scan.empty_lines()?;
    let method = scan.token(b' ')?;
    let target = scan.target()?;
    let old = scan.version()?;
    scan.line_end()?;
    let fields = scan.fields(most)?;
    // RFC 9112 section 2.2 allows a bare LF as a line end. Not all recipients accept it, so requests must not contain it.
    if scan.bare > 0 {
        return Err(Unread::Malformed);
    }
    Ok(ScannedHead { start: (method, target, old), fields, size: scan.at })
}

/// Reads the head of a response.
pub(super) fn response(bytes: &[u8], most: usize) -> Result<ScannedHead<StatusLine<'_>>, Unread> {
    let mut scan = Scan::new(bytes);
    scan.empty_lines()?;
    let old = scan.version()?;
    if scan.next()? != b' ' {
        return Err(Unread::Malformed);
    }
    let mut status = 0;
    for _ in 0..3 {
        let digit = scan.next()?;
        if !digit.is_ascii_digit() {
            return Err(Unread::Malformed);
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    if scan.peek()? == b' ' {
        scan.at += 1;
    } else if !matches!(scan.peek()?, b'\r' | b'\n') {
        return Err(Unread::Malformed);
    }
    let reason = scan.text()?;
    scan.line_end()?;
    let fields = scan.fields(most)?;
    if scan.has_ambiguous_line_ends() {
        return Err(Unread::Malformed);
    }
    Ok(ScannedHead { start: (old, status, reason), fields, size: scan.at })
}

/// Reads the fields after a body, and returns their size as well.
pub(super) fn trailers(bytes: &[u8], most: usize) -> Result<(Fields, usize), Unread> {
    let mut scan = Scan::new(bytes);
    let fields = scan.fields(most)?;
    if scan.bare > 0 { Err(Unread::Malformed) } else { Ok((fields, scan.at)) }
}

/// The fields that say where a message ends.
const FRAMING: KnownFields = KnownFields::of(&[KnownField::CONTENT_LENGTH, KnownField::TRANSFER_ENCODING]);

struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
    /// How many lines end with a bare LF, and how many with CRLF.
    bare: usize,
    whole: usize,
    /// A field that frames the message follows a field whose line ends with a bare LF.
    frames_after_bare: bool,
}

impl<'b> Scan<'b> {
    fn new(bytes: &'b [u8]) -> Scan<'b> {
        Scan { bytes, at: 0, bare: 0, whole: 0, frames_after_bare: false }
    }

    fn peek(&self) -> Result<u8, Unread> {
        self.bytes.get(self.at).copied().ok_or(Unread::Partial)
    }

    fn next(&mut self) -> Result<u8, Unread> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// Empty lines before the first line are ignored (RFC 9112 section 2.2).
    fn empty_lines(&mut self) -> Result<(), Unread> {
        while matches!(self.peek()?, b'\r' | b'\n') {
            self.line_end()?;
        }
        Ok(())
    }

    fn line_end(&mut self) -> Result<(), Unread> {
        match self.next()? {
            b'\r' => {
                self.whole += 1;
                if self.next()? == b'\n' { Ok(()) } else { Err(Unread::Malformed) }
            }
            b'\n' => {
                self.bare += 1;
                Ok(())
            }
            _ => Err(Unread::Malformed),
        }
    }

    /// Reads a token, and `end` after it.
    fn token(&mut self, end: u8) -> Result<&'b [u8], Unread> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| !TOKEN[usize::from(byte)]).ok_or(Unread::Partial)?;
        if length == 0 || rest[length] != end {
            return Err(Unread::Malformed);
        }
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// Reads a target, and the space after it. What it may contain is for others to say.
    fn target(&mut self) -> Result<&'b [u8], Unread> {
        let rest = &self.bytes[self.at..];
        let length = octets::first_below(rest, 0x21).ok_or(Unread::Partial)?;
        if length == 0 || rest[length] != b' ' {
            return Err(Unread::Malformed);
        }
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// Reads the version: `true` for HTTP/1.0. A later minor version is read as HTTP/1.1 (RFC 9110 section 2.5).
    fn version(&mut self) -> Result<bool, Unread> {
        let rest = &self.bytes[self.at..];
        let Some(version) = rest.first_chunk::<8>() else {
            let is = |(byte, like): (&u8, &u8)| byte == like || like.is_ascii_digit() && byte.is_ascii_digit();
            let fits = rest.iter().zip(b"HTTP/1.1").all(is);
            return Err(if fits { Unread::Partial } else { Unread::Malformed });
        };
        self.at += version.len();
        match version {
            b"HTTP/1.0" => Ok(true),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(false),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(if matches!(self.peek()?, b'\r' | b'\n') { Unread::OtherMajor } else { Unread::Malformed })
            }
            _ => Err(Unread::Malformed),
        }
    }

    /// Reads up to the end of the line, which is not read.
    fn text(&mut self) -> Result<&'b [u8], Unread> {
        let rest = &self.bytes[self.at..];
        let mut end = 0;
        loop {
            end += octets::first_below(&rest[end..], 0x20).ok_or(Unread::Partial)?;
            match rest[end] {
                b'\r' | b'\n' => break,
                b'\t' => end += 1,
                _ => return Err(Unread::Malformed),
            }
        }
        self.at += end;
        Ok(&rest[..end])
    }

    /// Reads a line with its end, which it returns without.
    #[inline]
    fn line(&mut self) -> Result<&'b [u8], Unread> {
        let rest = &self.bytes[self.at..];
        if let Some(end) = octets::first_below(rest, 0x20)
            && let Some((line, [b'\r', b'\n', ..])) = rest.split_at_checked(end)
        {
            (self.at, self.whole) = (self.at + end + 2, self.whole + 1);
            return Ok(line);
        }
        self.unusual_line()
    }

    /// Reads a line with tabs in it, or with another end.
    #[cold]
    fn unusual_line(&mut self) -> Result<&'b [u8], Unread> {
        let line = self.text()?;
        self.line_end().map(|()| line)
    }

    /// Reads fields up to the empty line after them.
    fn fields(&mut self, most: usize) -> Result<Fields, Unread> {
        let mut lines = FieldLines::begin();
        let mut bare_before = self.bare;
        loop {
            let start = self.at;
            let rest = &self.bytes[start..];
            let bare = self.bare;
            let line = match self.line() {
                Ok(line) => line,
                Err(Unread::Partial) => return Err(unfinished(rest)),
                Err(malformed) => return Err(malformed),
            };
            if line.is_empty() {
                return Ok(lines.into_fields(&self.bytes[..self.at]));
            }
            let colon = octets::first(line, b':').ok_or(Unread::Malformed)?;
            let (name, after) = line.split_at(colon);
            let known = KnownField::named(name);
            // A name that is known is a token.
            if !known.is_one() && !is_token(name) {
                return Err(Unread::Malformed);
            }
            if lines.count() == most {
                return Err(Unread::TooMany);
            }
            if self.bare > 0 {
                // The first field follows the first line, which has no value of a field in it.
                self.frames_after_bare |= bare > bare_before && lines.count() > 0 && FRAMING.has(known);
                bare_before = bare;
            }
            match after {
                [b':', b' ', value @ ..] if is_trimmed(value) && self.bare == bare => {
                    lines.push(known, start, colon, line.len());
                }
                after => lines.push_unusual(known, name, trimmed(&after[1..])),
            }
        }
    }

    /// Returns whether a response with bare LFs is ambiguous. It is not if all line ends are bare (RFC 9112 section 2.2). If both
    /// kinds occur, a bare LF may have been injected into a field value, so it must neither precede a field that frames the
    /// message nor end the head.
    fn has_ambiguous_line_ends(&self) -> bool {
        self.bare > 0 && self.whole > 0 && (self.frames_after_bare || !self.bytes[..self.at].ends_with(b"\r\n\r\n"))
    }
}

/// Returns why a line that has not ended is unread: what there is of a name must be a token, and a colon must follow it.
fn unfinished(line: &[u8]) -> Unread {
    let is_right = match (octets::first(line, b':'), line) {
        (Some(colon), _) => is_token(&line[..colon]),
        // What may become the empty line after the fields.
        (None, b"\r") => true,
        (None, line) => line.iter().all(|&byte| TOKEN[usize::from(byte)]),
    };
    if is_right { Unread::Partial } else { Unread::Malformed }
}

/// Returns whether a value has no white space around it.
fn is_trimmed(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !is_space(value.first()) && !is_space(value.last())
}

/// Returns a value without the white space around it (RFC 9110 section 5.5).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Failure {
        match unread {
            Unread::TooMany => Failure::HeadersTooLarge,
            Unread::OtherMajor => Failure::UnsupportedVersion,
            Unread::Partial | Unread::Malformed => Failure::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head as `httparse` reads it.
    type Read = Result<(Vec<(String, Vec<u8>)>, usize), Unread>;

    fn ours<S>(head: Result<ScannedHead<S>, Unread>) -> Read {
        let pairs = |fields: &Fields| fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        head.map(|head| (pairs(&head.fields), head.size))
    }

    fn theirs(read: httparse::Result<usize>, lines: &[httparse::Header<'_>]) -> Read {
        match read {
            Ok(httparse::Status::Complete(size)) => {
                let lines = lines.iter().filter(|line| !line.name.is_empty());
                Ok((lines.map(|line| (line.name.to_owned(), line.value.to_vec())).collect(), size))
            }
            Ok(httparse::Status::Partial) => Err(Unread::Partial),
            Err(httparse::Error::TooManyHeaders) => Err(Unread::TooMany),
            Err(_) => Err(Unread::Malformed),
        }
    }

    const PARTS: [&[u8]; 28] = [
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 404 N\xe9\t\r\n",
        b"HTTP/1.1 200",
        b"PURGE ",
        b"/a?b=%20 ",
        b"/\xc3\xa9",
        b"/\xff",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b": ",
        b"Host",
        b"Content-Length: 12\r\n",
        b"transfer-encoding:chunked\r\n",
        b"X-Long-Name-Of-A-Field: a value that is longer than sixteen bytes \r\n",
        b"\x00",
        b"\x7f",
        b"\x80",
        b"\"",
        b"abcdefghijklmnopqrstuvwxyz",
    ];

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            cases: 20_000,
            ..Default::default()
        })]

        /// What `httparse` reads is read in the same way, and nothing else is: but for line ends, about which we are stricter.
        #[test]
        fn as_httparse_reads(parts in proptest::collection::vec(0..PARTS.len(), 1..10), cut in 0_usize..4) {
            let mut bytes: Vec<u8> = parts.iter().flat_map(|&part| PARTS[part]).copied().collect();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let mixed = |size: usize| {
                let is_bare = |at: usize| at == 0 || bytes[at - 1] != b'\r';
                let ends = || (0..size).filter(|&at| bytes[at] == b'\n');
                (ends().any(is_bare), ends().any(|at| !is_bare(at)))
            };
            let mut lines = [httparse::EMPTY_HEADER; 8];
            let mut oracle = httparse::Request::new(&mut lines);
            let read = oracle.parse(&bytes);
            let expected = match theirs(read, oracle.headers) {
                Ok((_, size)) if mixed(size).0 => Err(Unread::Malformed),
                // Ours leaves what a target may contain to others.
                Err(Unread::Malformed) if bytes.contains(&0x80) || bytes.contains(&0xFF) => return Ok(()),
                expected => expected,
            };
            proptest::prop_assert_eq!(ours(request(&bytes, 8)), expected, "{}", bytes.escape_ascii());

            let mut lines = [httparse::EMPTY_HEADER; 8];
            let mut oracle = httparse::Response::new(&mut lines);
            let read = oracle.parse(&bytes);
            let (found, expected) = (ours(response(&bytes, 8)), theirs(read, oracle.headers));
            if let (Err(Unread::Malformed), Ok((_, size))) = (&found, &expected) {
                proptest::prop_assert_eq!(mixed(*size), (true, true), "{}", bytes.escape_ascii());
            } else {
                proptest::prop_assert_eq!(found, expected, "{}", bytes.escape_ascii());
            }
        }
    }
}
