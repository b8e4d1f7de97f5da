//! The heads of messages: from a field section to the HTTP/1.1 form of a request ([`Http3Head`]), and from a response's fields to a section
//! ([`write_response`]). Pure.

use http::{Method, StatusCode};

use super::codes::ErrorCode;
use super::frames::{DATA, HEADERS};
use super::integer;
use super::qpack::{self, Encoder, QpackError};
use crate::failure::Failure;
use crate::http1::{Framing, declared_length};
use crate::protocol::fields::{Fields, is_token, may_trail};
use crate::protocol::names::KnownField;

/// The most header fields of a request.
const MAX_FIELDS: usize = 100;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Http3Head {
    pub(crate) method: Method,
    /// The path and query.
    pub(crate) target: String,
    pub(crate) fields: Fields,
    /// How the body is framed, as long as the stream has not ended.
    pub(crate) framing: Framing,
    /// It is an extended CONNECT for a WebSocket (RFC 9220).
    pub(crate) websocket: bool,
    /// Why the request is refused, if it is.
    pub(crate) flaw: Option<Failure>,
}

/// Why a field section is not one of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Its fields exceed the limit.
    TooLarge,
    /// The stream ends (RFC 9114 section 4.1.2).
    Stream(ErrorCode),
    /// The connection ends.
    Connection(ErrorCode),
}

impl From<QpackError> for HeadError {
    fn from(error: QpackError) -> HeadError {
        match error {
            QpackError::Malformed => HeadError::Connection(ErrorCode::QpackDecompression),
            QpackError::TooLarge => HeadError::TooLarge,
        }
    }
}

const MALFORMED: HeadError = HeadError::Stream(ErrorCode::Message);

/// The pseudo-header fields of a request (RFC 9114 section 4.3.1).
#[derive(Default)]
struct PseudoFields {
    method: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    /// That of an extended CONNECT (RFC 9220).
    protocol: Option<Vec<u8>>,
}

impl PseudoFields {
    /// Adds one. `false`: there is one of this name, or none may have it.
    fn add(&mut self, name: &[u8], value: &[u8]) -> bool {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return false,
        };
        place.replace(value.to_vec()).is_none()
    }
}

impl Http3Head {
    /// Converts the field section of a request.
    ///
    /// # Errors
    /// The section is too large, or the request malformed.
    pub(crate) fn read(section: &[u8], limit: usize) -> Result<Http3Head, HeadError> {
        let (mut pseudo, mut fields, mut crumbs) = (PseudoFields::default(), Fields::new(), Vec::new());
        let (mut malformed, mut flaw, mut begun, mut count) = (false, None, false, 0);
        qpack::decode(section, limit, |name, value| {
            if name.first() == Some(&b':') {
                malformed |= begun || !pseudo.add(name, value);
                return;
            }
            if !std::mem::replace(&mut begun, true)
                && let Some(authority) = &pseudo.authority
            {
                fields.add_known(KnownField::HOST, authority);
            }
            count += 1;
            malformed |= !is_allowed(name, value);
            if malformed {
                return;
            }
            flaw = flaw.or(blanks(value));
            match name {
                b"host" if pseudo.authority.is_some() => {
                    // RFC 9114 section 4.3.1: both must be equal.
                    let same = pseudo.authority.as_deref().is_some_and(|host| host.eq_ignore_ascii_case(value));
                    flaw = flaw.or((!same).then_some(Failure::BadHost));
                }
                // Section 4.2.1: cookie crumbs are joined again.
                b"cookie" => {
                    if !crumbs.is_empty() {
                        crumbs.extend_from_slice(b"; ");
                    }
                    crumbs.extend_from_slice(value);
                }
                _ => fields.add(name, value),
            }
        })?;
        let authority = pseudo.authority.as_deref();
        if !begun && let Some(authority) = authority {
            fields.add_known(KnownField::HOST, authority);
        }
        if !crumbs.is_empty() {
            fields.add_known(KnownField::COOKIE, &crumbs);
        }
        let method = pseudo.method.as_deref().and_then(|method| Method::from_bytes(method).ok());
        let (Some(method), false) = (method, malformed || !authority.is_none_or(is_text)) else {
            return Err(MALFORMED);
        };
        // RFC 8441 section 4: with `:protocol`, CONNECT has the fields of other requests. Section 4.4: otherwise, it has neither a scheme nor a path.
        let extended = pseudo.protocol.is_some();
        if extended && (method != Method::CONNECT || authority.is_none()) {
            return Err(MALFORMED);
        }
        let connect = method == Method::CONNECT && !extended;
        let websocket = pseudo.protocol.is_some_and(|protocol| protocol == b"websocket");
        if extended && !websocket {
            flaw = flaw.or(Some(Failure::UnsupportedProtocol));
        }
        let path = match (&pseudo.scheme, pseudo.path) {
            (None, None) if connect && authority.is_some() => Vec::new(),
            (Some(scheme), Some(path)) if !connect && !path.is_empty() => {
                if scheme != b"https" && scheme != b"http" {
                    flaw = flaw.or(Some(Failure::BadRequest));
                }
                path
            }
            _ => return Err(MALFORMED),
        };
        let is_path = path.first() == Some(&b'/') || connect || path == b"*" && method == Method::OPTIONS;
        let target = match String::from_utf8(path) {
            Ok(target) if is_text(target.as_bytes()) => target,
            _ => return Err(MALFORMED),
        };
        if !is_path {
            flaw = flaw.or(Some(Failure::BadRequest));
        }
        if count > MAX_FIELDS {
            flaw = Some(Failure::HeadersTooLarge);
        }
        let framing = match (fields.contains(KnownField::CONTENT_LENGTH), declared_length(&fields)) {
            (false, _) => Framing::Chunked,
            (true, Some(length)) if fields.all(KnownField::CONTENT_LENGTH).count() == 1 => Framing::Length(length),
            (true, _) => return Err(MALFORMED),
        };
        Ok(Http3Head { method, target, fields, framing, websocket, flaw })
    }
}

/// Converts the field section of trailers, without fields that are not allowed there (RFC 9110 section 6.5.1).
///
/// # Errors
/// The section is too large, or the trailers malformed.
pub(crate) fn trailers(section: &[u8], limit: usize) -> Result<Fields, HeadError> {
    let (mut fields, mut malformed) = (Fields::new(), false);
    qpack::decode(section, limit, |name, value| {
        malformed |= !is_allowed(name, value) || blanks(value).is_some();
        if !malformed && may_trail(name) {
            fields.add(name, value);
        }
    })?;
    if malformed { Err(MALFORMED) } else { Ok(fields) }
}

/// Returns whether a field may be in a message: its name is a token in lower case, its value has no control characters, and it is not
/// of a connection (RFC 9114 section 4.2).
fn is_allowed(name: &[u8], value: &[u8]) -> bool {
    let of_connection = match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => true,
        b"te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => false,
    };
    let is_valid = value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..));
    !of_connection && is_valid && is_token(name) && !name.iter().any(u8::is_ascii_uppercase)
}

/// HTTP/1.1 would strip blanks around a value, so that the proxy and the server would see different values.
fn blanks(value: &[u8]) -> Option<Failure> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    (is_blank(value.first()) || is_blank(value.last())).then_some(Failure::BadRequest)
}

/// Returns whether there are neither blanks nor control characters.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..))
}

/// Writes the HEADERS frame of a response.
pub(crate) fn write_response(out: &mut Vec<u8>, status: StatusCode, fields: &Fields, more: &[(&str, &[u8])]) {
    write_section(out, |encoder| {
        encoder.field(b":status", status.as_str().as_bytes());
        write_fields(encoder, fields);
        more.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value));
    });
}

/// Writes the HEADERS frame of trailers.
pub(crate) fn write_trailers(out: &mut Vec<u8>, fields: &Fields) {
    write_section(out, |encoder| write_fields(encoder, fields));
}

/// Writes the header of a DATA frame.
pub(crate) fn write_data(out: &mut Vec<u8>, length: u64) {
    integer::write(out, DATA);
    integer::write(out, length);
}

fn write_section(out: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<'_>)) {
    let mut section = Vec::with_capacity(512);
    write(&mut Encoder::new(&mut section));
    integer::write(out, HEADERS);
    integer::write(out, section.len() as u64);
    out.extend_from_slice(&section);
}

/// Adds fields, without those of connections (RFC 9114 section 4.2). Their names are in lower case.
fn write_fields(encoder: &mut Encoder<'_>, fields: &Fields) {
    let mut lower = Vec::new();
    for (name, value) in fields.raw() {
        lower.clear();
        lower.extend(name.iter().map(u8::to_ascii_lowercase));
        let of_connection: [&[u8]; 6] =
            [b"connection", b"upgrade", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"host"];
        if !of_connection.contains(&lower.as_slice()) && is_token(&lower) {
            encoder.field(&lower, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out);
        fields.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value.as_bytes()));
        out
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/a?b")];

    fn read(fields: &[(&str, &str)]) -> Result<Http3Head, HeadError> {
        Http3Head::read(&section(fields), 10_000)
    }

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        GET.into_iter().chain(more.iter().copied()).collect()
    }

    #[test]
    fn requests() {
        let check = |fields: &[(&str, &str)], expected: &str, framing: Framing, flaw: Option<Failure>| {
            let head = read(fields).expect("a head");
            let mut text = Vec::new();
            head.fields.write(&mut text);
            let text = format!("{} {}\r\n{}", head.method, head.target, String::from_utf8_lossy(&text));
            assert_eq!((text.as_str(), head.framing, head.flaw), (expected, framing, flaw), "{fields:?}");
        };
        let begins = "GET /a?b\r\nhost: example.com\r\n";
        check(&GET, begins, Framing::Chunked, None);
        let fields = with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("te", "trailers")]);
        let expected = format!("{begins}x: y\r\nte: trailers\r\ncookie: a=1; b=2\r\n");
        check(&fields, &expected, Framing::Chunked, None);
        let fields = with(&[("host", "Example.com"), ("content-length", "12")]);
        check(&fields, &format!("{begins}content-length: 12\r\n"), Framing::Length(12), None);
        check(&with(&[("host", "other.com")]), begins, Framing::Chunked, Some(Failure::BadHost));
        check(&with(&[("x", " y")]), &format!("{begins}x:  y\r\n"), Framing::Chunked, Some(Failure::BadRequest));
        let by_host = [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "example.com")];
        check(&by_host, "GET /\r\nhost: example.com\r\n", Framing::Chunked, None);
        let options = [(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), (":authority", "a")];
        check(&options, "OPTIONS *\r\nhost: a\r\n", Framing::Chunked, None);
        let connect = [(":method", "CONNECT"), (":authority", "a:443")];
        check(&connect, "CONNECT \r\nhost: a:443\r\n", Framing::Chunked, None);
        let relative = [(":method", "GET"), (":scheme", "ftp"), (":path", "a"), (":authority", "a")];
        check(&relative, "GET a\r\nhost: a\r\n", Framing::Chunked, Some(Failure::BadRequest));
    }

    #[test]
    fn extended_connect() {
        let with = |protocol| [&[(":method", "CONNECT"), (":protocol", protocol)], &GET[1..]].concat();
        let head = read(&with("websocket")).expect("a head");
        assert_eq!((head.method, head.target.as_str(), head.websocket), (Method::CONNECT, "/a?b", true));
        let head = read(&with("connect-udp")).expect("a head");
        let flaw = Some(Failure::UnsupportedProtocol);
        assert_eq!((head.method, head.websocket, head.flaw), (Method::CONNECT, false, flaw));
        for without in 2..5 {
            let mut fields = with("websocket");
            fields.remove(without);
            assert_eq!(read(&fields).err(), Some(MALFORMED), "{fields:?}");
        }
    }

    #[test]
    fn malformed_requests() {
        let check = |fields: &[(&str, &str)]| {
            assert_eq!(read(fields).err(), Some(MALFORMED), "{fields:?}");
        };
        for (without, (name, _)) in GET.iter().enumerate() {
            let fields: Vec<_> = GET.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, one)| *one).collect();
            // A request may name its host in `Host`.
            if *name != ":authority" {
                check(&fields);
            }
        }
        for again in GET {
            check(&with(&[again]));
        }
        check(&with(&[("x", "y"), (":path", "/")]));
        check(&with(&[(":status", "200")]));
        check(&with(&[(":protocol", "websocket")]));
        check(&with(&[("X", "y")]));
        check(&with(&[("x y", "y")]));
        check(&with(&[("", "y")]));
        check(&with(&[("x", "a\nb")]));
        check(&with(&[("x", "a\0")]));
        check(&with(&[("connection", "close")]));
        check(&with(&[("transfer-encoding", "chunked")]));
        check(&with(&[("te", "gzip")]));
        check(&with(&[("content-length", "-1")]));
        check(&with(&[("content-length", "1"), ("content-length", "1")]));
        check(&[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "")]);
        check(&[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/ b")]);
        check(&[(":method", "GET"), (":scheme", "https"), (":authority", "a b"), (":path", "/")]);
        check(&[(":method", "G T"), (":scheme", "https"), (":authority", "a"), (":path", "/")]);
        check(&[(":method", "CONNECT"), (":scheme", "https"), (":authority", "a"), (":path", "/")]);
    }

    #[test]
    fn limits() {
        let many = vec![("x", "y"); 101];
        assert_eq!(read(&[&GET[..], &many].concat()).expect("a head").flaw, Some(Failure::HeadersTooLarge));
        assert_eq!(read(&[&GET[..], &many[1..]].concat()).expect("a head").flaw, None);
        let long = "y".repeat(10_000);
        assert_eq!(read(&[&GET[..], &[("x", &long)]].concat()).err(), Some(HeadError::TooLarge));
        let broken = Http3Head::read(b"\x00\x00\x80", 1000).err();
        assert_eq!(broken, Some(HeadError::Connection(ErrorCode::QpackDecompression)));
    }

    #[test]
    fn trailing_fields() {
        let read = |fields: &[(&str, &str)]| {
            trailers(&section(fields), 1000).map(|fields| {
                let mut text = Vec::new();
                fields.write(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let found = read(&[("grpc-status", "0"), ("content-length", "3")]);
        assert_eq!(found, Ok("grpc-status: 0\r\n".to_owned()));
        assert_eq!(read(&[(":path", "/")]), Err(MALFORMED));
        assert_eq!(read(&[("X", "y")]), Err(MALFORMED));
    }

    #[test]
    fn responses() {
        let mut fields = Fields::new();
        fields.add(b"Content-Type", b"text/html");
        fields.add(b"connection", b"close");
        let mut out = Vec::new();
        write_response(&mut out, StatusCode::OK, &fields, &[("content-length", b"3")]);
        assert_eq!(out, b"\x01\x12\x00\x00\xd9\x5f\x1d\x09text/html\x54\x013");
        out.clear();
        write_data(&mut out, 300);
        assert_eq!(out, b"\x00\x41\x2c");
    }
}
