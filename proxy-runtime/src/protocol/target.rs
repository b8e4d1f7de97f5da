//! A request's target: host, path and query, each in canonical form (see [`crate::protocol::canonical`]). Pure; on the hot path.
//!
//! Only this form is matched, logged, and forwarded (RFC 3986 section 6.2.2).
//! It takes the target of the request line and the header fields, and returns [`Target`] or the [`TargetError`] with its
//! reason. It allocates only if the path, query or host is not in canonical form already.

use std::borrow::Cow;
use std::ops::Range;

use http::Version;

use crate::protocol::canonical::{self, CanonicalError, NormalForm};
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::protocol::octets;
use crate::recycled;

/// Why a target was rejected; each is a 400 with this reason in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// HTTP/1.1 without a `Host` (RFC 9112 section 3.2).
    HostMissing,
    /// Several `Host` fields, or an invalid one (RFC 9112 section 3.2).
    HostInvalid,
    /// Not a path: `*` or an authority alone.
    TargetForm,
    /// A URL whose scheme is neither `http` nor `https`.
    Scheme,
    /// A path with `%2F`, `%5C`, `%00`, a raw backslash or another forbidden byte.
    PathForbidden,
    /// `%` without two hexadecimal digits.
    PathEncoding,
    /// `..` above the root.
    PathEscapes,
}

impl From<CanonicalError> for TargetError {
    fn from(malformed: CanonicalError) -> TargetError {
        match malformed {
            CanonicalError::Form => TargetError::TargetForm,
            CanonicalError::Forbidden => TargetError::PathForbidden,
            CanonicalError::Escape => TargetError::PathEncoding,
            CanonicalError::AboveRoot => TargetError::PathEscapes,
        }
    }
}

/// Host, path and query of a request.
#[derive(Debug, Clone)]
pub struct Target {
    /// The target as received, followed by the `Host` field and by canonical forms that differ.
    text: String,
    /// The range of path and query as received: up to the end of the target.
    arrived: Range<usize>,
    /// The target is an `https` URL.
    https: bool,
    authority: Option<Range<usize>>,
    host: Range<usize>,
    /// The query, if there is one, follows the path and a question mark.
    path: Range<usize>,
    query: Option<Range<usize>>,
}

impl Drop for Target {
    fn drop(&mut self) {
        recycled::give(std::mem::take(&mut self.text).into_bytes());
    }
}

impl Target {
    /// Parses the host, before its site is known. `text` is the target as received; if it has capacity for the host,
    /// nothing is allocated.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(text: String, fields: &Fields, version: Version) -> Result<Target, TargetError> {
        let raw = text.len();
        let mut target =
            Target { text, arrived: 0..raw, https: false, authority: None, host: 0..0, path: 0..raw, query: None };
        target.find_authority(fields, version)?;
        target.arrived.start = target.path.start;
        if let Some(question) = memchr::memchr(b'?', &target.text.as_bytes()[target.path.clone()]) {
            let question = target.path.start + question;
            target.query = Some(question + 1..raw);
            target.path.end = question;
        }
        let Some(authority) = target.authority.clone() else { return Ok(target) };
        let (host, port) = split_port(&target.text[authority.clone()]).ok_or(TargetError::HostInvalid)?;
        let canonical = canonical_host(host).ok_or(TargetError::HostInvalid)?;
        let spelt = target.text[authority.start + host.len()..authority.end].strip_prefix(':');
        if canonical == host && spelt.is_none_or(|spelt| !spelt.is_empty() && (spelt == "0" || !spelt.starts_with('0')))
        {
            target.host = authority.start..authority.start + host.len();
        } else {
            let length = canonical.len();
            let canonical = port.map_or_else(|| canonical.to_string(), |port| format!("{canonical}:{port}"));
            let authority = target.push(&canonical);
            target.host = authority.start..authority.start + length;
            target.authority = Some(authority);
        }
        Ok(target)
    }

    /// Finds the authority (RFC 9112 section 3.2): that of an absolute-form target, or the `Host` field.
    fn find_authority(&mut self, fields: &Fields, version: Version) -> Result<(), TargetError> {
        let mut hosts = fields.all(KnownField::HOST);
        let (field, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return Err(TargetError::HostInvalid);
        }
        if !self.text.starts_with('/')
            && let Some(scheme) = self.text.find("://")
        {
            // Section 3.2.2: it replaces the `Host` field, which must nevertheless be present (section 3.2), and valid.
            match field.map(std::str::from_utf8) {
                None if version == Version::HTTP_11 => return Err(TargetError::HostMissing),
                None => {}
                Some(Ok(field)) if split_port(field).is_some_and(|(name, _)| name.is_empty() || is_host(name)) => {}
                Some(_) => return Err(TargetError::HostInvalid),
            }
            // RFC 9110 section 4.2: only `http` and `https` are supported.
            self.https = self.text[..scheme].eq_ignore_ascii_case("https");
            if !self.https && !self.text[..scheme].eq_ignore_ascii_case("http") {
                return Err(TargetError::Scheme);
            }
            let start = scheme + 3;
            let end = self.text[start..].find(['/', '?']).map_or(self.arrived.end, |at| start + at);
            self.authority = Some(start..end);
            self.path.start = end;
            return Ok(());
        }
        self.authority = match field {
            Some(field) => {
                let field = std::str::from_utf8(field).map_err(|_| TargetError::HostInvalid)?;
                Some(self.push(field))
            }
            None if version <= Version::HTTP_10 => None,
            None => return Err(TargetError::HostMissing),
        };
        Ok(())
    }

    fn push(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    /// Converts path and query to the site's canonical form.
    ///
    /// # Errors
    /// See [`TargetError`]: the path is invalid or forbidden.
    pub fn normalise(&mut self, form: NormalForm) -> Result<(), TargetError> {
        // RFC 9112 section 3.2.1 and 3.2.2: origin-form or absolute-form, whose empty path means "/".
        let absolute = self.path.start > 0;
        if self.path.is_empty() && !absolute {
            return Err(TargetError::TargetForm);
        }
        let query = self.query().map(canonical::query).transpose()?;
        let path = canonical::path(self.path(), form)?;
        if matches!((&path, &query), (Cow::Borrowed(_), None | Some(Cow::Borrowed(_)))) {
            return Ok(());
        }
        let (path, query) = (path.into_owned(), query.map(Cow::into_owned));
        self.path = self.push(&path);
        self.query = query.map(|query| {
            self.text.push('?');
            self.push(&query)
        });
        Ok(())
    }

    /// Returns the host in lower case, without port and trailing dot; empty if an HTTP/1.0 client has sent none.
    pub fn host(&self) -> &str {
        &self.text[self.host.clone()]
    }

    /// Returns the host, with its port if that is not the default port of the scheme (RFC 3986 section 6.2.3).
    pub fn authority(&self, scheme: &str) -> Option<&str> {
        let authority = &self.text[self.authority.clone()?];
        let default = if scheme == "https" { ":443" } else { ":80" };
        Some(if authority.len() > self.host.len() {
            authority.strip_suffix(default).unwrap_or(authority)
        } else {
            authority
        })
    }

    /// Returns whether the target is an `https` URL, which requires a secure connection (RFC 9110 section 4.2.2).
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Returns whether the target is the server as a whole: `*`, or a URL that ends with its authority (RFC 9112 section
    /// 3.2.4).
    pub fn is_server(&self) -> bool {
        self.query.is_none() && (self.path() == "*" || self.arrived.is_empty())
    }

    /// Returns the path in canonical form.
    pub fn path(&self) -> &str {
        &self.text[self.path.clone()]
    }

    /// Returns the query in canonical form, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.clone().map(|range| &self.text[range])
    }

    /// Path and query in canonical form.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path.start..self.query.as_ref().map_or(self.path.end, |query| query.end)]
    }

    /// Path and query as received; `/` if they are empty.
    pub fn as_arrived(&self) -> Cow<'_, str> {
        let text = &self.text[self.arrived.clone()];
        if text.starts_with('/') { Cow::Borrowed(text) } else { Cow::Owned(format!("/{text}")) }
    }

    /// Returns whether path and query arrived in canonical form.
    pub fn is_canonical(&self) -> bool {
        self.as_arrived() == self.path_and_query()
    }

    /// Returns the length of path and query as received, in bytes.
    pub fn length(&self) -> usize {
        self.arrived.len()
    }
}

/// Returns the canonical form of a host: in lower case, without a trailing dot, an IPv6 address as in RFC 5952. `None` if it is
/// invalid.
fn canonical_host(host: &str) -> Option<Cow<'_, str>> {
    if let Some(address) = host.strip_prefix('[') {
        let address: std::net::Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(Cow::Owned(format!("[{address}]")));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || !is_host(name) {
        return None;
    }
    let folded = name.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if folded { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

/// Splits `host[:port]`; `None` if the port is invalid.
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.starts_with('[') {
        true => authority.find(']')? + 1,
        false => octets::first(authority.as_bytes(), b':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    // RFC 3986 section 3.2.3: the port may be empty.
    if matches!(rest, "" | ":") {
        return Some((host, None));
    }
    let mut port = 0;
    for digit in rest.strip_prefix(':').filter(|port| port.len() <= 5)?.bytes() {
        port = port * 10 + u32::from(digit.checked_sub(b'0').filter(|&digit| digit <= 9)?);
    }
    Some((host, Some(u16::try_from(port).ok()?)))
}

/// Returns whether `name` is a valid host: a registered name of letters, digits, `-`, `_` and dots, or an IPv6 address
/// in brackets.
pub fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let mut after_dot = true;
    name.len() <= 253
        && name.bytes().all(|byte| {
            let empty_label = after_dot && byte == b'.';
            after_dot = byte == b'.';
            IN_NAME[usize::from(byte)] && !empty_label
        })
}

/// Whether a byte may be in a registered name.
const IN_NAME: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: NormalForm = NormalForm { encoded_slash: false, merge_slashes: true, refuse_parameters: false };

    #[test]
    fn forms() {
        type Parts<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);
        #[track_caller]
        fn check(raw: &str, expected: Result<Parts<'_>, TargetError>) {
            let fields = [("Host", "Field.Test:81")].into_iter().collect();
            let target = Target::parse(raw.to_owned(), &fields, Version::HTTP_11)
                .and_then(|mut target| target.normalise(STRICT).map(|()| target));
            let found = target.as_ref().map_err(|refusal| *refusal).map(|target| {
                (target.host(), target.path(), target.query(), target.authority("http").unwrap_or_default())
            });
            assert_eq!(found, expected, "{raw}");
        }
        check("/a?b=c", Ok(("field.test", "/a", Some("b=c"), "field.test:81")));
        check("/a/../b?", Ok(("field.test", "/b", Some(""), "field.test:81")));
        check("http://a.b:80/c?d", Ok(("a.b", "/c", Some("d"), "a.b")));
        check("http://A.b", Ok(("a.b", "/", None, "a.b")));
        check("http://a.b?c", Ok(("a.b", "/", Some("c"), "a.b")));
        check("/%41?%41=%3c&b", Ok(("field.test", "/A", Some("A=%3C&b"), "field.test:81")));
        check("http://", Err(TargetError::HostInvalid));
        check("http://u@a.b/", Err(TargetError::HostInvalid));
        check("/a?b#c", Err(TargetError::PathForbidden));
        check("/a?b c", Err(TargetError::PathForbidden));
        check("*", Err(TargetError::TargetForm));
        check("a.b:80", Err(TargetError::TargetForm));
    }

    #[test]
    fn path_and_query_are_adjacent() {
        let check = |raw: &str, canonical: &str, arrived: &str| {
            let fields = [("host", "a.test")].into_iter().collect();
            let mut target = Target::parse(raw.to_owned(), &fields, Version::HTTP_11).expect("a target");
            target.normalise(STRICT).expect("a path");
            assert_eq!((target.path_and_query(), &*target.as_arrived()), (canonical, arrived), "{raw}");
            assert_eq!(target.is_canonical(), canonical == arrived, "{raw}");
            // Again, as for another site: nothing changes.
            target.normalise(STRICT).expect("a path");
            assert_eq!((target.path_and_query(), &*target.as_arrived()), (canonical, arrived), "{raw}");
        };
        check("/a", "/a", "/a");
        check("/a?b", "/a?b", "/a?b");
        check("/%61?b", "/a?b", "/%61?b");
        check("/a?%62", "/a?b", "/a?%62");
        check("//a/../?", "/?", "//a/../?");
        check("http://a.test?x", "/?x", "/?x");
        check("http://a.test/%61?x", "/a?x", "/%61?x");
    }

    #[test]
    fn authorities() {
        let check = |field: &str, plain: &str, encrypted: &str| {
            let fields = [("host", field)].into_iter().collect();
            let target = Target::parse("/".to_owned(), &fields, Version::HTTP_11).expect("a target");
            assert_eq!(
                (target.authority("http"), target.authority("https")),
                (Some(plain), Some(encrypted)),
                "{field}"
            );
        };
        check("a.test", "a.test", "a.test");
        check("A.test.", "a.test", "a.test");
        check("a.test:80", "a.test", "a.test:80");
        check("a.test:443", "a.test:443", "a.test");
        check("a.test:", "a.test", "a.test");
        check("a.test:0080", "a.test", "a.test:80");
        check("a.test:08080", "a.test:8080", "a.test:8080");
        check("a.test:1337", "a.test:1337", "a.test:1337");
        check("[0:0:0:0:0:0:0:1]:80", "[::1]", "[::1]:80");
        check("[::1]", "[::1]", "[::1]");
        check("[::80]", "[::80]", "[::80]");
    }

    #[track_caller]
    fn host(field: &str, expected: Result<&str, TargetError>) {
        let fields = [("host", field)].into_iter().collect();
        let target = Target::parse("/".to_owned(), &fields, Version::HTTP_11);
        assert_eq!(target.as_ref().map(Target::host).map_err(|refusal| *refusal), expected, "{field}");
    }

    #[test]
    fn hosts() {
        host("example.com", Ok("example.com"));
        host("Example.COM:8080", Ok("example.com"));
        host("example.com.", Ok("example.com"));
        host("example.com.:80", Ok("example.com"));
        host("[::1]:80", Ok("[::1]"));
        host("[::1]", Ok("[::1]"));
        host("[0:0::1]", Ok("[::1]"));
        host("[::FFFF:1.2.3.4]", Ok("[::ffff:1.2.3.4]"));
        host("example.com:", Ok("example.com"));
        host("", Err(TargetError::HostInvalid));
        host(":80", Err(TargetError::HostInvalid));
        host("a b", Err(TargetError::HostInvalid));
        host("a@b", Err(TargetError::HostInvalid));
        host("a/b", Err(TargetError::HostInvalid));
        host("a..b", Err(TargetError::HostInvalid));
        host("example.com:99999", Err(TargetError::HostInvalid));
        host("example.com:8a", Err(TargetError::HostInvalid));
        host("[::1", Err(TargetError::HostInvalid));
        host("[::1]x", Err(TargetError::HostInvalid));
    }
}
