//! How clients show who they are.

use std::time::Duration;

use super::{List, Setting, Text};

/// `auth`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Auth {
    /// How it is shown who asks.
    pub scheme: AuthScheme,
    /// `WWW-Authenticate` of a refusal; empty for none.
    pub challenge: Text,
}

/// How it is shown who asks.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthScheme {
    /// A name and a password (RFC 7617); the users are in the file with this index.
    Basic(u16),
    /// A key of those in the file with this index, in this field.
    ApiKey(u16, Text),
    /// A token (RFC 7519).
    Jwt(Jwt),
    /// Another server is asked.
    Forward(ForwardAuth),
}

/// `auth jwt`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Jwt {
    /// Whose keys have to have signed it: its number among [`KeySource`]s.
    pub key_source: u32,
    /// How it has to be signed; the token has no say in it.
    pub algorithms: List<Algorithm>,
    /// Who has to have issued it.
    pub issuer: Option<Text>,
    /// Whom it has to be for.
    pub audience: Option<Text>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The cookie that it is in; `Authorization: Bearer` where there is none.
    pub cookie: Option<Text>,
    /// What it has to say.
    pub required: List<RequiredClaim>,
}

/// `require` in `auth jwt`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequiredClaim {
    /// The claim.
    pub name: Text,
    /// One of these it is, or has among others; any, where there are none.
    pub values: List<Text>,
}

/// How tokens are signed (RFC 7518 section 3.1, RFC 8037).
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
    /// All of them, by the names that tokens call them.
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

    /// Whether who can verify a token can make one, too.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}

/// Where keys come from.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The file with this index.
    File(u16),
    /// A server.
    Url(KeyUrl),
}

/// Where keys are fetched.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyUrl {
    /// The server.
    pub upstream: u16,
    /// Path and query.
    pub path: Text,
    /// How often.
    pub refresh: Duration,
}

/// `auth forward`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForwardAuth {
    /// The server.
    pub upstream: u16,
    /// Path and query.
    pub path: Text,
    /// How long it may take.
    pub timeout: Setting<Duration>,
    /// The request's fields that it sees.
    pub send: List<Text>,
    /// The fields of its answer that go on with the request.
    pub copy: List<Text>,
    /// The fields of its answer that go to the client.
    pub copy_response: List<Text>,
    /// The field of its answer that says who the client is.
    pub user: Option<Text>,
}
