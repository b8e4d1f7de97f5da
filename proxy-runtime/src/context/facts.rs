//! [`Facts`]: the data of an exchange for templates and filters, borrowed while they run. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;

use crate::context::claims::Claims;
use crate::context::settings::Settings;
use crate::protocol::fields::Fields;
use crate::protocol::trace_context::TraceId;
use crate::router::captures::Captures;

/// The facts about an exchange. A fact that is not known yet (such as the status before the response) is empty or zero;
/// the compiler allows no template to use it.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "named as the placeholders, which the reference explains")]
pub struct Facts<'a> {
    pub method: &'a Method,
    pub scheme: &'static str,
    pub host: &'a str,
    /// The host, with the port if it is not the scheme's default.
    pub authority: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub protocol: &'static str,
    pub client: IpAddr,
    pub tls: &'static str,
    pub tls_cipher: &'static str,
    pub tls_server_name: &'a str,
    pub certificate: Option<&'a ClientCertificate>,
    pub user: &'a [u8],
    pub claims: Option<&'a Claims>,
    pub fields: &'a Fields,
    pub captures: &'a Captures,
    pub route: &'a str,
    pub row: &'a str,
    pub settings: &'a Settings,
    pub request_id: RequestId,
    pub trace_id: TraceId,
    pub upstream: &'a str,
    pub server: &'a str,
    pub server_connections: u32,
    pub attempts: u32,
    pub status: u16,
    pub bytes: u64,
    pub request_bytes: u64,
    pub duration: Duration,
    pub first_byte: Option<Duration>,
    pub server_duration: Option<Duration>,
    /// Of the response, where a log wants to know.
    pub response_fields: Option<&'a Fields>,
    pub reason: &'a str,
    pub detail: &'a str,
    pub rule: &'a str,
    pub cache: &'a str,
    pub cache_reason: &'a str,
    pub time: Timestamp,
}

impl<'a> Facts<'a> {
    /// Returns the facts of an exchange of which only these are known.
    pub fn nothing(method: &'a Method, fields: &'a Fields, settings: &'a Settings) -> Facts<'a> {
        Facts {
            method,
            scheme: "http",
            host: "",
            authority: "",
            path: "/",
            query: None,
            protocol: "HTTP/1.1",
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            tls: "",
            tls_cipher: "",
            tls_server_name: "",
            certificate: None,
            user: b"",
            claims: None,
            fields,
            captures: &Captures::NONE,
            route: "",
            row: "",
            settings,
            request_id: RequestId(0),
            trace_id: TraceId(0),
            upstream: "",
            server: "",
            server_connections: 0,
            attempts: 0,
            status: 0,
            bytes: 0,
            request_bytes: 0,
            duration: Duration::ZERO,
            first_byte: None,
            server_duration: None,
            response_fields: None,
            reason: "",
            detail: "",
            rule: "",
            cache: "",
            cache_reason: "",
            time: Timestamp(0),
        }
    }

    /// Returns the first value of a request field; it need not be UTF-8 (RFC 9110 section 5.5).
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.get(name)
    }
}

/// The client's identity, from its verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject, such as `CN=alice,O=Example` (RFC 4514).
    pub subject: String,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

/// Identifies an exchange: a random part per process and a counter, as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A point in time, in microseconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the system time.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// Formats as `2026-11-23T19:04:05.123456Z` (RFC 3339).
    pub fn rfc3339(self) -> impl fmt::Display {
        let Civil { year, month, day, hour, minute, second } = self.civil();
        let micros = self.0 % 1_000_000;
        fmt::from_fn(move |f| write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"))
    }

    /// Appends the RFC 3339 form; for log lines, in which formatting with `fmt` would cost more than all the rest.
    pub fn push_rfc3339(self, out: &mut Vec<u8>) {
        let Civil { year, month, day, hour, minute, second } = self.civil();
        let parts = [
            (year as u32, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (hour, 2, b':'),
            (minute, 2, b':'),
            (second, 2, b'.'),
        ];
        for (value, width, separator) in parts {
            push_padded(out, u64::from(value), width);
            out.push(separator);
        }
        push_padded(out, self.0 % 1_000_000, 6);
        out.push(b'Z');
    }

    /// Formats as `23/Nov/2026:19:04:05 +0000`.
    pub fn common(self) -> impl fmt::Display {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Civil { year, month, day, hour, minute, second } = self.civil();
        let month = MONTHS[month as usize - 1];
        fmt::from_fn(move |f| write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"))
    }

    /// Days to year, month and day after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    fn civil(self) -> Civil {
        let seconds = self.0 / 1_000_000;
        let (days, in_day) = (seconds / 86_400, (seconds % 86_400) as u32);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u32;
        let month = (if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 }) as u32;
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Civil { year, month, day, hour: in_day / 3600, minute: in_day / 60 % 60, second: in_day % 60 }
    }
}

/// Appends a number with leading zeros.
fn push_padded(out: &mut Vec<u8>, value: u64, width: u32) {
    for power in (0..width).rev() {
        out.push(b'0' + (value / 10_u64.pow(power) % 10) as u8);
    }
}

/// Appends a number.
pub fn push_number(out: &mut Vec<u8>, value: u64) {
    push_padded(out, value, value.checked_ilog10().unwrap_or(0) + 1);
}

/// Appends a duration as seconds with six decimals.
pub fn push_seconds(out: &mut Vec<u8>, duration: Duration) {
    push_number(out, duration.as_secs());
    out.push(b'.');
    push_padded(out, u64::from(duration.subsec_micros()), 6);
}

struct Civil {
    year: u64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, rfc3339: &str, common: &str) {
        let time = Timestamp(seconds * 1_000_000 + 7);
        assert_eq!(time.rfc3339().to_string(), rfc3339);
        let mut pushed = Vec::new();
        time.push_rfc3339(&mut pushed);
        assert_eq!(pushed, rfc3339.as_bytes());
        assert_eq!(time.common().to_string(), common);
    }

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        for value in [0, 7, 10, 99, 100, u64::MAX] {
            push_number(&mut out, value);
            out.push(b' ');
        }
        push_seconds(&mut out, Duration::from_micros(12_000_345));
        assert_eq!(out, format!("0 7 10 99 100 {} 12.000345", u64::MAX).as_bytes());
    }

    #[test]
    fn times() {
        check(0, "1970-01-01T00:00:00.000007Z", "01/Jan/1970:00:00:00 +0000");
        check(951_782_400, "2000-02-29T00:00:00.000007Z", "29/Feb/2000:00:00:00 +0000");
        check(1_795_460_645, "2026-11-23T19:04:05.000007Z", "23/Nov/2026:19:04:05 +0000");
    }
}
