//! `response-cookies`: the attributes of `Set-Cookie` (RFC 6265 section 4.1), as the site sets them. Pure.

use crate::protocol::fields::split_once;
use crate::site::CookieRule;

/// Applies rules to a cookie, one after another. It is bytes: a cookie whose value is not UTF-8 is valid (RFC 9110 section 5.5), and
/// rules for all cookies apply to it. One without `=` has no name (RFC 6265bis section 5.6).
pub fn rewritten(rules: &[CookieRule], line: &[u8]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = line.split(|&byte| byte == b';').map(|part| part.trim_ascii().to_vec()).collect();
    let name = parts.first().and_then(|cookie| split_once(cookie, b'=')).map_or(b"".as_slice(), |(name, _)| name);
    let name = name.trim_ascii().to_vec();
    for rule in rules {
        if !rule.names.is_empty() && !rule.names.iter().any(|wanted| wanted.as_bytes() == name) {
            continue;
        }
        for (attribute, wanted) in [("Secure", rule.secure), ("HttpOnly", rule.http_only)] {
            if wanted {
                set(&mut parts, attribute, attribute.to_owned());
            }
        }
        for (attribute, value) in [("SameSite", &rule.same_site), ("Domain", &rule.domain), ("Path", &rule.path)] {
            match value.as_deref() {
                None => {}
                Some("") => remove(&mut parts, attribute),
                Some(value) => set(&mut parts, attribute, format!("{attribute}={value}")),
            }
        }
    }
    parts.join(b"; ".as_slice())
}

/// Sets an attribute, in place of its first occurrence or at the end. The first part is the cookie itself.
fn set(parts: &mut Vec<Vec<u8>>, attribute: &str, text: String) {
    let first = parts.iter().skip(1).position(|part| is(part, attribute)).map(|at| at + 1);
    match first {
        Some(at) => {
            let others = parts.split_off(at + 1);
            parts[at] = text.into_bytes();
            parts.extend(others.into_iter().filter(|part| !is(part, attribute)));
        }
        None => parts.push(text.into_bytes()),
    }
}

fn remove(parts: &mut Vec<Vec<u8>>, attribute: &str) {
    let others = parts.split_off(1);
    parts.extend(others.into_iter().filter(|part| !is(part, attribute)));
}

fn is(part: &[u8], attribute: &str) -> bool {
    let name = split_once(part, b'=').map_or(part, |(name, _)| name);
    name.trim_ascii().eq_ignore_ascii_case(attribute.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies() {
        let rule = CookieRule {
            names: vec!["a".into(), "path".into()].into(),
            secure: true,
            http_only: true,
            same_site: Some("Lax".into()),
            domain: Some("".into()),
            path: Some("/x".into()),
        };
        let bytes = |line: &[u8], expected: &[u8]| {
            assert_eq!(rewritten(std::slice::from_ref(&rule), line), expected, "{line:?}");
        };
        let check = |line: &str, expected: &str| bytes(line.as_bytes(), expected.as_bytes());
        bytes(b"a=\xe9; Domain=\xff; x\xe9", b"a=\xe9; x\xe9; Secure; HttpOnly; SameSite=Lax; Path=/x");
        bytes(b"\xe9=1; Path=/", b"\xe9=1; Path=/");
        check("a=1", "a=1; Secure; HttpOnly; SameSite=Lax; Path=/x");
        check(
            "a=1; path=/; Domain=b.test; secure; samesite=None;Max-Age=3",
            "a=1; Path=/x; Secure; SameSite=Lax; Max-Age=3; HttpOnly",
        );
        check("a=1; Path=/; Path=/b", "a=1; Path=/x; Secure; HttpOnly; SameSite=Lax");
        check("b=1; Path=/", "b=1; Path=/");
        check("path=1; Path=/", "path=1; Path=/x; Secure; HttpOnly; SameSite=Lax");
        check("a", "a");
        check("a; b=1", "a; b=1");
        check("a=x=y; Secure", "a=x=y; Secure; HttpOnly; SameSite=Lax; Path=/x");
    }

    /// A rule for all cookies also applies to those without a name.
    #[test]
    fn nameless() {
        let rule = CookieRule {
            names: Vec::new().into(),
            secure: true,
            http_only: false,
            same_site: None,
            domain: None,
            path: None,
        };
        assert_eq!(rewritten(&[rule], b"a; Path=/"), b"a; Path=/; Secure");
    }
}
