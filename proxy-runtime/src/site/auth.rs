//! The part of the contract for authentication.

use std::time::Duration;

use crate::context::claims::Algorithm;
use crate::context::param::Setting;
use crate::value::{List, Text};

/// `auth`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Auth {
    /// The authentication scheme.
    pub scheme: AuthScheme,
    /// The `WWW-Authenticate` of a refusal; empty omits it.
    pub challenge: Text,
}

/// The authentication scheme.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthScheme {
    /// Basic authentication (RFC 7617), with the users in the file with this index.
    Basic(u16),
    /// An API key in this field, with the keys in the file with this index.
    ApiKey(u16, Text),
    /// A JSON Web Token (RFC 7519).
    Jwt(Jwt),
    /// An authorization service.
    Forward(ForwardAuth),
}

/// `auth jwt`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Jwt {
    /// The index of the keys among all [`KeySource`]s.
    pub key_source: u32,
    /// The accepted algorithms, whatever the token says.
    pub algorithms: List<Algorithm>,
    /// The required issuer.
    pub issuer: Option<Text>,
    /// The required audience.
    pub audience: Option<Text>,
    /// The allowed clock difference.
    pub leeway: Duration,
    /// The cookie with the token; `None` for `Authorization: Bearer`.
    pub cookie: Option<Text>,
    /// The required claims.
    pub required: List<RequiredClaim>,
}

/// `require` in `auth jwt`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequiredClaim {
    /// The name of the claim.
    pub name: Text,
    /// The accepted values, one of which the claim must be or contain; empty accepts any.
    pub values: List<Text>,
}

/// The source of keys.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The file with this index.
    File(u16),
    /// A key set on a server.
    Url(KeyUrl),
}

/// The URL of a key set.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyUrl {
    /// The index of the upstream.
    pub upstream: u16,
    /// Path and query.
    pub path: Text,
    /// The refresh interval.
    pub refresh: Duration,
}

/// `auth forward`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForwardAuth {
    /// The index of the upstream.
    pub upstream: u16,
    /// Path and query.
    pub path: Text,
    /// The time-out.
    pub timeout: Setting<Duration>,
    /// The request fields that the service receives.
    pub send: List<Text>,
    /// The fields of its response that are copied to the request.
    pub copy: List<Text>,
    /// The fields of its response that are copied to the response for the client.
    pub copy_response: List<Text>,
    /// The field of its response with the user's name.
    pub user: Option<Text>,
}
