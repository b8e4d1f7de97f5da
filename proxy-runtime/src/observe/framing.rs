//! The framing of a line for an output ([`RecordFraming`]): the header of a syslog message (RFC 5424), or fields of systemd's journal.
//!
//! A record stays one line until it is sent, so that a queue can count records: the fields of a journal's entry are separated by
//! [`JOURNAL_FIELD`], which no escaped value contains.

use super::line;
use crate::context::facts::{Facts, Timestamp, push_number};
use crate::protocol::escape;
use crate::site::{Log, LogFormat, LogLevel, LogMember, LogOutput, LogTarget, Syslog};

/// What is added to a line for an output.
pub(super) enum RecordFraming {
    /// Nothing.
    Line,
    /// The header of a syslog message.
    Syslog(SyslogHeader),
    /// Fields of the journal.
    Journal,
}

/// The parts of the header that all messages to a syslog server share.
pub(super) struct SyslogHeader {
    facility: u8,
    /// The host, the application and the process.
    origin: Vec<u8>,
}

/// Separates two fields of an entry of the journal.
pub(super) const JOURNAL_FIELD: u8 = 0x1F;

/// The identifier of the proxy's entries in the journal, and the prefix of their field names.
const IDENTIFIER: &str = "kiln";

/// The longest field name that the journal accepts.
const LONGEST_NAME: usize = 64;

impl RecordFraming {
    pub(super) fn of(output: &LogOutput) -> RecordFraming {
        match &output.target {
            LogTarget::Stdout | LogTarget::Stderr | LogTarget::File(_) => RecordFraming::Line,
            LogTarget::Syslog(syslog) => RecordFraming::Syslog(SyslogHeader::new(syslog)),
            LogTarget::Journal(_) => RecordFraming::Journal,
        }
    }

    /// Appends a record about an exchange.
    pub(super) fn exchange(&self, log: &Log, facts: &Facts<'_>, out: &mut Vec<u8>) {
        match self {
            RecordFraming::Line => line::write(&log.format, facts, out),
            RecordFraming::Syslog(header) => {
                header.push(level(facts), facts.time, "access", out);
                one_line(&log.format, facts, out);
            }
            RecordFraming::Journal => {
                begin_entry(level(facts), out);
                match &log.format {
                    LogFormat::Template(_) => one_line(&log.format, facts, out),
                    LogFormat::Json(members) => {
                        line::summary(members, facts, out);
                        for member in members.list.iter() {
                            journal_field(member, members.ecs, facts, out);
                        }
                        out.push(b'\n');
                    }
                }
            }
        }
    }

    /// Returns a notice as a record.
    pub(super) fn notice(&self, level: LogLevel, json: bool, message: &str) -> Vec<u8> {
        let (time, mut out) = (Timestamp::now(), Vec::new());
        match self {
            RecordFraming::Line if !json => out = format!("{} {} ", time.rfc3339(), level.name()).into_bytes(),
            RecordFraming::Line => {}
            RecordFraming::Syslog(header) => header.push(level, time, "error", &mut out),
            RecordFraming::Journal => begin_entry(level, &mut out),
        }
        if json && !matches!(self, RecordFraming::Journal) {
            let begin = format!("{{\"time\":\"{}\",\"level\":\"{}\",\"message\":", time.rfc3339(), level.name());
            out.extend_from_slice(begin.as_bytes());
            escape::json(message.as_bytes(), &mut out);
            out.push(b'}');
        } else {
            out.extend_from_slice(escape::shown(message.as_bytes()).as_bytes());
        }
        out.push(b'\n');
        out
    }
}

/// Appends a line without the line ends that the site's format may contain: they would end the record.
fn one_line(format: &LogFormat, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    line::write(format, facts, out);
    if let Some((_, line)) = out[start..].split_last_mut() {
        line.iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b' ');
    }
}

/// Returns the level of an exchange: `Error` for errors of the proxy or a server, `Warn` for what the proxy refused,
/// `Info` for the rest.
fn level(facts: &Facts<'_>) -> LogLevel {
    match facts.status {
        500.. => LogLevel::Error,
        _ if !facts.reason.is_empty() => LogLevel::Warn,
        _ => LogLevel::Info,
    }
}

/// Returns the severity by RFC 5424 section 6.2.1, which the journal uses too.
fn severity(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
    }
}

impl SyslogHeader {
    fn new(syslog: &Syslog) -> SyslogHeader {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let origin = format!(" {} {} {} ", word(&host, 255), word(&syslog.tag, 48), std::process::id());
        SyslogHeader { facility: syslog.facility, origin: origin.into_bytes() }
    }

    /// Appends the header (RFC 5424 section 6.2), without structured data.
    fn push(&self, level: LogLevel, time: Timestamp, kind: &str, out: &mut Vec<u8>) {
        out.push(b'<');
        push_number(out, u64::from(self.facility * 8 + severity(level)));
        out.extend_from_slice(b">1 ");
        time.push_rfc3339(out);
        out.extend_from_slice(&self.origin);
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b" - ");
    }
}

/// Returns a text as a word of a header: printable ASCII without blanks, or a dash.
fn word(text: &str, longest: usize) -> String {
    let word: String = text.trim().chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

fn begin_entry(level: LogLevel, out: &mut Vec<u8>) {
    out.extend_from_slice(b"PRIORITY=");
    push_number(out, u64::from(severity(level)));
    out.push(JOURNAL_FIELD);
    out.extend_from_slice(b"SYSLOG_IDENTIFIER=");
    out.extend_from_slice(IDENTIFIER.as_bytes());
    out.push(JOURNAL_FIELD);
    out.extend_from_slice(b"MESSAGE=");
}

/// Appends a member as a field: `KILN_REQUEST_ID` for `request-id`.
fn journal_field(member: &LogMember, ecs: bool, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(JOURNAL_FIELD);
    let name = IDENTIFIER.bytes().chain(*b"_").chain(member.name.bytes()).take(LONGEST_NAME);
    out.extend(name.map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' }));
    out.push(b'=');
    if !line::plain(member, ecs, facts, out) {
        out.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::context::settings::Settings;
    use crate::protocol::fields::Fields;
    use crate::site::{LogField, LogMembers, Setting};

    #[test]
    fn records() {
        let fields: Fields = [("user-agent", b"a\xc2\x85b".as_slice())].into_iter().collect();
        let settings = Settings::default();
        let facts = Facts {
            status: 503,
            path: "/a",
            route: "/*",
            time: Timestamp(1_795_460_645_000_007),
            ..Facts::nothing(&Method::GET, &fields, &settings)
        };
        let member = |field: LogField| LogMember { field, name: field.declaration().name.into(), header: "".into() };
        let members = [LogField::Path, LogField::Reason, LogField::Status, LogField::UserAgent].map(member).to_vec();
        let log = Log {
            format: LogFormat::Json(LogMembers { list: members.into(), ecs: false }),
            outputs: vec![0].into(),
            when: vec![].into(),
            sample: crate::site::EVERY,
            timed: false,
            of_response: false,
        };
        let syslog = Syslog { address: Setting::Fixed("unix:/dev/log".into()), facility: 23, tag: "a b".into() };
        let mut header = SyslogHeader::new(&syslog);
        assert!(String::from_utf8_lossy(&header.origin).ends_with(&format!(" ab {} ", std::process::id())));
        header.origin = b" h a 1 ".to_vec();
        let json = "{\"path\":\"/a\",\"status\":503,\"user-agent\":\"a\\u0085b\"}\n";
        let expected = format!("<187>1 2026-11-23T19:04:05.000007Z h a 1 access - {json}");
        let entry = "PRIORITY=3\x1fSYSLOG_IDENTIFIER=kiln\x1fMESSAGE=/a 503\x1fKILN_PATH=/a\x1fKILN_STATUS=503\x1f\
             KILN_USER_AGENT=a\\xC2\\x85b\n";
        for (framing, expected) in
            [(RecordFraming::Line, json), (RecordFraming::Syslog(header), &*expected), (RecordFraming::Journal, entry)]
        {
            let mut out = Vec::new();
            framing.exchange(&log, &facts, &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }

    #[test]
    fn notices() {
        let text = |framing: RecordFraming, json: bool| {
            let record = framing.notice(LogLevel::Warn, json, "a \"b\"\nc");
            String::from_utf8(record).expect("text")
        };
        let (line, json) = (text(RecordFraming::Line, false), text(RecordFraming::Line, true));
        assert!(line.ends_with("Z warn a \"b\"\\x0Ac\n"), "{line}");
        assert!(json.ends_with("Z\",\"level\":\"warn\",\"message\":\"a \\\"b\\\"\\nc\"}\n"), "{json}");
        let entry = "PRIORITY=4\x1fSYSLOG_IDENTIFIER=kiln\x1fMESSAGE=a \"b\"\\x0Ac\n";
        assert_eq!(text(RecordFraming::Journal, true), entry);
    }
}
