//! A line of the access log.

use std::net::IpAddr;

use crate::context::facts::{Facts, push_number, push_seconds};
use crate::context::template::{Piece, display};
use crate::protocol::escape;
use crate::site::{Log, LogField};

/// Appends a line. Whatever others have sent, it is one line, and each value can be told from what is beside it (see [`escape`]).
pub(crate) fn write(log: &Log, facts: &Facts<'_>, out: &mut Vec<u8>) {
    match log {
        Log::Off => return,
        Log::Json(fields) => json(fields, facts, out),
        Log::Template(template) => template.pieces.iter().for_each(|piece| template_piece(piece, facts, out)),
    }
    out.push(b'\n');
}

/// Literal text is the site's own and stands as it is written there; a value is escaped.
fn template_piece(piece: &Piece, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    piece.render(facts, out);
    if matches!(piece, Piece::Text(_)) {
        return;
    }
    if out.len() == start {
        // What has no value is a dash, as in Apache's log.
        return out.push(b'-');
    }
    if !escape::is_plain(&out[start..]) {
        let value = out.split_off(start);
        escape::line(&value, out);
    }
}

fn json(fields: &[LogField], facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'{');
    for field in fields {
        let before = out.len();
        if before > start + 1 {
            out.push(b',');
        }
        if !member(*field, facts, out) {
            out.truncate(before);
        }
    }
    out.push(b'}');
}

/// Writes a member, or says that it has no value.
fn member(field: LogField, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
    let bytes = |name: &str, value: &[u8], out: &mut Vec<u8>| {
        key(name, out);
        escape::json(value, out);
        !value.is_empty()
    };
    let text = |name: &str, value: &str, out: &mut Vec<u8>| bytes(name, value.as_bytes(), out);
    match field {
        LogField::Time => {
            out.extend_from_slice(b"\"time\":\"");
            facts.time.push_rfc3339(out);
            out.push(b'"');
            true
        }
        LogField::Client => {
            out.extend_from_slice(b"\"client\":\"");
            push_address(out, facts.client);
            out.push(b'"');
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
            out.extend_from_slice(b"\"duration\":");
            push_seconds(out, facts.duration);
            true
        }
        LogField::Route => text("route", facts.route, out),
        LogField::Upstream => text("upstream", facts.upstream, out),
        LogField::Server => text("server", facts.server, out),
        LogField::ServerConnections | LogField::Attempts if facts.attempts == 0 => false,
        LogField::ServerConnections => number("\"server-connections\":", u64::from(facts.server_connections), out),
        LogField::Attempts => number("\"attempts\":", u64::from(facts.attempts), out),
        LogField::Reason => text("reason", facts.reason, out),
        LogField::Detail => text("detail", facts.detail, out),
        LogField::Cache => text("cache", facts.cache, out),
        LogField::CacheReason => text("cache-reason", facts.cache_reason, out),
        LogField::RequestId => {
            key("request-id", out);
            out.push(b'"');
            display(out, facts.request_id);
            out.push(b'"');
            true
        }
        LogField::Referer => bytes("referer", facts.header("referer").unwrap_or_default(), out),
        LogField::Rule => text("rule", facts.rule, out),
        LogField::User => bytes("user", facts.user, out),
        LogField::UserAgent => bytes("user-agent", facts.header("user-agent").unwrap_or_default(), out),
    }
}

/// Four numbers are faster by hand than by `fmt`, and most clients are four numbers.
fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return display(out, address);
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_number(out, u64::from(octet));
    }
}

fn number(key: &str, value: u64, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(key.as_bytes());
    push_number(out, value);
    true
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::context::settings::Settings;
    use crate::context::template::Template;
    use crate::protocol::fields::Fields;

    /// A line with the user agent between quotes, and in JSON.
    fn check(user_agent: &[u8], template: &str, json: &str) {
        let fields: Fields = [("user-agent", user_agent)].into_iter().collect();
        let settings = Settings::default();
        let facts = Facts::nothing(&Method::GET, &fields, &settings);
        let pieces = vec![
            Piece::Text("\t\"".into()),
            Piece::Header("user-agent".into()),
            Piece::Text("\" ".into()),
            Piece::Cookie("a".into()),
        ];
        let in_template = Log::Template(Template { pieces: pieces.into() });
        for (log, expected) in [(in_template, template), (Log::Json(vec![LogField::UserAgent].into()), json)] {
            let mut out = b"before\n".to_vec();
            write(&log, &facts, &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), format!("before\n{expected}\n"));
        }
    }

    #[test]
    fn lines() {
        check(b"curl/8", "\t\"curl/8\" -", "{\"user-agent\":\"curl/8\"}");
        check(b"", "\t\"-\" -", "{}");
        check(b"\"", "\t\"\\x22\" -", "{\"user-agent\":\"\\\"\"}");
        check(
            b"a\xe9\" 200\xc2\x85",
            "\t\"a\\xE9\\x22 200\\xC2\\x85\" -",
            "{\"user-agent\":\"a\\\\xE9\\\" 200\\u0085\"}",
        );
    }
}
