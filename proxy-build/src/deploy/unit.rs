//! A unit of systemd for a site ([`write()`]): the user and the folders that it needs, and all else taken away.

use std::fmt::Write as _;

use super::Generated;
use super::folders::absolute;
use super::footprint::Footprint;

/// How long systemd waits after the time of the drain before it kills the process.
const SPARE: u64 = 10;

/// How long a process may take to start, before a takeover.
const START: u64 = 90;

/// How long workers may be stuck before systemd restarts the service.
const WATCHDOG: u64 = 30;

/// Folders that systemd makes for a service, and the settings that name their content.
const OWNED: [(&str, &str, &str); 4] = [
    ("/var/lib/", "StateDirectory", "StateDirectoryMode=0750\n"),
    ("/var/cache/", "CacheDirectory", "CacheDirectoryMode=0750\n"),
    ("/var/log/", "LogsDirectory", "LogsDirectoryMode=0750\n"),
    // Others connect to sockets in it.
    ("/run/", "RuntimeDirectory", ""),
];

/// What does not depend on the site.
const HARDENED: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateDevices=yes
PrivateIPC=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
";

/// Returns the unit, its user for systemd-sysusers, and its folders for systemd-tmpfiles, where there are any. `name` is that of the service, and of
/// its user if the site has none; `site` is shown.
///
/// # Errors
/// The site writes to a folder that other programs use, whose owner would be the user; or to one that can't be written in a unit.
pub fn write(footprint: &Footprint<'_>, name: &str, binary: &str, site: &str) -> Result<Vec<Generated>, String> {
    let (user, group) = account(footprint, name);
    let writable = footprint.writable()?;
    let others: Vec<&String> = writable.iter().filter(|path| owned(path).is_none()).collect();
    let header = format!("# Written by `kiln unit` for {site}.\n");
    let file = |suffix: &str, text: String| Generated { name: format!("{name}{suffix}"), text };
    // With `takeover`, each version of the binary is an instance of a template.
    let suffix = if footprint.canary().is_some() { "@.service" } else { ".service" };
    let service = service(footprint, &writable, (name, binary), (user, group));
    let mut out = vec![file(suffix, format!("{header}{service}"))];
    if let Some(users) = sysusers(name, user, group) {
        out.push(file(".sysusers.conf", header.clone() + &users));
    }
    if !others.is_empty() {
        let group = group.unwrap_or("-");
        let lines = others.iter().map(|path| format!("d {} 0750 {user} {group} -\n", quoted(path)));
        out.push(file(".tmpfiles.conf", header + &lines.collect::<String>()));
    }
    Ok(out)
}

/// Returns the user and the group of the process; `None` for the group that the user has.
fn account<'a>(footprint: &Footprint<'a>, name: &'a str) -> (&'a str, Option<&'a str>) {
    match footprint.account() {
        (Some(user), group) => (user, group),
        // The user that is made for the service has a group of its name.
        (None, group) => (name, Some(group.unwrap_or(name))),
    }
}

fn service(
    footprint: &Footprint<'_>,
    writable: &[String],
    (name, binary): (&str, &str),
    (user, group): (&str, Option<&str>),
) -> String {
    let mut out = format!(
        "[Unit]\nDescription={name}, a reverse proxy\nAfter=network-online.target\nWants=network-online.target\n\n[Service]\n\
        Type=notify\nNotifyAccess=main\nWatchdogSec={WATCHDOG}\n"
    );
    let mut line = |name: &str, value: &str| {
        // A write to a String cannot fail.
        let _ = writeln!(out, "{name}={value}");
    };
    if !footprint.params().is_empty() {
        // A file that is not there is an error where a parameter has no default.
        let optional = if footprint.required().next().is_none() { "-" } else { "" };
        line("EnvironmentFile", &format!("{optional}/etc/default/{name}"));
    }
    match footprint.canary() {
        Some(canary) => {
            // The specifier of the instance is not escaped.
            line("ExecStart", &format!("{}-%i --upgrade", quoted(binary)));
            // One that rolls back drains before it was ready.
            let start = canary.saturating_add(footprint.drain()).as_secs().saturating_add(START);
            line("TimeoutStartSec", &start.to_string());
            // 3 is a rollback: the other instance serves.
            line("RestartPreventExitStatus", "3");
            // The socket of `takeover` outlives the instance that has made it.
            line("RuntimeDirectoryPreserve", "yes");
        }
        None => {
            line("ExecStartPre", &format!("{} --check", quoted(binary)));
            line("ExecStart", &quoted(binary));
        }
    }
    line("ExecReload", "/bin/kill -HUP $MAINPID");
    line("Restart", "on-failure");
    line("TimeoutStopSec", &(footprint.drain().as_secs().saturating_add(SPARE)).to_string());
    line("LimitNOFILE", &descriptors(footprint).to_string());
    line("User", user);
    if let Some(group) = group {
        line("Group", group);
    }
    folders(writable, &mut line);
    access(footprint, writable, &mut line);
    out + HARDENED + "\n[Install]\nWantedBy=multi-user.target\n"
}

/// Writes the folders that the process may write to.
fn folders(writable: &[String], line: &mut impl FnMut(&str, &str)) {
    for (prefix, setting, mode) in OWNED {
        // What follows a colon would be the name of a link.
        let one = |path: &str| quoted(path).replace(':', "\\:");
        let within: Vec<String> = writable.iter().filter_map(|path| path.strip_prefix(prefix)).map(one).collect();
        if !within.is_empty() {
            line(setting, &within.join(" "));
            if let Some((setting, mode)) = mode.trim_end().split_once('=') {
                line(setting, mode);
            }
        }
    }
    let others: Vec<String> = writable.iter().filter(|path| owned(path).is_none()).map(|path| quoted(path)).collect();
    if !others.is_empty() {
        line("ReadWritePaths", &others.join(" "));
    }
}

/// Writes what the process may do that a part of all sites needs.
fn access(footprint: &Footprint<'_>, writable: &[String], line: &mut impl FnMut(&str, &str)) {
    let gives_away = footprint.sockets.iter().any(|socket| socket.file.user.is_some());
    let shares = footprint.sockets.iter().filter_map(|socket| socket.file.group.as_deref());
    let shares: Vec<&str> = shares.collect();
    let mut capabilities = Vec::new();
    if footprint.privileged_ports() {
        capabilities.push("CAP_NET_BIND_SERVICE");
    }
    if gives_away {
        capabilities.push("CAP_CHOWN");
    }
    let capabilities = capabilities.join(" ");
    line("CapabilityBoundingSet", &capabilities);
    line("AmbientCapabilities", &capabilities);
    if !shares.is_empty() {
        // A process may give a file to a group that it is in.
        line("SupplementaryGroups", &shares.join(" "));
    }
    if capabilities.is_empty() && shares.is_empty() {
        line("PrivateUsers", "yes");
    }
    // Without permissions of their own, sockets depend on the mask.
    if footprint.sockets.iter().all(|socket| socket.file.mode.is_some()) {
        line("UMask", "0077");
    }
    let netlink = if footprint.resolves { " AF_NETLINK" } else { "" };
    line("RestrictAddressFamilies", &format!("AF_INET AF_INET6 AF_UNIX{netlink}"));
    // The proxy limits itself further, by Landlock and seccomp.
    line(
        "SystemCallFilter",
        "@system-service mincore seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    );
    line("SystemCallFilter", "~@privileged @resources");
    if footprint.drops_capabilities() {
        line("SystemCallFilter", "capset");
    }
    if gives_away || !shares.is_empty() {
        line("SystemCallFilter", "@chown");
    }
    line("ProcSubset", "pid");
    let used = |folder: &str| uses(footprint, writable, folder);
    let home = ["/home/", "/root/", "/run/user/"].map(used);
    let writes_home =
        writable.iter().any(|path| ["/home/", "/root/", "/run/user/"].iter().any(|home| path.starts_with(home)));
    line(
        "ProtectHome",
        if writes_home {
            "no"
        } else if home.contains(&true) {
            "read-only"
        } else {
            "yes"
        },
    );
    line("PrivateTmp", if used("/tmp/") || used("/var/tmp/") { "no" } else { "yes" });
}

/// Returns whether the site uses anything below a folder.
fn uses(footprint: &Footprint<'_>, writable: &[String], folder: &str) -> bool {
    let all = footprint.folders.iter().chain(&footprint.files).chain(&footprint.connected).chain(writable);
    all.filter_map(|path| absolute(path)).any(|path| format!("{path}/").starts_with(folder))
}

/// Returns the setting whose folders contain a path, where systemd makes that folder.
fn owned(path: &str) -> Option<&'static str> {
    OWNED.iter().find(|(prefix, ..)| path.starts_with(prefix)).map(|(_, setting, _)| *setting)
}

/// Each proxied connection takes two descriptors.
fn descriptors(footprint: &Footprint<'_>) -> u64 {
    footprint.connections().saturating_mul(2).saturating_add(4096).clamp(65_536, 1 << 20)
}

/// Returns lines for systemd-sysusers; `None` if the user is a number, which has to exist.
fn sysusers(name: &str, user: &str, group: Option<&str>) -> Option<String> {
    let is_number = |name: &str| name.bytes().all(|digit| digit.is_ascii_digit());
    if is_number(user) {
        return None;
    }
    let mut out = String::new();
    let other = group.filter(|group| *group != user);
    if let Some(group) = other.filter(|group| !is_number(group)) {
        let _ = writeln!(out, "g {group} -");
    }
    let of_group = other.map_or("-".to_owned(), |group| format!("-:{group}"));
    let _ = writeln!(out, "u {user} {of_group} \"The reverse proxy {name}\"");
    Some(out)
}

/// Returns a word for systemd: its specifiers escaped, and quoted if that is needed. It has no control characters, as not all settings know
/// escapes for them.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@+,".contains(&byte);
    if word.bytes().all(plain) {
        return word.to_owned();
    }
    let mut out = "\"".to_owned();
    for char in word.chars() {
        match char {
            '%' => out.push_str("%%"),
            '"' | '\\' => out.extend(['\\', char]),
            _ => out.push(char),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<Generated> {
        let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
        let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
        write(&Footprint::of(site), "shop", "/usr/local/bin/shop", "site.kdl").expect("files")
    }

    #[track_caller]
    fn check(text: &str, has: &[&str], lacks: &[&str]) {
        let service = &written(text)[0].text;
        for part in has {
            assert!(service.contains(&format!("\n{part}\n")), "{part} is missing:\n{service}");
        }
        for part in lacks {
            assert!(!service.contains(part), "{part} is there:\n{service}");
        }
    }

    #[test]
    fn capabilities() {
        let site = "site * {\n respond 200\n}";
        check(
            &format!("listen \":8080\"\n{site}"),
            &["CapabilityBoundingSet=", "AmbientCapabilities=", "PrivateUsers=yes", "UMask=0077", "ProcSubset=pid"],
            &["CAP_", "StateDirectory", "EnvironmentFile", "capset", "@chown"],
        );
        let bind = "AmbientCapabilities=CAP_NET_BIND_SERVICE";
        check(&format!("listen \":80\"\n{site}"), &[bind], &["PrivateUsers"]);
        check(
            &format!("listen \"unix:/run/shop/a.sock\" owner=\":ops\"\n{site}"),
            &["RuntimeDirectory=shop", "SupplementaryGroups=ops", "SystemCallFilter=@chown"],
            &["CAP_", "PrivateUsers", "UMask", "RuntimeDirectoryMode"],
        );
        check(
            &format!("listen \"unix:/run/shop/a.sock\" owner=\"ops\" mode=\"0660\"\n{site}"),
            &["AmbientCapabilities=CAP_CHOWN", "SystemCallFilter=@chown", "UMask=0077"],
            &[],
        );
        check(
            &format!("process {{\n capabilities none\n drain timeout=\"5s\"\n}}\nlisten \":443\"\n{site}"),
            &["SystemCallFilter=capset", bind, "TimeoutStopSec=15", "User=shop"],
            &[],
        );
    }

    #[test]
    fn instances() {
        let site = "process {\n takeover \"/run/shop/takeover.sock\" canary=\"2m\"\n}\nsite * {\n respond 200\n}";
        check(
            site,
            &[
                "ExecStart=/usr/local/bin/shop-%i --upgrade",
                "TimeoutStartSec=240",
                "RestartPreventExitStatus=3",
                "RuntimeDirectory=shop",
                "RuntimeDirectoryPreserve=yes",
                "User=shop",
            ],
            &["ExecStartPre"],
        );
        assert_eq!(written(site)[0].name, "shop@.service");
        let drained = site.replace("process {", "process {\n drain timeout=\"10m\"");
        check(&drained, &["TimeoutStartSec=810", "TimeoutStopSec=610"], &[]);
        check("site * {\n respond 200\n}", &["ExecStartPre=/usr/local/bin/shop --check"], &["--upgrade", "Preserve"]);
    }

    #[test]
    fn paths() {
        check(
            "param root type=string\ncache-store main memory=\"1MiB\" {\n disk \"/var/cache/shop/a b\" size=\"1GiB\"\n disk \"/data/100%\" size=\"1GiB\"\n}\n\
             log access {\n to file \"/var/log/shop/access.log\"\n to syslog \"udp:10.0.0.1:514\"\n}\n\
             limits connections=100000\nsite * {\n route \"/a/*\" {\n files \"/home/shop/www\"\n }\n route \"/b/*\" {\n files (param)root\n }\n\
             route \"/*\" {\n cache main\n proxy \"unix:/tmp/app.sock\"\n }\n}",
            &[
                "CacheDirectory=\"shop/a b\"",
                "CacheDirectoryMode=0750",
                "LogsDirectory=shop",
                "ReadWritePaths=\"/data/100%%\"",
                "EnvironmentFile=/etc/default/shop",
                "LimitNOFILE=204096",
                "ProtectHome=read-only",
            ],
            &["StateDirectory"],
        );
        check(
            "upstream a {\n server \"unix:/tmp/app.sock\"\n}\nsite * {\n proxy a\n}",
            &["PrivateTmp=no", "ProtectHome=yes", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"],
            &[],
        );
        // Files that need no folder; in /tmp, only the folder is the proxy's.
        check(
            "log access {\n to file \"/dev/null\"\n}\nsite * {\n respond 200\n}",
            &["PrivateTmp=yes"],
            &["ReadWritePaths", "Directory="],
        );
        check(
            "admin \"unix:/tmp/shop/admin.sock\"\nsite * {\n respond 200\n}",
            &["PrivateTmp=no", "ReadWritePaths=/tmp/shop"],
            &["Directory="],
        );
        check(
            "site * {\n proxy \"http://app.test\"\n}",
            &["RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK"],
            &[],
        );
    }

    #[test]
    fn colons() {
        check(
            "cache-store main memory=\"1MiB\" {\n disk \"/var/cache/a:b\" size=\"1GiB\"\n disk \"/var/cache/a:b c:\" size=\"1GiB\"\n\
             disk \"/data/a:b\" size=\"1GiB\"\n}\nadmin \"unix:/run/a:b/admin.sock\"\nsite * {\n cache main\n proxy \"http://127.0.0.1:1\"\n}",
            &["CacheDirectory=a\\:b \"a\\:b c\\:\"", "RuntimeDirectory=a\\:b", "ReadWritePaths=/data/a:b"],
            &[],
        );
    }

    /// Variables are expanded in the arguments of a program alone, and not in its path.
    #[test]
    fn dollars() {
        let text = "cache-store main memory=\"1MiB\" {\n disk \"/var/cache/shop/$a\" size=\"1GiB\"\n disk \"/data/$b$\" size=\"1GiB\"\n}\n\
            site * {\n cache main\n proxy \"http://127.0.0.1:1\"\n}";
        check(text, &["CacheDirectory=\"shop/$a\"", "ReadWritePaths=\"/data/$b$\""], &["$$"]);
        let tmpfiles = &written(text)[2];
        assert!(tmpfiles.text.ends_with("d \"/data/$b$\" 0750 shop shop -\n"), "{}", tmpfiles.text);
        let check = |path: &str, expected: &str| assert_eq!(quoted(path), expected);
        check("/opt/$x/shop", "\"/opt/$x/shop\"");
        check("/opt/a b%\\\"", "\"/opt/a b%%\\\\\\\"\"");
        check("/opt/shop", "/opt/shop");
    }

    /// A line that a path ends would be a setting of its own.
    #[test]
    fn control_characters() {
        let check = |top: &str, expected: &str| {
            let handler =
                if top.starts_with("cache") { "cache main\n proxy \"http://127.0.0.1:1\"" } else { "respond 200" };
            let text = format!("{top}\nsite * {{\n {handler}\n}}");
            let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", &text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let found = write(&Footprint::of(site), "shop", "/bin/shop", "site.kdl").err();
            assert_eq!(found.as_deref(), Some(expected), "{top}");
        };
        let log = |path: &str| format!("log access {{\n to file \"{path}\"\n}}");
        check(&log("/data/a\\rUser=root/a.log"), "/data/a\\rUser=root/a.log has control characters");
        check(&log("/data/a\\nUser=root/a.log"), "/data/a\\nUser=root/a.log has control characters");
        check(&log("/data/a\\u{85}/a.log"), "/data/a\\u{85}/a.log has control characters");
        check(
            "cache-store main memory=\"1MiB\" {\n disk \"/data/a\\r\" size=\"1GiB\"\n}",
            "/data/a\\r has control characters",
        );
    }

    #[test]
    fn accounts() {
        let site = |process: &str| format!("process {{\n {process}\n}}\nsite * {{\n respond 200\n}}");
        check(&site("capabilities none"), &["User=shop", "Group=shop"], &[]);
        // Only the system knows the group of a user that it has already.
        check(&site("user web"), &["User=web"], &["\nGroup="]);
        check(&site("user \"65534\""), &["User=65534"], &["\nGroup="]);
        check(&site("user web\n group web"), &["User=web", "Group=web"], &[]);
        check(&site("user web\n group www"), &["User=web", "Group=www"], &[]);
    }

    #[test]
    fn users_and_folders() {
        let check = |top: &str, expected: &[(&str, &str)]| {
            let files = written(&format!("{top}\nsite * {{\n respond 200\n}}"));
            let body =
                |file: &Generated| file.text.split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or_default();
            let found: Vec<_> = files[1..].iter().map(|file| (file.name.clone(), body(file))).collect();
            let expected: Vec<_> =
                expected.iter().map(|(name, text)| (format!("shop.{name}"), (*text).to_owned())).collect();
            assert_eq!(found, expected, "{top}");
        };
        check("", &[("sysusers.conf", "u shop - \"The reverse proxy shop\"\n")]);
        check("process {\n user \"65534\"\n}", &[]);
        check(
            "process {\n user web\n}\nlog access {\n to file \"/data/shop/access.log\"\n}",
            &[
                ("sysusers.conf", "u web - \"The reverse proxy shop\"\n"),
                ("tmpfiles.conf", "d /data/shop 0750 web - -\n"),
            ],
        );
        check(
            "process {\n user \"990\"\n group \"991\"\n}\nlog access {\n to file \"/data/shop/access.log\"\n}",
            &[("tmpfiles.conf", "d /data/shop 0750 990 991 -\n")],
        );
        check(
            "process {\n user web\n group www\n}\nlog access {\n to file \"/data/shop/access.log\"\n}",
            &[
                ("sysusers.conf", "g www -\nu web -:www \"The reverse proxy shop\"\n"),
                ("tmpfiles.conf", "d /data/shop 0750 web www -\n"),
            ],
        );
    }
}
