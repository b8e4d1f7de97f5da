//! Decides whether a response may be stored, how long it is fresh, and whether it may be used now: [`Freshness`]. Pure.
//!
//! RFC 9111 sections 3 (storing), 4.2 (freshness and age) and 4.2.4 (stale responses), RFC 5861. Times are wall-clock times, as
//! the fields are; a wrong clock makes responses older, never fresher.

use std::time::Duration;

use http::StatusCode;

use super::control::{RequestDirectives, ResponseDirectives};
use super::device::stands_for;
use crate::context::settings::Settings;
use crate::protocol::date::{Moment, date};
use crate::protocol::fields::{Fields, is_token, number, tokens};
use crate::protocol::names::KnownField;
use crate::site::{Cache, Override};

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// The response says `no-store`.
    NoStore,
    /// The response is `private`.
    Private,
    /// The request says `no-store`.
    RequestNoStore,
    /// The request has `Authorization`, and the response does not allow sharing (section 3.5).
    Authorization,
    /// The response sets a cookie.
    SetCookie,
    /// `Vary` is `*`, or lists a field that the policy does not allow.
    Vary,
    /// The status is not cacheable, or only with an explicit lifetime.
    Status,
    /// The response has no lifetime.
    NoLifetime,
    /// The response exceeds the store's limit.
    TooLarge,
    /// The store has no space for another response that is being received.
    NoRoom,
    /// The response was received incompletely.
    Truncated,
    /// The response took too long to receive, or was purged meanwhile.
    Purged,
    /// A newer response is cached, or there are several variants.
    Superseded,
}

impl NotStored {
    /// Returns whether the reason is the request's, so that it says nothing about the next response of this URL.
    pub(crate) fn is_of_request(self) -> bool {
        matches!(self, NotStored::RequestNoStore | NotStored::Authorization | NotStored::NoRoom | NotStored::Superseded)
    }

    /// Returns the word in logs and in `Cache-Status`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            NotStored::NoStore => "no-store",
            NotStored::Private => "private",
            NotStored::RequestNoStore => "request-no-store",
            NotStored::Authorization => "authorization",
            NotStored::SetCookie => "set-cookie",
            NotStored::Vary => "vary",
            NotStored::Status => "status",
            NotStored::NoLifetime => "no-lifetime",
            NotStored::TooLarge => "too-large",
            NotStored::NoRoom => "no-room",
            NotStored::Truncated => "truncated",
            NotStored::Purged => "purged",
            NotStored::Superseded => "superseded",
        }
    }
}

/// The properties of a request, and its time, that decide whether its response may be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestTraits {
    /// The request had `Authorization`.
    pub(crate) authorized: bool,
    /// The request had `no-store`.
    pub(crate) no_store: bool,
    /// When it was sent.
    pub(crate) sent: Moment,
    /// When the head of the response arrived.
    pub(crate) answered: Moment,
}

/// The lifetime of a response, and the permitted uses after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// When it was received.
    pub(crate) received: Moment,
    /// Its age at that time (section 4.2.3).
    pub(crate) age: Duration,
    /// The age up to which it is fresh.
    pub(crate) lifetime: Duration,
    /// How long a stale response may be served while it is revalidated.
    pub(crate) while_revalidate: Duration,
    /// How long a stale response may be served if the revalidation fails.
    pub(crate) if_error: Duration,
    /// The response must not be used without revalidation, fresh or not.
    pub(crate) no_cache: bool,
    /// The response must never be used when it is stale.
    pub(crate) must_revalidate: bool,
    /// The response may be used for requests with `Authorization`.
    pub(crate) for_authorized: bool,
}

/// Whether a cached response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReuseDecision {
    /// The response is fresh.
    Fresh,
    /// The response is stale, and the request accepts that (`max-stale`).
    Wanted,
    /// The response is stale, and may be served while it is revalidated.
    WhileRevalidate,
    /// The response must be revalidated.
    Ask,
}

impl Freshness {
    /// Determines whether a response may be stored, and its freshness.
    ///
    /// # Errors
    /// The reason why it may not be stored.
    pub(crate) fn of(
        policy: &Cache,
        settings: &Settings,
        status: StatusCode,
        fields: &Fields,
        request: &RequestTraits,
    ) -> Result<Freshness, NotStored> {
        let control = ResponseDirectives::under(policy, settings, status, fields, request.answered);
        may_be_kept(policy, status, fields, &control, request)?;
        let date = fields.get(KnownField::DATE).and_then(date).unwrap_or(request.answered);
        let freshness = Freshness {
            received: request.answered,
            age: initial_age(fields, date, request),
            lifetime: Duration::ZERO,
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            no_cache: control.no_cache,
            must_revalidate: control.must_revalidate || control.proxy_revalidate,
            for_authorized: is_for_authorized(&control),
        };
        let said = lifetime(policy, settings, status, fields, &control, date);
        // Not `clamp`, which panics if `min` is greater, as parameters may make it.
        let lifetime = said.map(|said| said.max(policy.ttl.min.get(settings)).min(policy.ttl.max.get(settings)));
        let stale = |said: Option<Duration>, default: Duration| match said {
            // Section 4.2.4: a response that forbids it is never served stale, whatever else it says.
            _ if freshness.must_revalidate || freshness.no_cache => Duration::ZERO,
            Some(said) => said,
            // Section 5.2.2.10: `s-maxage` implies `proxy-revalidate`, unless the response itself says otherwise.
            None if control.s_maxage.is_some() => Duration::ZERO,
            None => default,
        };
        let freshness = Freshness {
            lifetime: lifetime.unwrap_or_default(),
            while_revalidate: stale(control.while_revalidate, policy.stale.while_revalidate.get(settings)),
            if_error: stale(control.if_error, policy.stale.if_error.get(settings)),
            must_revalidate: freshness.must_revalidate || control.s_maxage.is_some(),
            ..freshness
        };
        // A response that can never be reused is not stored.
        let can_be_asked_for = fields.contains(KnownField::ETAG) || fields.contains(KnownField::LAST_MODIFIED);
        let usable = (freshness.lifetime > Duration::ZERO && !freshness.no_cache)
            || freshness.while_revalidate > Duration::ZERO
            || freshness.if_error > Duration::ZERO
            || can_be_asked_for && (said.is_some() || freshness.no_cache);
        if usable && (said.is_some() || control.public || freshness.no_cache) {
            Ok(freshness)
        } else {
            Err(NotStored::NoLifetime)
        }
    }

    /// Returns its age (section 4.2.3).
    pub(crate) fn age_at(&self, now: Moment) -> Duration {
        self.age.saturating_add(now.since(self.received))
    }

    /// Returns the remaining freshness; `Err` with the staleness.
    pub(crate) fn left_at(&self, now: Moment) -> Result<Duration, Duration> {
        let age = self.age_at(now);
        if self.lifetime > age { Ok(self.lifetime - age) } else { Err(age - self.lifetime) }
    }

    /// Returns whether less than `ahead`, and less than half, of its lifetime is left.
    pub(crate) fn ends_within(&self, ahead: Duration, now: Moment) -> bool {
        self.left_at(now).is_ok_and(|left| left < ahead.min(self.lifetime / 2))
    }

    /// Returns whether it may be used for a request. `outdated`: it was purged softly.
    pub(crate) fn verdict(&self, directives: &RequestDirectives, outdated: bool, now: Moment) -> ReuseDecision {
        if directives.no_cache || self.no_cache {
            return ReuseDecision::Ask;
        }
        if directives.max_age.is_some_and(|max| self.age_at(now) > max) {
            return ReuseDecision::Ask;
        }
        match self.left_at(now) {
            Ok(left) if !outdated => match directives.min_fresh {
                Some(min) if left < min => ReuseDecision::Ask,
                _ => ReuseDecision::Fresh,
            },
            Ok(_) if self.while_revalidate > Duration::ZERO => ReuseDecision::WhileRevalidate,
            Ok(_) => ReuseDecision::Ask,
            Err(stale) if directives.min_fresh.is_some() || stale == Duration::MAX => ReuseDecision::Ask,
            Err(stale) if stale < self.while_revalidate => ReuseDecision::WhileRevalidate,
            Err(stale)
                if !outdated && !self.must_revalidate && directives.max_stale.is_some_and(|max| stale <= max) =>
            {
                ReuseDecision::Wanted
            }
            Err(_) => ReuseDecision::Ask,
        }
    }

    /// Returns whether it may be served because the server is unreachable or fails (RFC 5861 section 4).
    pub(crate) fn serves_errors(&self, now: Moment) -> bool {
        let stale = self.left_at(now).err().unwrap_or_default();
        self.if_error > Duration::ZERO && stale <= self.if_error
    }
}

/// Returns whether a response may be stored (section 3), apart from its lifetime.
fn may_be_kept(
    policy: &Cache,
    status: StatusCode,
    fields: &Fields,
    control: &ResponseDirectives,
    request: &RequestTraits,
) -> Result<(), NotStored> {
    // Section 5.2.2.3: `must-understand` overrides `no-store` if the status is known.
    let understood = is_understood(status);
    if control.must_understand && !understood || control.no_store && !control.must_understand {
        return Err(NotStored::NoStore);
    }
    // A stored part is judged by the status of the whole response.
    if status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return Err(NotStored::Status);
    }
    if control.private {
        return Err(NotStored::Private);
    }
    if request.no_store {
        return Err(NotStored::RequestNoStore);
    }
    if request.authorized && !is_for_authorized(control) {
        return Err(NotStored::Authorization);
    }
    if fields.contains(KnownField::SET_COOKIE) && !control.unkept.iter().any(|name| name == "set-cookie") {
        return Err(NotStored::SetCookie);
    }
    let listed = |name: Option<&str>| {
        let allowed = policy.vary.as_ref();
        let is_grouped = |name: &str| policy.key.device.as_ref().is_some_and(|device| stands_for(device, name));
        let is_allowed = |name: &str| allowed.is_none_or(|all| all.iter().any(|one| one.eq_ignore_ascii_case(name)));
        name.is_some_and(|name| is_allowed(name) || is_grouped(name))
    };
    if !vary(fields).all(listed) {
        return Err(NotStored::Vary);
    }
    Ok(())
}

/// Returns whether a response to a request with `Authorization` may be shared (section 3.5).
fn is_for_authorized(control: &ResponseDirectives) -> bool {
    control.public || control.must_revalidate || control.s_maxage.is_some()
}

/// Returns the names that `Vary` lists; `None` for `*`, and for an invalid name: it is unknown then what the response varies by
/// (section 4.1).
pub(crate) fn vary(fields: &Fields) -> impl Iterator<Item = Option<&str>> {
    tokens(fields, KnownField::VARY).map(|name| match std::str::from_utf8(name) {
        Ok(name) if name != "*" && is_token(name.as_bytes()) => Some(name),
        _ => None,
    })
}

/// Returns whether the caching rules of a status are known (RFC 9110 section 15): all registered ones, except those of
/// partial responses.
fn is_understood(status: StatusCode) -> bool {
    status.canonical_reason().is_some()
        && !matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE)
}

/// Returns whether a status is heuristically cacheable (section 4.2.2, RFC 9110 section 15.1): those that are cacheable by default,
/// and some errors.
fn is_heuristic(status: StatusCode) -> bool {
    Override::BY_DEFAULT.contains(&status.as_u16()) || matches!(status.as_u16(), 404 | 405 | 410 | 414 | 501)
}

/// Returns the lifetime (section 4.2.1); `None` if there is none.
fn lifetime(
    policy: &Cache,
    settings: &Settings,
    status: StatusCode,
    fields: &Fields,
    control: &ResponseDirectives,
    date: Moment,
) -> Option<Duration> {
    if let Some(said) = control.s_maxage.or(control.max_age) {
        return Some(said);
    }
    if !control.targeted && fields.contains(KnownField::EXPIRES) {
        // Section 5.3: an invalid date, such as "0", is in the past.
        let expires = fields.get(KnownField::EXPIRES).and_then(self::date);
        return Some(expires.map_or(Duration::ZERO, |expires| expires.since(date)));
    }
    if let Some((_, ttl)) = policy.negative.iter().find(|(negative, _)| *negative == status.as_u16()) {
        return Some(*ttl);
    }
    let modified = fields.get(KnownField::LAST_MODIFIED).and_then(self::date);
    let heuristic = modified
        .filter(|_| policy.ttl.heuristic > 0 && (control.public || is_heuristic(status)))
        .map(|modified| date.since(modified) * u32::from(policy.ttl.heuristic) / 100);
    let default = policy.ttl.default.filter(|_| Override::BY_DEFAULT.contains(&status.as_u16()));
    heuristic.or_else(|| default.map(|ttl| ttl.get(settings)))
}

/// Returns the age at the time of receipt (section 4.2.3).
fn initial_age(fields: &Fields, date: Moment, request: &RequestTraits) -> Duration {
    let apparent = request.answered.since(date);
    // Section 5.1: an invalid number is ignored.
    let said = fields.get(KnownField::AGE).and_then(|age| number(age.split(|&byte| byte == b',').next()?.trim_ascii()));
    let delay = request.answered.since(request.sent);
    let corrected = Duration::from_secs(said.unwrap_or(0).min(u32::MAX.into())).saturating_add(delay);
    apparent.max(corrected)
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::site::{Key, Query, Setting, Stale, Ttl};

    fn fixed(seconds: u64) -> Setting<Duration> {
        Setting::Fixed(Duration::from_secs(seconds))
    }

    pub(in crate::cache) fn policy() -> Cache {
        Cache {
            store: 0,
            ttl: Ttl { default: None, min: fixed(0), max: fixed(1 << 31), heuristic: 0, refresh_ahead: None },
            stale: Stale { while_revalidate: fixed(0), if_error: fixed(0) },
            key: Key {
                query: Query::Whole,
                send_keyed: false,
                follows_search: false,
                headers: Cow::Borrowed(&[]),
                cookies: Cow::Borrowed(&[]),
                device: None,
                zone: 0,
                site: 0,
            },
            vary: None,
            tags: None,
            bypass: Cow::Borrowed(&[]),
            head: true,
            negative: Cow::Borrowed(&[]),
            lock: fixed(5),
            purge: Cow::Borrowed(&[]),
            refresh: Cow::Borrowed(&[]),
            ignores_requests: false,
            control_fields: Cow::Borrowed(&[]),
            overrides: Cow::Borrowed(&[]),
            strips_set_cookie: false,
            strips_cookies: false,
            slice: None,
            languages: Cow::Borrowed(&[]),
        }
    }

    const SENT: Moment = Moment(784_111_777_000);

    fn request() -> RequestTraits {
        RequestTraits { authorized: false, no_store: false, sent: SENT, answered: SENT }
    }

    fn of(
        policy: &Cache,
        status: u16,
        lines: &[(&str, &str)],
        request: &RequestTraits,
    ) -> Result<Freshness, NotStored> {
        let fields: Fields = lines.iter().copied().collect();
        Freshness::of(policy, &Settings::default(), StatusCode::from_u16(status).expect("a status"), &fields, request)
    }

    /// When a response is refreshed ahead of time.
    #[test]
    fn refreshed_ahead() {
        let freshness = |lifetime| {
            let cache_control = format!("max-age={lifetime}");
            of(&policy(), 200, &[("cache-control", &cache_control)], &request()).expect("it is kept")
        };
        let check = |lifetime: u64, ahead: u64, after: u64, expected: bool| {
            let now = Moment(SENT.0 + after * 1000);
            let due = freshness(lifetime).ends_within(Duration::from_secs(ahead), now);
            assert_eq!(due, expected, "{lifetime} {ahead} {after}");
        };
        check(60, 10, 50, false);
        check(60, 10, 51, true);
        check(60, 0, 59, false);
        // Only in the second half of its lifetime.
        check(10, 60, 4, false);
        check(10, 60, 6, true);
        // Stale responses are not refreshed ahead.
        check(60, 10, 60, false);
    }

    #[test]
    fn lifetimes() {
        let check = |policy: &Cache, status, lines: &[(&str, &str)], expected: Result<u64, NotStored>| {
            let found = of(policy, status, lines, &request()).map(|freshness| freshness.lifetime.as_secs());
            assert_eq!(found, expected, "{status} {lines:?}");
        };
        let plain = policy();
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        check(&plain, 200, &[("cache-control", "max-age=60")], Ok(60));
        check(&plain, 200, &[("cache-control", "max-age=60, s-maxage=5")], Ok(5));
        check(&plain, 200, &[("cache-control", "max-age=60"), ("cdn-cache-control", "max-age=7")], Ok(7));
        check(&plain, 200, &[date, ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], Ok(60));
        check(&plain, 200, &[date, ("expires", "Sunday, 06-Nov-94 08:50:37 GMT"), ("etag", "\"a\"")], Ok(60));
        check(&plain, 200, &[date, ("expires", "0"), ("etag", "\"a\"")], Ok(0));
        check(&plain, 200, &[date, ("expires", "0")], Err(NotStored::NoLifetime));
        check(&plain, 200, &[("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), ("cache-control", "max-age=1")], Ok(1));
        check(&plain, 200, &[], Err(NotStored::NoLifetime));
        check(&plain, 200, &[("cache-control", "max-age=0")], Err(NotStored::NoLifetime));
        check(&plain, 200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(0));
        check(&plain, 500, &[("cache-control", "max-age=3")], Ok(3));
        check(&plain, 206, &[("cache-control", "max-age=3")], Err(NotStored::Status));
        for (said, why) in [
            ("no-store, max-age=9", NotStored::NoStore),
            ("private, max-age=9", NotStored::Private),
            ("max-age=0, public", NotStored::NoLifetime),
        ] {
            check(&plain, 200, &[("cache-control", said)], Err(why));
        }
        check(&plain, 200, &[("cache-control", "must-understand, no-store, max-age=9")], Ok(9));
        check(&plain, 299, &[("cache-control", "must-understand, no-store, max-age=9")], Err(NotStored::NoStore));
        let cookie = ("set-cookie", "a=b");
        check(&plain, 200, &[("cache-control", "max-age=9"), cookie], Err(NotStored::SetCookie));
        check(&plain, 200, &[("cache-control", "max-age=9, no-cache=\"set-cookie\""), cookie], Ok(9));
        check(&plain, 200, &[("cache-control", "max-age=9"), ("vary", "*")], Err(NotStored::Vary));

        let ttl = Ttl { default: Some(fixed(30)), min: fixed(10), max: fixed(40), heuristic: 10, refresh_ahead: None };
        let own = Cache {
            ttl,
            vary: Some(Cow::Borrowed(&[Cow::Borrowed("accept")])),
            negative: Cow::Owned(vec![(404, Duration::from_secs(12))]),
            ..policy()
        };
        check(&own, 200, &[], Ok(30));
        check(&own, 200, &[("cache-control", "max-age=1")], Ok(10));
        check(&own, 200, &[("cache-control", "max-age=99")], Ok(40));
        let odd = Cache { ttl: Ttl { min: fixed(50), ..own.ttl.clone() }, ..own.clone() };
        check(&odd, 200, &[("cache-control", "max-age=1")], Ok(40));
        check(&own, 404, &[], Ok(12));
        check(&own, 410, &[], Err(NotStored::NoLifetime));
        check(&own, 200, &[date, ("last-modified", "Sun, 06 Nov 1994 08:44:37 GMT")], Ok(30));
        check(&own, 200, &[date, ("last-modified", "Sun, 06 Nov 1994 08:47:37 GMT")], Ok(12));
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:47:37 GMT");
        for status in [203, 405, 410, 414, 501] {
            check(&own, status, &[date, modified], Ok(12));
        }
        check(&own, 404, &[date, ("last-modified", "Sun, 06 Nov 1994 08:44:37 GMT")], Ok(12));
        for status in [302, 403, 500, 503, 599] {
            check(&own, status, &[date, modified], Err(NotStored::NoLifetime));
            check(&own, status, &[date, modified, ("cache-control", "public")], Ok(12));
        }
        check(&policy(), 410, &[date, modified], Err(NotStored::NoLifetime));
        check(&own, 200, &[("vary", "Accept")], Ok(30));
        check(&own, 200, &[("vary", "accept, cookie")], Err(NotStored::Vary));
        check(&own, 200, &[("vary", "accept,, ,")], Ok(30));
        check(&own, 200, &[("vary", "accept, x y")], Err(NotStored::Vary));
        let odd: Fields = [("vary", b"accept".as_slice()), ("vary", b"x\xe9")].into_iter().collect();
        let kept = Freshness::of(&own, &Settings::default(), StatusCode::OK, &odd, &request());
        assert_eq!(kept, Err(NotStored::Vary));
    }

    #[test]
    fn authorization() {
        let with = RequestTraits { authorized: true, ..request() };
        for (said, kept) in [
            ("max-age=9", false),
            ("max-age=9, public", true),
            ("s-maxage=9", true),
            ("max-age=9, must-revalidate", true),
        ] {
            assert_eq!(of(&policy(), 200, &[("cache-control", said)], &with).is_ok(), kept, "{said}");
            let without = of(&policy(), 200, &[("cache-control", said)], &request()).expect("kept");
            assert_eq!(without.for_authorized, kept, "{said}");
        }
        let directives = RequestTraits { no_store: true, ..request() };
        assert_eq!(of(&policy(), 200, &[("cache-control", "max-age=9")], &directives), Err(NotStored::RequestNoStore));
    }

    /// Section 4.2.3: age by `Age`, by `Date`, and by the response time.
    #[test]
    fn ages() {
        let check = |lines: &[(&str, &str)], delay: u64, expected: u64| {
            let request = RequestTraits { answered: Moment(SENT.0 + delay * 1000), ..request() };
            let lines: Vec<_> = [&[("cache-control", "max-age=60")], lines].concat();
            let freshness = of(&policy(), 200, &lines, &request).expect("kept");
            assert_eq!(freshness.age_at(request.answered).as_secs(), expected, "{lines:?}");
            assert_eq!(freshness.age_at(Moment(request.answered.0 + 5000)).as_secs(), expected + 5);
        };
        check(&[], 0, 0);
        check(&[("age", "7")], 0, 7);
        check(&[("age", "7")], 3, 10);
        check(&[("age", "x")], 0, 0);
        check(&[("age", "-7")], 0, 0);
        check(&[("age", "7, 9")], 0, 7);
        check(&[("date", "Sun, 06 Nov 1994 08:49:17 GMT")], 0, 20);
        check(&[("date", "Sun, 06 Nov 1994 08:49:17 GMT"), ("age", "30")], 0, 30);
        // A clock that is ahead makes nothing younger.
        check(&[("date", "Sun, 06 Nov 1994 09:49:37 GMT")], 0, 0);
        check(&[("date", "yesterday")], 2, 2);
    }

    #[test]
    fn verdicts() {
        let check = |said: &str, stale: (u64, u64), directives: &str, after: u64, expected: (ReuseDecision, bool)| {
            let policy =
                Cache { stale: Stale { while_revalidate: fixed(stale.0), if_error: fixed(stale.1) }, ..policy() };
            let freshness = of(&policy, 200, &[("cache-control", said), ("etag", "\"a\"")], &request()).expect("kept");
            let directives = RequestDirectives::of(&[("cache-control", directives)].into_iter().collect());
            let now = Moment(SENT.0 + after * 1000);
            assert_eq!(
                (freshness.verdict(&directives, false, now), freshness.serves_errors(now)),
                expected,
                "{said} {directives:?} {after}"
            );
        };
        use ReuseDecision::{Ask, Fresh, Wanted, WhileRevalidate};
        check("max-age=10", (0, 0), "", 9, (Fresh, false));
        check("max-age=10", (0, 0), "", 10, (Ask, false));
        check("max-age=10", (5, 20), "", 14, (WhileRevalidate, true));
        check("max-age=10", (5, 20), "", 15, (Ask, true));
        check("max-age=10", (5, 20), "", 31, (Ask, false));
        check("max-age=10, stale-while-revalidate=9, stale-if-error=1", (5, 20), "", 18, (WhileRevalidate, false));
        for strict in ["must-revalidate", "proxy-revalidate"] {
            let said = format!("max-age=10, {strict}, stale-while-revalidate=9");
            check(&said, (5, 20), "max-stale", 11, (Ask, false));
        }
        check("s-maxage=10", (5, 20), "max-stale", 11, (Ask, false));
        check("s-maxage=10, stale-while-revalidate=5", (0, 0), "", 11, (WhileRevalidate, false));
        check("no-cache", (0, 0), "", 0, (Ask, false));
        check("no-cache, max-age=10", (5, 20), "max-stale", 11, (Ask, false));
        check("no-cache, max-age=10, stale-if-error=99, stale-while-revalidate=99", (5, 20), "", 11, (Ask, false));
        check("max-age=10, no-cache=\"x-a\"", (5, 20), "", 16, (Ask, true));
        check("max-age=10", (0, 0), "no-cache", 0, (Ask, false));
        check("max-age=10", (0, 0), "max-age=3", 3, (Fresh, false));
        check("max-age=10", (0, 0), "max-age=3", 4, (Ask, false));
        check("max-age=10", (0, 0), "min-fresh=5", 5, (Fresh, false));
        check("max-age=10", (0, 0), "min-fresh=5", 6, (Ask, false));
        check("max-age=10", (0, 0), "max-stale", 99, (Wanted, false));
        check("max-age=10", (0, 0), "max-stale=5", 15, (Wanted, false));
        check("max-age=10", (0, 0), "max-stale=5", 16, (Ask, false));
    }
}
