//! `response-cookies`: the attributes of `Set-Cookie` (RFC 6265 section 4.1), as the site wants them. Pure.

use crate::site::CookieRule;

/// What a line becomes by these rules, one after the other. What is no cookie stays what it is.
pub fn rewritten(rules: &[CookieRule], line: &str) -> String {
    let Some((name, _)) = line.split_once('=') else { return line.to_owned() };
    let name = name.trim();
    let mut parts: Vec<String> = line.split(';').map(|part| part.trim().to_owned()).collect();
    for rule in rules {
        if !rule.names.is_empty() && !rule.names.iter().any(|wanted| wanted == name) {
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
    parts.join("; ")
}

/// The attribute is this, once, where it first was or at the end. The first part is the cookie itself.
fn set(parts: &mut Vec<String>, attribute: &str, text: String) {
    let first = parts.iter().skip(1).position(|part| is(part, attribute)).map(|at| at + 1);
    match first {
        Some(at) => {
            let others = parts.split_off(at + 1);
            parts[at] = text;
            parts.extend(others.into_iter().filter(|part| !is(part, attribute)));
        }
        None => parts.push(text),
    }
}

fn remove(parts: &mut Vec<String>, attribute: &str) {
    let others = parts.split_off(1);
    parts.extend(others.into_iter().filter(|part| !is(part, attribute)));
}

fn is(part: &str, attribute: &str) -> bool {
    part.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(attribute))
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
        let check = |line: &str, expected: &str| {
            assert_eq!(rewritten(std::slice::from_ref(&rule), line), expected, "{line}");
        };
        check("a=1", "a=1; Secure; HttpOnly; SameSite=Lax; Path=/x");
        check(
            "a=1; path=/; Domain=b.test; secure; samesite=None;Max-Age=3",
            "a=1; Path=/x; Secure; SameSite=Lax; Max-Age=3; HttpOnly",
        );
        check("a=1; Path=/; Path=/b", "a=1; Path=/x; Secure; HttpOnly; SameSite=Lax");
        check("b=1; Path=/", "b=1; Path=/");
        check("path=1; Path=/", "path=1; Path=/x; Secure; HttpOnly; SameSite=Lax");
        check("a", "a");
        check("a=x=y; Secure", "a=x=y; Secure; HttpOnly; SameSite=Lax; Path=/x");
    }
}
