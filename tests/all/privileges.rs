//! `process { user }` and `capabilities none`: the user, groups and capabilities of each thread, what is refused at start, and the warning
//! to root without a `user`.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_tests::client::get;
use kiln_tests::kiln::{scratch, stderr, stdout};
use kiln_tests::proxy::{Proxy, address, build_text};

/// The ID of `nobody`, on all systems that these tests run on.
const NOBODY: u32 = 65534;

const SITE: &str = r#"
param listen type=addr
param keys type=file
process {
    workers 2
    user "65534"
    group "65534"
}
listen (param)listen
site a.test {
    auth api-key (param)keys
    respond 200
}
"#;

/// Returns whether root runs the tests: only root can switch the user.
fn is_root() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| stdout(&output).trim() == "0");
    if !root {
        eprintln!("SKIPPED: these tests are not run by root, so nothing is seen of how privileges are given up");
    }
    root
}

/// Builds a site into a folder that all users can enter.
fn site(name: &str, text: &str) -> (PathBuf, PathBuf) {
    let built = build_text(name, text);
    let dir = PathBuf::from(format!("/tmp/kiln-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("set");
    std::fs::copy(&built, dir.join("proxy")).expect("copied");
    std::fs::write(dir.join("keys"), "").expect("written");
    (dir.join("proxy"), dir)
}

/// Runs a binary whose start is refused.
fn refused(mut command: Command) -> Output {
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    output
}

/// Returns the value of a field of /proc/PID/task/*/status, which must be the same for all threads.
fn status(proxy: &Proxy, field: &str) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("threads");
    let of_thread = |task: &Path| {
        let text = std::fs::read_to_string(task.join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":"))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut values: Vec<_> = tasks.filter_map(|task| of_thread(&task.expect("a thread").path())).collect();
    assert!(values.len() > 2, "there are too few threads");
    values.dedup();
    assert_eq!(values.len(), 1, "{field} differs between threads: {values:?}");
    values.remove(0)
}

fn check(proxy: &Proxy, expected: &[(&str, &str)]) {
    for (field, value) in expected {
        assert_eq!(status(proxy, field), *value, "{field}");
    }
}

#[test]
fn the_user_is_switched() {
    if !is_root() {
        return;
    }
    let (binary, dir) = site("privileges-user", SITE);
    let keys = dir.join("keys");
    let given = [("keys", keys.to_str().expect("UTF-8"))];
    let nobody = "65534 65534 65534 65534";
    let (none, all) =
        ("0000000000000000", &[("Uid", nobody), ("Gid", nobody), ("Groups", "65534"), ("NoNewPrivs", "1")]);
    let proxy = Proxy::start(&binary, SITE, &given);
    check(&proxy, &all[..2]);
    check(&proxy, &[("CapEff", none), ("CapPrm", none), ("CapInh", none), ("CapAmb", none), ("NoNewPrivs", "1")]);
    assert_eq!(get(proxy.address("listen"), "a.test", "/").status, 401, "the proxy does not serve");
    assert!(!proxy.noticed().iter().any(|line| line.contains("running as root")), "{:?}", proxy.noticed());
    // Files are read again as the new user.
    proxy.signal("HUP");
    proxy.notice("files were reloaded");
    drop(proxy);

    // A process of this user needs no rights to switch.
    let mut command = Command::new(&binary);
    let listen = address();
    command.uid(NOBODY).gid(NOBODY).arg(format!("--listen={listen}")).arg(format!("--keys={}", keys.display()));
    let proxy = Proxy::spawn(command, [("listen".to_owned(), listen)].into());
    check(&proxy, &[("Uid", nobody), ("CapEff", none), ("NoNewPrivs", "1")]);
    drop(proxy);

    // Another user may not switch.
    let mut command = Command::new(&binary);
    command.uid(1).gid(1).arg(format!("--listen={}", address())).arg(format!("--keys={}", keys.display()));
    let said = stderr(&refused(command));
    assert!(
        said.contains("site.kdl:6: privileges can't be given up: user 65534 with group 65534 can't be become"),
        "{said}"
    );

    // A file that only root can read could not be read again.
    chown(&keys, Some(0), Some(0)).expect("owned");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).expect("set");
    let mut command = Command::new(&binary);
    command.arg(format!("--listen={}", address())).arg(format!("--keys={}", keys.display()));
    let said = stderr(&refused(command));
    assert!(said.contains("it can't be read again as this user: Permission denied"), "{said}");
    std::fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn capabilities() {
    if !is_root() {
        return;
    }
    let text = "param listen type=addr\nprocess {\n    workers 2\n    capabilities none\n}\nlisten (param)listen\nsite a.test {\n    respond 200\n}\n";
    let binary = build_text("privileges-capabilities", text);
    let proxy = Proxy::start(&binary, text, &[]);
    check(
        &proxy,
        &[("Uid", "0 0 0 0"), ("CapEff", "0000000000000000"), ("CapPrm", "0000000000000000"), ("NoNewPrivs", "1")],
    );
}

#[test]
fn root_is_warned() {
    if !is_root() {
        return;
    }
    let text = "param listen type=addr\nlisten (param)listen\nsite a.test {\n    respond 200\n}\n";
    let proxy = Proxy::of_text("privileges-root", text, &[]);
    proxy.notice("running as root: with `process { user NAME; }`");
}

#[test]
fn unknown_users_are_refused() {
    let text = "param listen type=addr\nprocess {\n    user no-such-user\n}\nlisten (param)listen\nsite a.test {\n    respond 200\n}\n";
    let binary = build_text("privileges-unknown", text);
    for flags in [&[][..], &["--check"]] {
        let mut command = Command::new(&binary);
        command.args(flags).arg(format!("--listen={}", address())).current_dir(scratch("privileges-cwd"));
        let said = stderr(&refused(command));
        assert!(
            said.contains("site.kdl:3: ") && said.contains("the user `no-such-user`: there is none in /etc/passwd"),
            "{said}"
        );
    }
}
