//! Evaluates the response to a health check ([`verdict`]). Pure.

use crate::site::HealthCheck;

/// The most bytes of a response that are read.
pub(super) const MAX_ANSWER: u64 = 64 << 10;

/// Evaluates a status and the beginning of a body; `None` if more of the body is needed.
pub(super) fn verdict(check: &HealthCheck, status: u16, body: &[u8]) -> Option<Result<(), String>> {
    if !check.statuses.iter().any(|&(from, to)| (from..=to).contains(&status)) {
        return Some(Err(format!("it answers {status}")));
    }
    let Some(text) = check.body.as_deref().filter(|text| !text.is_empty()) else { return Some(Ok(())) };
    memchr::memmem::find(body, text.as_bytes()).map(|_| Ok(()))
}
