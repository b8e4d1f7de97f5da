//! Writes lines of the access log.

use std::net::IpAddr;
use std::time::Duration;

use crate::context::facts::{Facts, RequestId, Timestamp, push_number, push_seconds};
use crate::context::template::{Piece, display};
use crate::protocol::escape;
use crate::protocol::trace_context::TraceId;
use crate::site::{LogField, LogFormat, LogMember, LogMembers};

/// Appends a line. Whatever clients and servers sent, it stays one line, and each value can be told from its neighbours (see
/// [`escape`]).
pub(crate) fn write(format: &LogFormat, facts: &Facts<'_>, out: &mut Vec<u8>) {
    match format {
        LogFormat::Json(members) => json(members, facts, out),
        LogFormat::Template(template) => template.pieces.iter().for_each(|piece| template_piece(piece, facts, out)),
    }
    out.push(b'\n');
}

/// Appends a piece of a template: literal text comes from the site and is written as it is; a value is escaped.
fn template_piece(piece: &Piece, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    piece.render(facts, out);
    if matches!(piece, Piece::Text(_)) {
        return;
    }
    if out.len() == start {
        // A value that is missing is a dash, as in Apache's log.
        return out.push(b'-');
    }
    if !escape::is_plain(&out[start..]) {
        let value = out.split_off(start);
        escape::line(&value, out);
    }
}

/// The version of the Elastic Common Schema that defines the names.
const ECS: &[u8] = b"\"ecs.version\":\"8.17.0\"";

fn json(members: &LogMembers, facts: &Facts<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    let start = out.len();
    if members.ecs {
        out.extend_from_slice(ECS);
    }
    for member in members.list.iter() {
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(member.name.as_bytes());
        out.extend_from_slice(b"\":");
        if !value(member, members.ecs, facts).json(out) {
            out.truncate(before);
        }
    }
    out.push(b'}');
}

/// Appends a member's value as escaped text. Returns whether it has one.
pub(super) fn plain(member: &LogMember, ecs: bool, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
    value(member, ecs, facts).plain(out)
}

/// Appends a summary of an exchange, from the members that the log has.
pub(super) fn summary(members: &LogMembers, facts: &Facts<'_>, out: &mut Vec<u8>) {
    const SAID: [LogField; 5] = [LogField::Method, LogField::Host, LogField::Path, LogField::Status, LogField::Reason];
    let start = out.len();
    for field in SAID {
        let Some(member) = members.list.iter().find(|member| member.field == field) else { continue };
        let before = out.len();
        if before > start {
            out.push(b' ');
        }
        if !plain(member, members.ecs, facts, out) {
            out.truncate(before);
        }
    }
}

/// The value of a member.
enum LogValue<'a> {
    None,
    Bytes(&'a [u8]),
    Number(u64),
    Seconds(Duration),
    Time(Timestamp),
    Address(IpAddr),
    Id(RequestId),
    Trace(TraceId),
}

fn value<'a>(member: &LogMember, ecs: bool, facts: &Facts<'a>) -> LogValue<'a> {
    let text = |value: &'a str| LogValue::Bytes(value.as_bytes());
    let header = |name: &str| LogValue::Bytes(facts.header(name).unwrap_or_default());
    let seconds = |duration: Option<Duration>| duration.map_or(LogValue::None, LogValue::Seconds);
    match member.field {
        LogField::Time => LogValue::Time(facts.time),
        LogField::Client => LogValue::Address(facts.client),
        LogField::Method => text(facts.method.as_str()),
        LogField::Scheme => text(facts.scheme),
        LogField::Host => text(facts.host),
        LogField::Path => text(facts.path),
        LogField::Query => text(facts.query.unwrap_or_default()),
        LogField::Protocol if ecs => text(facts.protocol.trim_start_matches("HTTP/")),
        LogField::Protocol => text(facts.protocol),
        LogField::Status if facts.status == 0 => LogValue::None,
        LogField::Status => LogValue::Number(u64::from(facts.status)),
        LogField::Bytes => LogValue::Number(facts.bytes),
        LogField::RequestBytes => LogValue::Number(facts.request_bytes),
        LogField::Duration if ecs => LogValue::Number(u64::try_from(facts.duration.as_nanos()).unwrap_or(u64::MAX)),
        LogField::Duration => LogValue::Seconds(facts.duration),
        LogField::FirstByte => seconds(facts.first_byte),
        LogField::Route => text(facts.route),
        LogField::Upstream => text(facts.upstream),
        LogField::Server => text(facts.server),
        LogField::ServerConnections | LogField::Attempts if facts.attempts == 0 => LogValue::None,
        LogField::ServerConnections => LogValue::Number(u64::from(facts.server_connections)),
        LogField::ServerDuration => seconds(facts.server_duration),
        LogField::Attempts => LogValue::Number(u64::from(facts.attempts)),
        LogField::Reason => text(facts.reason),
        LogField::Detail => text(facts.detail),
        LogField::Cache => text(facts.cache),
        LogField::CacheReason => text(facts.cache_reason),
        LogField::RequestId => LogValue::Id(facts.request_id),
        LogField::TraceId if facts.trace_id.0 == 0 => LogValue::None,
        LogField::TraceId => LogValue::Trace(facts.trace_id),
        LogField::Referer => header("referer"),
        LogField::Rule => text(facts.rule),
        LogField::User => LogValue::Bytes(facts.user),
        LogField::UserAgent => header("user-agent"),
        LogField::TlsVersion if ecs => text(facts.tls.trim_start_matches("TLSv")),
        LogField::TlsVersion => text(facts.tls),
        LogField::TlsCipher => text(facts.tls_cipher),
        LogField::TlsServerName => text(facts.tls_server_name),
        LogField::CertificateSubject => facts.certificate.map_or(LogValue::None, |shown| text(&shown.subject)),
        LogField::CertificateFingerprint => facts.certificate.map_or(LogValue::None, |shown| text(&shown.fingerprint)),
        LogField::Header => header(&member.header),
        LogField::ResponseHeader => {
            let found = facts.response_fields.and_then(|fields| fields.get(&member.header));
            LogValue::Bytes(found.unwrap_or_default())
        }
    }
}

impl LogValue<'_> {
    /// Appends the value as JSON. Returns whether there is one.
    fn json(&self, out: &mut Vec<u8>) -> bool {
        match self {
            LogValue::Bytes(value) => escape::json(value, out),
            LogValue::Time(_) | LogValue::Address(_) | LogValue::Id(_) | LogValue::Trace(_) => {
                out.push(b'"');
                self.plain(out);
                out.push(b'"');
            }
            LogValue::None | LogValue::Number(_) | LogValue::Seconds(_) => return self.plain(out),
        }
        !matches!(self, LogValue::Bytes(b""))
    }

    /// Appends the value as escaped text. Returns whether there is one.
    fn plain(&self, out: &mut Vec<u8>) -> bool {
        match self {
            LogValue::None | LogValue::Bytes(b"") => return false,
            LogValue::Bytes(value) => out.extend_from_slice(escape::shown(value).as_bytes()),
            LogValue::Number(number) => push_number(out, *number),
            LogValue::Seconds(duration) => push_seconds(out, *duration),
            LogValue::Time(time) => time.push_rfc3339(out),
            LogValue::Address(address) => push_address(out, *address),
            LogValue::Id(id) => display(out, id),
            LogValue::Trace(id) => display(out, id),
        }
        true
    }
}

/// Appends an address. IPv4, which most clients use, is written by hand, because that is faster than `fmt`.
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

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::context::settings::Settings;
    use crate::context::template::Template;
    use crate::protocol::fields::Fields;

    /// Checks a line with the user agent between quotes, and one in JSON.
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
        let in_template = LogFormat::Template(Template { pieces: pieces.into() });
        let member = LogMember { field: LogField::UserAgent, name: "user-agent".into(), header: "".into() };
        let in_json = LogFormat::Json(LogMembers { list: vec![member].into(), ecs: false });
        for (format, expected) in [(in_template, template), (in_json, json)] {
            let mut out = b"before\n".to_vec();
            write(&format, &facts, &mut out);
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
