//! Evaluates the response to a health check ([`verdict`]). Pure.

use crate::site::HealthCheck;

/// No more of a response is read, in bytes.
pub(super) const MAX_ANSWER: u64 = 64 << 10;

/// What a status and the beginning of a body come to; `None` if the rest of the body matters.
pub(super) fn verdict(check: &HealthCheck, status: u16, body: &[u8]) -> Option<Result<(), String>> {
    if !check.statuses.iter().any(|&(from, to)| (from..=to).contains(&status)) {
        return Some(Err(format!("it answers {status}")));
    }
    let Some(text) = check.body.as_deref().filter(|text| !text.is_empty()) else { return Some(Ok(())) };
    memchr::memmem::find(body, text.as_bytes()).map(|_| Ok(()))
}
