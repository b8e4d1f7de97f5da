//! `GET /status`: the status page, one HTML file that needs nothing but `GET /status/events` ([`page`]).

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

const PAGE: &str = include_str!("status.html");

/// What stands for the nonce in the page.
const NONCE: &str = "NONCE";

/// The page, and its `Content-Security-Policy`: its own script and style run, which have a nonce of this response, and nothing else.
pub(super) fn page() -> (Bytes, String) {
    let random = || RandomState::new().hash_one(NONCE);
    let nonce = format!("{:016x}{:016x}", random(), random());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    (PAGE.replace(NONCE, &nonce).into(), policy)
}
