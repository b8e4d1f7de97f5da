//! The claims of a token ([`Claims`]). Pure.
//!
//! `access::tokens` verifies signatures; `access::claims` decides whether the claims are enough.

/// The claims of a token whose signature is verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// Its signature algorithm.
    pub algorithm: Algorithm,
    /// Its expiry (`exp`), in seconds since 1970.
    pub ends: Option<f64>,
    /// The start of its validity (`nbf`), in seconds since 1970.
    pub begins: Option<f64>,
    /// The claims.
    pub claims: Vec<Claim>,
}

/// One of a token's claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: String,
    /// The claim as text: the members of a list are joined with commas.
    pub text: String,
    /// The values: the members of a list, the words of `scope`, or the text.
    pub values: Vec<String>,
}

impl Claims {
    /// Returns a claim as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.claim(name).map(|claim| claim.text.as_str())
    }

    /// Returns the claim of a name.
    pub fn claim(&self, name: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.name == name)
    }
}

/// A signature algorithm of tokens (RFC 7518 section 3.1, RFC 8037).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as the words")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// All algorithms, with their names in tokens.
    pub const NAMES: &'static [(&'static str, Algorithm)] = &[
        ("HS256", Algorithm::Hs256),
        ("HS384", Algorithm::Hs384),
        ("HS512", Algorithm::Hs512),
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("PS384", Algorithm::Ps384),
        ("PS512", Algorithm::Ps512),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("EdDSA", Algorithm::EdDsa),
    ];

    /// Returns whether the key that verifies a token can also sign one.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}
