//! `GET /status`: the status page, one HTML file that requests only `GET /status/events` ([`page`]).

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

const PAGE: &str = include_str!("status.html");

/// The placeholder for the nonce in the page.
const NONCE: &str = "NONCE";

/// Returns the page and its `Content-Security-Policy`: only its own script and style run, by the nonce of this response.
pub(super) fn page() -> (Bytes, String) {
    let random = || RandomState::new().hash_one(NONCE);
    let nonce = format!("{:016x}{:016x}", random(), random());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    (PAGE.replace(NONCE, &nonce).into(), policy)
}
