//! The part of the contract for authentication.

use std::time::Duration;

use crate::context::claims::Algorithm;
use crate::context::param::Setting;
use crate::value::{List, Text};

/// `auth`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Auth {
    /// How clients authenticate.
    pub scheme: AuthScheme,
    /// `WWW-Authenticate` of a refusal; empty for none.
    pub challenge: Text,
}

/// How clients authenticate.
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

/// The source of keys.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The file with this index.
    File(u16),
    /// A server.
    Url(KeyUrl),
}

/// The URL of a key set.
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
    /// The fields of its response that go on with the request.
    pub copy: List<Text>,
    /// The fields of its response that go to the client.
    pub copy_response: List<Text>,
    /// The field of its response that says who the client is.
    pub user: Option<Text>,
}
