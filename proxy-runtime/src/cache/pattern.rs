//! Patterns of URLs for purges ([`Pattern`]): `/img/*.jpg`, `*.example.com/feed?page=*`. Pure.
//!
//! `*` matches any characters, slashes included, and is the only special character. A URL is therefore matched in one
//! pass over both: the pieces between the `*` are searched from the left to the right, each of them once.

use memchr::memmem;

use crate::protocol::canonical;
use crate::protocol::target::{is_host, split_port};
use crate::site::NormalForm;

/// Host and path of URLs, and their query if the pattern has a `?`. Scheme and port are ignored, as all of them are one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pattern(Box<str>);

/// The longest pattern, in bytes.
const LONGEST: usize = 1024;

/// Paths as written: forms that only some sites reject or change are present in the URLs of others.
const FORM: NormalForm = NormalForm { encoded_slash: true, merge_slashes: false, refuse_parameters: false };

impl Pattern {
    /// Parses `HOST/PATH`, or `/PATH` on this host. `None`: it is invalid.
    pub(crate) fn parse(text: &str, host: &str) -> Option<Pattern> {
        let (named, _) = text.split_at(text.find('/')?);
        let target = &text[named.len()..];
        let host = if named.is_empty() { host } else { named }.to_ascii_lowercase();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = canonical::path(path, FORM).ok()?;
        let query = query.map(canonical::query).transpose().ok()?;
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        // `*` stands for a part of a name.
        let is_known = !host.is_empty() && (is_host(&host) || is_host(&format!("a{}", host.replace('*', "a"))));
        let pattern = format!("{host}{path}{query}");
        (is_known && pattern.len() <= LONGEST).then(|| Pattern(pattern.into()))
    }

    /// Parses the result of [`Pattern::as_str`].
    pub(super) fn of(text: &str) -> Option<Pattern> {
        text.contains('/').then(|| Pattern(text.into()))
    }

    /// Returns the pattern as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a pattern for a whole host.
    pub(super) fn of_host(host: &str) -> Pattern {
        Pattern(format!("{host}/*").into())
    }

    /// Returns the only host that it matches, and whether it matches the whole host.
    pub(super) fn host(&self) -> Option<(&str, bool)> {
        let (host, path) = self.parts();
        (!host.contains('*')).then_some((host, path == "/*"))
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_at(self.0.find('/').unwrap_or(self.0.len()))
    }

    /// Returns whether it matches the URL of a cached response.
    pub(super) fn means(&self, url: &str) -> bool {
        let (host, path) = self.parts();
        let (kept_host, kept_path) = parts_of(url);
        let before_query = |text: &str| text.find('?').unwrap_or(text.len());
        // A pattern without a query matches any query. The URL of a `No-Vary-Search` rule is found by many queries, and has none of them.
        let any_query = !path.contains('?') || kept_path.contains('#');
        let (path, kept_path) = match any_query {
            true => (&path[..before_query(path)], &kept_path[..before_query(kept_path)]),
            false => (path, kept_path),
        };
        matches(host, kept_host) && matches(path, kept_path)
    }
}

/// Returns the host, and the path with query, of a cached response's URL (see [`super::key`]).
pub(super) fn parts_of(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.split(';').next().unwrap_or(authority);
    (split_port(authority).map_or(authority, |(host, _)| host), path)
}

/// Returns whether a text matches a pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(text) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else { return false };
    let mut left = text.as_bytes();
    middle.split('*').all(|piece| match memmem::find(left, piece.as_bytes()) {
        Some(at) => {
            left = &left[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parsed() {
        let check = |text: &str, expected: Option<&str>| {
            let found = Pattern::parse(text, "a.test");
            assert_eq!(found.as_ref().map(Pattern::as_str), expected, "{text}");
        };
        check("/img/*.jpg", Some("a.test/img/*.jpg"));
        check("/%69mg/*?x=%61", Some("a.test/img/*?x=a"));
        check("/a/../b*", Some("a.test/b*"));
        check("//a/%2F*", Some("a.test//a/%2F*"));
        check("B.test/x", Some("b.test/x"));
        check("*/x", Some("*/x"));
        check("*.b.test/*", Some("*.b.test/*"));
        check("shop-*.test/*", Some("shop-*.test/*"));
        check("[::1]/x", Some("[::1]/x"));
        check("", None);
        check("*.jpg", None);
        check("b.test:80/x", None);
        check("http://b.test/x", None);
        check("b test/x", None);
        check("/x y", None);
        check("/../x", None);
        check(&format!("/{}", "a".repeat(LONGEST)), None);
    }

    #[test]
    fn meant() {
        let check = |pattern: &str, url: &str, expected: bool| {
            let found = Pattern::parse(pattern, "a.test").expect("a pattern").means(url);
            assert_eq!(found, expected, "{pattern} {url}");
        };
        check("/img/*.jpg", "http://a.test/img/x/y.jpg", true);
        check("/img/*.jpg", "https://a.test:8443;3/img/x.jpg?w=1", true);
        check("/img/*.jpg", "http://a.test/img/x.png", false);
        check("/img/*.jpg", "http://b.test/img/x.jpg", false);
        check("/list?page=*", "http://a.test/list?page=2", true);
        check("/list?page=*", "http://a.test/list", false);
        check("/list", "http://a.test/list?page=2", true);
        check("/list", "http://a.test/list/x", false);
        // Responses that are found by a `No-Vary-Search` rule: whatever their query was.
        check("/list?page=2*", "http://a.test/list?page=2#1f", true);
        check("/list?page=2&utm=*", "http://a.test/list?#1f", true);
        check("/list?page=2", "http://a.test/other?page=2#1f", false);
        check("/list?page=2", "http://b.test/list?page=2#1f", false);
        check("/*/x/*/y", "http://a.test/1/x/2/y", true);
        check("/*/x/*/y", "http://a.test/1/x/y", false);
        check("/ab*ba", "http://a.test/aba", false);
        check("*/x", "https://any.host:1/x", true);
        check("*.b.test/*", "http://www.b.test/", true);
        check("*.b.test/*", "http://b.test/", false);
        check("[::1]/*", "http://[::1]:80/x", true);
    }

    /// Matches naively, character by character.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| slowly(rest, &text[at..])),
            Some((byte, rest)) => text.first() == Some(byte) && slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_like_a_naive_matcher(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
