//! Heads of requests and answers, in and out.

use std::mem::MaybeUninit;

use http::{Method, StatusCode, Version};
use httparse::{Error, Status};

use super::Framing;
use crate::failure::Failure;
use crate::fields::Fields;

/// The most fields of a request, and of an answer.
const MAX_FIELDS: usize = 100;
const MAX_ANSWER_FIELDS: usize = 200;

/// A head that has arrived. `S` is what its first line says: method and target, or a status.
#[derive(Debug)]
pub(crate) struct Head<S> {
    pub(crate) start: S,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// How the body behind it ends.
    pub(crate) framing: Framing,
    /// What `Content-Length` says, also where there is no body.
    pub(crate) length: Option<u64>,
    /// Whether the connection goes on after this message (RFC 9112 section 9.3).
    pub(crate) keep_alive: bool,
    /// The bytes it took.
    pub(crate) size: usize,
}

/// A head on its way in: bytes that were seen to hold no end are not looked at twice, however slowly they come.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    seen: usize,
}

impl Reading {
    /// The head of a request at the front of `bytes`, if it is whole. The target has room for a host behind it.
    ///
    /// # Errors
    /// [`Failure::BadRequest`], [`Failure::BadFraming`], or [`Failure::HeadTooLarge`] for too many fields.
    pub(crate) fn request(&mut self, bytes: &[u8]) -> Result<Option<Head<(Method, String)>>, Failure> {
        if !self.may_be_whole(bytes) {
            return Ok(None);
        }
        let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let size = match request.parse_with_uninit_headers(bytes, &mut lines) {
            Ok(Status::Complete(size)) => size,
            Ok(Status::Partial) => return self.partial(bytes),
            Err(Error::TooManyHeaders) => return Err(Failure::HeadTooLarge),
            Err(_) => return Err(Failure::BadRequest),
        };
        let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
            return Err(Failure::BadRequest);
        };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Failure::BadRequest)?;
        let mut target = String::with_capacity(path.len() + 64);
        target.push_str(path);
        let head = self.head((method, target), version, request.headers, &bytes[..size], Failure::BadRequest)?;
        let framing = match (head.framing, head.length) {
            (Framing::Chunked, _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::Empty,
        };
        Ok(Some(Head { framing, ..head }))
    }

    /// The head of an answer to a request with `method`, if it is whole.
    ///
    /// # Errors
    /// [`Failure::UpstreamInvalid`].
    pub(crate) fn answer(&mut self, bytes: &[u8], method: &Method) -> Result<Option<Head<StatusCode>>, Failure> {
        if !self.may_be_whole(bytes) {
            return Ok(None);
        }
        let mut lines = [const { MaybeUninit::uninit() }; MAX_ANSWER_FIELDS];
        let mut answer = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let size = match config.parse_response_with_uninit_headers(&mut answer, bytes, &mut lines) {
            Ok(Status::Complete(size)) => size,
            Ok(Status::Partial) => return self.partial(bytes),
            Err(_) => return Err(Failure::UpstreamInvalid),
        };
        let (Some(code), Some(version)) = (answer.code, answer.version) else { return Err(Failure::UpstreamInvalid) };
        let status = StatusCode::from_u16(code).map_err(|_| Failure::UpstreamInvalid)?;
        let invalid = Failure::UpstreamInvalid;
        let head = self.head(status, version, answer.headers, &bytes[..size], invalid).map_err(|_| invalid)?;
        // RFC 9112 section 6.3, in its order.
        let bodiless = method == Method::HEAD || status.is_informational() || matches!(code, 204 | 304);
        let framing = match (head.framing, head.length) {
            _ if bodiless => Framing::Empty,
            (Framing::Chunked, _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        };
        let keep_alive = head.keep_alive && framing != Framing::UntilClose;
        Ok(Some(Head { framing, keep_alive, ..head }))
    }

    fn may_be_whole(&self, bytes: &[u8]) -> bool {
        // An empty line: two line ends, the last of which has not been seen.
        let new = self.seen.saturating_sub(3)..;
        self.seen == 0
            || bytes.get(new).is_some_and(|new| {
                memchr::memchr_iter(b'\n', new).any(|at| matches!(new[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
            })
    }

    fn partial<T>(&mut self, bytes: &[u8]) -> Result<Option<T>, Failure> {
        self.seen = bytes.len();
        Ok(None)
    }

    /// What the fields say of the message. `framing` is [`Framing::Chunked`] or [`Framing::Empty`].
    fn head<S>(
        &mut self,
        start: S,
        version: u8,
        lines: &[httparse::Header<'_>],
        bytes: &[u8],
        bad: Failure,
    ) -> Result<Head<S>, Failure> {
        self.seen = 0;
        // RFC 9112 section 2.2 lets a recipient take a bare LF for a line end; not all do, so it must not be one.
        if memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r') {
            return Err(bad);
        }
        let (mut length, mut chunked) = (None, false);
        let mut keep_alive = version == 1;
        for line in lines {
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            match line.name.len() {
                10 if is("connection") => keep_alive = goes_on(line.value, keep_alive),
                14 if is("content-length") => {
                    // Section 6.3: several lengths, even equal ones, or one that is no number.
                    let found = number(line.value).filter(|_| length.is_none());
                    length = Some(found.ok_or(Failure::BadFraming)?);
                }
                17 if is("transfer-encoding") => {
                    // Section 6.1: no other coding is known here, and HTTP/1.0 knows none.
                    if chunked || version == 0 || !line.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Failure::BadFraming);
                    }
                    chunked = true;
                }
                _ => {}
            }
        }
        let fields = Fields::parsed(bytes, lines.iter().map(|line| (line.name.as_bytes(), line.value)));
        if chunked && length.is_some() {
            return Err(Failure::BadFraming);
        }
        let version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let framing = if chunked { Framing::Chunked } else { Framing::Empty };
        Ok(Head { start, version, fields, framing, length, keep_alive, size: bytes.len() })
    }
}

/// What a `Connection` field says of the connection's future.
fn goes_on(value: &[u8], otherwise: bool) -> bool {
    if value.eq_ignore_ascii_case(b"keep-alive") {
        return true;
    }
    let mut tokens = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    match tokens.find(|token| token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive")) {
        Some(token) => token.len() > 5,
        None => otherwise,
    }
}

/// What `Content-Length` says, where it is one number.
pub(crate) fn declared_length(fields: &Fields) -> Option<u64> {
    fields.get("content-length").and_then(number)
}

/// Digits and nothing else (RFC 9110 section 8.6).
fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    // What is no number of 64 bits is none: a length must be right, not the nearest.
    let add = |number: u64, byte: &u8| number.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
    if digits { value.iter().try_fold(0, add) } else { None }
}

/// Writes the head of a request to a server; `host` where it is not among the fields.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    (method, target): (&Method, &str),
    host: Option<&str>,
    fields: &Fields,
    framing: Framing,
) {
    out.reserve(target.len() + host.map_or(0, str::len) + fields.size() + 64);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        out.extend_from_slice(b"host: ");
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    write_fields(out, fields, framing);
}

/// Writes the head of an answer to a client; `more` are whole lines of fields beside the answer's own.
pub(crate) fn write_response(out: &mut Vec<u8>, status: StatusCode, fields: &Fields, framing: Framing, more: &[&[u8]]) {
    out.reserve(fields.size() + 512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for line in more {
        out.extend_from_slice(line);
    }
    write_fields(out, fields, framing);
}

fn write_fields(out: &mut Vec<u8>, fields: &Fields, framing: Framing) {
    fields.write(out);
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Empty | Framing::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn request(fields: &str, expected: Result<(Framing, bool), Failure>) {
        let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\nnext");
        let found = Reading::default().request(bytes.as_bytes()).map(|head| {
            let head = head.expect("whole");
            assert_eq!(head.size, bytes.len() - 4);
            (head.framing, head.keep_alive)
        });
        assert_eq!(found, expected, "{fields:?}");
    }

    #[test]
    fn requests() {
        request("", Ok((Framing::Empty, true)));
        request("Content-Length: 5\r\n", Ok((Framing::Length(5), true)));
        request("content-length: 0\r\n", Ok((Framing::Length(0), true)));
        request("Transfer-Encoding: Chunked\r\n", Ok((Framing::Chunked, true)));
        request("Connection: x, close\r\n", Ok((Framing::Empty, false)));
        request("Connection: keep-alive\r\n", Ok((Framing::Empty, true)));
        for fields in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            request(fields, Err(Failure::BadFraming));
        }
        for fields in ["A: b\nC: d\r\n", " A: b\r\n", "A : b\r\n", "A: b\r\n c\r\n", "A: \0\r\n", "A: b\rc\r\n"] {
            request(fields, Err(Failure::BadRequest));
        }
        request(&"A: b\r\n".repeat(101), Err(Failure::HeadTooLarge));
    }

    #[test]
    fn answers() {
        let check = |method: Method, head: &str, expected: Option<(Framing, bool)>| {
            let found = Reading::default().answer(head.as_bytes(), &method);
            let found = found.ok().map(|head| head.map(|head| (head.framing, head.keep_alive)).expect("whole"));
            assert_eq!(found, expected, "{head:?}");
        };
        check(Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Length(2), true)));
        check(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Empty, true)));
        check(Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", Some((Framing::Empty, true)));
        check(Method::GET, "HTTP/1.1 200\r\n\r\n", Some((Framing::UntilClose, false)));
        check(Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Length(2), false)));
        check(Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some((Framing::Chunked, true)));
        check(Method::GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None);
        check(Method::GET, "HTTP/1.1 99 OK\r\n\r\n", None);
        check(Method::GET, "SSH-2.0-OpenSSH\r\n\r\n", None);
    }

    #[test]
    fn slow_heads_are_parsed_once() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut reading = Reading::default();
        for end in 1..whole.len() {
            assert!(reading.request(&whole[..end]).expect("so far").is_none());
            assert!(end == 1 || !reading.may_be_whole(&whole[..end]), "{end}");
        }
        assert!(reading.request(whole).expect("a head").is_some());
    }

    #[test]
    fn written() {
        let mut out = Vec::new();
        let fields = [("Host", "a"), ("x", "y")].into_iter().collect();
        write_request(&mut out, (&Method::PUT, "/p?q"), None, &fields, Framing::Length(3));
        assert_eq!(out, b"PUT /p?q HTTP/1.1\r\nHost: a\r\nx: y\r\ncontent-length: 3\r\n\r\n");
        out.clear();
        write_response(&mut out, StatusCode::NOT_FOUND, &Fields::new(), Framing::Chunked, &[b"a: b\r\n"]);
        assert_eq!(out, b"HTTP/1.1 404 Not Found\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n");
    }
}
