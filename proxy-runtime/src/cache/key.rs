//! Makes cache keys. Pure; on the hot path; shared with the compiler, whose tests show them.
//!
//! The first part, [`url`], is the primary key of RFC 9111 section 2: the URL, without the query parameters that the policy
//! leaves out. A purge of a URL applies to everything under it. The second part, [`variant_of`], has the other dependencies of the response: the
//! fields and cookies that the policy lists, and the fields of `Vary` (section 4.1).

use std::borrow::Cow;

use super::{device, query};
use crate::context::facts::Facts;
use crate::context::view::{cookie_values, raw_cookie_pairs};
use crate::protocol::canonical::decodes_to;
use crate::protocol::fields::{Fields, members, split_once};
use crate::protocol::names::KnownField;
use crate::site::{Cache, Key, Mark, Part};

/// Appends the URL as the policy sees it to `out`: without omitted query parameters, and in the policy's order.
pub fn url(key: &Key, facts: &Facts<'_>, out: &mut String) {
    origin(key, facts, out);
    out.push_str(facts.path);
    query::keyed(key, facts.query, out);
}

/// Returns the target for the server with `send=keyed`: with the query of the key alone. `None`: the request's own target, as
/// for all requests that bypass the cache.
pub fn sent(cache: &Cache, facts: &Facts<'_>, has_body: bool) -> Option<String> {
    if !cache.key.send_keyed || passes(cache, facts, has_body).is_some() {
        return None;
    }
    let mut target = facts.path.to_owned();
    query::keyed(&cache.key, facts.query, &mut target);
    Some(target)
}

/// Appends scheme, host and port, and the site if needed, to `out`, and reserves space for the request's URL. The port is the client's,
/// because servers receive it, and may include it in their responses.
pub fn origin(key: &Key, facts: &Facts<'_>, out: &mut String) {
    let (scheme, host) = (facts.scheme, facts.authority);
    out.reserve(scheme.len() + host.len() + facts.path.len() + facts.query.map_or(0, str::len) + 12);
    for part in [scheme, "://", host] {
        out.push_str(part);
    }
    if key.site != 0 {
        // A host contains no semicolon.
        out.push(';');
        out.push_str(&key.site.to_string());
    }
}

/// Returns whether responses may have variants before any response has a `Vary`.
pub fn has_variants(key: &Key) -> bool {
    key.zone != 0 || key.device.is_some() || !key.headers.is_empty() || !key.cookies.is_empty()
}

/// The request that selects a response: as the client sent it, and as the server receives it.
pub trait SelectingRequest {
    /// Returns the fields as the client sent them.
    fn sent(&self) -> &Fields;
    /// Returns the fields as the server receives them, if the field `name` may differ from the client's. `name` is in
    /// lower case.
    fn forwarded(&self, name: &str) -> Option<&Fields>;
    /// Returns whether the server receives a normalized field, which replaces all values of clients.
    fn is_normalized(&self, _name: &str) -> bool {
        false
    }
}

/// [`variant_of`] for a request that is forwarded unchanged.
pub fn variant<'n>(key: &'n Key, vary: impl Iterator<Item = &'n str>, fields: &Fields, out: &mut Vec<u8>) {
    variant_of(key, vary, fields, out);
}

impl SelectingRequest for Fields {
    fn sent(&self) -> &Fields {
        self
    }

    fn forwarded(&self, _: &str) -> Option<&Fields> {
        None
    }
}

/// Appends the selecting request's values to `out`. `vary` has the names of a response's `Vary`, in lower case.
///
/// `Vary` refers to the request that the server received (RFC 9111 section 4.1), after changes by filters and the proxy. A field that
/// the site lists counts as the client sent it and, if that differs, as the server receives it: whichever the site means, no two clients
/// share a response that they should not.
pub fn variant_of<'n>(
    key: &'n Key,
    vary: impl Iterator<Item = &'n str>,
    request: &dyn SelectingRequest,
    out: &mut Vec<u8>,
) {
    if key.zone != 0 {
        out.extend_from_slice(b"\nroute ");
        out.extend_from_slice(&key.zone.to_be_bytes());
    }
    for name in key.headers.iter().map(AsRef::as_ref) {
        if !request.is_normalized(name) {
            header(name, request.sent(), out);
        }
        if let Some(forwarded) = request.forwarded(name) {
            header(name, forwarded, out);
        }
    }
    if let Some(device) = &key.device {
        // A field name contains no blank.
        out.extend_from_slice(b"\ndevice ");
        out.extend_from_slice(device::group(device, request.sent()).as_bytes());
    }
    let is_grouped = |name: &str| key.device.as_ref().is_some_and(|device| device::stands_for(device, name));
    for name in vary.filter(|name| !is_grouped(name)) {
        header(name, request.forwarded(name).unwrap_or(request.sent()), out);
    }
    for name in key.cookies.iter() {
        out.push(b'\n');
        out.extend_from_slice(name.as_bytes());
        // A cookie value contains no semicolon, so different lists stay different.
        for (index, value) in cookies_as_sent(request.sent(), name).enumerate() {
            out.push(if index == 0 { b'=' } else { b';' });
            out.extend_from_slice(value);
        }
    }
}

/// Returns the values of a cookie with their quotes: some servers take these for a part of the value (RFC 6265 section
/// 5.4).
fn cookies_as_sent<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .all(KnownField::COOKIE)
        .flat_map(raw_cookie_pairs)
        .filter(move |(key, _)| *key == name.as_bytes())
        .map(|(_, value)| value)
}

/// Appends a field and its value, if it is present; an empty field differs from a missing one. A value contains no line end, so different
/// lists of fields stay different.
fn header(name: &str, fields: &Fields, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend_from_slice(name.as_bytes());
    if fields.contains(name) {
        out.push(b':');
        value(name, fields, out);
    }
}

/// Appends the normalized value of a field (RFC 9111 section 4.1): lines are joined, and white space around commas is removed; the
/// case of codings and languages does not matter, nor the order of codings, nor that of languages with different weights.
fn value(name: &str, fields: &Fields, out: &mut Vec<u8>) {
    if name == "accept-language" {
        return languages(fields, out);
    }
    let mut members: Vec<Cow<'_, [u8]>> = Vec::new();
    for line in fields.all(name) {
        // A comma may be quoted, and quoted blanks are significant.
        if name != "accept-encoding" && line.contains(&b'"') {
            members.push(Cow::Borrowed(line));
            continue;
        }
        for member in line.split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            if name == "accept-encoding" {
                members.extend(coding(member).map(Cow::Owned));
            } else {
                members.push(Cow::Borrowed(member));
            }
        }
    }
    if name == "accept-encoding" {
        members.sort();
        members.dedup();
    }
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
}

/// Appends `Accept-Language` (RFC 9110 section 12.5.4): ranges with normalized weights, sorted by them. Ranges of equal weight keep their
/// order, as servers use the first.
fn languages(fields: &Fields, out: &mut Vec<u8>) {
    let members = || fields.all(KnownField::ACCEPT_LANGUAGE).flat_map(members);
    let Some(mut ranges) = members().map(range).collect::<Option<Vec<_>>>() else {
        // Malformed: each server may interpret it differently. No range begins like this.
        out.push(b'!');
        return fields.all(KnownField::ACCEPT_LANGUAGE).for_each(|line| out.extend([line, b","].concat()));
    };
    ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    for (index, (range, weight)) in ranges.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend(range.to_ascii_lowercase());
        if *weight < 1000 {
            out.extend(format!(";{weight}").bytes());
        }
    }
}

/// Parses a language range and its weight in thousandths; `None`: it is malformed.
fn range(member: &[u8]) -> Option<(&[u8], u16)> {
    let (range, weight) = match split_once(member, b';') {
        Some((range, weight)) => (range.trim_ascii_end(), qvalue(weight.trim_ascii())?),
        None => (member, 1000),
    };
    let plain = range.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*'));
    (plain && !range.is_empty()).then_some((range, weight))
}

/// Parses `q=` and a `qvalue` (RFC 9110 section 12.4.2), in thousandths.
fn qvalue(weight: &[u8]) -> Option<u16> {
    let given = weight.strip_prefix(b"q=").or(weight.strip_prefix(b"Q="))?;
    let (whole, rest) = given.split_first()?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let thousandths = digits.iter().chain(b"00").take(3).try_fold(0, |sum, byte| Some(sum * 10 + digit(byte)?))?;
    match whole {
        b'0' => Some(if digits.is_empty() { 0 } else { thousandths }),
        b'1' if digits.iter().all(|digit| *digit == b'0') => Some(1000),
        _ => None,
    }
}

/// Returns a coding that the client accepts; its weight does not matter.
fn coding(member: &[u8]) -> Option<Vec<u8>> {
    let (name, weight) = match member.iter().position(|&byte| byte == b';') {
        Some(at) => (&member[..at], &member[at + 1..]),
        None => (member, b"".as_slice()),
    };
    let weight: Vec<u8> = weight.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let refused = weight
        .strip_prefix(b"q=")
        .or(weight.strip_prefix(b"Q="))
        .is_some_and(|q| !q.is_empty() && q.iter().all(|&byte| byte == b'0' || byte == b'.'));
    let name = name.trim_ascii().to_ascii_lowercase();
    if name.is_empty() {
        return None;
    }
    // A refused coding differs from one that is not listed, which `*` may include.
    Some(if refused { [b"-", name.as_slice()].concat() } else { name })
}

/// Returns whether a request matches a `bypass` condition.
pub fn has(mark: &Mark, facts: &Facts<'_>) -> bool {
    let is = |found: &[u8]| mark.value.as_ref().is_none_or(|value| value.as_bytes() == found);
    match mark.part {
        Part::Header => facts.fields.all(&mark.name).any(is),
        Part::Cookie => cookie_values(facts.fields, &mark.name).any(is),
        Part::Query => query::has(&mark.name, facts.query.unwrap_or_default(), |found| {
            mark.value.as_ref().is_none_or(|value| decodes_to(found, value))
        }),
    }
}

/// Why a request bypasses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassReason {
    /// The method is neither GET nor, if the policy caches it, HEAD (RFC 9111 section 4).
    Method,
    /// The request has a body, which the response may depend on.
    Body,
    /// The request matches a `bypass` condition.
    Bypass,
    /// The request has a precondition on the server's own copy (RFC 9111 section 4.3.2).
    Condition,
    /// The request asks for an upgrade.
    Upgrade,
    /// The request wants a range far into a response that is not cached.
    Range,
    /// The server receives the target as it arrived (`rewrite raw`), which differs from the key's canonical form.
    Raw,
}

impl PassReason {
    /// Returns the word in logs and in `Cache-Status`.
    pub fn reason(self) -> &'static str {
        match self {
            PassReason::Method => "method",
            PassReason::Body => "body",
            PassReason::Bypass => "bypass",
            PassReason::Condition => "condition",
            PassReason::Upgrade => "upgrade",
            PassReason::Range => "range",
            PassReason::Raw => "raw",
        }
    }
}

/// Returns why a request bypasses the cache; `None`: it is looked up.
pub fn passes(cache: &Cache, facts: &Facts<'_>, has_body: bool) -> Option<PassReason> {
    if *facts.method != http::Method::GET && !(cache.head && *facts.method == http::Method::HEAD) {
        return Some(PassReason::Method);
    }
    if has_body {
        return Some(PassReason::Body);
    }
    if cache.bypass.iter().any(|mark| has(mark, facts)) {
        return Some(PassReason::Bypass);
    }
    if facts.fields.contains(KnownField::IF_MATCH) || facts.fields.contains(KnownField::IF_UNMODIFIED_SINCE) {
        return Some(PassReason::Condition);
    }
    facts.fields.contains(KnownField::UPGRADE).then_some(PassReason::Upgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, lines: &[&str], expected: &str) {
        let fields: Fields = lines.iter().map(|line| (name, *line)).collect();
        let mut out = Vec::new();
        value(name, &fields, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{name}: {lines:?}");
    }

    #[test]
    fn equivalent_values() {
        check("accept-encoding", &["gzip, br;q=0.5"], "br,gzip");
        check("accept-encoding", &["BR ,gzip", "gzip"], "br,gzip");
        check("accept-encoding", &["br, gzip;q=0, *"], "*,-gzip,br");
        check("accept-encoding", &["gzip; q=0.000", ""], "-gzip");
        check("accept-encoding", &[], "");
        check("accept-language", &["de-CH ,en"], "de-ch,en");
        check("accept-language", &["de", ", en,"], "de,en");
        check("accept-language", &["en, de"], "en,de");
        check("accept-language", &["EN;q=0.50 , de ; q=1.000,fr;Q=0.5"], "de,en;500,fr;500");
        check("accept-language", &["de;q=1, en;q=0.5, fr;q=0.5"], "de,en;500,fr;500");
        check("accept-language", &["fr;q=0.5", "en;q=0.5,de"], "de,fr;500,en;500");
        check("accept-language", &["*;q=0.001, de-*;q=0, x;q=0."], "*;1,de-*;0,x;0");
        check("accept-language", &["x;q=0.12, y;q=0.9"], "y;900,x;120");
        for odd in ["de;q=2", "de;q=0.1234", "de;q=", "de;q=-1", "de;500", "de;q=1.1", "d e", ";q=1", "!de"] {
            check("accept-language", &["En", odd], &format!("!En,{odd},"));
        }
        check("x-kind", &["A , b", "C"], "A,b,C");
        check("x-kind", &["\"A , b\"", "C , d"], "\"A , b\",C,d");
    }

    /// A request whose forwarded fields differ.
    struct Changed(Fields, Fields);

    impl SelectingRequest for Changed {
        fn sent(&self) -> &Fields {
            &self.0
        }
        fn forwarded(&self, name: &str) -> Option<&Fields> {
            name.starts_with("x-").then_some(&self.1)
        }
    }

    #[test]
    fn changed_fields_count_twice() {
        let key = |headers: &'static [Cow<'static, str>]| Key {
            query: crate::site::Query::Whole,
            send_keyed: false,
            follows_search: false,
            headers: Cow::Borrowed(headers),
            cookies: Cow::Borrowed(&[]),
            device: None,
            zone: 0,
            site: 0,
        };
        let (keyed, unkeyed) = (key(&[Cow::Borrowed("x-a"), Cow::Borrowed("b")]), key(&[]));
        let check = |key: &Key, vary: &[&str], expected: &str| {
            let sent = [("x-a", "1"), ("b", "2"), ("c", "3")].into_iter().collect();
            let request = Changed(sent, [("x-a", "4"), ("b", "5")].into_iter().collect());
            let mut out = Vec::new();
            variant_of(key, vary.iter().copied(), &request, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{vary:?}");
        };
        check(&unkeyed, &["x-a", "b", "c"], "\nx-a:4\nb:2\nc:3");
        check(&keyed, &["c"], "\nx-a:1\nx-a:4\nb:2\nc:3");
        check(&unkeyed, &["c", "d"], "\nc:3\nd");
    }
}
