//! A request's target in normal form: which host, which path, which query. Pure; on the hot path.
//!
//! What this makes is what is matched, logged, and forwarded: nothing un-normalised gets past it (RFC 3986 section 6.2.2).
//! Takes the target as it stands in the request line and the header fields, gives [`Target`] or the [`Refusal`] with its
//! reason. Allocates only where the path or host is not in normal form already.

use std::borrow::Cow;
use std::ops::Range;

use http::Version;

use crate::fields::Fields;
use crate::site::NormalForm;

/// Why a target was refused; each is a 400 with this reason in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// HTTP/1.1 without a `Host` (RFC 9112 section 3.2).
    HostMissing,
    /// Several `Host` fields, or one that is not a host (RFC 9112 section 3.2).
    HostInvalid,
    /// Not a path: `*` or an authority alone.
    TargetForm,
    /// A path with `%2F`, `%5C`, `%00`, a raw backslash or another byte that must not stand in one.
    PathForbidden,
    /// `%` without two hexadecimal digits.
    PathEncoding,
    /// `..` above the root.
    PathEscapes,
}

/// Host, path and query of a request.
#[derive(Debug, Clone)]
pub struct Target {
    /// The target as it arrived, and behind it what else is needed: the `Host` field, then what had to be changed.
    text: String,
    /// Where the target as it arrived ends.
    raw: usize,
    authority: Option<Range<usize>>,
    host: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
}

impl Target {
    /// Reads the host, before its site is known. `text` is the target as it arrived; with room for the host behind it,
    /// nothing is allocated.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn parse(text: String, fields: &Fields, version: Version) -> Result<Target, Refusal> {
        let raw = text.len();
        let mut target = Target { text, raw, authority: None, host: 0..0, path: 0..raw, query: None };
        target.find_authority(fields, version)?;
        if let Some(question) = memchr::memchr(b'?', &target.text.as_bytes()[target.path.clone()]) {
            let question = target.path.start + question;
            target.query = Some(question + 1..raw);
            target.path.end = question;
        }
        let Some(authority) = target.authority.clone() else { return Ok(target) };
        let name = split_port(&target.text[authority.clone()]).ok_or(Refusal::HostInvalid)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || !is_host(name) {
            return Err(Refusal::HostInvalid);
        }
        target.host = authority.start..authority.start + name.len();
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let folded = name.to_ascii_lowercase();
            target.host = target.push(&folded);
        }
        Ok(target)
    }

    /// RFC 9112 section 3.2: the authority of an absolute-form target, or the one `Host` field.
    fn find_authority(&mut self, fields: &Fields, version: Version) -> Result<(), Refusal> {
        let mut hosts = fields.all("host");
        let (field, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return Err(Refusal::HostInvalid);
        }
        if !self.text.starts_with('/')
            && let Some(scheme) = self.text.find("://")
        {
            // Section 3.2.2: it replaces the Host field.
            let start = scheme + 3;
            let end = self.text[start..].find(['/', '?']).map_or(self.raw, |at| start + at);
            self.authority = Some(start..end);
            self.path.start = end;
            return Ok(());
        }
        self.authority = match field {
            Some(field) => {
                let field = std::str::from_utf8(field).map_err(|_| Refusal::HostInvalid)?;
                Some(self.push(field))
            }
            None if version <= Version::HTTP_10 => None,
            None => return Err(Refusal::HostMissing),
        };
        Ok(())
    }

    fn push(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    /// Brings the path to the site's normal form.
    ///
    /// # Errors
    /// See [`Refusal`]: the path is none, or one that must not be matched.
    pub fn normalise(&mut self, form: NormalForm) -> Result<(), Refusal> {
        let query = self.query().unwrap_or_default();
        if query.bytes().any(|byte| matches!(byte, 0..=0x20 | b'#' | b'<' | b'>' | b'`' | 0x7F)) {
            return Err(Refusal::PathForbidden);
        }
        // RFC 9112 section 3.2.1 and 3.2.2: origin-form or absolute-form, whose empty path means "/".
        let absolute = self.path.start > 0;
        if self.path.is_empty() && !absolute {
            return Err(Refusal::TargetForm);
        }
        if let Cow::Owned(path) = normal_path(self.path(), form)? {
            self.path = self.push(&path);
        }
        Ok(())
    }

    /// The host in lower case, without port and trailing dot; empty where an HTTP/1.0 client named none.
    pub fn host(&self) -> &str {
        &self.text[self.host.clone()]
    }

    /// Host and port as the client wrote them.
    pub fn authority(&self) -> Option<&str> {
        self.authority.clone().map(|range| &self.text[range])
    }

    /// Whether the authority came in the target and not in the `Host` field.
    pub fn absolute(&self) -> bool {
        self.authority.as_ref().is_some_and(|authority| authority.start < self.raw)
    }

    /// The path in normal form.
    pub fn path(&self) -> &str {
        &self.text[self.path.clone()]
    }

    /// The query as it arrived.
    pub fn query(&self) -> Option<&str> {
        self.query.clone().map(|range| &self.text[range])
    }

    /// Path and query, where they stand together: where the path was in normal form as it arrived.
    pub fn path_and_query(&self) -> Option<&str> {
        (self.path.end <= self.raw).then(|| &self.text[self.path.start..self.raw])
    }

    /// The length of path and query as they arrived, in bytes.
    pub fn length(&self) -> usize {
        match &self.authority {
            Some(authority) if authority.end <= self.raw => self.raw - authority.end,
            _ => self.raw,
        }
    }
}

/// `host[:port]` without its port; `None` where what follows the colon is no port.
pub fn split_port(authority: &str) -> Option<&str> {
    let colon = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            if end == authority.len() {
                return Some(authority);
            }
            if authority.as_bytes()[end] != b':' {
                return None;
            }
            end
        }
        None => match authority.find(':') {
            None => return Some(authority),
            Some(colon) => colon,
        },
    };
    let port = &authority[colon + 1..];
    // RFC 3986 section 3.2.3: the port may be empty.
    (port.is_empty()
        || (port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()))
    .then(|| &authority[..colon])
}

/// Whether `name` could be a host: a registered name of letters, digits, `-`, `_` and dots, or a bracketed IPv6 address.
pub fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && !name.starts_with('.')
        && !name.contains("..")
}

/// The normal form of a path: unreserved characters decoded, escapes in upper case, dot segments removed, and with
/// `merge_slashes` doubled slashes merged. Borrowed where it is in normal form already (one pass, no allocation).
///
/// # Errors
/// See [`Refusal`].
pub fn normal_path(path: &str, form: NormalForm) -> Result<Cow<'_, str>, Refusal> {
    let bytes = path.as_bytes();
    match bytes.first() {
        None => return Ok(Cow::Owned("/".to_owned())),
        Some(b'/') => {}
        Some(_) => return Err(Refusal::TargetForm),
    }
    let mut plain = true;
    let mut previous = 0;
    for &byte in bytes {
        if matches!(byte, b'\\' | 0..=0x20 | b'#' | b'<' | b'>' | b'`' | 0x7F) {
            return Err(Refusal::PathForbidden);
        }
        // A dot after a slash may be a dot segment, or a hidden file: the slow pass tells.
        plain &= !(byte == b'%' || (previous == b'/' && (byte == b'.' || (byte == b'/' && form.merge_slashes))));
        previous = byte;
    }
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    let normal = rewrite(bytes, form)?;
    Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
}

fn rewrite(bytes: &[u8], form: NormalForm) -> Result<String, Refusal> {
    let decoded = decode(bytes, form)?;
    // RFC 3986 section 5.2.4, on the decoded text, so that `%2e%2e` counts as what it is.
    let mut out: Vec<&[u8]> = Vec::new();
    let last = decoded.iter().filter(|&&byte| byte == b'/').count();
    for (index, segment) in decoded.split(|&byte| byte == b'/').enumerate().skip(1) {
        match segment {
            b"." if index == last => out.push(b""),
            b"." => {}
            b".." => {
                out.pop().ok_or(Refusal::PathEscapes)?;
                if index == last {
                    out.push(b"");
                }
            }
            b"" if form.merge_slashes && index != last => {}
            segment => out.push(segment),
        }
    }
    let mut path = Vec::with_capacity(decoded.len());
    for segment in &out {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    String::from_utf8(path).map_err(|_| Refusal::PathEncoding)
}

fn decode(bytes: &[u8], form: NormalForm) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = after;
            continue;
        }
        let (value, after) = escape(after).ok_or(Refusal::PathEncoding)?;
        match value {
            b'/' | b'\\' if form.encoded_slash => push_escape(&mut out, value),
            b'/' | b'\\' | 0..0x20 | 0x7F => return Err(Refusal::PathForbidden),
            // RFC 3986 section 2.3: unreserved characters.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(value),
            _ => push_escape(&mut out, value),
        }
        rest = after;
    }
    Ok(out)
}

/// What an escape stands for, given what is behind its `%`, and what is behind it; `None` if it is none (RFC 3986 section 2.1).
pub(crate) fn escape(after: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = after else { return None };
    let value = (*high as char).to_digit(16)? * 16 + (*low as char).to_digit(16)?;
    Some((value as u8, after))
}

fn push_escape(out: &mut Vec<u8>, value: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', HEX[usize::from(value >> 4)], HEX[usize::from(value & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: NormalForm = NormalForm { encoded_slash: false, merge_slashes: true };

    #[track_caller]
    fn check(path: &str, expected: Result<&str, Refusal>) {
        assert_eq!(normal_path(path, STRICT).as_deref().map_err(|refusal| *refusal), expected, "{path}");
    }

    #[test]
    fn paths() {
        check("/", Ok("/"));
        check("", Ok("/"));
        check("/a/b", Ok("/a/b"));
        check("/a/./b", Ok("/a/b"));
        check("/a/../b", Ok("/b"));
        check("/a/..", Ok("/"));
        check("/a/b/..", Ok("/a/"));
        check("/a/.", Ok("/a/"));
        check("/..", Err(Refusal::PathEscapes));
        check("/a/../../b", Err(Refusal::PathEscapes));
        check("/%2e%2E/b", Err(Refusal::PathEscapes));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/%7Euser", Ok("/~user"));
        check("/%41%c3%a9", Ok("/A%C3%A9"));
        check("/a%2fb", Err(Refusal::PathForbidden));
        check("/a%5Cb", Err(Refusal::PathForbidden));
        check("/a\\b", Err(Refusal::PathForbidden));
        check("/a%00", Err(Refusal::PathForbidden));
        check("/a%0a", Err(Refusal::PathForbidden));
        check("/a%", Err(Refusal::PathEncoding));
        check("/a%4", Err(Refusal::PathEncoding));
        check("/a%zz", Err(Refusal::PathEncoding));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/a/...", Ok("/a/..."));
        check("//a///b//", Ok("/a/b/"));
        check("/a#b", Err(Refusal::PathForbidden));
        check("/a<b", Err(Refusal::PathForbidden));
        check("*", Err(Refusal::TargetForm));
    }

    #[test]
    fn forms() {
        #[track_caller]
        fn check(raw: &str, expected: Result<(&str, &str, Option<&str>, &str), Refusal>) {
            let fields = [("Host", "Field.Test:81")].into_iter().collect();
            let target = Target::parse(raw.to_owned(), &fields, Version::HTTP_11)
                .and_then(|mut target| target.normalise(STRICT).map(|()| target));
            let found = target
                .as_ref()
                .map_err(|refusal| *refusal)
                .map(|target| (target.host(), target.path(), target.query(), target.authority().unwrap_or_default()));
            assert_eq!(found, expected, "{raw}");
        }
        check("/a?b=c", Ok(("field.test", "/a", Some("b=c"), "Field.Test:81")));
        check("/a/../b?", Ok(("field.test", "/b", Some(""), "Field.Test:81")));
        check("http://a.b:80/c?d", Ok(("a.b", "/c", Some("d"), "a.b:80")));
        check("http://A.b", Ok(("a.b", "/", None, "A.b")));
        check("http://a.b?c", Ok(("a.b", "/", Some("c"), "a.b")));
        check("http://", Err(Refusal::HostInvalid));
        check("http://u@a.b/", Err(Refusal::HostInvalid));
        check("/a?b#c", Err(Refusal::PathForbidden));
        check("*", Err(Refusal::TargetForm));
        check("a.b:80", Err(Refusal::TargetForm));
    }

    #[test]
    fn options() {
        let form = NormalForm { encoded_slash: true, merge_slashes: false };
        assert_eq!(normal_path("//a%2fb/..//c", form).unwrap(), "///c");
        assert_eq!(normal_path("/a%2fb", form).unwrap(), "/a%2Fb");
    }

    #[test]
    fn normal_form_is_a_fixed_point() {
        for path in ["/a/%2e/b", "//x//..//y/", "/%41/%2e%2e/%c3%a9", "/a/b/../../c/."] {
            let once = normal_path(path, STRICT).unwrap().into_owned();
            assert_eq!(normal_path(&once, STRICT).unwrap(), once);
        }
    }

    #[track_caller]
    fn host(field: &str, expected: Result<&str, Refusal>) {
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
        host("example.com:", Ok("example.com"));
        host("", Err(Refusal::HostInvalid));
        host(":80", Err(Refusal::HostInvalid));
        host("a b", Err(Refusal::HostInvalid));
        host("a@b", Err(Refusal::HostInvalid));
        host("a/b", Err(Refusal::HostInvalid));
        host("a..b", Err(Refusal::HostInvalid));
        host("example.com:99999", Err(Refusal::HostInvalid));
        host("example.com:8a", Err(Refusal::HostInvalid));
        host("[::1", Err(Refusal::HostInvalid));
        host("[::1]x", Err(Refusal::HostInvalid));
    }
}
