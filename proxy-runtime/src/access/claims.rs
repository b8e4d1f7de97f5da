//! Checks whether a token's claims satisfy a site's rules ([`meet`]; RFC 7519 section 4.1). Pure; signatures are verified by
//! `tokens`.

use std::time::Duration;

use crate::context::claims::Claims;
use crate::site::Jwt;

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimsError {
    /// Its issuer or audience is wrong.
    Invalid,
    /// The token has expired, or is not valid yet.
    Expired,
    /// The token lacks a required claim.
    Insufficient,
}

/// Checks a token's claims at `now`, the time since 1970 (RFC 7519 section 4.1).
///
/// # Errors
/// The reason for the rejection.
pub(crate) fn meet(claims: &Claims, rules: &Jwt, now: Duration) -> Result<(), ClaimsError> {
    let has = |name: &str, wanted: &str| {
        claims.claim(name).is_some_and(|claim| claim.values.iter().any(|value| value == wanted))
    };
    let asked_for = |name: &str, wanted: &Option<_>| wanted.as_deref().is_none_or(|wanted| has(name, wanted));
    if !rules.algorithms.contains(&claims.algorithm)
        || !asked_for("iss", &rules.issuer)
        || !asked_for("aud", &rules.audience)
    {
        return Err(ClaimsError::Invalid);
    }
    // A token without an expiry would be valid forever.
    let Some(ends) = claims.ends else { return Err(ClaimsError::Invalid) };
    let (now, leeway) = (now.as_secs_f64(), rules.leeway.as_secs_f64());
    // Written such that NaN is rejected.
    let begun = claims.begins.is_none_or(|begins| now + leeway >= begins);
    if !(now - leeway < ends && begun) {
        return Err(ClaimsError::Expired);
    }
    let met = rules.required.iter().all(|required| match &*required.values {
        [] => claims.claim(&required.name).is_some(),
        values => values.iter().any(|value| has(&required.name, value)),
    });
    if met { Ok(()) } else { Err(ClaimsError::Insufficient) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::claims::{Algorithm, Claim};
    use crate::site::RequiredClaim;

    const NOW: f64 = 1_000_000.0;

    fn claims(ends: Option<f64>, begins: Option<f64>, claims: &[(&str, &[&str])]) -> Claims {
        let claims = claims.iter().map(|(name, values)| Claim {
            name: (*name).to_owned(),
            text: values.join(","),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        });
        Claims { algorithm: Algorithm::Es256, ends, begins, claims: claims.collect() }
    }

    fn rules() -> Jwt {
        let required = [("role", vec!["admin", "staff"]), ("sub", vec![])].map(|(name, values)| RequiredClaim {
            name: name.into(),
            values: values.into_iter().map(Into::into).collect(),
        });
        Jwt {
            key_source: 0,
            algorithms: vec![Algorithm::Es256].into(),
            issuer: Some("me".into()),
            audience: Some("api".into()),
            leeway: Duration::from_secs(30),
            cookie: None,
            required: required.to_vec().into(),
        }
    }

    const ALL: &[(&str, &[&str])] =
        &[("iss", &["me"]), ("aud", &["web", "api"]), ("role", &["staff"]), ("sub", &["ann"])];

    #[track_caller]
    fn check(claims: &Claims, expected: Result<(), ClaimsError>) {
        assert_eq!(meet(claims, &rules(), Duration::from_secs_f64(NOW)), expected);
    }

    #[test]
    fn times() {
        for (ends, begins, expected) in [
            (Some(NOW + 1.0), None, Ok(())),
            (Some(NOW - 29.0), None, Ok(())),
            (Some(NOW - 30.0), None, Err(ClaimsError::Expired)),
            (Some(NOW + 9.0), Some(NOW + 30.0), Ok(())),
            (Some(NOW + 9.0), Some(NOW + 31.0), Err(ClaimsError::Expired)),
            (Some(f64::NAN), None, Err(ClaimsError::Expired)),
            (Some(NOW + 1.0), Some(f64::NAN), Err(ClaimsError::Expired)),
            (None, None, Err(ClaimsError::Invalid)),
        ] {
            check(&claims(ends, begins, ALL), expected);
        }
    }

    #[test]
    fn required_claims() {
        let with = |name: &'static str, values: &'static [&'static str]| {
            let others = ALL.iter().filter(|(other, _)| *other != name).copied();
            claims(Some(NOW + 9.0), None, &others.chain([(name, values)]).collect::<Vec<_>>())
        };
        check(&with("iss", &["you"]), Err(ClaimsError::Invalid));
        check(&with("iss", &[]), Err(ClaimsError::Invalid));
        check(&with("aud", &["web"]), Err(ClaimsError::Invalid));
        check(&with("aud", &["api"]), Ok(()));
        check(&with("role", &["guest"]), Err(ClaimsError::Insufficient));
        check(&with("role", &["guest", "admin"]), Ok(()));
        check(&with("role", &[]), Err(ClaimsError::Insufficient));
        let nobody: Vec<_> = ALL.iter().filter(|(name, _)| *name != "sub").copied().collect();
        check(&claims(Some(NOW + 9.0), None, &nobody), Err(ClaimsError::Insufficient));
        check(&Claims { algorithm: Algorithm::Hs256, ..claims(Some(NOW + 9.0), None, ALL) }, Err(ClaimsError::Invalid));
    }
}
