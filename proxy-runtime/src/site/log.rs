//! The part of the contract that is about logs: `log access`, its fields and outputs, and `log errors`.

use std::time::Duration;

use super::log_field::LogMember;
use crate::context::param::Setting;
use crate::context::template::Template;
use crate::value::{List, Place, Text};

/// `log access`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    /// What a line looks like.
    pub format: LogFormat,
    /// Where lines go: indices into [`Site::outputs`](super::Site::outputs).
    pub outputs: List<u16>,
    /// Exchanges for which one of these holds are written; all, where there is none.
    pub when: List<LogCondition>,
    /// How many of a million exchanges are written. Errors always are.
    pub sample: u32,
    /// Some member is the time of a response's head, or of a server's.
    pub timed: bool,
    /// Some member is a field of the response.
    pub of_response: bool,
}

/// The value of [`Log::sample`] that is all exchanges.
pub const EVERY: u32 = 1_000_000;

/// `log access format=`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// One JSON object a line.
    Json(LogMembers),
    /// A line from a template; `combined` is one of them.
    Template(Template),
}

/// The members of a JSON line.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogMembers {
    /// In their order.
    pub list: List<LogMember>,
    /// Values are those of the Elastic Common Schema: a duration in nanoseconds, versions without the protocol's name.
    pub ecs: bool,
}

/// A line `when`: all that it says holds.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogCondition {
    /// The first and the last status.
    pub status: Option<(u16, u16)>,
    /// The reason; "any" is any.
    pub reason: Option<Text>,
    /// It took at least so long.
    pub at_least: Option<Duration>,
    /// It took less than this.
    pub below: Option<Duration>,
    /// The pattern of the route.
    pub route: Option<Text>,
}

/// A `to`: where lines go.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOutput {
    /// Where.
    pub target: LogTarget,
    /// Where it is written.
    pub place: Place,
}

/// Where the lines of a [`LogOutput`] go.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file.
    File(LogFile),
    /// A syslog server (RFC 5424).
    Syslog(Syslog),
    /// The journal of systemd, by the path of its socket.
    Journal(Setting<Text>),
}

/// A file that lines are appended to.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its path.
    pub path: Setting<Text>,
    /// It is renamed before it becomes larger than this, in bytes.
    pub rotate: Option<Setting<u64>>,
    /// How many of those that were renamed are kept.
    pub keep: u16,
}

/// A syslog server (RFC 5424).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Its address, as [`syslog_address`] has it.
    pub address: Setting<Text>,
    /// The facility's number.
    pub facility: u8,
    /// The name of the application.
    pub tag: Text,
}

/// `log errors`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLog {
    /// Notices of this level are written, and those above it.
    pub level: LogLevel,
    /// Lines are JSON.
    pub json: bool,
    /// Where lines go.
    pub outputs: List<LogOutput>,
}

/// How much a notice matters, most first.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something is not as it should be; the proxy goes on.
    Warn,
    /// What the proxy does.
    Info,
}

impl LogLevel {
    /// All of them, by name.
    pub const NAMES: &'static [(&'static str, LogLevel)] =
        &[("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info)];

    /// Its name.
    pub fn name(self) -> &'static str {
        LogLevel::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// The facilities of syslog by name (RFC 5424 section 6.2.1).
pub const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The socket of systemd's journal.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// How a syslog server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogAddress<'a> {
    /// A datagram socket in the file system.
    Unix(&'a str),
    /// A datagram for each line (RFC 5426).
    Udp(&'a str, u16),
    /// A connection, with the length of each line before it (RFC 6587 section 3.4.1).
    Tcp(&'a str, u16),
}

/// Parses `unix:/path`, `udp:host:port` or `tcp:host:port`.
///
/// # Errors
/// What is expected instead.
pub fn syslog_address(text: &str) -> Result<SyslogAddress<'_>, &'static str> {
    use crate::context::settings::{Address, address};
    const EXPECTED: &str = "a syslog server is \"unix:/path\", \"udp:host:port\" or \"tcp:host:port\"";
    let host_and_port = |rest| match address(rest)? {
        Address::Tcp(host, port) if !host.is_empty() => Ok((host, port)),
        _ => Err(EXPECTED),
    };
    match text.split_once(':') {
        Some(("unix", _)) => match address(text)? {
            Address::Unix(path) => Ok(SyslogAddress::Unix(path)),
            Address::Tcp(..) => Err(EXPECTED),
        },
        Some(("udp", rest)) => host_and_port(rest).map(|(host, port)| SyslogAddress::Udp(host, port)),
        Some(("tcp", rest)) => host_and_port(rest).map(|(host, port)| SyslogAddress::Tcp(host, port)),
        _ => Err(EXPECTED),
    }
}

/// What the path of a file or socket must be: absolute, and no folder.
///
/// # Errors
/// What is expected instead.
pub fn log_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("an absolute path is expected, as in \"/var/log/site/access.log\"");
    }
    if path.ends_with('/') || path.contains('\0') {
        return Err("a path of a file is expected, and not of a folder");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check =
            |text, expected: Option<SyslogAddress<'_>>| assert_eq!(syslog_address(text).ok(), expected, "{text}");
        check("unix:/dev/log", Some(SyslogAddress::Unix("/dev/log")));
        check("udp:10.0.0.1:514", Some(SyslogAddress::Udp("10.0.0.1", 514)));
        check("tcp:[::1]:601", Some(SyslogAddress::Tcp("::1", 601)));
        check("tcp:logs.internal:601", Some(SyslogAddress::Tcp("logs.internal", 601)));
        check("10.0.0.1:514", None);
        check("udp:10.0.0.1", None);
        check("udp::514", None);
        check("udp:unix:/dev/log", None);
        check("tls:10.0.0.1:6514", None);
        check("unix:dev/log", None);
        check("", None);
    }
}
