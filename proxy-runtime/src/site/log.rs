//! The part of the contract for logs: `log access`, its fields and outputs, and `log errors`.

use std::time::Duration;

use super::log_field::LogMember;
use crate::context::param::Setting;
use crate::context::template::Template;
use crate::value::{List, Place, Text};

/// The directive `log access`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    /// The format of a line.
    pub format: LogFormat,
    /// The indices of the outputs in [`Site::outputs`](super::Site::outputs).
    pub outputs: List<u16>,
    /// The conditions: exchanges that meet one of them are written; all exchanges if the list is empty.
    pub when: List<LogCondition>,
    /// How many of a million exchanges are written. Errors always are.
    pub sample: u32,
    /// Whether a member is the time to a response's head, or the time of a server.
    pub timed: bool,
    /// Whether a member is a header field of the response.
    pub of_response: bool,
}

/// The value of [`Log::sample`] for all exchanges.
pub const EVERY: u32 = 1_000_000;

/// The value of `log access format=`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// One JSON object per line.
    Json(LogMembers),
    /// A line from a template; `combined` is one of them.
    Template(Template),
}

/// The members of a JSON line.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogMembers {
    /// The members in order.
    pub list: List<LogMember>,
    /// Whether values follow the Elastic Common Schema: durations in nanoseconds, versions without the protocol's name.
    pub ecs: bool,
}

/// A `when` line; all of its parts must hold.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogCondition {
    /// The first and the last status.
    pub status: Option<(u16, u16)>,
    /// The reason; "any" stands for all.
    pub reason: Option<Text>,
    /// The shortest duration.
    pub at_least: Option<Duration>,
    /// The duration must be less than this.
    pub below: Option<Duration>,
    /// The pattern of the route.
    pub route: Option<Text>,
}

/// A `to` line: an output.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOutput {
    /// The target of the output.
    pub target: LogTarget,
    /// Where it was declared.
    pub place: Place,
}

/// The target of a [`LogOutput`].
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
    /// The path of the file.
    pub path: Setting<Text>,
    /// The size in bytes above which the file is renamed.
    pub rotate: Option<Setting<u64>>,
    /// How many renamed files are kept.
    pub keep: u16,
}

/// A syslog server (RFC 5424).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// The address, in the form of [`syslog_address`].
    pub address: Setting<Text>,
    /// The number of the facility.
    pub facility: u8,
    /// The name of the application.
    pub tag: Text,
}

/// The directive `log errors`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLog {
    /// The lowest level that is written.
    pub level: LogLevel,
    /// Whether lines are JSON.
    pub json: bool,
    /// The outputs of the error log.
    pub outputs: List<LogOutput>,
}

/// The level of a notice, the most severe first.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something fails.
    Error,
    /// Something is wrong; the proxy continues.
    Warn,
    /// Information about what the proxy does.
    Info,
}

impl LogLevel {
    /// All levels by name.
    pub const NAMES: &'static [(&'static str, LogLevel)] =
        &[("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info)];

    /// Returns the name of the level.
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

/// The default socket of systemd's journal.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// The address of a syslog server.
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
/// Fails with the form that is expected.
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

/// Checks the path of a file or socket, which must be absolute and no folder.
///
/// # Errors
/// Fails with the form that is expected.
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
