//! Parses and writes the heads of requests and responses.

use http::{Method, StatusCode, Version};

use super::framing::Framing;
use super::scan::{self, Unread};
use crate::failure::Failure;
use crate::protocol::fields::{Fields, members};
use crate::protocol::names::KnownField;
use crate::recycled;

/// The most fields of a request, and of a response.
const MAX_FIELDS: usize = 100;
const MAX_ANSWER_FIELDS: usize = 200;

/// The space for a host after a target, in bytes.
const ROOM: usize = 64;

/// A parsed head. `S` is the content of its first line: method and target, or a status.
#[derive(Debug)]
pub(crate) struct MessageHead<S> {
    pub(crate) start: S,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// The framing of its body.
    pub(crate) framing: Framing,
    /// The value of `Content-Length`, even if there is no body.
    pub(crate) length: Option<u64>,
    /// Whether the connection persists after this message (RFC 9112 section 9.3).
    pub(crate) keep_alive: bool,
    /// Its size in bytes.
    pub(crate) size: usize,
    /// The reason phrase of a response, if it is not the usual one of its status.
    pub(crate) reason: Option<Box<[u8]>>,
}

impl MessageHead<StatusCode> {
    /// Returns whether it is an interim response (RFC 9110 section 15.2), which another one follows on the same terms.
    pub(crate) fn is_interim(&self) -> bool {
        self.start.is_informational() && self.start != StatusCode::SWITCHING_PROTOCOLS
    }
}

impl<S> MessageHead<S> {
    /// Returns a head without fields, of a message without a body.
    pub(crate) fn of(start: S) -> MessageHead<S> {
        MessageHead {
            start,
            version: Version::HTTP_11,
            fields: Fields::new(),
            framing: Framing::Empty,
            length: None,
            keep_alive: false,
            size: 0,
            reason: None,
        }
    }
}

/// An incremental parser of heads: bytes without an end are not scanned twice, however slowly they arrive.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    seen: usize,
}

impl HeadReader {
    /// Parses the head of a request at the front of `bytes`; `None` if it is incomplete. The target has spare capacity
    /// for a host.
    ///
    /// # Errors
    /// [`Failure::BadRequest`], [`Failure::BadFraming`], [`Failure::UnsupportedVersion`], or [`Failure::HeadersTooLarge`]
    /// for too many fields.
    pub(crate) fn request(&mut self, bytes: &[u8]) -> Result<Option<MessageHead<(Method, String)>>, Failure> {
        if !self.may_be_whole(bytes) {
            return Ok(None);
        }
        let head = match scan::request(bytes, MAX_FIELDS) {
            Ok(head) => head,
            Err(Unread::Partial) => return self.partial(bytes),
            Err(unread) => return Err(unread.into()),
        };
        let (method, target, old) = head.start;
        let method = Method::from_bytes(method).map_err(|_| Failure::BadRequest)?;
        let mut start = recycled::bytes(target.len() + ROOM);
        start.extend_from_slice(target);
        let start = String::from_utf8(start).map_err(|_| Failure::BadRequest)?;
        let mut head = self.head((method, start), old, head.fields, head.size)?;
        head.framing = match (head.framing, head.length) {
            (Framing::Chunked, _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::Empty,
        };
        if old {
            // RFC 9110 section 7.8: HTTP/1.0 has no upgrade, so the field is ignored.
            head.fields.remove(KnownField::UPGRADE);
        }
        Ok(Some(head))
    }

    /// Parses the head of a response to a request with `method`; `None` if it is incomplete.
    ///
    /// # Errors
    /// [`Failure::UpstreamInvalid`].
    pub(crate) fn answer(&mut self, bytes: &[u8], method: &Method) -> Result<Option<MessageHead<StatusCode>>, Failure> {
        if !self.may_be_whole(bytes) {
            return Ok(None);
        }
        let head = match scan::response(bytes, MAX_ANSWER_FIELDS) {
            Ok(head) => head,
            Err(Unread::Partial) => return self.partial(bytes),
            Err(_) => return Err(Failure::UpstreamInvalid),
        };
        let (old, code, reason) = head.start;
        let status = StatusCode::from_u16(code).map_err(|_| Failure::UpstreamInvalid)?;
        let head = self.head(status, old, head.fields, head.size).map_err(|_| Failure::UpstreamInvalid)?;
        // In the order of RFC 9112 section 6.3.
        let bodiless = method == Method::HEAD || status.is_informational() || matches!(code, 204 | 304);
        let framing = match (head.framing, head.length) {
            _ if bodiless => Framing::Empty,
            (Framing::Chunked, _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        };
        // RFC 9110 section 8.6, RFC 9112 section 6.1: this status has no content. A server that announces some may send it.
        let announces =
            code == 204 && (head.framing == Framing::Chunked || head.length.is_some_and(|length| length > 0));
        let keep_alive = head.keep_alive && framing != Framing::UntilClose && !announces;
        Ok(Some(MessageHead { framing, keep_alive, reason: unusual_reason(reason, status), ..head }))
    }

    fn may_be_whole(&self, bytes: &[u8]) -> bool {
        // A head ends with an empty line: search for one that was not seen before.
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

    /// Builds a head from its fields. `framing` is [`Framing::Chunked`] or [`Framing::Empty`].
    fn head<S>(&mut self, start: S, old: bool, fields: Fields, size: usize) -> Result<MessageHead<S>, Failure> {
        self.seen = 0;
        let (mut length, mut chunked) = (None, false);
        let (mut persists, mut closes) = (!old, false);
        // All lines form one list (RFC 9110 sections 5.3 and 7.6.1). Members that are not tokens are ignored.
        for line in fields.all(KnownField::CONNECTION) {
            for option in members(line) {
                persists |= option.eq_ignore_ascii_case(b"keep-alive");
                closes |= option.eq_ignore_ascii_case(b"close");
            }
        }
        for value in fields.all(KnownField::CONTENT_LENGTH) {
            // Section 6.3: several lengths, even equal ones, or an invalid number.
            let found = number(value).filter(|_| length.is_none());
            length = Some(found.ok_or(Failure::BadFraming)?);
        }
        for value in fields.all(KnownField::TRANSFER_ENCODING) {
            // Section 6.1: only `chunked` is supported, and HTTP/1.0 has no transfer coding.
            if chunked || old || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Failure::BadFraming);
            }
            chunked = true;
        }
        if chunked && length.is_some() {
            return Err(Failure::BadFraming);
        }
        let version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
        let framing = if chunked { Framing::Chunked } else { Framing::Empty };
        // RFC 9112 section 9.3: `close` takes precedence, on whichever line it is.
        let keep_alive = persists && !closes;
        Ok(MessageHead { start, version, fields, framing, length, keep_alive, size, reason: None })
    }
}

/// Returns the reason phrase of a response, if it is an unusual one.
fn unusual_reason(reason: &[u8], status: StatusCode) -> Option<Box<[u8]>> {
    let reason = reason.trim_ascii();
    (!reason.is_empty() && reason != usual_reason(status).as_bytes()).then(|| reason.into())
}

/// Returns the usual reason phrase of a status: that of RFC 9110, which has newer ones for two than the library.
pub(crate) fn usual_reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

/// Returns the value of `Content-Length`, if it is a single number.
pub(crate) fn declared_length(fields: &Fields) -> Option<u64> {
    fields.get(KnownField::CONTENT_LENGTH).and_then(number)
}

/// Parses a number of digits alone (RFC 9110 section 8.6).
fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    // A number beyond 64 bits is invalid: a length must be exact.
    let add = |number: u64, byte: &u8| number.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
    if digits { value.iter().try_fold(0, add) } else { None }
}

/// Makes space for a head.
fn reserve(out: &mut Vec<u8>, size: usize) {
    if out.capacity() == 0 {
        *out = recycled::bytes(size);
    } else {
        out.reserve(size);
    }
}

/// Writes the head of a request to a server; `host` is given if it is not among the fields.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    (method, target): (&Method, &str),
    host: Option<&str>,
    fields: &Fields,
    framing: Framing,
) {
    reserve(out, target.len() + host.map_or(0, str::len) + fields.size() + 64);
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

/// Writes the head of a response to a client; `more` are complete field lines beside the response's own. `reason` is
/// the reason phrase, if it is not the usual one.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    (status, reason): (StatusCode, Option<&[u8]>),
    fields: &Fields,
    framing: Framing,
    more: &[&[u8]],
) {
    reserve(out, fields.size() + 256);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.unwrap_or(usual_reason(status).as_bytes()));
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
        let found = HeadReader::default().request(bytes.as_bytes()).map(|head| {
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
        request(&"A: b\r\n".repeat(101), Err(Failure::HeadersTooLarge));
    }

    #[test]
    fn responses() {
        let check = |method: Method, head: &str, expected: Option<(Framing, bool)>| {
            let found = HeadReader::default().answer(head.as_bytes(), &method);
            let found = found.ok().map(|head| head.map(|head| (head.framing, head.keep_alive)).expect("whole"));
            assert_eq!(found, expected, "{head:?}");
        };
        check(Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Length(2), true)));
        check(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Empty, true)));
        check(Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", Some((Framing::Empty, true)));
        check(Method::GET, "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", Some((Framing::Empty, true)));
        // Content that a status can't have may follow.
        check(Method::GET, "HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", Some((Framing::Empty, false)));
        check(Method::GET, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", Some((Framing::Empty, false)));
        check(Method::GET, "HTTP/1.1 200\r\n\r\n", Some((Framing::UntilClose, false)));
        check(Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Length(2), false)));
        check(Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some((Framing::Chunked, true)));
        check(Method::GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None);
        check(Method::GET, "HTTP/1.1 99 OK\r\n\r\n", None);
        check(Method::GET, "SSH-2.0-OpenSSH\r\n\r\n", None);
        // Later minor versions (RFC 9110 section 2.5).
        check(Method::GET, "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n", Some((Framing::Length(2), true)));
        check(Method::GET, "HTTP/1.9 200\r\n\r\n", Some((Framing::UntilClose, false)));
        for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "HTTP/1.x", "http/1.2", "HTTP/1.", "HTTP/1", "ICY"] {
            check(Method::GET, &format!("{version} 200 OK\r\n\r\n"), None);
        }
        // Line ends.
        let length = Some((Framing::Length(2), true));
        check(Method::GET, "HTTP/1.1 200 OK\nContent-Length: 2\n\n", length);
        check(Method::GET, "HTTP/1.2 200\nA: b\nContent-Length: 2\n\n", length);
        check(Method::GET, "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n", length);
        check(Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\nA: b\r\n\r\n", length);
        check(Method::GET, "HTTP/1.1 200 OK\r\nA: b\nC: d\r\nContent-Length: 2\r\n\r\n", length);
        for ambiguous in [
            "A: b\nContent-Length: 2\r\n\r\n",
            "A: b\nTransfer-Encoding: chunked\r\n\r\n",
            "A: b\n\n",
            "A: b\n\r\n",
            "A: b\r\n\n",
            "Content-Length: 2\n\n",
            "A: b\rC: d\n\n",
        ] {
            check(Method::GET, &format!("HTTP/1.1 200 OK\r\n{ambiguous}"), None);
        }
    }

    #[test]
    fn versions_of_requests() {
        let check = |line: &str, expected: Result<Option<Version>, Failure>| {
            let found = HeadReader::default().request(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
            assert_eq!(found.map(|head| head.map(|head| head.version)), expected, "{line:?}");
        };
        check("GET / HTTP/1.0", Ok(Some(Version::HTTP_10)));
        for later in ["GET / HTTP/1.2", "GET / HTTP/1.9", "\r\nGET / HTTP/1.5"] {
            check(later, Ok(Some(Version::HTTP_11)));
        }
        for other in ["GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0", "GET / HTTP/3.0", "GET / HTTP/9.9"] {
            check(other, Err(Failure::UnsupportedVersion));
        }
        for bad in [
            "GET / HTTP/1.",
            "GET / HTTP/1.10",
            "GET / HTTP/2",
            "GET / HTTP/10.1",
            "GET / http/1.2",
            "GET /  HTTP/2.0",
            "GET / x HTTP/2.0",
            "GET / HTTP/1.2 ",
            "GET / FTP/1.2",
            "GET /",
            "GET / HTTP/1.2\nA: b",
        ] {
            check(bad, Err(Failure::BadRequest));
        }
        let part = HeadReader::default().request(b"GET / HTTP/2");
        assert_eq!(part.map(|head| head.is_none()), Ok(true), "the line has not ended");
    }

    #[test]
    fn reasons() {
        let check = |line: &str, expected: Option<&str>| {
            let found = HeadReader::default().answer(format!("{line}\r\n\r\n").as_bytes(), &Method::GET);
            let reason = found.expect("a response").expect("whole").reason;
            assert_eq!(reason.as_deref(), expected.map(str::as_bytes), "{line:?}");
        };
        check("HTTP/1.1 200 OK", None);
        check("HTTP/1.1 200 Fine", Some("Fine"));
        check("HTTP/1.1 404 NOT FOUND", Some("NOT FOUND"));
        check("HTTP/1.0 299 A\tb \u{e9} ", Some("A\tb \u{e9}"));
        check("HTTP/1.1 200 ", None);
        check("HTTP/1.1 200", None);
        check("HTTP/1.1 413 Content Too Large", None);
        check("HTTP/1.1 413 Payload Too Large", Some("Payload Too Large"));
    }

    /// Whether the connection persists after a message with these fields (RFC 9112 section 9.3).
    #[test]
    fn persistence() {
        let check = |fields: &str, in_11: bool, in_10: bool| {
            for (version, expected) in [("1.1", in_11), ("1.0", in_10)] {
                let request = format!("GET / HTTP/{version}\r\n{fields}\r\n");
                let request = HeadReader::default().request(request.as_bytes());
                let answer = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
                let answer = HeadReader::default().answer(answer.as_bytes(), &Method::GET);
                let found = (
                    request.expect("a request").expect("whole").keep_alive,
                    answer.expect("an answer").expect("whole").keep_alive,
                );
                assert_eq!(found, (expected, expected), "HTTP/{version} {fields:?}");
            }
        };
        check("", true, false);
        check("Connection: keep-alive\r\n", true, true);
        check("Connection: Keep-Alive, upgrade\r\n", true, true);
        check("Connection: x\r\nConnection: keep-alive\r\n", true, true);
        for fields in [
            "Connection: close\r\n",
            "Connection: CLOSE\r\n",
            "Connection: keep-alive, close\r\n",
            "Connection: close, keep-alive\r\n",
            "Connection: keep-alive\r\nConnection: close\r\n",
            "Connection: close\r\nConnection: keep-alive\r\n",
            "Connection: close\r\nX: y\r\nconnection: keep-alive\r\n",
            "Connection: ,,\tclose ,\r\n",
            "Connection: x,\r\nConnection: \r\nConnection: ,close\r\n",
        ] {
            check(fields, false, false);
        }
        // None of these options is `close` or `keep-alive`.
        for fields in [
            "Connection: \r\n",
            "Connection: \"close\"\r\n",
            "Connection: closed\r\n",
            "Connection: close x\r\n",
            "Connection: close;q=1\r\n",
            "Connection: \"keep-alive\"\r\n",
            "Proxy-Connection: close\r\n",
            "Proxy-Connection: keep-alive\r\n",
            "Keep-Alive: timeout=5\r\n",
        ] {
            check(fields, true, false);
        }
        let obs_text = b"GET / HTTP/1.1\r\nConnection: \xe9\r\nConnection: x\xff, close\r\n\r\n";
        let found = HeadReader::default().request(obs_text);
        assert!(!found.expect("a request").expect("whole").keep_alive);
    }

    #[test]
    fn slow_heads_are_parsed_once() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut reading = HeadReader::default();
        for end in 1..whole.len() {
            assert!(reading.request(&whole[..end]).expect("so far").is_none());
            assert!(end == 1 || !reading.may_be_whole(&whole[..end]), "{end}");
        }
        assert!(reading.request(whole).expect("a head").is_some());
    }

    #[test]
    fn written_heads() {
        let mut out = Vec::new();
        let fields = [("Host", "a"), ("x", "y")].into_iter().collect();
        write_request(&mut out, (&Method::PUT, "/p?q"), None, &fields, Framing::Length(3));
        assert_eq!(out, b"PUT /p?q HTTP/1.1\r\nHost: a\r\nx: y\r\ncontent-length: 3\r\n\r\n");
        out.clear();
        write_response(&mut out, (StatusCode::NOT_FOUND, None), &Fields::new(), Framing::Chunked, &[b"a: b\r\n"]);
        assert_eq!(out, b"HTTP/1.1 404 Not Found\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n");
        out.clear();
        write_response(&mut out, (StatusCode::OK, Some(b"Fine")), &Fields::new(), Framing::Length(0), &[]);
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\ncontent-length: 0\r\n\r\n");
    }
}
