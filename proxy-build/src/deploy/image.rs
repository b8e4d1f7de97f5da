//! The files of an image, and what of a site can't be in it beside them ([`verify`]).

use std::path::Path;

use super::folders::absolute;
use super::footprint::Footprint;

/// The binary.
pub const BINARY: &str = "/proxy";

/// The name of the user.
pub const PASSWD: &str = "/etc/passwd";

/// The name of its group.
pub const GROUP: &str = "/etc/group";

/// The certificates of authorities, in images of sites that verify servers by them.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Files that the container runtime mounts.
const OF_RUNTIME: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// Folders that a container has of the kernel.
const OF_KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Checks that the image of a site keeps its files: the folders that the process writes to and those that it serves are volumes, and files
/// that it reads are mounted.
///
/// # Errors
/// One of them would be where a file of the image is, or hide one.
pub fn verify(footprint: &Footprint<'_>) -> Result<(), String> {
    for folder in footprint.writable()? {
        if let Some(why) = conflict(&folder, footprint.verifies) {
            return Err(format!("{folder} can't be written to: {why}. /var/lib/proxy could be"));
        }
    }
    for folder in &footprint.folders {
        let path = absolute(folder).unwrap_or_else(|| "/".to_owned());
        if let Some(why) = conflict(&path, footprint.verifies) {
            return Err(format!("{path} can't be served: {why}. /srv/www could be, or `files ... embed=#true`"));
        }
    }
    match mounted_files(footprint).find(|file| Path::new(file).starts_with(BINARY)) {
        Some(file) => Err(format!("{file} can't be mounted: `{BINARY}` is a file of the image. /etc/proxy could be")),
        None => Ok(()),
    }
}

/// Returns the files that the site reads and that its image does not have, without `.` and `..`.
pub fn mounted_files(footprint: &Footprint<'_>) -> impl Iterator<Item = String> {
    let files = footprint.files.iter().filter_map(|file| absolute(file));
    files.filter(|file| !(footprint.verifies && file == AUTHORITIES))
}

/// Returns what else the site uses and its image does not have, in words: sockets of upstreams, and programs.
pub fn mounted_besides(footprint: &Footprint<'_>) -> impl Iterator<Item = String> {
    let socket = |path: &String| format!("{path}, a socket of an upstream: by a volume at its folder");
    let program = |path: &String| format!("{path}, a program of `dns exec`, with all that it needs");
    footprint.connected.iter().map(socket).chain(footprint.programs.iter().map(program))
}

/// Returns why a container can't have a volume at this folder: it would hide a file of the image, or be where one is. `verifies` says
/// that the image has [`AUTHORITIES`].
pub(super) fn conflict(folder: &str, verifies: bool) -> Option<String> {
    let folder = Path::new(folder);
    if let Some(kernel) = OF_KERNEL.iter().find(|kernel| folder.starts_with(kernel)) {
        return Some(format!("`{kernel}` is the kernel's"));
    }
    let authorities = verifies.then_some(AUTHORITIES);
    let mut files = [BINARY, PASSWD, GROUP].into_iter().chain(authorities).chain(OF_RUNTIME);
    files.find_map(|file| match (folder.starts_with(file), Path::new(file).starts_with(folder)) {
        (true, _) => Some(format!("`{file}` is a file of the image")),
        (false, true) => Some(format!("a volume at `{}` would hide `{file}` of the image", folder.display())),
        (false, false) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_programs() {
        let text = "acme email=\"a@a.test\" state=\"/var/lib/shop\" {\n dns exec \"/usr/bin/dns\" \"a.test\"\n}\nupstream app {\n \
            server \"unix:/run/app/app.sock\"\n}\nsite \"*.a.test\" {\n tls acme\n proxy app\n}";
        let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
        let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
        let found: Vec<_> = mounted_besides(&Footprint::of(site)).collect();
        assert_eq!(
            found,
            [
                "/run/app/app.sock, a socket of an upstream: by a volume at its folder",
                "/usr/bin/dns, a program of `dns exec`, with all that it needs",
            ]
        );
    }

    #[test]
    fn conflicts() {
        let check = |folder: &str, verifies: bool, expected: Option<&str>| {
            assert_eq!(conflict(folder, verifies).as_deref(), expected, "{folder}");
        };
        for folder in ["/srv/www", "/etc/shop", "/proxy-cache", "/var/proxy", "/procs/a"] {
            check(folder, true, None);
        }
        check("/", true, Some("a volume at `/` would hide `/proxy` of the image"));
        check("/etc", false, Some("a volume at `/etc` would hide `/etc/passwd` of the image"));
        for folder in ["/etc/ssl", "/etc/ssl/certs"] {
            let hides = format!("a volume at `{folder}` would hide `{AUTHORITIES}` of the image");
            check(folder, true, Some(&hides));
            check(folder, false, None);
        }
        check("/etc/ssl/private", true, None);
        let of_image = |file: &str| format!("`{file}` is a file of the image");
        for folder in ["/proxy", "/proxy/www"] {
            check(folder, false, Some(&of_image("/proxy")));
        }
        check("/etc/passwd/a/b", false, Some(&of_image("/etc/passwd")));
        check("/etc/group/a/b", false, Some(&of_image("/etc/group")));
        check("/etc/hosts/a", false, Some(&of_image("/etc/hosts")));
        check(&format!("{AUTHORITIES}/a"), true, Some(&of_image(AUTHORITIES)));
        check("/proc/self", false, Some("`/proc` is the kernel's"));
        check("/dev", false, Some("`/dev` is the kernel's"));
        check("/sys/fs", false, Some("`/sys` is the kernel's"));
    }
}
