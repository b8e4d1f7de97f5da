//! Access control: decisions that need only the request and the site. Pure.
//!
//! Decisions that need state, or a file, are in `access/`, for the runtime only; `serve::access` calls all of them, in
//! the order of the phases: networks, rate limits, concurrency limits, CORS preflights, credentials.

#[cfg(feature = "serve")]
pub(crate) mod claims;
#[cfg(feature = "serve")]
pub mod counted;
#[cfg(all(feature = "serve", feature = "auth"))]
pub(crate) mod fair_queue;
#[cfg(feature = "serve")]
pub(crate) mod fingerprint;
#[cfg(feature = "serve")]
pub(crate) mod in_flight;
pub mod inspect;
#[cfg(feature = "serve")]
pub(crate) mod key_sets;
#[cfg(feature = "serve")]
pub mod limiter;
#[cfg(feature = "serve")]
pub(crate) mod state;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "jwt"), path = "access/no_tokens.rs")]
pub(crate) mod tokens;
pub mod trust;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "auth"), path = "access/no_users.rs")]
pub(crate) mod users;

use data_encoding::BASE64;
use http::Method;

use crate::context::settings::Settings;
use crate::context::view::cookie_values;
use crate::protocol::fields::{Fields, is_token, members, split_once};
use crate::protocol::media;
use crate::protocol::names::KnownField;
use crate::site::{Access, Auth, AuthScheme, Cors, Origin};

/// Returns the method that a CORS preflight asks about, if the request is one (Fetch standard, "CORS-preflight
/// request").
pub fn preflight(method: &Method, fields: &Fields) -> Option<Method> {
    if *method != Method::OPTIONS || !fields.contains(KnownField::ORIGIN) {
        return None;
    }
    Method::from_bytes(fields.get("access-control-request-method")?).ok()
}

/// Returns the response fields for a preflight; `None` if the origin, method or field is not allowed.
pub fn answer_preflight(cors: &Cors, request: &Fields, settings: &Settings) -> Option<Fields> {
    let method = request.get("access-control-request-method")?;
    if !cors.methods.is_empty() && !cors.methods.iter().any(|known| known.as_bytes() == method) {
        return None;
    }
    let asked = request.get("access-control-request-headers").unwrap_or_default();
    let known = |name: &[u8]| cors.headers.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    // An invalid field name is not allowed.
    if !members(asked).all(|name| is_token(name) && (cors.headers.is_empty() || known(name))) {
        return None;
    }
    let mut fields = Fields::new();
    let origin = allowed_origin(cors, request)?;
    fields.add(b"access-control-allow-origin", origin);
    fields.add(b"access-control-allow-methods", method);
    if !asked.is_empty() {
        fields.add(b"access-control-allow-headers", asked);
    }
    if cors.credentials {
        fields.add(b"access-control-allow-credentials", b"true");
    }
    let age = cors.max_age.get(settings).as_secs().to_string();
    fields.add(b"access-control-max-age", age.as_bytes());
    fields.add_known(KnownField::VARY, b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    Some(fields)
}

/// Sets a response's CORS fields. Upstream CORS fields are removed, because two sources would contradict each other.
pub fn cross_origin(cors: &Cors, request: &Fields, answer: &mut Fields) {
    const PREFIX: &[u8] = b"access-control-";
    let said = |name: &[u8]| name.len() > PREFIX.len() && name[..PREFIX.len()].eq_ignore_ascii_case(PREFIX);
    if answer.raw().any(|(name, _)| said(name)) {
        answer.retain(|name, _| !said(name));
    }
    if *cors.origins != [Origin::Any] {
        // Also without an origin, or with a wrong one, for caches (Fetch standard, "CORS protocol and HTTP caches").
        answer.add_known(KnownField::VARY, b"Origin");
    }
    let Some(origin) = allowed_origin(cors, request) else { return };
    answer.add(b"access-control-allow-origin", origin);
    if cors.credentials {
        answer.add(b"access-control-allow-credentials", b"true");
    }
    if !cors.expose.is_empty() {
        answer.add(b"access-control-expose-headers", cors.expose.as_bytes());
    }
}

/// Returns the value of `Access-Control-Allow-Origin`, if the request's origin is allowed.
fn allowed_origin<'a>(cors: &Cors, request: &'a Fields) -> Option<&'a [u8]> {
    let origin = request.get(KnownField::ORIGIN)?;
    if *cors.origins == [Origin::Any] {
        return Some(b"*");
    }
    let allowed = cors.origins.iter().any(|known| match known {
        Origin::Any => true,
        Origin::Exact(exact) => exact.as_bytes() == origin,
        Origin::Below(scheme, domain) => {
            let rest = origin.strip_prefix(scheme.as_bytes());
            rest.and_then(|rest| rest.strip_suffix(domain.as_bytes())).is_some_and(|labels| {
                let is_label = |label: &[u8]| {
                    !label.is_empty() && label.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
                };
                labels.split(|&byte| byte == b'.').all(is_label)
            })
        }
    });
    allowed.then_some(origin)
}

/// Parses a name and a password (RFC 7617 section 2); the password may contain colons. Credentials that are not UTF-8 match no user, as
/// the lists are UTF-8.
pub fn basic_credentials(fields: &Fields) -> Option<(String, String)> {
    let mut lines = fields.all(KnownField::AUTHORIZATION);
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, encoded) = split_once(line, b' ')?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim_ascii_start()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    (!decoded.contains(char::is_control)).then(|| (name.to_owned(), password.to_owned()))
}

/// The only key of a request in `Authorization: Bearer` (RFC 6750 section 2.1).
#[cfg(feature = "admin")]
pub(crate) fn bearer(fields: &Fields) -> Option<&[u8]> {
    let mut lines = fields.all(KnownField::AUTHORIZATION);
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, key) = split_once(line, b' ')?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !key.is_empty()).then_some(key)
}

/// Returns the API key in a field, if it has a single value.
pub fn api_key<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let mut lines = fields.all(name);
    let (Some(key), None) = (lines.next(), lines.next()) else { return None };
    (!key.is_empty()).then_some(key)
}

/// Returns whether a request's body may have its media type.
pub fn may_be_sent(access: &Access, fields: &Fields) -> bool {
    if access.request_types.is_empty() {
        return true;
    }
    let mut lines = fields.all(KnownField::CONTENT_TYPE);
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    media::is_among(&access.request_types, line)
}

/// Returns the token of a request, if it has exactly one: in a cookie, or as in RFC 6750 section 2.1.
pub fn token<'a>(fields: &'a Fields, cookie: Option<&str>) -> Option<&'a str> {
    let token = match cookie {
        Some(name) => {
            let mut values = cookie_values(fields, name);
            let (Some(token), None) = (values.next(), values.next()) else { return None };
            token
        }
        None => {
            let mut lines = fields.all(KnownField::AUTHORIZATION);
            let (Some(line), None) = (lines.next(), lines.next()) else { return None };
            let (scheme, token) = split_once(line, b' ')?;
            scheme.eq_ignore_ascii_case(b"bearer").then_some(token.trim_ascii_start())?
        }
    };
    // Three parts of base64url (RFC 7515 section 7.1); anything else is not a token.
    let is_part = |part: &[u8]| {
        !part.is_empty() && part.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let parts = || token.split(|&byte| byte == b'.');
    if parts().count() == 3 && parts().all(is_part) { std::str::from_utf8(token).ok() } else { None }
}

/// Returns whether a request has well-formed credentials, valid or not.
pub fn shows_credentials(auth: &Auth, fields: &Fields) -> bool {
    match &auth.scheme {
        AuthScheme::Basic(_) => basic_credentials(fields).is_some(),
        AuthScheme::ApiKey(_, name) => api_key(fields, name).is_some(),
        AuthScheme::Jwt(rules) => token(fields, rules.cookie.as_deref()).is_some(),
        // The authorization service decides that.
        AuthScheme::Forward(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::site::Setting;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    #[test]
    fn tokens() {
        let check = |name: &str, line: &str, cookie: Option<&str>, expected: Option<&str>| {
            assert_eq!(token(&fields(&[(name, line)]), cookie), expected, "{name}: {line}");
        };
        check("authorization", "Bearer a.b.c", None, Some("a.b.c"));
        check("authorization", "bearer  a-_.b.c", None, Some("a-_.b.c"));
        for line in [
            "Bearer",
            "Bearer ",
            "Bearer a",
            "Bearer a.b",
            "Bearer a.b.",
            "Bearer a.b.c.d",
            "Basic a.b.c",
            "Bearer a.b.c d",
        ] {
            check("authorization", line, None, None);
        }
        check("authorization", "Bearer a.b=.c", None, None);
        check("cookie", "x=1; session=a.b.c", Some("session"), Some("a.b.c"));
        check("cookie", "session=a.b.c; session=d.e.f", Some("session"), None);
        check("cookie", "other=a.b.c", Some("session"), None);
        let odd = |line: &[u8]| -> Fields { [("cookie", line)].into_iter().collect() };
        assert_eq!(token(&odd(b"x=\xe9; session=a.b.c"), Some("session")), Some("a.b.c"));
        assert_eq!(token(&odd(b"session=\xe9; session=a.b.c"), Some("session")), None);
        assert_eq!(token(&odd(b"session=a.b.c\xe9"), Some("session")), None);
        let twice = fields(&[("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")]);
        assert_eq!(token(&twice, None), None);
    }

    #[test]
    fn origins() {
        let origins = vec![
            Origin::Exact("https://app.example.com".into()),
            Origin::Below("https://".into(), ".example.org:8443".into()),
        ];
        let cors = Cors {
            origins: Cow::Owned(origins),
            methods: Cow::Borrowed(&[]),
            headers: Cow::Borrowed(&[]),
            expose: "".into(),
            credentials: false,
            max_age: Setting::Fixed(std::time::Duration::ZERO),
        };
        let check = |origin: &str, expected: bool| {
            assert_eq!(allowed_origin(&cors, &fields(&[("origin", origin)])).is_some(), expected, "{origin}");
        };
        check("https://app.example.com", true);
        check("http://app.example.com", false);
        check("https://app.example.com.evil.test", false);
        check("https://evil.test/https://app.example.com", false);
        check("https://a.b.example.org:8443", true);
        check("https://example.org:8443", false);
        check("https://.example.org:8443", false);
        check("https://evil.test/.example.org:8443", false);
        check("https://evil.test#.example.org:8443", false);
        check("https://a..example.org:8443", false);
        check("null", false);
        check("", false);
    }

    #[test]
    fn basic() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            let found = basic_credentials(&fields(&[("authorization", line)]));
            let expected = expected.map(|(name, password)| (name.to_owned(), password.to_owned()));
            assert_eq!(found, expected, "{line}");
        };
        // RFC 7617 section 2.
        check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(("Aladdin", "open sesame")));
        check("basic  YTpiOmM=", Some(("a", "b:c")));
        check("Basic Og==", Some(("", "")));
        check("Basic YQ==", None);
        check("Basic", None);
        check("Basic ", None);
        check("Basic ****", None);
        check("Basic YTpi YTpi", None);
        check("Bearer YTpi", None);
        // A line end in the name; bytes that are not UTF-8.
        check("Basic YQo6Yg==", None);
        check("Basic /zr/", None);
        let twice = fields(&[("authorization", "Basic YTpi"), ("authorization", "Basic YTpj")]);
        assert_eq!(basic_credentials(&twice), None);
    }
}
