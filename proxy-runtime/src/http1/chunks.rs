//! Parses chunked bodies.

use super::framing::Framing;
use super::scan::{self, Unread};
use crate::protocol::fields::Fields;
use crate::protocol::fields::may_trail;

/// The longest chunk-size line, in bytes.
const MAX_LINE: usize = 1024;

/// The most bytes of chunk extensions in a body: they have no use, but cost time (CVE-2023-39326 and similar).
const MAX_EXTENSIONS: usize = 16 << 10;

/// The largest trailer section, in bytes, and the most fields in it.
const MAX_TRAILERS: usize = 8 << 10;
const MAX_TRAILER_FIELDS: usize = 64;

/// Finds the data of a body in the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: ChunkState,
    extensions: usize,
    /// For a server's body: oddities in chunk-size lines are accepted if they are unambiguous.
    lenient: bool,
    /// The trailers, once the end was found.
    pub(crate) trailers: Option<Fields>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// The body is complete.
    Done,
    /// This many bytes are left.
    Length(u64),
    /// The body ends with the connection.
    UntilClose,
    /// Before a chunk-size line.
    Size,
    /// Within a chunk, of which this many bytes are left.
    Chunk(u64),
    /// After a chunk's data, before its line end.
    ChunkEnd,
    /// After the last chunk.
    Trailers,
}

/// The next element at the front of the bytes. `skip` bytes of framing must be skipped in any case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChunkStep {
    /// Data of this length follows.
    Data { skip: usize, len: usize },
    /// More bytes are needed.
    More { skip: usize },
    /// The body ends here.
    End { skip: usize },
}

/// The chunked encoding is malformed (RFC 9112 section 7.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedChunk;

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::Empty => ChunkState::Done,
            Framing::Length(length) => ChunkState::Length(length),
            Framing::Chunked => ChunkState::Size,
            Framing::UntilClose => ChunkState::UntilClose,
        };
        Decoder { state, extensions: 0, lenient: false, trailers: None }
    }

    /// Returns a decoder for a server's body: some servers pad chunk sizes with blanks.
    pub(crate) fn of_server(framing: Framing) -> Decoder {
        Decoder { lenient: true, ..Decoder::new(framing) }
    }

    /// Returns whether the end was found.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, ChunkState::Done | ChunkState::Length(0))
    }

    /// Returns how many bytes of data are left, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            ChunkState::Done => Some(0),
            ChunkState::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Finds the next element at the front of `bytes`.
    ///
    /// # Errors
    /// [`MalformedChunk`].
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<ChunkStep, MalformedChunk> {
        let mut skip = 0;
        loop {
            let rest = &bytes[skip..];
            match self.state {
                ChunkState::Done | ChunkState::Length(0) => return Ok(ChunkStep::End { skip }),
                _ if rest.is_empty() => return Ok(ChunkStep::More { skip }),
                ChunkState::Length(left) | ChunkState::Chunk(left) => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    return Ok(ChunkStep::Data { skip, len });
                }
                ChunkState::UntilClose => return Ok(ChunkStep::Data { skip, len: rest.len() }),
                ChunkState::Size => {
                    let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(MAX_LINE)]) else {
                        return if rest.len() < MAX_LINE { Ok(ChunkStep::More { skip }) } else { Err(MalformedChunk) };
                    };
                    let (size, extension) = chunk_size(&rest[..end], self.lenient).ok_or(MalformedChunk)?;
                    self.extensions += extension;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(MalformedChunk);
                    }
                    self.state = if size == 0 { ChunkState::Trailers } else { ChunkState::Chunk(size) };
                    skip += end + 1;
                }
                ChunkState::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = ChunkState::Size;
                        skip += 2;
                    }
                    [b'\r'] => return Ok(ChunkStep::More { skip }),
                    _ => return Err(MalformedChunk),
                },
                ChunkState::Trailers => match self.trailers(rest)? {
                    Some(size) => {
                        self.state = ChunkState::Done;
                        skip += size;
                    }
                    None => return Ok(ChunkStep::More { skip }),
                },
            }
        }
    }

    /// Consumes bytes of the data that was found.
    pub(crate) fn took(&mut self, len: usize) {
        match &mut self.state {
            ChunkState::Length(left) => *left -= len as u64,
            ChunkState::Chunk(left) => {
                *left -= len as u64;
                if *left == 0 {
                    self.state = ChunkState::ChunkEnd;
                }
            }
            ChunkState::Done
            | ChunkState::UntilClose
            | ChunkState::Size
            | ChunkState::ChunkEnd
            | ChunkState::Trailers => {}
        }
    }

    /// The connection has ended: returns whether the body is complete.
    pub(crate) fn closed(&mut self) -> bool {
        if self.state == ChunkState::UntilClose {
            self.state = ChunkState::Done;
        }
        self.is_done()
    }

    /// Parses the trailer section with its empty line, and returns its size if it is complete.
    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, MalformedChunk> {
        if let [b'\r', b'\n', ..] = bytes {
            return Ok(Some(2));
        }
        match scan::trailers(bytes, MAX_TRAILER_FIELDS) {
            Ok((mut fields, size)) if size <= MAX_TRAILERS => {
                fields.retain(|name, _| may_trail(name));
                self.trailers = Some(fields);
                Ok(Some(size))
            }
            Err(Unread::Partial) if bytes.len() < MAX_TRAILERS => Ok(None),
            _ => Err(MalformedChunk),
        }
    }
}

/// Parses a chunk-size line, which ends with CR; returns the size, and the length of the extensions.
fn chunk_size(line: &[u8], lenient: bool) -> Option<(u64, usize)> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    if !(1..=16).contains(&digits) || !(are_extensions(extensions) || lenient && are_harmless(extensions)) {
        return None;
    }
    let size = size.iter().fold(0_u64, |size, &digit| size << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0)));
    Some((size, extensions.len()))
}

/// RFC 9112 section 7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(name) = without_blanks(rest).strip_prefix(b";").map(without_blanks) else { return false };
        let Some(after) = after_token(name) else { return false };
        rest = after;
        if let Some(value) = without_blanks(rest).strip_prefix(b"=").map(without_blanks) {
            let after = match value.strip_prefix(b"\"") {
                Some(quoted) => after_quoted(quoted),
                None => after_token(value),
            };
            let Some(after) = after else { return false };
            rest = after;
        }
    }
    true
}

/// Returns whether extensions that violate the grammar, as some servers send them, are unambiguous: blanks, or
/// something like an extension.
fn are_harmless(extensions: &[u8]) -> bool {
    matches!(without_blanks(extensions), [] | [b';', ..])
        && !extensions.iter().any(|&byte| byte < 0x20 && byte != b'\t' || byte == 0x7F)
}

fn without_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[blanks..]
}

/// Returns the bytes after the token at the front (RFC 9110 section 5.6.2).
fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let is_in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let len = bytes.iter().take_while(|&&byte| is_in_token(byte)).count();
    (len > 0).then(|| &bytes[len..])
}

/// Returns the bytes after a quoted string (RFC 9110 section 5.6.4), whose first quote was consumed.
fn after_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            0x7F | 0..=0x08 | 0x0A..=0x1F => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(&bytes[at + 1..]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in steps of `step` bytes; returns the data, and how much is left after the end.
    fn decode(framing: Framing, input: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, MalformedChunk> {
        let (mut decoder, mut data, mut from) = (Decoder::new(framing), Vec::new(), 0);
        let mut end = 0;
        loop {
            match decoder.find(&input[from..end])? {
                ChunkStep::Data { skip, len } => {
                    data.extend_from_slice(&input[from + skip..from + skip + len]);
                    decoder.took(len);
                    from += skip + len;
                }
                ChunkStep::End { skip } => return Ok(Some((data, input.len() - from - skip))),
                ChunkStep::More { skip } => {
                    from += skip;
                    if end == input.len() {
                        return Ok(None);
                    }
                    end = input.len().min(end + step);
                }
            }
        }
    }

    #[track_caller]
    fn check(input: &str, expected: Result<Option<(&str, usize)>, MalformedChunk>) {
        for step in [1, 2, 3, 1000] {
            let found = decode(Framing::Chunked, input.as_bytes(), step);
            let expected = match &expected {
                Ok(whole) => {
                    Ok(whole.map(|(data, left)| (data.as_bytes().to_vec(), if step > 900 { left } else { 0 })))
                }
                Err(MalformedChunk) => Err(MalformedChunk),
            };
            // In small steps, the bytes after the end are not reached.
            let found = found.map(|whole| whole.map(|(data, left)| (data, if step > 900 { left } else { 0 })));
            assert_eq!(found, expected, "{input:?} by {step}");
        }
    }

    #[test]
    fn decodes_chunks() {
        check("3\r\nabc\r\n0\r\n\r\n", Ok(Some(("abc", 0))));
        check("3;a=b\r\nabc\r\n1 ;x\r\nd\r\n00\r\n\r\nnext", Ok(Some(("abcd", 4))));
        check("A\r\n0123456789\r\n0\r\nX: y\r\n\r\n!", Ok(Some(("0123456789", 1))));
        check("3\r\nabc\r\n", Ok(None));
        check("0\r\nX: y\r\n", Ok(None));
        for bad in [
            "x\r\n",
            "\r\n",
            "3\nabc\r\n",
            "-3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3 3\r\nabc\r\n",
            "10000000000000000\r\n",
            "3;\u{1}\r\nabc\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX: y\n\r\n",
        ] {
            check(bad, Err(MalformedChunk));
        }
    }

    #[test]
    fn chunk_size_lines() {
        let check = |line: &str, client: bool, server: bool| {
            let line = format!("{line}\r");
            assert_eq!(chunk_size(line.as_bytes(), false).is_some(), client, "{line:?} from a client");
            assert_eq!(chunk_size(line.as_bytes(), true).is_some(), server, "{line:?} from a server");
        };
        for line in ["5", "5;a", "5 ; a", "5;a=b", "5\t;a = b;c", "5;a=\"b;c\"", "5;a=\"\\\"\";b", "5;a=\"\u{e9}\""] {
            check(line, true, true);
        }
        for line in
            ["5 ", "5\t ", "5;", "5; ", "5;;a", "5;=b", "5;a=", "5;a b", "5;a=\"b", "5;a=\"b\"c", "5;a ", "5;\u{e9}"]
        {
            check(line, false, true);
        }
        for line in ["", " 5", "5 5", "5,a", "5=a", "5\u{1}", "5;a\u{7f}", "5;a=\"\r\"", "5\u{b};a", "+5", "5h"] {
            check(line, false, false);
        }
    }

    #[test]
    fn extensions_are_bounded() {
        let one = format!("1;{}\r\na\r\n", "x".repeat(1000));
        assert_eq!(decode(Framing::Chunked, one.repeat(20).as_bytes(), 64), Err(MalformedChunk));
        assert_eq!(decode(Framing::Chunked, format!("1;{}", "x".repeat(2000)).as_bytes(), 64), Err(MalformedChunk));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(decode(Framing::Chunked, trailers.as_bytes(), 64), Err(MalformedChunk));
    }

    #[test]
    fn trailers() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let bytes = b"0\r\nX-Sum: 1\r\nContent-Length: 3\r\nHost: evil\r\n\r\n";
        assert_eq!(decoder.find(bytes), Ok(ChunkStep::End { skip: bytes.len() }));
        assert_eq!(decoder.trailers, Some([("x-sum", "1")].into_iter().collect()));
    }

    #[test]
    fn bodies_with_a_length() {
        let check = |framing, input: &str, expected: Option<(&str, usize)>| {
            let found = decode(framing, input.as_bytes(), 1000).expect("no chunks");
            assert_eq!(found, expected.map(|(data, left)| (data.as_bytes().to_vec(), left)));
        };
        check(Framing::Length(3), "abcdef", Some(("abc", 3)));
        check(Framing::Length(3), "ab", None);
        check(Framing::Length(0), "ab", Some(("", 2)));
        check(Framing::Empty, "ab", Some(("", 2)));
        check(Framing::UntilClose, "ab", None);
        assert!(Decoder::new(Framing::UntilClose).closed());
        assert!(!Decoder::new(Framing::Length(1)).closed());
        assert!(!Decoder::new(Framing::Chunked).closed());
    }
}
