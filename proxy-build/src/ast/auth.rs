//! What is written about how clients show who they are.

use std::time::Duration;

use proxy_runtime::site::Algorithm;

use super::{FileSource, Item, Setting};
use crate::source::{Span, Spanned};

/// `auth`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the arguments and the properties")]
pub struct Auth {
    pub scheme: Spanned<AuthScheme>,
    /// The second argument.
    pub source: Option<Spanned<AuthSource>>,
    /// Where `upstream=` stands; its name is in the source.
    pub upstream: Option<Span>,
    pub realm: Option<Spanned<String>>,
    pub header: Option<Spanned<String>>,
    pub issuer: Option<Spanned<String>>,
    pub audience: Option<Spanned<String>>,
    pub leeway: Option<Spanned<Duration>>,
    pub cookie: Option<Spanned<String>>,
    pub refresh: Option<Spanned<Duration>>,
    pub timeout: Option<Spanned<Setting<Duration>>>,
    pub user: Option<Spanned<String>>,
    pub items: Vec<Item>,
}

impl Auth {
    /// Whether it is known by a name who the client is.
    pub fn names_users(&self) -> bool {
        match self.scheme.value {
            AuthScheme::Off => false,
            AuthScheme::Forward => self.user.is_some(),
            AuthScheme::Basic | AuthScheme::ApiKey | AuthScheme::Jwt => true,
        }
    }
}

/// The first argument of `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the words")]
pub enum AuthScheme {
    Basic,
    ApiKey,
    Jwt,
    Forward,
    Off,
}

/// Where it is known who may come in.
#[derive(Debug, Clone)]
pub enum AuthSource {
    /// A file, read at start.
    File(FileSource),
    /// A server.
    Url {
        /// Its address.
        address: String,
        /// `https`.
        tls: bool,
        /// Path and query.
        path: String,
    },
    /// A declared upstream.
    Upstream {
        /// Its name.
        name: Spanned<String>,
        /// Path and query.
        path: String,
    },
}

/// A line in `auth`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the directives")]
pub enum InAuth {
    Algorithms(Vec<Spanned<Algorithm>>),
    Require(Spanned<String>, Vec<Spanned<String>>),
    Send(Vec<Spanned<String>>),
    Copy(Vec<Spanned<String>>),
    CopyResponse(Vec<Spanned<String>>),
}
