//! gRPC ("gRPC over HTTP2", grpc/doc/PROTOCOL-HTTP2.md): detects calls, reads their deadlines, and builds error
//! responses that clients understand. Pure.

use std::time::Duration;

use crate::protocol::fields::{Fields, number};
use crate::protocol::names::KnownField;

/// Returns whether these are the fields of a gRPC call: `Content-Type: application/grpc`, with or without a suffix.
pub fn is_call(fields: &Fields) -> bool {
    fields
        .get(KnownField::CONTENT_TYPE)
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}

/// Returns the time-out of the call: `grpc-timeout`, at most eight digits and a unit.
pub fn deadline(fields: &Fields) -> Option<Duration> {
    let (unit, digits) = fields.get("grpc-timeout")?.split_last()?;
    let number = number(digits).filter(|_| digits.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Returns the status of a call that fails without a response message: its head contains its trailers
/// ("Trailers-Only").
pub fn status(fields: &Fields) -> Option<u8> {
    let status = fields.get(KnownField::GRPC_STATUS).filter(|_| is_call(fields))?;
    number(status)?.try_into().ok()
}

/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: u8 = 4;

/// `RESOURCE_EXHAUSTED`.
pub const RESOURCE_EXHAUSTED: u8 = 8;

/// Returns the gRPC status for an HTTP status (grpc/doc/http-grpc-status-mapping.md), and for those that are not mapped
/// there, the nearest one.
pub fn code(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        413 | 431 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines() {
        let check = |text: &str, expected: Option<Duration>| {
            assert_eq!(deadline(&[("grpc-timeout", text)].into_iter().collect()), expected, "{text}");
        };
        check("1S", Some(Duration::from_secs(1)));
        check("99999999m", Some(Duration::from_millis(99_999_999)));
        check("5u", Some(Duration::from_micros(5)));
        check("2H", Some(Duration::from_secs(7200)));
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "999999999S", "1\u{e9}"] {
            check(wrong, None);
        }
    }

    #[test]
    fn statuses() {
        let check = |content_type: &str, text: &str, expected: Option<u8>| {
            let fields = [("content-type", content_type), ("grpc-status", text)].into_iter().collect();
            assert_eq!(status(&fields), expected, "{text}");
        };
        check("application/grpc", "14", Some(14));
        check("application/grpc+proto", "0", Some(0));
        check("text/plain", "14", None);
        for wrong in ["", "+14", "x", "256", "14 "] {
            check("application/grpc", wrong, None);
        }
    }

    #[test]
    fn calls() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_call(&[("content-type", text)].into_iter().collect()), expected, "{text}");
        };
        check("application/grpc", true);
        check("application/grpc+proto", true);
        check("application/grpc;x", true);
        check("application/grpc-web", false);
        check("text/plain", false);
    }
}
