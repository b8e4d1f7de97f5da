//! The settings of this start: the values of `param`s and the content of files. Created once, read everywhere.
//!
//! Values are parsed here, by the compiler's rules for values in the site. Pure except for
//! [`Settings::read_files`], which is called at start and on SIGHUP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::context::param::{FilePath, FileRef, Param, ParamKind, Setting};
use crate::value::{Place, Text};

/// The values of parameters and files, by index.
#[derive(Debug, Default)]
pub struct Settings {
    params: Vec<ParamValue>,
    files: Vec<ArcSwap<Vec<u8>>>,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamValue {
    /// An address, a string, or a path.
    Text(String),
    /// A number, or a size in bytes.
    Number(u64),
    /// A duration.
    Duration(Duration),
}

/// Why the start fails, with the line of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// The error message.
    pub message: String,
    /// `file:line` of the site.
    pub place: Place,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.file, self.place.line, self.message)
    }
}

/// The largest file that is read at start, in bytes.
pub const MAX_FILE: u64 = 16 << 20;

impl Settings {
    /// Takes the value of each parameter from `given` or its default, and parses it.
    ///
    /// # Errors
    /// One for each parameter that is missing or invalid.
    pub fn new(params: &[Param], given: impl Fn(&Param) -> Option<String>) -> Result<Settings, Vec<StartError>> {
        let mut values = Vec::with_capacity(params.len());
        let mut refused = Vec::new();
        for param in params {
            let Some(text) = given(param).or_else(|| param.default.as_deref().map(str::to_owned)) else {
                let message = format!(
                    "the parameter `{}` ({}) has no value: give --{} or set {}",
                    param.name,
                    param.kind,
                    param.name,
                    variable(&param.name)
                );
                refused.push(StartError { message, place: param.place.clone() });
                continue;
            };
            let value = param.kind.parse(&text).map_err(str::to_owned);
            match value.and_then(|value| param.holds(&value).map(|()| value)) {
                Ok(value) => values.push(value),
                Err(reason) => {
                    let shown = if param.kind == ParamKind::Secret { "***" } else { &text };
                    let message = format!("the parameter `{}` is `{shown}`: {reason}", param.name);
                    refused.push(StartError { message, place: param.place.clone() });
                }
            }
        }
        if refused.is_empty() { Ok(Settings { params: values, files: Vec::new() }) } else { Err(refused) }
    }

    /// Reads all files; in a later call, files that can't be read keep their previous content.
    ///
    /// # Errors
    /// One for each file that could not be read.
    pub fn read_files(&mut self, files: &[FileRef]) -> Result<(), Vec<StartError>> {
        let (read, refused): (Vec<_>, Vec<_>) = files.iter().map(|file| self.read_file(file)).partition(Result::is_ok);
        self.files = read.into_iter().flatten().map(ArcSwap::from_pointee).collect();
        if refused.is_empty() { Ok(()) } else { Err(refused.into_iter().filter_map(Result::err).collect()) }
    }

    /// Reads all files again; those that can't be read keep their previous content. Returns the errors.
    pub fn reread_files(&self, files: &[FileRef]) -> Vec<StartError> {
        let mut refused = Vec::new();
        for (file, kept) in files.iter().zip(&self.files) {
            match self.read_file(file) {
                Ok(content) => kept.store(Arc::new(content)),
                Err(error) => refused.push(error),
            }
        }
        refused
    }

    /// Returns what is another after a file was changed or replaced, or its permissions were: the time of that, and the number of the file; `None` if it
    /// does not exist.
    #[cfg(feature = "serve")]
    pub(crate) fn changed(&self, file: &FileRef) -> Option<(i64, i64, u64)> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(self.path(file)).ok()?;
        Some((found.ctime(), found.ctime_nsec(), found.ino()))
    }

    /// Returns the path of a file.
    pub(crate) fn path<'a>(&'a self, file: &'a FileRef) -> &'a str {
        match &file.path {
            FilePath::Fixed(path) => path,
            FilePath::Param(index) => self.text(*index),
        }
    }

    /// Returns the error for a file with invalid content.
    #[cfg(feature = "serve")]
    pub(crate) fn refuse(&self, file: &FileRef, why: &str) -> StartError {
        StartError { message: format!("`{}`: {why}", self.path(file)), place: file.place.clone() }
    }

    fn read_file(&self, file: &FileRef) -> Result<Vec<u8>, StartError> {
        let path = self.path(file);
        let refuse = |message: String| StartError { message, place: file.place.clone() };
        let read = || -> std::io::Result<Vec<u8>> {
            let open = std::fs::File::open(path)?;
            if open.metadata()?.len() > MAX_FILE {
                return Err(std::io::Error::other(format!("larger than {} MiB", MAX_FILE >> 20)));
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(open, MAX_FILE), &mut content)?;
            Ok(content)
        };
        read().map_err(|error| refuse(format!("can't read `{path}`: {error}")))
    }

    /// Returns the value of a text parameter.
    pub fn text(&self, index: u16) -> &str {
        match self.params.get(usize::from(index)) {
            Some(ParamValue::Text(text)) => text,
            _ => "",
        }
    }

    /// Returns the content of a file as it was last read.
    pub fn file(&self, index: u16) -> Arc<Vec<u8>> {
        self.files.get(usize::from(index)).map(ArcSwap::load_full).unwrap_or_default()
    }

    /// Returns a parameter's value, for templates.
    pub(crate) fn param(&self, index: u16) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| match self.params.get(usize::from(index)) {
            Some(ParamValue::Text(text)) => f.write_str(text),
            Some(ParamValue::Number(number)) => write!(f, "{number}"),
            Some(ParamValue::Duration(duration)) => write!(f, "{duration:?}"),
            None => Ok(()),
        })
    }

    /// Appends a file's content without its last line end.
    pub(crate) fn render_file(&self, index: u16, out: &mut Vec<u8>) {
        let content = self.file(index);
        let text: &[u8] = &content;
        out.extend_from_slice(text.strip_suffix(b"\n").map_or(text, |text| text.strip_suffix(b"\r").unwrap_or(text)));
    }
}

impl Setting<Text> {
    /// Returns the value.
    pub fn get<'a>(&'a self, settings: &'a Settings) -> &'a str {
        match self {
            Setting::Fixed(text) => text,
            Setting::Param(index) => settings.text(*index),
        }
    }
}

impl Setting<u64> {
    /// Returns the value; costs a branch, and for a parameter a lookup.
    pub fn get(&self, settings: &Settings) -> u64 {
        match self {
            Setting::Fixed(number) => *number,
            Setting::Param(index) => match settings.params.get(usize::from(*index)) {
                Some(ParamValue::Number(number)) => *number,
                _ => 0,
            },
        }
    }
}

impl Setting<Duration> {
    /// Returns the value; costs a branch, and for a parameter a lookup.
    pub fn get(&self, settings: &Settings) -> Duration {
        match self {
            Setting::Fixed(duration) => *duration,
            Setting::Param(index) => match settings.params.get(usize::from(*index)) {
                Some(ParamValue::Duration(duration)) => *duration,
                _ => Duration::ZERO,
            },
        }
    }
}

/// Returns the environment variable of a parameter: upper case, `_` for `-`.
pub fn variable(param: &str) -> String {
    param.to_ascii_uppercase().replace('-', "_")
}

impl Param {
    /// Checks a value against the bounds of all of its uses.
    ///
    /// # Errors
    /// The allowed values, as a phrase.
    pub fn holds(&self, value: &ParamValue) -> Result<(), String> {
        match value {
            ParamValue::Number(number) if !(self.least..=self.most).contains(number) => {
                Err(format!("{} is allowed", self.range()))
            }
            _ => Ok(()),
        }
    }

    /// Returns the bounds as text, such as `1 to 1024`.
    pub fn range(&self) -> String {
        format!("{} to {}", self.text(self.least), self.text(self.most))
    }

    /// Returns the bound that a value exceeds, as text.
    pub fn nearest(&self, value: &ParamValue) -> String {
        self.text(if matches!(value, ParamValue::Number(number) if *number < self.least) {
            self.least
        } else {
            self.most
        })
    }

    fn text(&self, bound: u64) -> String {
        if self.kind == ParamKind::Size { size_text(bound) } else { bound.to_string() }
    }
}

impl ParamKind {
    /// All types, with their names in `type=`.
    pub const NAMES: [(&'static str, ParamKind); 7] = [
        ("addr", ParamKind::Addr),
        ("string", ParamKind::String),
        ("number", ParamKind::Number),
        ("duration", ParamKind::Duration),
        ("size", ParamKind::Size),
        ("file", ParamKind::File),
        ("secret", ParamKind::Secret),
    ];

    /// Parses a value of this type.
    ///
    /// # Errors
    /// The expected form, as a phrase.
    pub fn parse(self, text: &str) -> Result<ParamValue, &'static str> {
        Ok(match self {
            ParamKind::Addr => {
                address(text)?;
                ParamValue::Text(text.to_owned())
            }
            ParamKind::String | ParamKind::File | ParamKind::Secret => {
                if text.chars().any(char::is_control) {
                    return Err("control characters are not allowed");
                }
                if text.is_empty() && self != ParamKind::String {
                    return Err("a path is expected");
                }
                ParamValue::Text(text.to_owned())
            }
            ParamKind::Number => ParamValue::Number(text.parse().map_err(|_| "a whole number is expected, as in 8")?),
            ParamKind::Duration => ParamValue::Duration(duration(text)?),
            ParamKind::Size => ParamValue::Number(size(text)?),
        })
    }
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ParamKind::NAMES.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name))
    }
}

/// The longest allowed duration: a year.
pub const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses `250ms`, `5s`, `2m`, `1h`, `1d`.
///
/// # Errors
/// The expected form, as a phrase.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a duration is a whole number and a unit, ms s m h or d, as in \"5s\"";
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(EXPECTED),
    };
    let duration = number.checked_mul(millis).map(Duration::from_millis);
    duration.filter(|&duration| duration <= MAX_DURATION).ok_or("longer than a year")
}

/// Parses `512B`, `64KiB`, `10MiB`, `1GiB`, and the decimal `10kB`, `10MB`, `1GB`.
///
/// # Errors
/// The expected form, as a phrase.
pub fn size(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a size is a whole number and a unit, B KiB MiB GiB (or kB MB GB), as in \"10MiB\"";
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(EXPECTED),
    };
    number.checked_mul(bytes).filter(|&bytes| bytes <= 1 << 50).ok_or("larger than 1024 TiB")
}

/// Formats a size like [`size`] parses it, in the largest unit that is exact.
pub fn size_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
    let exact = |shift: u32| bytes >> shift > 0 && bytes.trailing_zeros() >= shift;
    let (unit, shift) = units.into_iter().find(|&(_, shift)| exact(shift)).unwrap_or(("B", 0));
    format!("{}{unit}", bytes >> shift)
}

/// A parsed address to listen on or connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// A Unix socket.
    Unix(&'a str),
    /// Host (a name, an IPv4 address, an IPv6 address without brackets, or "" for all local addresses) and port.
    Tcp(&'a str, u16),
}

/// Parses `host:port`, `[v6]:port`, `:port` or `unix:/path`.
///
/// # Errors
/// The expected form, as a phrase.
pub fn address(text: &str) -> Result<Address<'_>, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        // sockaddr_un has 108 bytes, including the terminator.
        return match path.len() {
            1..=107 if path.starts_with('/') && !path.contains('\0') => Ok(Address::Unix(path)),
            108.. => Err("the path of a unix socket has at most 107 bytes"),
            _ => Err("`unix:` is followed by an absolute path, as in \"unix:/run/app.sock\""),
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or("a port is missing, as in \"10.0.0.1:8080\"")?;
    let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(v6)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
        Some(_) => return Err("between brackets an IPv6 address is expected, as in \"[::1]:8080\""),
        None if host.contains(':') => return Err("an IPv6 address stands in brackets, as in \"[::1]:8080\""),
        None if host.is_empty() || crate::protocol::target::is_host(host) => host,
        None => return Err("a host is letters, digits, dots and hyphens, or an address"),
    };
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && !host.is_empty()
        && host.parse::<std::net::Ipv4Addr>().is_err()
    {
        return Err("an IPv4 address is four numbers up to 255, as in \"10.0.0.1:8080\"");
    }
    match port.parse::<u16>() {
        Ok(0) | Err(_) => Err("a port is a number from 1 to 65535"),
        Ok(port) if port.to_string().len() == text.rsplit(':').next().map_or(0, str::len) => {
            Ok(Address::Tcp(host, port))
        }
        Ok(_) => Err("a port has no leading zeros or sign"),
    }
}

/// Whether the host of a listener's address is one that this machine alone can reach.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text, expected: Option<u64>| {
            assert_eq!(duration(text).ok().map(|found| found.as_millis() as u64), expected, "{text}")
        };
        check("250ms", Some(250));
        check("5s", Some(5000));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("365d", Some(31_536_000_000));
        check("366d", None);
        check("5", None);
        check("5parsecs", None);
        check("-5s", None);
        check("1.5s", None);
        check("99999999999999999999s", None);
        check("", None);
    }

    #[test]
    fn sizes() {
        let check = |text, expected: Option<u64>| assert_eq!(size(text).ok(), expected, "{text}");
        check("10B", Some(10));
        check("1KiB", Some(1024));
        check("10MiB", Some(10 << 20));
        check("1GB", Some(1_000_000_000));
        check("10", None);
        check("10 MiB", None);
        check("10mb", None);
        check("18446744073709551615TiB", None);
    }

    #[test]
    fn addresses() {
        let check = |text, expected: Option<Address<'_>>| assert_eq!(address(text).ok(), expected, "{text}");
        check("10.0.0.1:80", Some(Address::Tcp("10.0.0.1", 80)));
        check("api.internal:8080", Some(Address::Tcp("api.internal", 8080)));
        check("[::1]:80", Some(Address::Tcp("::1", 80)));
        check(":80", Some(Address::Tcp("", 80)));
        check("unix:/run/a.sock", Some(Address::Unix("/run/a.sock")));
        check("unix:run/a.sock", None);
        check("10.0.0.1", None);
        check("10.0.0.1:0", None);
        check("10.0.0.1:70000", None);
        check("10.0.0.1:+80", None);
        check("10.0.0.1:080", None);
        check("10.0.0.300:80", None);
        check("::1:80", None);
        check("http://a:80", None);
        check("a b:80", None);
    }
}
