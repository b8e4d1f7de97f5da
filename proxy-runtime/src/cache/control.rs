//! The cache directives of messages: [`ResponseDirectives`] of a response, [`RequestDirectives`] of a request. Pure.
//!
//! RFC 9111 section 5.2, RFC 5861, and RFC 9213 for `CDN-Cache-Control`, which is for caches like this one and takes precedence over
//! `Cache-Control` and `Expires`. A malformed value makes a response stale rather than fresh (section 4.2.1), and never hides other
//! directives: values are bytes, and an unknown directive may have any (RFC 9110 section 5.5).

use std::time::Duration;

use http::StatusCode;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::context::settings::Settings;
use crate::protocol::date::Moment;
use crate::protocol::fields::{Fields, is_token, members, number, split_once};
use crate::protocol::media;
use crate::protocol::names::KnownField;
use crate::site::{Cache, ControlField, Override};

/// The cache directives of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    /// `no-store`
    pub(crate) no_store: bool,
    /// `no-cache` without fields
    pub(crate) no_cache: bool,
    /// `private` without fields
    pub(crate) private: bool,
    /// `public`
    pub(crate) public: bool,
    /// `must-revalidate`
    pub(crate) must_revalidate: bool,
    /// `proxy-revalidate`
    pub(crate) proxy_revalidate: bool,
    /// `must-understand`
    pub(crate) must_understand: bool,
    /// `s-maxage`
    pub(crate) s_maxage: Option<Duration>,
    /// `max-age`
    pub(crate) max_age: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3)
    pub(crate) while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4)
    pub(crate) if_error: Option<Duration>,
    /// The fields that `no-cache` and `private` list: they must not be reused without revalidation, so they are not
    /// stored.
    pub(crate) unkept: Vec<String>,
    /// The directives are for caches like this one alone, and `Expires` is ignored.
    pub(crate) targeted: bool,
}

/// The cache directives of a request (RFC 9111 section 5.2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    /// `no-store`
    pub(crate) no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` (section 5.4)
    pub(crate) no_cache: bool,
    /// `only-if-cached`
    pub(crate) only_if_cached: bool,
    /// `max-age`
    pub(crate) max_age: Option<Duration>,
    /// `min-fresh`
    pub(crate) min_fresh: Option<Duration>,
    /// `max-stale`; without a number, any staleness.
    pub(crate) max_stale: Option<Duration>,
}

/// The longest time; longer ones, and numbers that are too large, are reduced to it (RFC 9111 section 1.2.2).
const LONGEST: u64 = 1 << 31;

/// The targeted field for caches like this one (RFC 9213).
const TARGETED: &str = "cdn-cache-control";

impl ResponseDirectives {
    /// Returns the directives of a response under a policy: those of its fields, unless the policy overrides them.
    pub(crate) fn under(
        policy: &Cache,
        settings: &Settings,
        status: StatusCode,
        fields: &Fields,
        now: Moment,
    ) -> ResponseDirectives {
        let said = || {
            let control =
                policy.control_fields.iter().find_map(|field| ResponseDirectives::of_field(*field, fields, now));
            control.unwrap_or_else(|| ResponseDirectives::of(fields))
        };
        let mut control = match policy.overrides.iter().find(|rule| rule.is_for(status, fields)) {
            // Fields that are not for all clients are still not stored.
            Some(rule) => ResponseDirectives {
                max_age: Some(rule.ttl.get(settings)),
                targeted: true,
                unkept: ResponseDirectives::of(fields).unkept,
                ..ResponseDirectives::default()
            },
            None => said(),
        };
        if policy.strips_set_cookie {
            control.unkept.push("set-cookie".to_owned());
        }
        control
    }

    /// Returns the directives of a field for caches; `None`: it is missing or malformed.
    fn of_field(field: ControlField, fields: &Fields, now: Moment) -> Option<ResponseDirectives> {
        let mut control = match field {
            ControlField::XAccelExpires => {
                let value = fields.get(field.name())?.trim_ascii();
                let (lifetime, at) = match value.strip_prefix(b"@") {
                    Some(at) => (Duration::from_secs(number(at)?).saturating_sub(Duration::from_millis(now.0)), true),
                    None => (Duration::from_secs(number(value)?), false),
                };
                let lifetime = lifetime.min(Duration::from_secs(LONGEST));
                ResponseDirectives {
                    max_age: Some(lifetime),
                    no_store: lifetime.is_zero() && !at,
                    ..ResponseDirectives::default()
                }
            }
            ControlField::SurrogateControl => ResponseDirectives::for_surrogates(fields, field.name())?,
        };
        control.targeted = true;
        Some(control)
    }

    /// Parses `Surrogate-Control`: `no-store`, and `max-age=N+M`, which means fresh for N seconds, and stale for M more while it is
    /// revalidated. Directives for another surrogate are ignored. `None`: there is no directive.
    fn for_surrogates(fields: &Fields, name: &'static str) -> Option<ResponseDirectives> {
        let mut control = ResponseDirectives::default();
        for (name, value) in directives(fields, name) {
            let value = value.unwrap_or_default();
            let (name, value) = match split_once(name, b';') {
                Some(_) => continue,
                None => (name.to_ascii_lowercase(), value),
            };
            match name.as_slice() {
                b"no-store" => control.no_store = true,
                b"max-age" if !value.contains(&b';') => {
                    let (fresh, stale) = split_once(&value, b'+').unwrap_or((&value, b"0"));
                    control.max_age = Some(seconds(Some(fresh)));
                    control.while_revalidate = Some(seconds(Some(stale)));
                }
                _ => {}
            }
        }
        (control != ResponseDirectives::default()).then_some(control)
    }

    /// Returns the directives of a response's fields.
    pub(crate) fn of(fields: &Fields) -> ResponseDirectives {
        if let Some(targeted) = ResponseDirectives::targeted(fields) {
            return targeted;
        }
        let mut control = ResponseDirectives::said(fields, "cache-control");
        // A malformed targeted field is ignored (RFC 9213 section 2.1), but its prohibitions are still respected: a cache may
        // always store less.
        let malformed = ResponseDirectives::said(fields, TARGETED);
        control.must_understand &= !malformed.no_store;
        control.no_store |= malformed.no_store;
        control.no_cache |= malformed.no_cache;
        control.private |= malformed.private;
        control.unkept.extend(malformed.unkept);
        control
    }

    fn said(fields: &Fields, name: &'static str) -> ResponseDirectives {
        let mut control = ResponseDirectives::default();
        let mut seen: Vec<&[u8]> = Vec::new();
        for (name, value) in directives(fields, name) {
            let lower = name.to_ascii_lowercase();
            // The first of duplicate directives counts (section 4.2.1); prohibitions count each time.
            let forbids = matches!(lower.as_slice(), b"no-cache" | b"private");
            if !forbids && seen.iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
                continue;
            }
            seen.push(name);
            control.take(&lower, value.as_deref());
        }
        control
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        match name {
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-cache" => self.no_cache |= self.fields_of(value),
            b"private" => self.private |= self.fields_of(value),
            b"s-maxage" => self.s_maxage = Some(seconds(value)),
            b"max-age" => self.max_age = Some(seconds(value)),
            b"stale-while-revalidate" => self.while_revalidate = Some(seconds(value)),
            b"stale-if-error" => self.if_error = Some(seconds(value)),
            _ => {}
        }
    }

    /// Collects the fields that a directive lists; `true`: it lists none, and applies to the whole response. So does one with an
    /// invalid field name, as it is unknown what it excludes.
    fn fields_of(&mut self, value: Option<&[u8]>) -> bool {
        let mut whole = true;
        for name in members(value.unwrap_or_default()) {
            match std::str::from_utf8(name) {
                Ok(name) if is_token(name.as_bytes()) => self.unkept.push(name.to_ascii_lowercase()),
                _ => return true,
            }
            whole = false;
        }
        whole
    }

    /// Parses `CDN-Cache-Control`; `None` if it is missing, empty or malformed (RFC 9213 section 2.1).
    fn targeted(fields: &Fields) -> Option<ResponseDirectives> {
        let lines: Vec<&[u8]> = fields.all(TARGETED).collect();
        if lines.is_empty() {
            return None;
        }
        let said: Dictionary = Parser::new(&lines.join(b", ".as_slice())).parse().ok()?;
        if said.is_empty() {
            return None;
        }
        let mut control = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
        for (name, entry) in &said {
            control.take_typed(name.as_str(), entry);
        }
        Some(control)
    }

    /// Applies a member of a dictionary. Times are integers, and values of another type are ignored (RFC 9213 section 2.1); but a
    /// prohibition counts with any value except false.
    fn take_typed(&mut self, name: &str, entry: &ListEntry) {
        let item = match entry {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        let value = match (name, item) {
            (_, Some(BareItem::Boolean(false))) => return,
            ("max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error", Some(BareItem::Integer(number))) => {
                Some(number.to_string())
            }
            ("no-cache" | "private", Some(BareItem::String(fields))) => Some(fields.as_str().to_owned()),
            ("no-cache" | "private" | "no-store" | "must-revalidate" | "proxy-revalidate", _) => None,
            ("public" | "must-understand", Some(BareItem::Boolean(true))) => None,
            _ => return,
        };
        self.take(name.as_bytes(), value.as_deref().map(str::as_bytes));
    }
}

impl ControlField {
    fn name(self) -> &'static str {
        match self {
            ControlField::XAccelExpires => "x-accel-expires",
            ControlField::SurrogateControl => "surrogate-control",
        }
    }
}

impl Override {
    fn is_for(&self, status: StatusCode, fields: &Fields) -> bool {
        let said = fields.get(KnownField::CONTENT_TYPE).unwrap_or_default();
        self.statuses().contains(&status.as_u16())
            && self.media_type.as_ref().is_none_or(|wanted| media::is_among(std::slice::from_ref(wanted), said))
    }
}

impl RequestDirectives {
    /// Returns the directives of a request's fields.
    pub(crate) fn of(fields: &Fields) -> RequestDirectives {
        let mut parsed = RequestDirectives::default();
        if !fields.contains(KnownField::CACHE_CONTROL) {
            parsed.no_cache = crate::protocol::fields::has_token(fields, KnownField::PRAGMA, "no-cache");
            return parsed;
        }
        for (name, value) in directives(fields, "cache-control") {
            let value = value.as_deref();
            match name.to_ascii_lowercase().as_slice() {
                b"no-store" => parsed.no_store = true,
                b"no-cache" => parsed.no_cache = true,
                b"only-if-cached" => parsed.only_if_cached = true,
                b"max-age" => parsed.max_age = Some(seconds(value)),
                b"min-fresh" => parsed.min_fresh = Some(seconds(value)),
                b"max-stale" => parsed.max_stale = Some(value.map_or(Duration::MAX, |_| seconds(value))),
                _ => {}
            }
        }
        parsed
    }
}

/// Parses a number of seconds (RFC 9111 section 1.2.2); an invalid one is 0.
fn seconds(value: Option<&[u8]>) -> Duration {
    Duration::from_secs(number(value.unwrap_or_default()).unwrap_or(0).min(LONGEST))
}

/// Returns the directives of `Cache-Control` or a similar field, over all its lines: names, and values without their
/// quotes.
fn directives<'a>(fields: &'a Fields, name: &'static str) -> impl Iterator<Item = (&'a [u8], Option<Vec<u8>>)> {
    fields.all(name).flat_map(quoted_members).map(|member| match split_once(member, b'=') {
        Some((name, value)) => (name.trim_ascii(), Some(unquoted(value.trim_ascii()))),
        None => (member, None),
    })
}

/// Returns the members of a list, whose quoted strings may contain commas (RFC 9110 section 5.6). An unclosed quote is taken
/// literally: it must not hide the rest.
fn quoted_members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = member_end(rest).unwrap_or_else(|| memchr::memchr(b',', rest).unwrap_or(rest.len()));
        let (member, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        Some(member.trim_ascii())
    })
    .filter(|member| !member.is_empty())
}

/// Returns the end of the first member; `None`: it has an unclosed quote.
fn member_end(list: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(list.len())
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")) else {
        return value.to_owned();
    };
    let mut escaped = false;
    let plain = inner.iter().copied().filter(|&byte| {
        escaped = byte == b'\\' && !escaped;
        !escaped
    });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    fn check(lines: &[(&str, &str)], expected: ResponseDirectives) {
        assert_eq!(ResponseDirectives::of(&fields(lines)), expected, "{lines:?}");
    }

    /// A value that is not UTF-8, or malformed, hides nothing beside it.
    #[test]
    fn odd_values_hide_nothing() {
        let check = |name: &str, line: &[u8], expected: ResponseDirectives| {
            assert_eq!(ResponseDirectives::of(&[(name, line)].into_iter().collect()), expected, "{line:?}");
        };
        let none = ResponseDirectives::default;
        let no_store = || ResponseDirectives { no_store: true, ..none() };
        check("cache-control", b"no-store, x=\"\xe9\"", no_store());
        check("cache-control", b"\xe9, no-store", no_store());
        check("cache-control", b"x=\xe9;no-store, NO-STORE", no_store());
        check("cache-control", b"x=\"\xe9, no-store", no_store());
        check("cache-control", b"x=\"\xe9\\\", no-store", no_store());
        check("cache-control", b"x=\"\xe9, no-store\"", none());
        check("cache-control", b"no-store\xe9", none());
        check("cache-control", b"private, x=\"\xe9\"", ResponseDirectives { private: true, ..none() });
        check("cache-control", b"private=\"x\xe9\"", ResponseDirectives { private: true, ..none() });
        let listed = || ResponseDirectives { unkept: vec!["a".to_owned()], ..none() };
        check("cache-control", b"private=a, private", ResponseDirectives { private: true, ..listed() });
        check("cache-control", b"no-cache=\"a, \xe9\"", ResponseDirectives { no_cache: true, ..listed() });
        check("cache-control", b"max-age=6\xe9", ResponseDirectives { max_age: secs(0), ..none() });
        check("cdn-cache-control", b"no-store, x=\"\xe9\"", no_store());
        check("cdn-cache-control", b"private, \xe9", ResponseDirectives { private: true, ..none() });
        check("cdn-cache-control", b"max-age=9, \xe9", none());
    }

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn responses() {
        let none = ResponseDirectives::default;
        check(&[], none());
        check(&[("cache-control", "max-age=60")], ResponseDirectives { max_age: secs(60), ..none() });
        check(
            &[("Cache-Control", "MAX-AGE=\"60\" , Public")],
            ResponseDirectives { max_age: secs(60), public: true, ..none() },
        );
        check(
            &[("cache-control", "s-maxage=5"), ("cache-control", "no-store, private")],
            ResponseDirectives { s_maxage: secs(5), no_store: true, private: true, ..none() },
        );
        // A malformed value means stale; too large a number is reduced; the first of two counts.
        check(&[("cache-control", "max-age=soon")], ResponseDirectives { max_age: secs(0), ..none() });
        check(&[("cache-control", "max-age=-1")], ResponseDirectives { max_age: secs(0), ..none() });
        check(&[("cache-control", "max-age")], ResponseDirectives { max_age: secs(0), ..none() });
        check(
            &[("cache-control", "max-age=99999999999999999999999")],
            ResponseDirectives { max_age: secs(LONGEST), ..none() },
        );
        check(&[("cache-control", "max-age=1, max-age=2")], ResponseDirectives { max_age: secs(1), ..none() });
        // With a list of fields, `no-cache` and `private` apply to these alone; quoted commas separate nothing.
        check(
            &[("cache-control", "no-cache=\"Set-Cookie, X-A\", max-age=1")],
            ResponseDirectives { unkept: vec!["set-cookie".to_owned(), "x-a".to_owned()], max_age: secs(1), ..none() },
        );
        check(&[("cache-control", "no-cache=\"\"")], ResponseDirectives { no_cache: true, ..none() });
        check(
            &[("cache-control", "x=\"no-store, \\\" private\", stale-if-error=9, stale-while-revalidate=8")],
            ResponseDirectives { if_error: secs(9), while_revalidate: secs(8), ..none() },
        );
        check(
            &[("cache-control", "must-revalidate,,proxy-revalidate, must-understand")],
            ResponseDirectives { must_revalidate: true, proxy_revalidate: true, must_understand: true, ..none() },
        );
    }

    #[test]
    fn targeted() {
        let targeted = || ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
        check(
            &[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")],
            ResponseDirectives { max_age: secs(60), ..targeted() },
        );
        check(
            &[("cdn-cache-control", "no-store, max-age=1;p=2")],
            ResponseDirectives { no_store: true, max_age: secs(1), ..targeted() },
        );
        // An invalid or empty dictionary is ignored.
        for other in ["max-age==1", "MAX-AGE=1", "", "=;"] {
            check(
                &[("cdn-cache-control", other), ("cache-control", "max-age=9")],
                ResponseDirectives { max_age: secs(9), ..ResponseDirectives::default() },
            );
        }
        check(&[("cdn-cache-control", "max-age=1.5, no-store=?0")], targeted());
        // A value of another type is ignored, unless the directive is a prohibition.
        for none in
            ["max-age=\"10000\"", "s-maxage=soon", "max-age", "max-age=(1 2)", "public=1", "stale-if-error=:MQ==:"]
        {
            check(&[("cdn-cache-control", none), ("cache-control", "max-age=9")], targeted());
        }
        check(&[("cdn-cache-control", "max-age=-1")], ResponseDirectives { max_age: secs(0), ..targeted() });
        for no_store in ["no-store=1", "no-store=\"x\"", "no-store=(a b)", "no-store, max-age=\"9\""] {
            check(&[("cdn-cache-control", no_store)], ResponseDirectives { no_store: true, ..targeted() });
        }
        check(&[("cdn-cache-control", "private=1")], ResponseDirectives { private: true, ..targeted() });
        check(
            &[("cdn-cache-control", "private=\"x-a\", no-cache=x-b")],
            ResponseDirectives { unkept: vec!["x-a".to_owned()], no_cache: true, ..targeted() },
        );
    }

    /// The directives of a response under a policy.
    #[test]
    fn under_a_policy() {
        use crate::site::{Setting, Text};
        use std::borrow::Cow;
        const RULE: Override = Override {
            statuses: Cow::Borrowed(&[]),
            media_type: Some(Cow::Borrowed("image/")),
            ttl: Setting::Fixed(Duration::from_secs(7)),
        };
        const MISSING: Override = Override {
            statuses: Cow::Borrowed(&[404, 410]),
            media_type: None::<Text>,
            ttl: Setting::Fixed(Duration::from_secs(8)),
        };
        let policy = Cache {
            overrides: Cow::Borrowed(&[RULE, MISSING]),
            control_fields: Cow::Borrowed(&[ControlField::XAccelExpires, ControlField::SurrogateControl]),
            strips_set_cookie: true,
            ..crate::cache::freshness::tests::policy()
        };
        let check = |status: u16, lines: &[(&str, &str)], expected: ResponseDirectives| {
            let status = StatusCode::from_u16(status).expect("a status");
            let found =
                ResponseDirectives::under(&policy, &Settings::default(), status, &fields(lines), Moment(1_000_000));
            assert_eq!(found, expected, "{lines:?}");
        };
        let unkept = || vec!["set-cookie".to_owned()];
        let none = || ResponseDirectives { unkept: unkept(), ..ResponseDirectives::default() };
        let targeted = || ResponseDirectives { targeted: true, ..none() };
        // Overridden directives are ignored, except for fields that must not be stored.
        let image = ("content-type", "Image/PNG; q=1");
        check(200, &[image, ("cache-control", "no-store")], ResponseDirectives { max_age: secs(7), ..targeted() });
        check(200, &[image, ("x-accel-expires", "1")], ResponseDirectives { max_age: secs(7), ..targeted() });
        check(404, &[image], ResponseDirectives { max_age: secs(8), ..targeted() });
        check(
            410,
            &[("cache-control", "private=\"x-user\"")],
            ResponseDirectives {
                max_age: secs(8),
                unkept: vec!["x-user".to_owned(), "set-cookie".to_owned()],
                ..targeted()
            },
        );
        check(500, &[image, ("cache-control", "no-store")], ResponseDirectives { no_store: true, ..none() });
        check(
            200,
            &[("content-type", "text/image/"), ("cache-control", "max-age=1")],
            ResponseDirectives { max_age: secs(1), ..none() },
        );
        // Fields for caches alone: the first well-formed one counts.
        let private = ("cache-control", "private");
        check(200, &[private, ("x-accel-expires", "60")], ResponseDirectives { max_age: secs(60), ..targeted() });
        check(200, &[private, ("x-accel-expires", "@1060")], ResponseDirectives { max_age: secs(60), ..targeted() });
        check(200, &[private, ("x-accel-expires", "@10")], ResponseDirectives { max_age: secs(0), ..targeted() });
        let never = || ResponseDirectives { max_age: secs(0), no_store: true, ..targeted() };
        check(200, &[("cache-control", "max-age=9"), ("x-accel-expires", "0")], never());
        for odd in ["", "soon", "-1", "@", "1.5", "@soon"] {
            check(200, &[private, ("x-accel-expires", odd)], ResponseDirectives { private: true, ..none() });
        }
        for long in ["99999999999999999999999", "@99999999999999999999999"] {
            check(
                200,
                &[private, ("x-accel-expires", long)],
                ResponseDirectives { max_age: secs(LONGEST), ..targeted() },
            );
        }
        let fresh =
            |fresh, stale| ResponseDirectives { max_age: secs(fresh), while_revalidate: secs(stale), ..targeted() };
        check(200, &[private, ("surrogate-control", "max-age=60")], fresh(60, 0));
        check(
            200,
            &[("x-accel-expires", "odd"), ("surrogate-control", "content=\"ESI/1.0\", max-age=60+30")],
            fresh(60, 30),
        );
        check(200, &[private, ("surrogate-control", "no-store")], ResponseDirectives { no_store: true, ..targeted() });
        check(
            200,
            &[private, ("surrogate-control", "no-store;other, max-age=5;other")],
            ResponseDirectives { private: true, ..none() },
        );
        check(200, &[private, ("surrogate-control", "max-age=soon")], fresh(0, 0));
        check(
            200,
            &[("x-accel-expires", "5"), ("surrogate-control", "no-store")],
            ResponseDirectives { max_age: secs(5), ..targeted() },
        );
    }

    #[test]
    fn requests() {
        let check = |lines: &[(&str, &str)], expected: RequestDirectives| {
            assert_eq!(RequestDirectives::of(&fields(lines)), expected, "{lines:?}")
        };
        check(&[], RequestDirectives::default());
        check(&[("pragma", "no-cache")], RequestDirectives { no_cache: true, ..RequestDirectives::default() });
        check(
            &[("pragma", "no-cache"), ("cache-control", "max-age=1")],
            RequestDirectives { max_age: secs(1), ..RequestDirectives::default() },
        );
        check(
            &[("cache-control", "max-stale, only-if-cached, no-store")],
            RequestDirectives {
                max_stale: Some(Duration::MAX),
                only_if_cached: true,
                no_store: true,
                ..RequestDirectives::default()
            },
        );
        check(
            &[("cache-control", "max-stale=5, min-fresh=6, no-cache")],
            RequestDirectives {
                max_stale: secs(5),
                min_fresh: secs(6),
                no_cache: true,
                ..RequestDirectives::default()
            },
        );
    }
}
