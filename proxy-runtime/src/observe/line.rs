//! A line of the access log.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::facts::{Facts, push_number, push_seconds};
use crate::site::{Log, LogField};

/// Appends a line. Whatever the client sent can't make it two: control characters are escaped.
pub(super) fn write(log: &Log, facts: &Facts<'_>, out: &mut String) {
    match log {
        Log::Off => return,
        Log::Json(fields) => json(fields, facts, out),
        Log::Template(template) => {
            for piece in template.pieces.iter() {
                let start = out.len();
                template_piece(piece, facts, out);
                escape_controls(out, start);
            }
        }
    }
    out.push('\n');
}

fn template_piece(piece: &crate::template::Piece, facts: &Facts<'_>, out: &mut String) {
    let start = out.len();
    piece.render(facts, out);
    // What has no value is a dash, as in Apache's log.
    if out.len() == start && !matches!(piece, crate::template::Piece::Text(_)) {
        out.push('-');
    }
}

fn escape_controls(out: &mut String, start: usize) {
    if !out[start..].bytes().any(|byte| byte < 0x20 || byte == 0x7F || byte == b'"') || out[start..].len() == 1 {
        return;
    }
    let text = out.split_off(start);
    for char in text.chars() {
        if char.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{:02X}", u32::from(char));
        } else {
            out.push(char);
        }
    }
}

fn json(fields: &[LogField], facts: &Facts<'_>, out: &mut String) {
    let start = out.len();
    out.push('{');
    for field in fields {
        let before = out.len();
        if before > start + 1 {
            out.push(',');
        }
        if !member(*field, facts, out) {
            out.truncate(before);
        }
    }
    out.push('}');
}

/// Writes a member, or says that it has no value.
fn member(field: LogField, facts: &Facts<'_>, out: &mut String) -> bool {
    let text = |name: &str, value: &str, out: &mut String| {
        key(name, out);
        json_string(value, out);
        !value.is_empty()
    };
    // Writing to a String cannot fail.
    macro_rules! plain {
        ($name:literal, $($format:tt)*) => {{
            out.push_str(concat!("\"", $name, "\":"));
            let _ = write!(out, $($format)*);
            true
        }};
    }
    match field {
        LogField::Time => {
            out.push_str("\"time\":\"");
            facts.time.push_rfc3339(out);
            out.push('"');
            true
        }
        LogField::Client => {
            out.push_str("\"client\":\"");
            push_address(out, facts.client);
            out.push('"');
            true
        }
        LogField::Method => text("method", facts.method.as_str(), out),
        LogField::Scheme => text("scheme", facts.scheme, out),
        LogField::Host => text("host", facts.host, out),
        LogField::Path => text("path", facts.path, out),
        LogField::Query => text("query", facts.query.unwrap_or_default(), out),
        LogField::Protocol => text("protocol", facts.protocol, out),
        LogField::Status if facts.status == 0 => false,
        LogField::Status => number("\"status\":", u64::from(facts.status), out),
        LogField::Bytes => number("\"bytes\":", facts.bytes, out),
        LogField::Duration => {
            out.push_str("\"duration\":");
            push_seconds(out, facts.duration);
            true
        }
        LogField::Route => text("route", facts.route, out),
        LogField::Upstream => text("upstream", facts.upstream, out),
        LogField::Server => text("server", facts.server, out),
        LogField::ServerConnections | LogField::Tries if facts.tries == 0 => false,
        LogField::ServerConnections => number("\"server-connections\":", u64::from(facts.server_connections), out),
        LogField::Tries => number("\"tries\":", u64::from(facts.tries), out),
        LogField::Reason => text("reason", facts.reason, out),
        LogField::Cache => text("cache", facts.cache, out),
        LogField::CacheReason => text("cache-reason", facts.cache_reason, out),
        LogField::RequestId => plain!("request-id", "\"{}\"", facts.request_id),
        LogField::Referer => text("referer", facts.header("referer").unwrap_or_default(), out),
        LogField::Rule => text("rule", facts.rule, out),
        LogField::User => text("user", facts.user, out),
        LogField::UserAgent => text("user-agent", facts.header("user-agent").unwrap_or_default(), out),
    }
}

/// Four numbers are faster by hand than by `fmt`, and most clients are four numbers.
fn push_address(out: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Writing to a String cannot fail.
        let _ = write!(out, "{address}");
        return;
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push('.');
        }
        push_number(out, u64::from(octet));
    }
}

fn number(key: &str, value: u64, out: &mut String) -> bool {
    out.push_str(key);
    push_number(out, value);
    true
}

fn key(name: &str, out: &mut String) {
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

/// Appends text as a JSON string (RFC 8259 section 7).
pub(crate) fn json_string(text: &str, out: &mut String) {
    out.push('"');
    // Nearly always nothing is to escape; asked of all bytes at once, without a way out, the processor sees many at a time.
    let escapes = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0x7F);
    if !text.bytes().fold(false, |any, byte| any | escapes(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7F {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let check = |text: &str, expected: &str| {
            let mut out = String::new();
            json_string(text, &mut out);
            assert_eq!(out, expected);
        };
        check("plain", "\"plain\"");
        check("a\"b\\c\n\u{1}\u{7f}é", "\"a\\\"b\\\\c\\n\\u0001\\u007fé\"");
    }

    #[test]
    fn one_line_stays_one_line() {
        let mut out = String::from("kept\n");
        out.push_str("a\nb\u{1b}[0m");
        escape_controls(&mut out, 5);
        assert_eq!(out, "kept\na\\x0Ab\\x1B[0m");
    }
}
