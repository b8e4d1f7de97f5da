//! Replaces `access::tokens` if the runtime is built without the feature `jwt`. A site that needs it does not compile: its
//! output asserts `CHECKS_TOKENS`.

use crate::context::claims::Claims;
use crate::site::Algorithm;

/// An empty key set.
pub(crate) struct Keys {
    pub(crate) generation: u64,
}

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Tokens can't be verified.
    Invalid,
    /// Never returned here.
    #[allow(dead_code, reason = "the other says it")]
    UnknownKey,
}

impl Keys {
    pub(crate) fn parse(_: &[u8], _: &[Algorithm], _: bool) -> Result<Keys, String> {
        Err("this proxy was built without the feature `jwt`".to_owned())
    }

    #[allow(clippy::unused_self, reason = "as the other does")]
    pub(crate) fn verify(&self, _: &str, _: &[Algorithm]) -> Result<Claims, TokenError> {
        Err(TokenError::Invalid)
    }
}
