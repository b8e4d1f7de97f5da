//! The canonical form of paths, queries and hosts: one form for comparing, caching, access control, opening files and forwarding. Pure; on
//! the hot path.
//!
//! The router, matchers, files, cache keys, purges, the compiler's patterns and its proofs all use what these functions return,
//! so that two spellings of one path can't be treated in two ways (RFC 3986 section 6.2.2). Each function makes one pass over text that
//! is already canonical, and borrows it; only other text is rewritten.
//!
//! [`path`]: every byte that needs no encoding in a segment (`pchar`) is raw, every other one is percent-encoded in upper case, and dot
//! segments are resolved. Bytes that some server could read as a separator, a dot segment or an end of text are refused ([`CanonicalError`]).
//! [`query`]: the same except for bytes that separate parameters, whose encoded form differs in meaning from the raw one.

use std::borrow::Cow;

/// The options of the canonical form of paths.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormalForm {
    /// `%2F` and `%5C` are accepted, and stay encoded.
    pub encoded_slash: bool,
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// Paths with parameters (`;`) are rejected.
    pub refuse_parameters: bool,
}

/// Why a text has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanonicalError {
    /// Not a path: it does not begin with a slash.
    Form,
    /// The text contains a byte that is not allowed, raw or encoded: an encoded slash or backslash, a control byte, a blank,
    /// `#`; or a disguised dot segment.
    Forbidden,
    /// `%` without two hexadecimal digits.
    Escape,
    /// `..` above the root.
    AboveRoot,
}

/// Allowed raw in a path segment: `pchar` (RFC 3986 section 3.3).
const SEGMENT: u8 = 1;
/// Allowed raw in a query (RFC 3986 section 3.4).
const QUERY: u8 = 2;
/// Unreserved: raw and encoded are equivalent (RFC 3986 section 2.3).
const UNRESERVED: u8 = 4;
/// Rejected if raw: no conforming client sends it.
const REFUSED: u8 = 8;
/// Allowed raw in the value of a query parameter.
const VALUE: u8 = 16;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => SEGMENT | QUERY | UNRESERVED | VALUE,
            b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b',' | b':' | b'@' => SEGMENT | QUERY | VALUE,
            b'&' | b'+' | b';' | b'=' => SEGMENT | QUERY,
            b'/' | b'?' => QUERY | VALUE,
            0..=0x20 | 0x7F | b'#' => REFUSED,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Returns the canonical form of a path. Borrowed if the path is canonical: one pass, no allocation.
///
/// # Errors
/// See [`CanonicalError`].
pub fn path(path: &str, form: NormalForm) -> Result<Cow<'_, str>, CanonicalError> {
    let bytes = path.as_bytes();
    match bytes.first() {
        None => return Ok(Cow::Owned("/".to_owned())),
        Some(b'/') => {}
        Some(_) => return Err(CanonicalError::Form),
    }
    let mut canonical = true;
    let mut previous = 0;
    for &byte in bytes {
        // A dot after a slash may begin a dot segment, or a hidden file: the slow pass decides.
        canonical &= (is(byte, SEGMENT) & (byte != b';' || !form.refuse_parameters)) | (byte == b'/');
        canonical &= previous != b'/' || (byte != b'.' && (byte != b'/' || !form.merge_slashes));
        previous = byte;
    }
    if canonical {
        return Ok(Cow::Borrowed(path));
    }
    let canonical = resolved(&spelt(bytes, form)?, form)?;
    Ok(if canonical == path { Cow::Borrowed(path) } else { Cow::Owned(canonical) })
}

/// Returns whether a canonical path contains an encoded slash or backslash.
pub fn has_encoded_slash(path: &str) -> bool {
    path.as_bytes().windows(3).any(|escape| escape == b"%2F" || escape == b"%5C")
}

/// Returns the bytes of a path, each in its canonical spelling.
fn spelt(bytes: &[u8], form: NormalForm) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'/' => out.push(b'/'),
            b'%' => {
                let (value, after) = escape(after).ok_or(CanonicalError::Escape)?;
                rest = after;
                match value {
                    b'/' | b'\\' if form.encoded_slash => push_escape(&mut out, value),
                    b'/' | b'\\' | 0..0x20 | 0x7F => return Err(CanonicalError::Forbidden),
                    value => push(&mut out, value, SEGMENT),
                }
            }
            // Some servers treat a backslash as a slash.
            b'\\' => return Err(CanonicalError::Forbidden),
            byte if is(byte, REFUSED) => return Err(CanonicalError::Forbidden),
            byte => push(&mut out, byte, SEGMENT),
        }
    }
    Ok(out)
}

/// Removes dot segments (RFC 3986 section 5.2.4) from a path with canonical spelling, so that `%2e%2e` counts as one.
fn resolved(path: &[u8], form: NormalForm) -> Result<String, CanonicalError> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let last = path.iter().filter(|&&byte| byte == b'/').count();
    for (index, segment) in path.split(|&byte| byte == b'/').enumerate().skip(1) {
        match segment {
            b"." if index == last => segments.push(b""),
            b"." => {}
            b".." => {
                segments.pop().ok_or(CanonicalError::AboveRoot)?;
                if index == last {
                    segments.push(b"");
                }
            }
            b"" if form.merge_slashes && index != last => {}
            segment if hides_dots(segment) => return Err(CanonicalError::Forbidden),
            segment if form.refuse_parameters && segment.contains(&b';') => return Err(CanonicalError::Forbidden),
            segment => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in segments {
        out.push('/');
        // All non-ASCII bytes are encoded.
        out.push_str(std::str::from_utf8(segment).map_err(|_| CanonicalError::Escape)?);
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Returns whether a segment is a dot segment to servers that decode slashes first (`..%2Fadmin`), or that remove parameters first
/// (`..;x`, as servlet containers do): they would serve another path than the one that was checked.
fn hides_dots(segment: &[u8]) -> bool {
    let is_dots = |part: &[u8]| {
        let name = part.split(|&byte| byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    };
    let mut start = 0;
    for at in memchr::memchr_iter(b'%', segment) {
        if matches!(segment.get(at + 1..at + 3), Some(b"2F" | b"5C")) {
            if is_dots(&segment[start..at]) {
                return true;
            }
            start = at + 3;
        }
    }
    is_dots(&segment[start..])
}

/// Returns the canonical form of a query: unreserved bytes are raw, bytes that a query may not contain are encoded, escapes are in
/// upper case. Invalid escapes (`100%`) stay as they are. Borrowed if the query is canonical.
///
/// # Errors
/// Fails if the query contains a control byte, a blank or `#`.
pub fn query(query: &str) -> Result<Cow<'_, str>, CanonicalError> {
    let bytes = query.as_bytes();
    if bytes.iter().all(|&byte| is(byte, QUERY)) {
        return Ok(Cow::Borrowed(query));
    }
    if bytes.iter().any(|&byte| is(byte, REFUSED)) {
        return Err(CanonicalError::Forbidden);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, escape(after)) {
            (b'%', Some((value, after))) => {
                push(&mut out, value, UNRESERVED);
                rest = after;
            }
            (b'%', None) => out.push(b'%'),
            (byte, _) => push(&mut out, byte, QUERY),
        }
    }
    let canonical = String::from_utf8(out).map_err(|_| CanonicalError::Escape)?;
    Ok(if canonical == query { Cow::Borrowed(query) } else { Cow::Owned(canonical) })
}

/// Returns whether the name or value of a parameter in a query equals a text after form decoding, so that every spelling is
/// interpreted as the server does. No allocation.
pub fn decodes_to(spelt: &str, text: &str) -> bool {
    if !spelt.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return spelt == text;
    }
    let mut wanted = text.bytes();
    let mut rest = spelt.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (value, after) = match byte {
            b'%' => escape(after).unwrap_or((b'%', after)),
            b'+' => (b' ', after),
            byte => (byte, after),
        };
        if wanted.next() != Some(value) {
            return false;
        }
        rest = after;
    }
    wanted.next().is_none()
}

/// Encodes a text as path segments: bytes that are not allowed raw are encoded. `%` counts as the beginning of an escape.
pub fn encoded_path(text: impl AsRef<[u8]>) -> String {
    encoded(text, |byte| is(byte, SEGMENT) || matches!(byte, b'/' | b'%'))
}

/// Encodes a text as the value of a query parameter. `%` counts as the beginning of an escape.
pub fn encoded_value(text: impl AsRef<[u8]>) -> String {
    encoded(text, |byte| is(byte, VALUE) || byte == b'%')
}

/// Encodes a text as the name or value of a query parameter.
pub fn encoded_parameter(text: impl AsRef<[u8]>) -> String {
    encoded(text, |byte| is(byte, VALUE))
}

/// Returns a regular expression for all spellings of the name or value of a parameter in a canonical query: those for which
/// [`decodes_to`] returns `true` for `text`. The compiler's proofs use it.
pub fn spellings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::from("^");
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = format!("%{byte:02X}");
        let raw = format!("\\x{byte:02X}");
        let is_hex = |offset: usize| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        out.push_str(&match byte {
            byte if is(byte, UNRESERVED) => raw,
            b' ' => format!("(?:[+]|{escape})"),
            b'+' | b'&' => escape,
            b'%' if !(is_hex(1) && is_hex(2)) => format!("(?:%|{escape})"),
            byte if is(byte, QUERY) => format!("(?:{raw}|{escape})"),
            _ => escape,
        });
    }
    out.push('$');
    out
}

/// Encodes a file's name as a relative reference; a folder's name ends with a slash.
pub fn encoded_name(name: impl AsRef<[u8]>) -> String {
    encoded(name, |byte| is(byte, UNRESERVED) || byte == b'/')
}

fn encoded(text: impl AsRef<[u8]>, stands: impl Fn(u8) -> bool) -> String {
    let text = text.as_ref();
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if stands(byte) { out.push(byte) } else { push_escape(&mut out, byte) }
    }
    // All raw bytes are ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends the percent-decoded text to `out`; invalid escapes stay as they are.
pub fn decode(text: impl AsRef<[u8]>, out: &mut Vec<u8>) {
    let mut rest = text.as_ref();
    while let Some((&byte, after)) = rest.split_first() {
        let (value, after) = if byte == b'%' { escape(after).unwrap_or((byte, after)) } else { (byte, after) };
        out.push(value);
        rest = after;
    }
}

/// Parses the text after a `%`: returns the escaped byte, and the rest; `None` if it is not an escape (RFC 3986 section 2.1).
pub(crate) fn escape(after: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = after else { return None };
    let value = (*high as char).to_digit(16)? * 16 + (*low as char).to_digit(16)?;
    Some((value as u8, after))
}

fn push(out: &mut Vec<u8>, value: u8, stands: u8) {
    if is(value, stands) { out.push(value) } else { push_escape(out, value) }
}

fn push_escape(out: &mut Vec<u8>, value: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', HEX[usize::from(value >> 4)], HEX[usize::from(value & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: NormalForm = NormalForm { encoded_slash: false, merge_slashes: true, refuse_parameters: false };
    const SLASHES: NormalForm = NormalForm { encoded_slash: true, ..STRICT };

    #[track_caller]
    fn check(text: &str, form: NormalForm, expected: Result<&str, CanonicalError>) {
        assert_eq!(path(text, form).as_deref().map_err(|malformed| *malformed), expected, "{text} {form:?}");
    }

    #[test]
    fn paths() {
        use CanonicalError::{AboveRoot, Escape, Forbidden, Form};
        let check = |text, expected| check(text, STRICT, expected);
        check("/", Ok("/"));
        check("", Ok("/"));
        check("/a/b", Ok("/a/b"));
        check("/a/./b", Ok("/a/b"));
        check("/a/../b", Ok("/b"));
        check("/a/..", Ok("/"));
        check("/a/b/..", Ok("/a/"));
        check("/a/.", Ok("/a/"));
        check("/..", Err(AboveRoot));
        check("/a/../../b", Err(AboveRoot));
        check("/%2e%2E/b", Err(AboveRoot));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/a/.%2e", Ok("/"));
        check("/%7Euser", Ok("/~user"));
        check("/%41%c3%a9", Ok("/A%C3%A9"));
        check("/a%2fb", Err(Forbidden));
        check("/a%5Cb", Err(Forbidden));
        check("/a\\b", Err(Forbidden));
        check("/a%00", Err(Forbidden));
        check("/a%0a", Err(Forbidden));
        check("/a%7f", Err(Forbidden));
        check("/a%", Err(Escape));
        check("/a%4", Err(Escape));
        check("/a%zz", Err(Escape));
        check("/a%+1", Err(Escape));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/a/...", Ok("/a/..."));
        check("//a///b//", Ok("/a/b/"));
        check("/a#b", Err(Forbidden));
        check("/a b", Err(Forbidden));
        check("/a%20b", Ok("/a%20b"));
        check("/a<b>`", Ok("/a%3Cb%3E%60"));
        check("/a|\"^{}[]", Ok("/a%7C%22%5E%7B%7D%5B%5D"));
        check("/ü", Ok("/%C3%BC"));
        check("/%c3%bc", Ok("/%C3%BC"));
        check("/%40admin/%21%24%26%27%28%29%2a%2b%2c%3a%3b%3d", Ok("/@admin/!$&'()*+,:;="));
        check("/%255c", Ok("/%255c"));
        check("*", Err(Form));
        check("a/b", Err(Form));
    }

    #[test]
    fn disguised_dot_segments() {
        for (text, form) in [
            ("/public/..%2Fadmin", SLASHES),
            ("/public/..%2fadmin", SLASHES),
            ("/public/%2e%2e%2fadmin", SLASHES),
            ("/public/..%5Cadmin", SLASHES),
            ("/public/x%2F..%2Fadmin", SLASHES),
            ("/public/x%2F..", SLASHES),
            ("/public/%2F..;a%2Fx", SLASHES),
            ("/public/.%2Fadmin", SLASHES),
            ("/public/..;/admin", STRICT),
            ("/public/..%3B/admin", STRICT),
            ("/public/%2e.;x=y/admin", STRICT),
            ("/public/.;/admin", STRICT),
            ("/public/..;", SLASHES),
        ] {
            check(text, form, Err(CanonicalError::Forbidden));
        }
        check("/a%2f..b/..c%2Fd", SLASHES, Ok("/a%2F..b/..c%2Fd"));
        check("/a;x=../b", STRICT, Ok("/a;x=../b"));
        check("/...;x", STRICT, Ok("/...;x"));
    }

    #[test]
    fn options() {
        let form = NormalForm { encoded_slash: true, merge_slashes: false, refuse_parameters: false };
        check("//a%2fb/..//c", form, Ok("///c"));
        check("/a%2fb", form, Ok("/a%2Fb"));
        check("/a;b", STRICT, Ok("/a;b"));
        let refusing = NormalForm { refuse_parameters: true, ..STRICT };
        check("/a;b", refusing, Err(CanonicalError::Forbidden));
        check("/a%3bb/c", refusing, Err(CanonicalError::Forbidden));
        check("/a/b", refusing, Ok("/a/b"));
    }

    #[test]
    fn queries() {
        let check = |text: &str, expected: Result<&str, CanonicalError>| {
            assert_eq!(query(text).as_deref().map_err(|malformed| *malformed), expected, "{text}");
        };
        check("a=1&b=/?:@", Ok("a=1&b=/?:@"));
        check("p%61ge=%7e%2f%26", Ok("page=~%2F%26"));
        check("a[]=<`>&ü=\"^{|}\\", Ok("a%5B%5D=%3C%60%3E&%C3%BC=%22%5E%7B%7C%7D%5C"));
        check("a=100%&b=%zz%4", Ok("a=100%&b=%zz%4"));
        check("a=+%2B", Ok("a=+%2B"));
        check("a b", Err(CanonicalError::Forbidden));
        check("a#b", Err(CanonicalError::Forbidden));
        check("a=\u{1}", Err(CanonicalError::Forbidden));
    }

    #[test]
    fn parameter_spellings() {
        let check = |text: &str, expected: &str| assert_eq!(spellings(text), expected, "{text}");
        check("aB", r"^\x61\x42$");
        check("a b", r"^\x61(?:[+]|%20)\x62$");
        check("+&|", r"^%2B%26%7C$");
        check(":", r"^(?:\x3A|%3A)$");
        check("%4", r"^(?:%|%25)\x34$");
        check("%41", r"^%25\x34\x31$");
    }

    #[test]
    fn parameters() {
        let check =
            |spelt: &str, name: &str, expected: bool| assert_eq!(decodes_to(spelt, name), expected, "{spelt} {name}");
        check("page", "page", true);
        check("p%61ge", "page", true);
        check("pag", "page", false);
        check("pages", "page", false);
        check("p%61gex", "page", false);
        check("%5B%5d", "[]", true);
        check("a+b", "a b", true);
        check("a%2Bb", "a+b", true);
        check("%zz", "%zz", true);
        check("", "", true);
    }

    /// Every byte, raw and encoded in both cases, has one form, which is a fixed point, and is raw if that is allowed.
    #[test]
    fn every_byte_has_one_form() {
        for form in [STRICT, SLASHES, NormalForm { merge_slashes: false, ..SLASHES }] {
            for byte in 0..=u8::MAX {
                let encoded = [format!("/x%{byte:02X}y"), format!("/x%{byte:02x}y")];
                let forms: Vec<_> = encoded.iter().map(|text| path(text, form).map(Cow::into_owned)).collect();
                assert_eq!(forms[0], forms[1], "{byte:#x}");
                if let Ok(canonical) = &forms[0] {
                    assert_eq!(
                        path(canonical, form).as_deref(),
                        Ok(canonical.as_str()),
                        "{byte:#x} is not a fixed point"
                    );
                    assert_eq!(canonical.contains('%'), !is(byte, SEGMENT), "{byte:#x}: {canonical}");
                }
                let raw = format!("/x{}y", char::from(byte));
                if byte.is_ascii()
                    && !matches!(byte, b'/' | b'%')
                    && let Ok(canonical) = path(&raw, form)
                {
                    assert_eq!(Ok(canonical.into_owned()), forms[0], "{byte:#x} raw and encoded");
                }
            }
        }
    }
}
