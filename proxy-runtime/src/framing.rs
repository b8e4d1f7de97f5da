//! Where request heads begin and end in a client's bytes, and whether one names its body's length twice. Pure.
//!
//! hyper reads a head with both `Transfer-Encoding` and `Content-Length` the way RFC 9112 section 6.1 permits: it drops
//! the length and closes afterwards. We refuse such a request, and one with several lengths, as attempts at smuggling;
//! but what hyper dropped is not in the request it hands on. So [`Framing`] sees the bytes first: it keeps each head
//! until the request arrives, and follows bodies just far enough to know where the next head begins.
//!
//! On the hot path: one copy of the head and one search for line ends; names are looked at only for requests that have
//! a body.

/// Follows the bytes of one client connection.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    head: Vec<u8>,
    body: Body,
}

/// What stands before the next head.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Nothing.
    #[default]
    Nothing,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// An upgrade, or what can't be followed; hyper decides alone.
    Unknown,
}

/// Within chunks (RFC 9112 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the size line, before (`false`) or in its extensions.
    Size(u64, bool),
    /// In the data, this many bytes left, with the line end behind it.
    Data(u64),
    /// In the trailers: whether this line has anything on it.
    Trailer(bool),
}

/// A head names its body's length twice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Smuggled;

impl Framing {
    /// Takes in bytes that were read. `true` where a head began that had not before.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && self.body != Body::Nothing {
            bytes = self.body.skip(bytes);
        }
        let began = self.head.is_empty() && !bytes.is_empty();
        self.head.extend_from_slice(bytes);
        began
    }

    /// Whether a head is on its way.
    pub(crate) fn in_head(&self) -> bool {
        !self.head.is_empty()
    }

    /// Whether all of the request's body has been read, as far as that can be told.
    pub(crate) fn body_complete(&self) -> bool {
        self.body == Body::Nothing
    }

    /// The request whose head is the next one has arrived: `chunked` and `length` are what hyper made of it.
    ///
    /// # Errors
    /// The head names its body's length twice.
    pub(crate) fn take(&mut self, chunked: bool, length: Option<u64>) -> Result<(), Smuggled> {
        let Some(end) = head_end(&self.head) else {
            self.head.clear();
            self.body = Body::Unknown;
            return Ok(());
        };
        let twice = (chunked || length.is_some()) && lengths(&self.head[..end]) > 1;
        self.body = match (chunked, length) {
            (true, _) => Body::Chunked(Chunk::Size(0, false)),
            (false, Some(length @ 1..)) => Body::Length(length),
            (false, _) => Body::Nothing,
        };
        if end == self.head.len() {
            // The usual case; the buffer is kept for the next head.
            self.head.clear();
        } else {
            let rest = self.head.split_off(end);
            self.head.clear();
            self.read(&rest);
        }
        if twice { Err(Smuggled) } else { Ok(()) }
    }

    /// The connection is HTTP no more.
    pub(crate) fn upgraded(&mut self) {
        self.head = Vec::new();
        self.body = Body::Unknown;
    }
}

impl Body {
    /// Skips what belongs to the body; gives what is left.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Body::Nothing => bytes,
            Body::Unknown => &[],
            Body::Length(left) => {
                let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                if *left == 0 {
                    *self = Body::Nothing;
                }
                &bytes[here..]
            }
            Body::Chunked(chunk) => {
                let (next, rest) = chunk.skip(bytes);
                *self = next;
                rest
            }
        }
    }
}

impl Chunk {
    fn skip(self, bytes: &[u8]) -> (Body, &[u8]) {
        let Some((&byte, rest)) = bytes.split_first() else { return (Body::Chunked(self), bytes) };
        match self {
            Chunk::Size(0, _) if byte == b'\n' => (Body::Chunked(Chunk::Trailer(false)), rest),
            // The data, and CR LF.
            Chunk::Size(size, _) if byte == b'\n' => (Body::Chunked(Chunk::Data(size.saturating_add(2))), rest),
            Chunk::Size(size, false) => match (byte as char).to_digit(16) {
                Some(digit) if size < 1 << 59 => {
                    (Body::Chunked(Chunk::Size(size * 16 + u64::from(digit), false)), rest)
                }
                Some(_) => (Body::Unknown, rest),
                None => (Body::Chunked(Chunk::Size(size, true)), rest),
            },
            Chunk::Size(size, true) => (Body::Chunked(Chunk::Size(size, true)), rest),
            Chunk::Data(left) => {
                let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - here as u64;
                let next = if left == 0 { Chunk::Size(0, false) } else { Chunk::Data(left) };
                (Body::Chunked(next), &bytes[here..])
            }
            Chunk::Trailer(false) if byte == b'\n' => (Body::Nothing, rest),
            Chunk::Trailer(_) if byte == b'\n' => (Body::Chunked(Chunk::Trailer(false)), rest),
            Chunk::Trailer(any) => (Body::Chunked(Chunk::Trailer(any || byte != b'\r')), rest),
        }
    }
}

/// One past the blank line that ends a head. Blank lines before it are part of it (RFC 9112 section 2.2).
fn head_end(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    memchr::memchr_iter(b'\n', &bytes[begin..]).map(|at| begin + at + 1).find_map(|line| match &bytes[line..] {
        [b'\n', ..] => Some(line + 1),
        [b'\r', b'\n', ..] => Some(line + 2),
        _ => None,
    })
}

/// How many lines of a head say how long its body is.
fn lengths(head: &[u8]) -> usize {
    let names = head
        .split(|&byte| byte == b'\n')
        .skip(1)
        .map(|line| line.split(|&byte| byte == b':').next().unwrap_or_default());
    names
        .filter(|name| name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `step`, taking a head whenever one is complete; gives what each `take` said.
    fn follow(bytes: &[u8], step: usize, bodies: &[(bool, Option<u64>)]) -> Vec<bool> {
        let mut framing = Framing::default();
        let mut bodies = bodies.iter();
        let mut taken = Vec::new();
        for piece in bytes.chunks(step) {
            framing.read(piece);
            while head_end(&framing.head).is_some() {
                let Some((chunked, length)) = bodies.next() else { break };
                taken.push(framing.take(*chunked, *length).is_ok());
            }
        }
        assert!(!framing.in_head(), "{:?} is left over", String::from_utf8_lossy(&framing.head));
        taken
    }

    #[track_caller]
    fn check(bytes: &str, bodies: &[(bool, Option<u64>)], expected: &[bool]) {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(follow(bytes.as_bytes(), step, bodies), expected, "in steps of {step}: {bytes:?}");
        }
    }

    const GET: (bool, Option<u64>) = (false, None);

    #[test]
    fn heads() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[GET], &[true]);
        check("GET / HTTP/1.1\nHost: a\n\n", &[GET], &[true]);
        check("\r\n\r\nGET / HTTP/1.1\r\n\r\n", &[GET], &[true]);
        check("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", &[GET, GET], &[true, true]);
    }

    #[test]
    fn bodies() {
        let post = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        check(&post.repeat(2), &[(false, Some(5)), (false, Some(5))], &[true, true]);
        let chunked =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nab\r\nc\r\n0\r\nTrailer: x\r\n\r\n";
        check(&chunked.repeat(2), &[(true, None), (true, None)], &[true, true]);
        let hides = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1B\r\nx\r\nContent-Length: 1\r\n\r\nxxxx\r\n0\r\n\r\n";
        check(hides, &[(true, None)], &[true]);
    }

    #[test]
    fn smuggling() {
        let both = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        check(both, &[(true, None)], &[false]);
        check(&both.replace("Transfer-Encoding", "tRANSFER-eNCODING"), &[(true, None)], &[false]);
        check("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", &[(false, Some(1))], &[false]);
        check(
            "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
            &[GET, (true, None)],
            &[true, false],
        );
    }
}
