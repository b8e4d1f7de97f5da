//! Folders that a site writes to: each has to be its own. One of the system would be given to the proxy's user, or hidden by a volume.

use std::path::{Component, Path, PathBuf};

/// Folders that many programs use: only one within them can be the proxy's own.
const SHARED: [&str; 24] = [
    "/",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/run/lock",
    "/run/user",
    "/srv",
    "/tmp",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/local",
    "/var/lock",
    "/var/log",
    "/var/opt",
    "/var/run",
    "/var/run/lock",
    "/var/run/user",
    "/var/spool",
    "/var/tmp",
];

/// Folders that are the system's with all that is in them.
const OF_SYSTEM: [&str; 11] =
    ["/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/proc", "/run/systemd", "/sbin", "/sys", "/usr"];

/// Folders in which each user has one.
const HOMES: [&str; 3] = ["/home", "/run/user", "/var/run/user"];

/// Returns the folder that a file is made in; `None` for one that is there already. `example` is a folder for such files.
///
/// # Errors
/// The folder is not one that the proxy can have for itself, or the path has control characters.
pub(super) fn of_file(file: &str, example: &str) -> Result<Option<String>, String> {
    let path = absolute(file).unwrap_or_default();
    if is_there_already(&path) {
        return Ok(None);
    }
    let (folder, leaf) = path.rsplit_once('/').unwrap_or_default();
    let folder = if folder.is_empty() { "/" } else { folder };
    printable(file)?;
    if is_of_others(folder) {
        return Err(format!(
            "{file} needs a folder of its own, as in {example}/{leaf}: `{folder}` is used by other programs"
        ));
    }
    Ok(Some(folder.to_owned()))
}

/// Returns a folder that is written to. `example` is another one.
///
/// # Errors
/// The folder is not one that the proxy can have for itself, or the path has control characters.
pub(super) fn of_its_own(folder: &str, example: &str) -> Result<Option<String>, String> {
    let path = absolute(folder).unwrap_or_else(|| "/".to_owned());
    printable(folder)?;
    if is_of_others(&path) {
        return Err(format!("the proxy needs a folder of its own, as {example}: `{path}` is used by other programs"));
    }
    Ok(Some(path))
}

/// Returns a path without `.` and `..`; `None` for the root itself. One that is relative, which only the default of a parameter can be, is that of a process
/// that is started in the root, as services and containers are.
pub(super) fn absolute(path: &str) -> Option<String> {
    let mut out = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out.to_str().filter(|path| *path != "/").map(str::to_owned)
}

/// Returns whether a file is a device, or a descriptor that the process is started with.
fn is_there_already(file: &str) -> bool {
    let descriptor = ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|folder| file.strip_prefix(folder));
    matches!(file, "/dev/null" | "/dev/stderr" | "/dev/stdout")
        || descriptor.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn is_of_others(folder: &str) -> bool {
    let folder = Path::new(folder);
    SHARED.iter().any(|shared| folder == Path::new(shared))
        || OF_SYSTEM.iter().any(|system| folder.starts_with(system))
        || folder.parent().is_some_and(|above| HOMES.iter().any(|homes| above == Path::new(homes)))
}

/// Refuses what would end a line of a generated file.
pub(super) fn printable(path: &str) -> Result<(), String> {
    match path.contains(char::is_control) {
        true => Err(format!("{} has control characters", path.escape_debug())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_files() {
        let check = |file: &str, expected: Result<Option<&str>, &str>| {
            let found = of_file(file, "/run/proxy");
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expected, "{file}");
        };
        check("/run/shop/a.sock", Ok(Some("/run/shop")));
        check("/run/./shop//x/../a.sock", Ok(Some("/run/shop")));
        check("/var/log/shop/access.log", Ok(Some("/var/log/shop")));
        check("/home/shop/run/a.sock", Ok(Some("/home/shop/run")));
        check("/run/user/1000/shop/a.sock", Ok(Some("/run/user/1000/shop")));
        check("/runs/a.sock", Ok(Some("/runs")));
        check("/usrs/a.sock", Ok(Some("/usrs")));
        for file in ["/dev/stdout", "/dev/stderr", "/dev/null", "/dev/./null", "/dev/fd/3", "/proc/self/fd/1"] {
            check(file, Ok(None));
        }
        check(
            "/run/site.sock",
            Err(
                "/run/site.sock needs a folder of its own, as in /run/proxy/site.sock: `/run` is used by other programs",
            ),
        );
        check(
            "a.sock",
            Err("a.sock needs a folder of its own, as in /run/proxy/a.sock: `/` is used by other programs"),
        );
        for file in [
            "/a.sock",
            "/run/../a.sock",
            "/run/shop/../a.sock",
            "/var/run/a.sock",
            "/tmp/a.sock",
            "/var/tmp/a.sock",
            "/var/a.log",
            "/var/log/a.log",
            "/var/lib/a",
            "/var/cache/a",
            "/etc/a",
            "/dev/a",
            "/dev/shm/a/b.log",
            "/dev/fd/x",
            "/proc/1/a",
            "/sys/fs/a",
            "/usr/a",
            "/usr/local/share/shop/a.log",
            "/bin/a",
            "/sbin/a",
            "/lib/a",
            "/boot/a",
            "/home/a.log",
            "/home/shop/a.log",
            "/run/user/1000/a.sock",
            "/root/a.log",
            "/srv/a",
            "/opt/a",
            "/mnt/a",
            "/media/a",
        ] {
            assert!(of_file(file, "/run/proxy").is_err(), "{file}");
        }
        check("/run/shop\r/a.sock", Err("/run/shop\\r/a.sock has control characters"));
        check("/run/shop/\u{1b}[m\u{85}", Err("/run/shop/\\u{1b}[m\\u{85} has control characters"));
    }

    #[test]
    fn folders() {
        let check = |folder: &str, expected: Result<&str, &str>| {
            let found = of_its_own(folder, "/var/lib/proxy");
            let found = found.as_ref().map(|folder| folder.as_deref().unwrap_or_default()).map_err(String::as_str);
            assert_eq!(found, expected, "{folder}");
        };
        check("/var/cache/shop/", Ok("/var/cache/shop"));
        check("cache", Ok("/cache"));
        check("/data/a b", Ok("/data/a b"));
        let of_others =
            "the proxy needs a folder of its own, as /var/lib/proxy: `/var/cache` is used by other programs";
        check("/var/cache/", Err(of_others));
        check("/", Err("the proxy needs a folder of its own, as /var/lib/proxy: `/` is used by other programs"));
        check("/data/a\nb", Err("/data/a\\nb has control characters"));
    }

    #[test]
    fn absolute_paths() {
        let check = |path: &str, expected: Option<&str>| assert_eq!(absolute(path).as_deref(), expected);
        check("cache", Some("/cache"));
        check("/srv/./www/../b", Some("/srv/b"));
        check("../../..", None);
        check("/../etc", Some("/etc"));
    }
}
