//! Leaf parsers of `retry`.

use super::{Parsed, problem, status};
use crate::ast::RetryOn;
use crate::syntax::{Leaf, Scalar};

/// The gRPC statuses (grpc/doc/statuscodes.md), from 0.
pub const GRPC_STATUSES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// Parses `grpc-` and the name of a gRPC status.
fn grpc_status(word: &str) -> Option<Parsed<RetryOn>> {
    let code =
        |name: &str| GRPC_STATUSES.iter().position(|known| *known == name).and_then(|code| u8::try_from(code).ok());
    let name = match word.strip_prefix("grpc-") {
        Some(name) => name,
        None => {
            // Envoy's syntax.
            code(word)?;
            let message = format!("`{word}` is a status of gRPC");
            return Some(Err(problem("unknown-value", message).write(format!("grpc-{word}"))));
        }
    };
    Some(match code(name) {
        Some(0) => Err(problem("bad-status", "`grpc-ok` is not a failure: there is nothing to retry")),
        Some(code) => Ok(RetryOn::Grpc(code)),
        None => Err(problem("unknown-value", format!("gRPC has no status `{name}`"))
            .help(format!("these are known: {}", GRPC_STATUSES[1..].join(" ")))),
    })
}

/// Parses a failure to retry.
pub fn retry_on(leaf: &Leaf) -> Parsed<RetryOn> {
    if let Scalar::Text(word) = &leaf.value {
        match word.as_str() {
            "reset" => return Ok(RetryOn::Reset),
            "timeout" => return Ok(RetryOn::Timeout),
            "connect" => {
                return Err(problem("unknown-value", "a server that can't be connected to is always skipped")
                    .help("leave `connect` out"));
            }
            word => {
                if let Some(parsed) = grpc_status(word) {
                    return parsed;
                }
            }
        }
    }
    if matches!(leaf.value, Scalar::Text(_)) && leaf.ty.is_none() && !is_status_like(leaf) {
        return Err(problem("unknown-value", "`reset`, `timeout`, a status or a status of gRPC is expected here"));
    }
    match status(leaf)? {
        code @ ..400 => Err(problem("bad-status", format!("{code} is not a failure: there is nothing to retry"))),
        code => Ok(RetryOn::Status(code)),
    }
}

fn is_status_like(leaf: &Leaf) -> bool {
    matches!(&leaf.value, Scalar::Text(text) if text.starts_with(|char: char| char.is_ascii_digit()))
}
