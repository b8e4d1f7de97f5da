//! `takeover`: a new process takes over from the running one under load without losing a request, and one that is bad gives back what it has
//! got.

mod limits;

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::client::{Client, get};
use kiln_tests::kiln::{scratch, stderr, stdout};
use kiln_tests::load::{self, Http2, Load, Resuming, WebSocket};
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const SITE: &str = r#"
param listen type=addr
param secure type=addr
param socket type=addr
param admin type=addr
param takeover type=string
param canary type=duration default="400ms"
param text type=string default="first"
param echo type=addr default="127.0.0.1:9"
param drain type=duration default="3s"
process {
    workers WORKERS
    takeover (param)takeover canary=(param)canary max-error-percent=10
    drain timeout=(param)drain
    sandbox required
}
listen (param)listen {
    http h1 h2
}
listen (param)socket
listen secure (param)secure {
    tls
}
admin (param)admin {
    metrics
}
site a.test {
    route "/" {
        response-headers {
            set x-text (param)text
        }
        respond STATUS "first"
    }
    route "/live" {
        proxy (param)echo
    }
    route "/large" {
        respond 200 file="DIR/large"
    }
}
site b.test {
    listen secure
    tls {
        certificate "DIR/b.pem" key="DIR/b.key"
    }
    respond 200 "secured"
}
test "the text" {
    request GET "http://a.test/"
    expect status=STATUS {
        response-header x-text "first"
    }
}
"#;

/// A site with several binaries, and the addresses that all of them are given.
struct Swapped {
    dir: PathBuf,
    addresses: HashMap<String, String>,
}

impl Swapped {
    fn new(name: &str) -> Swapped {
        let dir = scratch(name);
        std::fs::write(dir.join("large"), vec![b'x'; 1 << 20]).expect("written");
        Authority::new(&dir).sign("b", "b", &["b.test"]);
        let unix = |name: &str| format!("unix:{}/{name}", dir.display());
        let addresses = [
            ("listen", address()),
            ("secure", address()),
            ("socket", unix("site.sock")),
            ("admin", unix("admin.sock")),
            ("takeover", dir.join("takeover.sock").display().to_string()),
            ("echo", load::echo().address),
        ];
        let addresses = addresses.map(|(name, value)| (name.to_owned(), value)).into();
        Swapped { dir, addresses }
    }

    /// Builds a version of the site.
    fn build(&self, name: &str, workers: usize, status: u16) -> PathBuf {
        let text = SITE.replace("DIR", self.dir.to_str().expect("UTF-8")).replace("STATUS", &status.to_string());
        build_text(name, &text.replace("WORKERS", &workers.to_string()))
    }

    fn command(&self, binary: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(self.addresses.iter().map(|(name, value)| format!("--{name}={value}"))).args(flags);
        command
    }

    /// Starts a version, which serves once this returns.
    fn start(&self, binary: &Path, flags: &[&str]) -> Proxy {
        Proxy::spawn(self.command(binary, flags), self.addresses.clone())
    }

    /// Runs a version that ends by itself.
    fn run(&self, binary: &Path, flags: &[&str]) -> Output {
        self.command(binary, flags).output().expect("it runs, and ends by itself")
    }

    /// Starts a version as a service manager does after it has crashed: the process that has its sockets refuses.
    fn restart_after_crash(&self, binary: &Path, running: &Proxy) {
        let refused = self.run(binary, &["--upgrade"]);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        let reason = "the running process does not hand over: this build has crashed during its last takeover";
        assert!(stderr(&refused).contains(reason), "{refused:?}");
        running.notice("this build has crashed during its last takeover; if it is started once more, it may");
    }

    fn address(&self, name: &str) -> &str {
        &self.addresses[name]
    }

    fn path(&self, name: &str) -> &Path {
        Path::new(self.addresses[name].trim_start_matches("unix:"))
    }

    /// Returns the response of whoever accepts.
    fn ask(&self) -> String {
        get(self.address("listen"), "a.test", "/").text()
    }
}

/// Adds clients of all kinds; the numbers of resumed sessions and of Close frames are returned.
fn load_on(swapped: &Swapped) -> (Load, [Arc<AtomicUsize>; 2]) {
    let mut load = Load::default();
    let listen = swapped.address("listen").to_owned();
    let socket = swapped.path("socket").to_owned();
    let pause = Duration::from_millis(5);
    for _ in 0..2 {
        let (address, mut kept) = (listen.clone(), None);
        load.add("kept", pause, move || load::over_kept(&mut kept, || load::tcp(&address)));
        let address = listen.clone();
        load.add("new", pause, move || load::once(|| load::tcp(&address)));
    }
    let path = socket.clone();
    load.add("unix, new", pause, move || load::once(|| UnixStream::connect(&path)));
    let mut kept = None;
    load.add("unix, kept", pause, move || load::over_kept(&mut kept, || UnixStream::connect(&socket)));
    let address = listen.clone();
    load.add("download", pause, move || load::download(&address, "/large"));
    let mut websocket = WebSocket::default();
    let secure = Resuming::new(swapped.address("secure"), swapped.dir.join("ca.pem").to_str().expect("UTF-8"));
    let counts = [Arc::clone(&secure.resumed), Arc::clone(&websocket.told)];
    let (address, mut http2) = (listen.clone(), Http2::default());
    load.add("HTTP/2", pause, move || http2.exchange(&address));
    load.add("WebSocket", pause, move || websocket.exchange(&listen));
    load.add("TLS", pause, move || secure.exchange("b.test"));
    (load, counts)
}

#[test]
fn nothing_is_lost() {
    let swapped = Swapped::new("takeover-load");
    let versions = [swapped.build("takeover-first", 2, 200), swapped.build("takeover-second", 5, 200)];
    let mut old = swapped.start(&versions[0], &["--upgrade"]);
    old.notice("so there is nothing to take over");
    let mode = |name: &str| swapped.path(name).metadata().expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode("takeover"), 0o600);
    let inode = |name: &str| swapped.path(name).metadata().expect("a socket").ino();
    let inodes = ["socket", "admin", "takeover"].map(inode);

    let (load, [resumed, told]) = load_on(&swapped);
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(100));
        let new = swapped.start(&versions[(round + 1) % 2], &["--upgrade"]);
        new.notice("takeover: complete: ");
        old.notice("accepting is paused");
        let end = old.wait();
        assert_eq!(end.code(), Some(0), "{:#?}", old.noticed());
        old.notice(&format!("takeover: process {} goes on, and this process ends", new.pid()));
        old = new;
    }
    let outcome = load.end();
    assert_eq!(outcome.lost, [""; 0], "{outcome:?}");
    let answered = |kind: &str| outcome.answered[kind];
    assert!(outcome.answered.values().sum::<usize>() > 100, "{outcome:?}");
    assert!(["WebSocket", "download", "HTTP/2"].iter().all(|kind| answered(kind) > 0), "{outcome:?}");
    // All but the first.
    assert_eq!(resumed.load(Ordering::Relaxed) + 1, answered("TLS"), "{outcome:?}");
    assert_eq!(told.load(Ordering::Relaxed), 4, "each old process has told its WebSocket");
    assert_eq!(["socket", "admin", "takeover"].map(inode), inodes, "the files of the sockets have stayed");
    let mut admin = UnixStream::connect(swapped.path("admin")).expect("connected");
    admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut metrics = String::new();
    admin.read_to_string(&mut metrics).expect("a response");
    assert!(metrics.contains("kiln_build_info"), "{metrics}");
    // Without --upgrade, it is an error that a process is running, and it goes on.
    let refused = swapped.run(&versions[0], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("a process is running; with --upgrade, this one takes over"), "{refused:?}");
    let checked = swapped.run(&versions[0], &["--check"]);
    let takeover = format!("takeover {}: in use by a running instance", swapped.address("takeover"));
    assert!(stdout(&checked).contains(&takeover), "{checked:?}");
    assert_eq!(swapped.ask(), "first");
}

#[test]
fn errors_roll_back() {
    let swapped = Swapped::new("takeover-errors");
    let old = swapped.start(&swapped.build("takeover-good", 2, 200), &[]);
    let bad = swapped.build("takeover-bad", 3, 500);
    let mut new = swapped.start(&bad, &["--upgrade", "--canary=60s"]);
    new.notice("takeover: serving for 60s before the old process ends");
    let began = Instant::now();
    let mut errors = 0;
    while !old.noticed().iter().any(|line| line.contains("rolls back: ")) {
        errors += usize::from(get(swapped.address("listen"), "a.test", "/").status == 500);
        assert!(began.elapsed() < Duration::from_secs(5), "there is no rollback");
    }
    assert!((5..200).contains(&errors), "{errors} requests were answered with errors");
    assert_eq!(new.wait().code(), Some(3));
    let said = new.notice("error: the takeover was rolled back: ");
    assert!(said.contains(" responses were errors, more than 10%, after "), "{said}");
    new.notice("takeover: rolled back: ");
    old.notice("rolls back: ");
    for _ in 0..20 {
        assert_eq!(get(swapped.address("listen"), "a.test", "/").status, 200);
    }

    // Another one can take over from the same process.
    let good = swapped.build("takeover-good", 1, 200);
    let new = swapped.start(&good, &["--upgrade", "--text=first"]);
    new.notice("takeover: complete: ");
}

#[test]
fn a_crash_rolls_back() {
    let swapped = Swapped::new("takeover-crash");
    let binary = swapped.build("takeover-crash", 2, 200);
    let old = swapped.start(&binary, &[]);
    for signal in ["KILL", "TERM"] {
        let mut new = swapped.start(&binary, &["--upgrade", "--canary=60s"]);
        new.notice("takeover: serving for 60s before the old process ends");
        new.signal(signal);
        if signal == "TERM" {
            assert_eq!(new.wait().code(), Some(3));
            new.notice("the new process has to stop");
        }
        old.notice(if signal == "KILL" {
            "has ended without a verdict"
        } else {
            "rolls back: the new process has to stop"
        });
        for _ in 0..20 {
            assert_eq!(swapped.ask(), "first");
        }
        if signal == "KILL" {
            swapped.restart_after_crash(&binary, &old);
        }
    }
    // The other way round: the old process crashes, and the new one goes on.
    let new = swapped.start(&binary, &["--upgrade", "--canary=60s"]);
    new.notice("takeover: serving for 60s before the old process ends");
    old.signal("KILL");
    new.notice("takeover: the old process has ended; this process goes on");
    assert_eq!(swapped.ask(), "first");
    swapped.restart_after_crash(&binary, &new);
    let next = swapped.start(&binary, &["--upgrade"]);
    next.notice("takeover: complete: ");
}

#[test]
fn a_crash_after_the_end_of_the_canary_takes_nothing_back() {
    let swapped = Swapped::new("takeover-late-crash");
    let first = swapped.build("takeover-late-crash-1", 1, 200);
    let [second, third] = [201, 202].map(|status| swapped.build(&format!("takeover-late-crash-{status}"), 1, status));
    let status = || get(swapped.address("listen"), "a.test", "/").status;
    // A request that is not answered, so that the process drains for as long as it may.
    let server = std::net::TcpListener::bind(address()).expect("bound");
    let server = format!("--echo={}", server.local_addr().expect("an address"));
    let flags = ["--upgrade", "--drain=60s", &server];
    let busy = || {
        let mut client = std::net::TcpStream::connect(swapped.address("listen")).expect("connected");
        client.write_all(b"GET /live HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("sent");
        client
    };
    let mut draining = vec![(swapped.start(&first, &flags), busy())];
    for binary in [&second, &third] {
        let new = swapped.start(binary, &flags);
        new.notice("takeover: complete: ");
        draining.push((new, busy()));
    }
    let (mut running, client) = draining.pop().expect("the last one");
    drop(client);
    assert_eq!(status(), 202);
    // The process that runs now knows of the one before it, and of the one before that.
    for (count, ((old, _), binary)) in draining.iter_mut().zip([&first, &second]).enumerate() {
        old.signal("KILL");
        old.wait();
        running.notices("takeover: a process that was replaced has crashed", count + 1);
        swapped.restart_after_crash(binary, &running);
        assert_eq!(status(), 202);
    }
    let mut back = swapped.start(&first, &["--upgrade"]);
    back.notice("takeover: complete: ");
    assert_eq!(status(), 200);
    // One that has ended as it should comes back at its first start.
    assert_eq!(running.wait().code(), Some(0));
    let again = swapped.start(&third, &["--upgrade"]);
    again.notice("takeover: complete: ");
    assert_eq!(status(), 202);
    assert_eq!(back.wait().code(), Some(0));
}

#[test]
fn stopping_the_old_process_is_no_crash() {
    let swapped = Swapped::new("takeover-stopped");
    let binary = swapped.build("takeover-stopped", 2, 200);
    let mut old = swapped.start(&binary, &[]);
    let mut new = swapped.start(&binary, &["--upgrade", "--canary=60s"]);
    new.notice("takeover: serving for 60s before the old process ends");
    old.signal("TERM");
    new.notice("takeover: the old process ends; this process goes on");
    assert_eq!(old.wait().code(), Some(0));
    assert_eq!(swapped.ask(), "first");
    let back = swapped.start(&binary, &["--upgrade"]);
    back.notice("takeover: complete: ");
    assert_eq!(new.wait().code(), Some(0));
    assert!(!new.noticed().iter().any(|line| line.contains("crashed")), "{:?}", new.noticed());

    // A parameter has the bounds of what is written.
    let refused = swapped.run(&binary, &["--upgrade", "--canary=2h"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("`canary` is at most an hour"), "{refused:?}");
    back.notice("takeover: complete: ");
    assert_eq!(swapped.ask(), "first");
}

#[test]
fn another_process_at_the_same_address_is_not_overlooked() {
    let swapped = Swapped::new("takeover-elsewhere");
    let binary = swapped.build("takeover-elsewhere", 1, 200);
    let mut old = swapped.start(&binary, &[]);
    let elsewhere = format!("--takeover={}", swapped.dir.join("elsewhere.sock").display());
    let refused = swapped.run(&binary, &["--upgrade", &elsewhere]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let reason = format!("can't take over: another process listens on `{}`, but none on", swapped.address("listen"));
    assert!(stderr(&refused).contains(&reason), "{refused:?}");
    assert_eq!(swapped.ask(), "first");

    // One that is ending is waited for.
    let new = std::thread::scope(|scope| {
        let new = scope.spawn(|| swapped.start(&binary, &["--upgrade", &elsewhere]));
        old.signal("TERM");
        assert_eq!(old.wait().code(), Some(0));
        new.join().expect("it serves")
    });
    new.notice("so there is nothing to take over");
    assert_eq!(swapped.ask(), "first");
}

#[test]
fn a_process_that_hangs_does_not_decide() {
    let swapped = Swapped::new("takeover-hang");
    let binary = swapped.build("takeover-hang", 1, 200);
    let old = swapped.start(&binary, &[]);
    let mut new = swapped.start(&binary, &["--upgrade", "--canary=1s"]);
    old.notice("accepting is paused");
    new.signal("STOP");
    old.notice("has not decided in time; accepting again after ");
    assert_eq!(swapped.ask(), "first");
    new.signal("CONT");
    assert_eq!(new.wait().code(), Some(3));
    assert_eq!(swapped.ask(), "first");
}

#[test]
fn bad_starts_change_nothing() {
    let swapped = Swapped::new("takeover-starts");
    let binary = swapped.build("takeover-starts", 2, 200);
    let old = swapped.start(&binary, &[]);
    // The site's own tests fail with this parameter.
    let failed = swapped.run(&binary, &["--upgrade", "--text=second"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("FAIL  the text"), "{failed:?}");
    assert!(stderr(&failed).contains("error: the site's tests fail: the running process goes on"), "{failed:?}");
    assert!(!old.noticed().iter().any(|line| line.contains("takeover: ")), "{:?}", old.noticed());

    // This fails after it has got the sockets: another process has an address that only the new one listens on.
    let taken = std::net::TcpListener::bind(address()).expect("bound");
    let other = format!("--secure={}", taken.local_addr().expect("an address"));
    let failed = swapped.run(&binary, &["--upgrade", &other]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(stderr(&failed).contains("can't listen on"), "{failed:?}");
    old.notice("nothing has changed");

    // Strangers at the socket are not waited for.
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"H\0\0\0\x04\0\0\0\x63", b"C\0\0\0\0"] {
        let mut stranger = UnixStream::connect(swapped.path("takeover")).expect("connected");
        stranger.write_all(bytes).expect("sent");
        stranger.shutdown(std::net::Shutdown::Write).expect("shut down");
        stranger.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut said = Vec::new();
        // The end, or a reset because not all was read.
        let closed =
            stranger.read_to_end(&mut said).err().is_none_or(|error| error.kind() == ErrorKind::ConnectionReset);
        assert!(closed, "{bytes:?}: {said:?}");
        assert!(!said.starts_with(b"S") && !said.starts_with(b"O"), "{said:?}");
    }
    assert_eq!(swapped.ask(), "first");
    let new = swapped.start(&binary, &["--upgrade"]);
    new.notice("takeover: complete: ");
}

#[test]
fn listeners_come_and_go() {
    let swapped = Swapped::new("takeover-listeners");
    let binary = swapped.build("takeover-listeners", 2, 200);
    let mut old = swapped.start(&binary, &[]);
    let before = swapped.address("listen").to_owned();
    let after = address();
    let new = swapped.start(&binary, &["--upgrade", "--canary=2s"]);
    drop(new);
    old.notice("has ended without a verdict");
    swapped.restart_after_crash(&binary, &old);

    let moved = format!("--listen={after}");
    let new = swapped.start(&binary, &["--upgrade", "--canary=1s", &moved]);
    new.notice("takeover: serving for 1s before the old process ends");
    // The new process does not listen on the old address, so the old one goes on there, until it ends.
    assert_eq!(get(&before, "a.test", "/").text(), "first");
    assert_eq!(get(&after, "a.test", "/").text(), "first");
    new.notice("takeover: complete: ");
    assert_eq!(old.wait().code(), Some(0));
    assert_eq!(get(&after, "a.test", "/").text(), "first");
    assert!(std::net::TcpStream::connect(&before).is_err());
}

/// Returns whether the session of the file was resumed, by `openssl`.
fn resumed(address: &str, session: &[&str]) -> bool {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", address, "-servername", "b.test"])
        .args(session)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl runs");
    let request = b"GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n";
    child.stdin.take().expect("piped").write_all(request).expect("sent");
    let output = child.wait_with_output().expect("an end");
    assert!(stdout(&output).contains("secured"), "{}", stdout(&output));
    stdout(&output).contains("Reused, TLSv1.3")
}

#[test]
fn sessions_are_resumed() {
    let swapped = Swapped::new("takeover-tls");
    let binary = swapped.build("takeover-tls", 2, 200);
    let mut old = swapped.start(&binary, &[]);
    let session = swapped.dir.join("session");
    let session = session.to_str().expect("UTF-8");
    assert!(!resumed(swapped.address("secure"), &["-sess_out", session]));
    for _ in 0..2 {
        let new = swapped.start(&binary, &["--upgrade"]);
        new.notice("takeover: complete: ");
        old.wait();
        assert!(resumed(swapped.address("secure"), &["-sess_in", session]));
        old = new;
    }
    // A process that starts by itself has keys of its own.
    old.signal("TERM");
    old.wait();
    let _other = swapped.start(&binary, &[]);
    assert!(!resumed(swapped.address("secure"), &["-sess_in", session]));
}

/// Root hands over to root, and both become another user within the sandbox.
#[test]
fn privileges_are_given_up_again() {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| stdout(&output).trim() == "0");
    if !root {
        return eprintln!("SKIPPED: only root can become another user");
    }
    let dir = PathBuf::from(format!("/tmp/kiln-takeover-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("set");
    let path = dir.join("takeover.sock");
    let text = format!(
        "param listen type=addr\nprocess {{\n workers 2\n user \"65534\"\n group \"65534\"\n sandbox required\n takeover \"{}\" canary=\"200ms\"\n}}\n\
         listen (param)listen\nsite a.test {{\n respond 200 \"here\"\n}}\n",
        path.display()
    );
    let binary = build_text("takeover-privileges", &text);
    std::fs::copy(&binary, dir.join("proxy")).expect("copied");
    let listen = address();
    let start = |as_user: bool| {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(dir.join("proxy"));
        command.arg("--upgrade").arg(format!("--listen={listen}"));
        if as_user {
            command.uid(65534).gid(65534);
        }
        Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into())
    };
    let mut old = start(false);
    let about = path.metadata().expect("a socket");
    assert_eq!((about.uid(), about.permissions().mode() & 0o777), (65534, 0o600));
    for as_user in [false, true] {
        let new = start(as_user);
        new.notice("takeover: complete: ");
        assert_eq!(old.wait().code(), Some(0), "{:?}", old.noticed());
        assert_eq!(get(&listen, "a.test", "/").text(), "here");
        old = new;
    }
    drop(old);
    std::fs::remove_dir_all(dir).expect("removed");
}

/// Connections that wait in the queues of sockets are served when the process stops, as closing the sockets would reset them.
#[test]
fn queues_are_emptied_at_the_end() {
    let text = "param listen type=addr\nprocess {\n workers 2\n}\nlisten (param)listen\nsite a.test {\n respond 200 \"here\"\n}\n";
    let mut proxy = Proxy::of_text("takeover-queues", text, &[]);
    proxy.signal("STOP");
    let connect = |_| {
        let mut client = Client::to(proxy.address("listen"));
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        client
    };
    let clients: Vec<_> = (0..200).map(connect).collect();
    proxy.signal("TERM");
    proxy.signal("CONT");
    for mut client in clients {
        assert_eq!(client.answer().text(), "here");
    }
    assert_eq!(proxy.wait().code(), Some(0));
}
