//! Replaces `access::users` if the runtime is built without the feature `auth`. A site that needs it does not compile: its
//! output asserts `CHECKS_CREDENTIALS`.

use std::net::IpAddr;

use crate::failure::Failure;

/// An empty list.
pub(crate) struct CredentialList;

impl CredentialList {
    pub(crate) fn parse(_: &[u8], _: bool) -> Result<CredentialList, String> {
        Err("this proxy was built without the feature `auth`".to_owned())
    }
}

/// Rejects all credentials.
pub(crate) struct Verifier;

impl Verifier {
    pub(crate) fn new() -> Verifier {
        Verifier
    }

    #[allow(clippy::unused_async, reason = "as the other does")]
    pub(crate) async fn verify(&self, _: &CredentialList, _: &str, _: String, _: IpAddr) -> Result<bool, Failure> {
        Ok(false)
    }
}

/// No key matches.
pub(crate) fn key_of<'l>(_: &'l CredentialList, _: &[u8]) -> Option<&'l str> {
    None
}
