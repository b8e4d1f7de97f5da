//! The files and ports that a site needs ([`Allowed`]), with the values that are given at start. Does no I/O.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::context::settings::{self, Address, Settings};
use crate::site::{Sandbox, Site};

/// Folders with the system's certificate authorities.
const AUTHORITIES: [&str; 5] =
    ["/etc/ssl", "/etc/pki", "/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];

/// Folders that the system's resolver reads: its files in /etc may be replaced while the process runs, and modules of the C library are loaded
/// when they are first used.
const RESOLVER: [&str; 7] =
    ["/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/run/systemd/resolve", "/run/resolvconf"];

/// The port of name servers, by TCP for long responses (RFC 7766).
const DNS: u16 = 53;

/// What the sandbox allows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Folders to read from.
    pub(super) read: Vec<PathBuf>,
    /// Folders to write to.
    pub(super) write: Vec<PathBuf>,
    /// TCP ports to connect to; `None` allows all of them.
    pub(super) connect: Option<Vec<u16>>,
    /// Whether programs may run, and all files be read.
    pub(super) programs: bool,
}

impl Allowed {
    /// Returns what the site needs, with the values that were given at start.
    pub(crate) fn of(sandbox: &Sandbox, site: &Site, settings: &Settings) -> Allowed {
        let mut allowed = Allowed { programs: sandbox.runs_programs, ..Allowed::default() };
        let folders = sandbox.read.iter().map(|folder| PathBuf::from(folder.get(settings)));
        let files = sandbox.read_files.iter().map(|file| folder(file.get(settings)));
        let reread = site.files.iter().map(|file| folder(settings.path(file)));
        allowed.read.extend(folders.chain(files).chain(reread));
        // The process reads its own memory and descriptors for its metrics.
        allowed.read.push("/proc/self".into());
        if sandbox.verifies {
            let variable = |name: &str| std::env::var(name).ok();
            allowed.read.extend(AUTHORITIES.map(PathBuf::from));
            allowed.read.extend(variable("SSL_CERT_FILE").map(|file| folder(&file)));
            allowed.read.extend(variable("SSL_CERT_DIR").map(PathBuf::from));
        }
        allowed.write.extend(sandbox.write.iter().map(|folder| PathBuf::from(folder.get(settings))));
        allowed.write.extend(sandbox.write_files.iter().map(|file| folder(file.get(settings))));
        let connect = || sandbox.connect.iter().flat_map(|all| all.iter()).map(|to| to.get(settings));
        allowed.connect = sandbox.connect.is_some().then(|| connect().filter_map(port).collect());
        if sandbox.resolves || connect().any(has_name) {
            allowed.read.extend(RESOLVER.map(PathBuf::from));
            allowed.connect.iter_mut().for_each(|ports| ports.push(DNS));
        }
        for paths in [&mut allowed.read, &mut allowed.write] {
            paths.sort();
            paths.dedup();
        }
        if let Some(ports) = &mut allowed.connect {
            ports.sort_unstable();
            ports.dedup();
        }
        allowed
    }
}

/// The form that `--check` prints.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
        if self.programs {
            writeln!(f, "sandbox: reads all files and runs programs, as `dns exec` needs")?;
        } else {
            writeln!(f, "sandbox: reads {}", list(&self.read))?;
        }
        if !self.write.is_empty() {
            writeln!(f, "sandbox: writes {}", list(&self.write))?;
        }
        let ports = self.connect.as_ref().map(|ports| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" "));
        match ports.as_deref() {
            None => writeln!(f, "sandbox: connects to any port"),
            Some("") => writeln!(f, "sandbox: connects to no port"),
            Some(ports) => writeln!(f, "sandbox: connects to ports {ports}"),
        }
    }
}

/// Returns the folder of a file.
fn folder(file: &str) -> PathBuf {
    match Path::new(file).parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}

/// Returns the port of an address or a URL, or a port alone; `None` if it is not reached by TCP.
fn port(to: &str) -> Option<u16> {
    if to.starts_with("udp:") {
        return None;
    }
    let to = to.strip_prefix("tcp:").unwrap_or(to);
    if let Ok(port) = to.parse() {
        return Some(port);
    }
    match to.parse::<http::Uri>().ok().filter(|url| url.scheme().is_some()) {
        Some(url) => url.port_u16().or(Some(if url.scheme_str() == Some("http") { 80 } else { 443 })),
        None => match settings::address(to) {
            Ok(Address::Tcp(_, port)) => Some(port),
            _ => None,
        },
    }
}

/// Returns whether an address or a URL has a host name, which must be resolved.
fn has_name(to: &str) -> bool {
    let to = to.strip_prefix("tcp:").or_else(|| to.strip_prefix("udp:")).unwrap_or(to);
    match settings::address(to) {
        Ok(Address::Tcp(host, _)) => host.parse::<IpAddr>().is_err(),
        Ok(Address::Unix(_)) => false,
        Err(_) => to.parse::<u16>().is_err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |to: &str, expected: bool| assert_eq!(has_name(to), expected, "{to}");
        check("3000", false);
        check("127.0.0.1:3000", false);
        check("[::1]:3000", false);
        check("unix:/run/app.sock", false);
        check("app.internal:8080", true);
        check("https://acme.example/directory", true);
        check("udp:10.0.0.1:514", false);
        check("tcp:logs.internal:601", true);
    }

    #[test]
    fn ports() {
        let check = |to: &str, expected: Option<u16>| assert_eq!(port(to), expected, "{to}");
        check("53", Some(53));
        check("127.0.0.1:3000", Some(3000));
        check("[::1]:3000", Some(3000));
        check("app.internal:8080", Some(8080));
        check("unix:/run/app.sock", None);
        check("https://acme.example/directory", Some(443));
        check("http://acme.example/directory", Some(80));
        check("https://acme.example:14000/dir", Some(14000));
        check("tcp:10.0.0.1:601", Some(601));
        check("udp:10.0.0.1:514", None);
        check("", None);
    }

    #[test]
    fn folders() {
        let check = |file: &str, expected: &str| assert_eq!(folder(file), Path::new(expected), "{file}");
        check("/etc/site/keys", "/etc/site");
        check("keys", ".");
        check("a/keys", "a");
        check("/keys", "/");
    }

    #[test]
    fn printed_form() {
        let check = |allowed: Allowed, expected: &str| assert_eq!(allowed.to_string(), expected);
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        check(
            Allowed {
                read: paths(&["/a", "/b"]),
                write: paths(&["/c"]),
                connect: Some(vec![80, 443]),
                programs: false,
            },
            "sandbox: reads /a /b\nsandbox: writes /c\nsandbox: connects to ports 80 443\n",
        );
        check(
            Allowed { connect: Some(Vec::new()), programs: true, ..Allowed::default() },
            "sandbox: reads all files and runs programs, as `dns exec` needs\nsandbox: connects to no port\n",
        );
        check(Allowed::default(), "sandbox: reads \nsandbox: connects to any port\n");
    }
}
