//! Verifies the signatures of tokens by keys.
//!
//! The site and the type of the key decide how a token is verified, never the token: it names an
//! algorithm, and is refused if that is not among the site's, or not the key's. Keys that a token contains or refers to
//! (`jwk`, `jku`, `x5u`, `x5c`) are ignored.

use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::context::claims::{Claim, Claims};
use crate::site::Algorithm;

/// A set of keys that verify tokens.
pub(crate) struct Keys {
    keys: Vec<VerificationKey>,
    /// Distinguishes it from previous sets.
    pub(crate) generation: u64,
}

struct VerificationKey {
    id: Option<String>,
    /// The algorithm that the key is for, if it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl VerificationKey {
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.key.family() == family(algorithm)
    }
}

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// The token is malformed, or its signature matches no key.
    Invalid,
    /// The token names an unknown key.
    UnknownKey,
}

/// The most keys in a set.
const MOST: usize = 100;

/// The shortest secret, in bytes: as long as its digest (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;

/// How a key in PEM begins (RFC 7468).
const BEGIN: &[u8] = b"-----BEGIN";

/// How many keys are tried for a token that names none: each costs a verification.
const TRIED: usize = 4;

impl Keys {
    /// Parses keys for some of `algorithms`: a JWK Set or a JWK (RFC 7517), a public key in PEM, or a secret: only for symmetric
    /// algorithms, and `from_file`, as a server may respond with any text, such as a page about maintenance.
    ///
    /// # Errors
    /// The reason, without the key itself.
    pub(crate) fn parse(text: &[u8], algorithms: &[Algorithm], from_file: bool) -> Result<Keys, String> {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let text = text.trim_ascii();
        let is_symmetric = algorithms.iter().any(|algorithm| algorithm.is_symmetric());
        let keys = if text.starts_with(b"{") {
            key_set(text)?
        } else if text.starts_with(BEGIN) {
            vec![VerificationKey { id: None, algorithm: None, key: pem(text)? }]
        } else if text.starts_with(b"\xEF\xBB\xBF") {
            return Err("it begins with a byte order mark".to_owned());
        } else if text.windows(BEGIN.len()).any(|part| part == BEGIN) {
            return Err("there is text before `-----BEGIN`".to_owned());
        } else if !is_symmetric || !from_file {
            return Err("it is neither a JWK Set nor a public key in PEM".to_owned());
        } else {
            if text.len() < SHORTEST_SECRET {
                return Err(format!("a secret has at least {SHORTEST_SECRET} bytes"));
            }
            vec![VerificationKey { id: None, algorithm: None, key: DecodingKey::from_secret(text) }]
        };
        // Such keys would replace good ones, to refuse every token.
        let fits = |key: &VerificationKey| algorithms.iter().any(|&algorithm| key.fits(algorithm));
        if !keys.iter().any(fits) {
            return Err("no key in it is for the site's `algorithms`".to_owned());
        }
        Ok(Keys { keys, generation: GENERATIONS.fetch_add(1, Ordering::Relaxed) })
    }

    /// Verifies a token's signature, and returns its claims.
    ///
    /// # Errors
    /// The token is rejected.
    pub(crate) fn verify(&self, token: &str, algorithms: &[Algorithm]) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        // RFC 7515 section 4.1.11: no critical extensions are supported.
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return Err(TokenError::Invalid);
        }
        let algorithm =
            known(header.alg).filter(|algorithm| algorithms.contains(algorithm)).ok_or(TokenError::Invalid)?;
        let mut fitting = self.keys.iter().filter(|key| {
            let is_named = match (&header.kid, &key.id) {
                (Some(wanted), Some(id)) => wanted == id,
                _ => true,
            };
            is_named && key.fits(algorithm)
        });
        let mut validation = Validation::new(header.alg);
        // The claims are checked by `Claims::meet`.
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        validation.required_spec_claims.clear();
        let Some(first) = fitting.next() else {
            return Err(if header.kid.is_some() { TokenError::UnknownKey } else { TokenError::Invalid });
        };
        for key in std::iter::once(first).chain(fitting).take(TRIED) {
            if let Ok(data) = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation) {
                return if is_well_formed(&data.claims) {
                    Ok(claims(algorithm, data.claims))
                } else {
                    Err(TokenError::Invalid)
                };
            }
        }
        Err(TokenError::Invalid)
    }
}

/// Returns the keys of a set that can verify tokens; others are ignored (RFC 7517 section 5).
fn key_set(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    let mut set: Map<String, Value> = serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))?;
    let all = match set.remove("keys") {
        Some(Value::Array(keys)) => keys,
        Some(_) => return Err("`keys` is not a list".to_owned()),
        None => vec![Value::Object(set)],
    };
    if all.len() > MOST {
        return Err(format!("more than {MOST} keys"));
    }
    let keys: Vec<VerificationKey> =
        all.into_iter().filter_map(|key| usable(&serde_json::from_value(key).ok()?)).collect();
    if keys.is_empty() { Err("no key in it can verify a token".to_owned()) } else { Ok(keys) }
}

fn usable(jwk: &Jwk) -> Option<VerificationKey> {
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let is_short = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(secret) => secret.value.len() * 3 / 4 < SHORTEST_SECRET,
        _ => false,
    };
    if !signs || !verifies || is_short {
        return None;
    }
    let algorithm = match &common.key_algorithm {
        None => None,
        Some(named) => Some(meant(named)?),
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    algorithm.is_none_or(|algorithm| family(algorithm) == key.family()).then(|| VerificationKey {
        id: common.key_id.clone(),
        algorithm,
        key,
    })
}

fn pem(text: &[u8]) -> Result<DecodingKey, String> {
    let key = DecodingKey::from_rsa_pem(text).or_else(|_| DecodingKey::from_ec_pem(text));
    key.or_else(|_| DecodingKey::from_ed_pem(text)).map_err(|_| "it is not an RSA, EC or Ed25519 public key".to_owned())
}

/// Returns the algorithm that a token names. Algorithms of later versions of the library are unknown here.
fn known(algorithm: jsonwebtoken::Algorithm) -> Option<Algorithm> {
    use jsonwebtoken::Algorithm as Said;
    Some(match algorithm {
        Said::HS256 => Algorithm::Hs256,
        Said::HS384 => Algorithm::Hs384,
        Said::HS512 => Algorithm::Hs512,
        Said::RS256 => Algorithm::Rs256,
        Said::RS384 => Algorithm::Rs384,
        Said::RS512 => Algorithm::Rs512,
        Said::PS256 => Algorithm::Ps256,
        Said::PS384 => Algorithm::Ps384,
        Said::PS512 => Algorithm::Ps512,
        Said::ES256 => Algorithm::Es256,
        Said::ES384 => Algorithm::Es384,
        Said::EdDSA => Algorithm::EdDsa,
        _ => return None,
    })
}

/// Returns the algorithm that a key names; `None` if it does not verify tokens.
fn meant(algorithm: &KeyAlgorithm) -> Option<Algorithm> {
    Some(match algorithm {
        KeyAlgorithm::HS256 => Algorithm::Hs256,
        KeyAlgorithm::HS384 => Algorithm::Hs384,
        KeyAlgorithm::HS512 => Algorithm::Hs512,
        KeyAlgorithm::RS256 => Algorithm::Rs256,
        KeyAlgorithm::RS384 => Algorithm::Rs384,
        KeyAlgorithm::RS512 => Algorithm::Rs512,
        KeyAlgorithm::PS256 => Algorithm::Ps256,
        KeyAlgorithm::PS384 => Algorithm::Ps384,
        KeyAlgorithm::PS512 => Algorithm::Ps512,
        KeyAlgorithm::ES256 => Algorithm::Es256,
        KeyAlgorithm::ES384 => Algorithm::Es384,
        KeyAlgorithm::EdDSA => Algorithm::EdDsa,
        _ => return None,
    })
}

fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => AlgorithmFamily::Hmac,
        Algorithm::Es256 | Algorithm::Es384 => AlgorithmFamily::Ec,
        Algorithm::EdDsa => AlgorithmFamily::Ed,
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => AlgorithmFamily::Rsa,
    }
}

/// Returns whether the claims of RFC 7519 have their defined types (sections 4.1.1 to 4.1.7): for example, the issuer is a single
/// value, not a list. Times that are not numbers are never satisfied.
fn is_well_formed(all: &Map<String, Value>) -> bool {
    let is = |name: &str, holds: fn(&Value) -> bool| all.get(name).is_none_or(holds);
    is("iss", Value::is_string)
        && is("sub", Value::is_string)
        && is("jti", Value::is_string)
        && is("iat", Value::is_number)
        && is("aud", |aud| aud.is_string() || aud.as_array().is_some_and(|all| all.iter().all(Value::is_string)))
        && all.values().all(is_printable)
}

/// Returns whether a claim's text can be the value of a field as it is: control characters would be left out there, so that other claims
/// would become the same (`ad\0min`). Objects, whose text is JSON, have them escaped; the address of OpenID Connect has lines.
fn is_printable(claim: &Value) -> bool {
    let plain = |value: &Value| value.as_str().is_none_or(|text| !text.bytes().any(|byte| byte.is_ascii_control()));
    claim.as_array().map_or_else(|| plain(claim), |members| members.iter().all(plain))
}

fn claims(algorithm: Algorithm, all: Map<String, Value>) -> Claims {
    let number = |name: &str| all.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let (ends, begins) = (number("exp"), number("nbf"));
    let claims = all.into_iter().map(|(name, value)| {
        let values = match &value {
            Value::Array(members) => members.iter().map(text).collect(),
            // RFC 8693 section 4.2: `scope` is a list of words.
            Value::String(words) if name == "scope" => words.split_ascii_whitespace().map(str::to_owned).collect(),
            other => vec![text(other)],
        };
        let text = if value.is_array() { values.join(",") } else { text(&value) };
        Claim { name, text, values }
    });
    Claims { algorithm, ends, begins, claims: claims.collect() }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_match_their_names() {
        for (name, algorithm) in Algorithm::NAMES {
            let said: jsonwebtoken::Algorithm = name.parse().expect("a name that is known");
            assert_eq!(known(said), Some(*algorithm));
            let named: KeyAlgorithm = serde_json::from_value((*name).into()).expect("a name that is known");
            assert_eq!(meant(&named), Some(*algorithm));
        }
        for name in ["none", "RSA-OAEP", "RSA1_5", "hs256", "ES256K"] {
            assert!(serde_json::from_value::<KeyAlgorithm>(name.into()).is_ok_and(|named| meant(&named).is_none()));
        }
    }

    #[test]
    fn only_keys_of_the_algorithms_count() {
        let check = |text: &[u8], algorithms: &[Algorithm], from_file: bool, expected: Option<&str>| {
            let found = Keys::parse(text, algorithms, from_file).err();
            assert_eq!(found.as_deref(), expected, "{:?} {algorithms:?} {from_file}", String::from_utf8_lossy(text));
        };
        let (hs, es) = ([Algorithm::Hs256], [Algorithm::Es256]);
        let both = [hs, es].concat();
        let no_key = Some("it is neither a JWK Set nor a public key in PEM");
        let (secret, page) = (&[b'a'; SHORTEST_SECRET][..], b"<html><body>The site is being maintained.</body></html>");
        for algorithms in [&hs[..], &es, &both] {
            check(page, algorithms, false, no_key);
            check(secret, algorithms, false, no_key);
        }
        check(secret, &hs, true, None);
        check(secret, &both, true, None);
        check(secret, &es, true, no_key);
        let shared = br#"{"keys":[{"kty":"oct","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"}]}"#;
        let signed = br#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let others = Some("no key in it is for the site's `algorithms`");
        for from_file in [false, true] {
            check(shared, &hs, from_file, None);
            check(shared, &es, from_file, others);
            check(signed, &es, from_file, None);
            check(signed, &hs, from_file, others);
            check(signed, &both, from_file, None);
            check(signed, &[Algorithm::Rs256], from_file, others);
        }
        let marked = [b"\xEF\xBB\xBF", &shared[..]].concat();
        check(&marked, &hs, true, Some("it begins with a byte order mark"));
        let pem = b"Public key of the issuer:\n-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZI\n-----END PUBLIC KEY-----\n";
        check(pem, &hs, true, Some("there is text before `-----BEGIN`"));
    }

    #[test]
    fn registered_claims_have_their_types() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_well_formed(&serde_json::from_str(text).expect("JSON")), expected, "{text}");
        };
        check("{}", true);
        check(r#"{"iss":"me","sub":"ann","jti":"1","iat":1.5,"aud":"api","role":["a"],"n":1}"#, true);
        check(r#"{"aud":["api","web"]}"#, true);
        check(r#"{"aud":[]}"#, true);
        for name in ["iss", "sub", "jti"] {
            for value in [r#"["me"]"#, "[]", "1", "null", "true", r#"{"me":1}"#] {
                check(&format!("{{\"{name}\":{value}}}"), false);
            }
        }
        for value in [r#"["api",1]"#, r#"[["api"]]"#, "1", "null", r#"{"api":1}"#] {
            check(&format!("{{\"aud\":{value}}}"), false);
        }
        check(r#"{"iat":"1"}"#, false);
        for value in
            [r#""ad\u0000min""#, r#""ad\u007fmin""#, r#""ad\r\nmin""#, r#""ad\tmin""#, r#"["ann","ad\u0001min"]"#]
        {
            check(&format!("{{\"role\":{value}}}"), false);
            check(&format!("{{\"aud\":{value}}}"), false);
        }
        check(r#"{"address":{"formatted":"1 Road\nTown"},"name":"Zo\u00eb"}"#, true);
    }
}
