//! Handlers that respond without I/O: `respond` and `redirect`; and what is known of any handler's response in advance. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use crate::context::facts::Facts;
use crate::context::settings::{self, Address};
use crate::context::template::Piece;
pub use crate::filter::Answer;
use crate::protocol::escape::UPPER;
use crate::protocol::names::KnownField;
use crate::site::{self, Handler, Redirect, Respond, RespondBody};

/// Returns the head of a handler's response, if it depends on the request's head alone.
pub fn head(facts: &Facts<'_>, handler: &Handler) -> Option<Answer<()>> {
    match handler {
        Handler::Respond(respond) => Some(head_of(respond)),
        Handler::Redirect(redirect) => Some(self::redirect(facts, redirect).map(|_| ())),
        other => other.status().map(|code| Answer::new(status(code), ())),
    }
}

/// Responses with a status and a body.
pub fn respond(facts: &Facts<'_>, respond: &'static Respond) -> Answer<Bytes> {
    head_of(respond).map(|()| match &respond.body {
        RespondBody::Bytes(bytes) => body(facts, bytes),
        RespondBody::Template(template) => Bytes::from(template.rendered(facts).into_owned()),
    })
}

fn head_of(respond: &Respond) -> Answer<()> {
    let mut head = Answer::new(status(respond.code), ());
    if !respond.content_type.is_empty() {
        head.fields.add_known(KnownField::CONTENT_TYPE, respond.content_type.as_bytes());
    }
    head
}

/// Redirects the client.
pub fn redirect(facts: &Facts<'_>, redirect: &Redirect) -> Answer<Bytes> {
    // A target with the request's host is only used for listed hosts: no open redirects.
    if !redirect.allow_hosts.is_empty() && !redirect.allow_hosts.iter().any(|host| host == facts.host) {
        return Answer::new(StatusCode::MISDIRECTED_REQUEST, Bytes::new());
    }
    let mut answer = Answer::new(status(redirect.code), Bytes::new());
    answer.fields.add_known(KnownField::LOCATION, &location(facts, redirect));
    answer
}

/// Redirects the client to the same URL with `https`, at the port of this listener's address, keeping the method (RFC 9110
/// section 15.4.9).
pub fn to_https(facts: &Facts<'_>, address: &str) -> Answer<Bytes> {
    let mut answer = Answer::new(StatusCode::PERMANENT_REDIRECT, Bytes::new());
    answer.fields.add_known(KnownField::LOCATION, https_url(facts.host, facts.path, facts.query, address).as_bytes());
    answer
}

/// Returns the request's URL with a slash after its path, for a folder: its pages' relative links need it.
pub fn with_slash(facts: &Facts<'_>) -> String {
    let query = facts.query.map_or(String::new(), |query| format!("?{query}"));
    // `//evil.test/` would be another host (RFC 3986 section 4.2).
    format!("/{}/{query}", facts.path.trim_start_matches('/'))
}

/// Returns the URL with `https` at the port of a listener's address.
pub(crate) fn https_url(host: &str, path: &str, query: Option<&str>, address: &str) -> String {
    let port = match settings::address(address) {
        Ok(Address::Tcp(_, port)) if port != 443 => format!(":{port}"),
        _ => String::new(),
    };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("https://{host}{port}{path}{query}")
}

/// Returns the redirect's target. Placeholders after a leading slash must not make it two: `//evil.test/` is another host (RFC
/// 3986 section 4.2). A URL contains neither non-ASCII bytes nor blanks and backslashes (section 2): these are percent-encoded in
/// placeholders' values, byte for byte. Browsers would drop a tab and read a backslash as a slash, which would make it two again.
fn location<'t>(facts: &Facts<'_>, redirect: &'t Redirect) -> Cow<'t, [u8]> {
    let mut value = with_query(facts, redirect, redirect.to.rendered(facts));
    let meant = match redirect.to.pieces.first() {
        Some(Piece::Text(text)) => text.starts_with("//"),
        Some(Piece::Row) => facts.row.starts_with("//"),
        _ => false,
    };
    if !meant && value.starts_with(b"//") {
        let slashes = value.iter().take_while(|&&byte| byte == b'/').count();
        value = Cow::Owned(value[slashes - 1..].to_owned());
    }
    let is_foreign = |byte: u8| byte <= b' ' || byte == b'\\' || byte >= 0x7F;
    if !value.iter().any(|&byte| is_foreign(byte)) {
        return value;
    }
    let encoded = value.iter().flat_map(|&byte| match byte {
        byte if is_foreign(byte) => {
            [b'%', UPPER[usize::from(byte >> 4)], UPPER[usize::from(byte & 15)]].into_iter().take(3)
        }
        byte => [byte, 0, 0].into_iter().take(1),
    });
    Cow::Owned(encoded.collect())
}

/// Returns a target with the request's query, if it has none of its own: a query is between the first `?` and `#` (RFC 3986
/// section 3.4). `?{query}` and `?a=b&{query}` leave neither a bare `?` nor a bare `&` if the request has no query.
fn with_query<'t>(facts: &Facts<'_>, redirect: &Redirect, target: Cow<'t, [u8]>) -> Cow<'t, [u8]> {
    let query = facts.query.unwrap_or_default().as_bytes();
    let end = target.iter().position(|&byte| byte == b'#').unwrap_or(target.len());
    let start = target[..end].iter().position(|&byte| byte == b'?');
    let (path, query) = match start {
        None if redirect.keep_query && !query.is_empty() => (&target[..end], query),
        None => return target,
        Some(start) => {
            let own = &target[start + 1..end];
            let open = query.is_empty() && redirect.to.pieces.contains(&Piece::Query);
            let kept = if open { trimmed(own, b'&') } else { own };
            if kept.len() == own.len() && !own.is_empty() {
                return target;
            }
            (&target[..start], kept)
        }
    };
    let mark: &[u8] = if query.is_empty() { b"" } else { b"?" };
    Cow::Owned([path, mark, query, &target[end..]].concat())
}

/// Removes `byte` from both ends.
fn trimmed(mut bytes: &[u8], byte: u8) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(&[byte]).or_else(|| bytes.strip_suffix(&[byte])) {
        bytes = rest;
    }
    bytes
}

/// Returns the bytes of a body that is compiled in (not copied) or read at start (copied).
pub fn body(facts: &Facts<'_>, bytes: &'static site::Bytes) -> Bytes {
    match bytes {
        site::Bytes::Fixed(bytes) => Bytes::from_static(bytes),
        site::Bytes::File(index) => Bytes::copy_from_slice(&facts.settings.file(*index)),
    }
}

/// Converts a status. The compiler only accepts 200 to 599, so the fallback is never used.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::settings::Settings;
    use crate::context::template::Template;
    use crate::protocol::fields::Fields;

    #[test]
    fn queries_of_redirects() {
        let check = |pieces: &[Piece], keep_query: bool, query: Option<&str>, expected: &str| {
            let to = Template { pieces: pieces.to_vec().into() };
            let redirect = Redirect { code: 301, to, keep_query, allow_hosts: Cow::Borrowed(&[]) };
            let (method, fields, settings) = (http::Method::GET, Fields::new(), Settings::default());
            let facts = Facts { path: "/old", query, ..Facts::nothing(&method, &fields, &settings) };
            let found = location(&facts, &redirect);
            assert_eq!(String::from_utf8_lossy(&found), expected, "{pieces:?} {query:?}");
        };
        let text = |text: &'static str| Piece::Text(text.into());
        check(&[text("/new")], true, Some("x=1&y"), "/new?x=1&y");
        check(&[text("/new")], true, None, "/new");
        check(&[text("/new")], true, Some(""), "/new");
        check(&[text("/new")], false, Some("x=1"), "/new");
        check(&[text("https://a.test")], true, Some("x=1"), "https://a.test?x=1");
        check(&[text("/new#part")], true, Some("x=1"), "/new?x=1#part");
        check(&[text("/new#part?")], true, Some("x=1"), "/new?x=1#part?");
        check(&[text("/new?a=b")], true, Some("x=1"), "/new?a=b");
        check(&[text("/new?a=b#c")], true, Some("x=1"), "/new?a=b#c");
        check(&[text("/new?")], true, Some("x=1"), "/new");
        check(&[text("/new?&a&")], true, None, "/new?&a&");
        check(&[Piece::Path], true, Some("x=1"), "/old?x=1");
        check(&[Piece::PathAndQuery], false, Some("x=1"), "/old?x=1");
        check(&[Piece::PathAndQuery], false, Some(""), "/old");
        check(&[Piece::PathAndQuery], false, None, "/old");
        check(&[text("/new?"), Piece::Query], false, Some("x=1"), "/new?x=1");
        check(&[text("/new?"), Piece::Query], false, None, "/new");
        check(&[text("/new?"), Piece::Query, text("#c")], false, Some(""), "/new#c");
        check(&[text("/new?a=b&"), Piece::Query], false, None, "/new?a=b");
        check(&[text("/new?a=b&"), Piece::Query], false, Some("x=1"), "/new?a=b&x=1");
        check(&[text("/new?"), Piece::Query, text("&a=b")], false, None, "/new?a=b");
        check(&[text("/new/"), Piece::Query], false, Some("x=1"), "/new/x=1");
        check(&[text("/\\evil?"), Piece::Query], false, None, "/%5Cevil");
    }
}
