//! The files and ports that a site needs ([`Allowed`]), with the values that are given at start. The only I/O is to follow links.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::context::settings::{self, Address, Settings};
use crate::site::{Sandbox, Site};

/// Folders that the system's resolver reads: its files in /etc may be replaced while the process runs, and modules of the C library are loaded
/// when they are first used.
const RESOLVER: [&str; 5] = ["/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64"];

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
    /// Whether the system's resolver is used.
    pub(super) resolves: bool,
    /// Whether files are moved from one folder to another.
    pub(super) moves: bool,
    /// Those to read from and write to that do not exist: a rule can't be made for them.
    pub(super) missing: Vec<PathBuf>,
}

impl Allowed {
    /// Returns what the site needs, with the values that were given at start.
    pub(crate) fn of(sandbox: &Sandbox, site: &Site, settings: &Settings) -> Allowed {
        let mut allowed = Allowed::default();
        let named = sandbox.read.iter().chain(sandbox.read_files.iter()).map(|path| path.get(settings));
        let reread = site.files.iter().map(|file| settings.path(file));
        allowed.read.extend(named.chain(reread).flat_map(|path| around(Path::new(path))));
        // The process reads its own memory and descriptors for its metrics.
        allowed.read.push("/proc/self".into());
        allowed.write.extend(sandbox.write.iter().map(|folder| PathBuf::from(folder.get(settings))));
        allowed.write.extend(sandbox.write_files.iter().map(|file| written(Path::new(file.get(settings)))));
        allowed.moves = site.stores.iter().any(|store| !store.disks.is_empty());
        let connect = || sandbox.connect.iter().flat_map(|all| all.iter()).map(|to| to.get(settings));
        allowed.connect = sandbox.connect.is_some().then(|| connect().filter_map(port).collect());
        allowed.resolves = sandbox.resolves || connect().any(has_name);
        // Not all of these are on every machine; the site's own folders should be there.
        allowed.missing = allowed.read.iter().chain(&allowed.write).filter(|path| !path.exists()).cloned().collect();
        if allowed.resolves {
            allowed.read.extend(RESOLVER.map(PathBuf::from));
            // Often a link to what another service writes below /run.
            allowed.read.extend(around(Path::new("/etc/resolv.conf")));
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
        writeln!(f, "sandbox: reads {}", list(&self.read))?;
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

/// Returns the folders where a new version of a file or folder may appear: its own folder, and those of links on its path and of their
/// targets. A release is often a link to another folder, as certificates are links to numbered files.
fn around(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder(path)];
    for link in path.ancestors().filter(|part| part.is_symlink()) {
        folders.push(folder(link));
        folders.extend(link.canonicalize().ok().map(|target| folder(&target)));
    }
    folders
}

/// Returns the folder that contains a path; the path itself if that would be the root of all.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => ".".into(),
        Some(folder) if folder != Path::new("/") => folder.to_owned(),
        _ => path.to_owned(),
    }
}

/// Returns where a file may be renamed and created again: its folder. A device is written to as it is.
fn written(path: &Path) -> PathBuf {
    match path.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => path.to_owned(),
        _ => folder(path),
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
        let check = |path: &str, expected: &str| assert_eq!(folder(Path::new(path)), Path::new(expected), "{path}");
        check("/etc/site/keys", "/etc/site");
        check("keys", ".");
        check("a/keys", "a");
        check("/keys", "/keys");
        check("/", "/");
        let check = |path: &str, expected: &str| assert_eq!(written(Path::new(path)), Path::new(expected), "{path}");
        check("/dev/null", "/dev/null");
        check("/var/log/site/access.log", "/var/log/site");
    }

    #[test]
    fn new_versions_can_be_read() {
        let dir = std::env::temp_dir().join(format!("kiln-around-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let dir =
            std::fs::create_dir_all(dir.join("releases/1/public")).and_then(|()| dir.canonicalize()).expect("a folder");
        std::os::unix::fs::symlink("releases/1", dir.join("current")).expect("a link");
        let check = |path: &str, expected: &[&str]| {
            let expected: Vec<_> = expected.iter().map(|path| dir.join(path)).collect();
            assert_eq!(around(&dir.join(path)), expected, "{path}");
        };
        check("releases/1", &["releases"]);
        check("current", &["", "", "releases"]);
        check("current/public", &["current", "", "releases"]);
        check("current/public/missing", &["current/public", "", "releases"]);
        std::fs::remove_dir_all(&dir).expect("removed");
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
                ..Allowed::default()
            },
            "sandbox: reads /a /b\nsandbox: writes /c\nsandbox: connects to ports 80 443\n",
        );
        check(Allowed::default(), "sandbox: reads \nsandbox: connects to any port\n");
    }
}
