//! Listening on Unix sockets: permissions, from the first moment on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const SITE: &str = "\
param plain type=addr
param strict type=addr
param owned type=addr
listen (param)plain
listen strict (param)strict mode=\"0660\"
site * {
    respond 200 \"here\"
}
site a.test {
    listen (param)owned mode=\"0622\" owner=\"OWNER\"
    listen strict
    respond 200 \"a\"
}
";

fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// Any user can set their own group; root can set any owner.
#[test]
fn permissions_and_owners() {
    let dir = scratch("sockets");
    let own = dir.metadata().expect("a folder");
    let wanted = if own.uid() == 0 { (12_345, 12_346) } else { (own.uid(), own.gid()) };
    let site = SITE.replace("OWNER", &format!("{}:{}", wanted.0, wanted.1));
    let path = |name: &str| dir.join(name);
    let flags = ["plain", "strict", "owned"].map(|name| (name, format!("unix:{}", path(name).display())));
    let flags: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let binary = build_text("sockets", &site);
    // The first proxy leaves its files behind, the second replaces them.
    for _ in 0..2 {
        let _proxy = Proxy::start(&binary, &site, &flags);
        let about = |name: &str| path(name).metadata().expect("a socket");
        for (name, mode) in [("strict", 0o660), ("owned", 0o622)] {
            assert_eq!(about(name).permissions().mode() & 0o777, mode, "{name}");
            assert!(ask(&path(name)).ends_with("\r\na"), "{name}");
        }
        assert!(ask(&path("plain")).ends_with("here"));
        assert_eq!((about("owned").uid(), about("owned").gid()), wanted);
        assert_eq!((about("strict").uid(), about("strict").gid()), (about("plain").uid(), about("plain").gid()));
        std::fs::set_permissions(path("strict"), std::fs::Permissions::from_mode(0o777)).expect("set");
    }
}

/// The proxy does not start if it can't set the owner or mode.
#[test]
fn invalid_owners_and_modes() {
    let site = "param listen type=addr\nlisten (param)listen mode=\"0600\" owner=\"nobody-of-that-name:0\"\nsite * {\n respond 200\n}\n";
    let binary = build_text("sockets-owner", site);
    let start = |listen: &str| -> Output {
        Command::new(&binary).arg(format!("--listen={listen}")).output().expect("it runs, and ends by itself")
    };
    let check = |listen: &str, said: &str| {
        let output = start(listen);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{error}");
    };
    let socket = scratch("sockets-owner").join("a.sock");
    check(&format!("unix:{}", socket.display()), "the user `nobody-of-that-name`: there is none in /etc/passwd");
    assert!(!socket.exists());
    check(&address(), "`mode` and `owner` are for unix sockets");
}

/// Starts a binary by a service manager that has bound these sockets, once a client has connected.
fn activated(sockets: &[&str], binary: &Path, flags: &[String]) -> Command {
    let mut command = Command::new("systemd-socket-activate");
    command.args(sockets.iter().map(|socket| format!("--listen={socket}"))).arg(binary).args(flags);
    command
}

/// Asks as soon as somebody listens: the request waits in the queue of the socket until a proxy has it.
fn ask_early(address: &str) -> String {
    let until = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "nobody listens: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    // A process that does not start resets the connection.
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn sockets_of_a_service_manager() {
    if !Command::new("systemd-socket-activate").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return eprintln!(
            "SKIPPED: there is no systemd-socket-activate, so nothing is seen of sockets that are passed on"
        );
    }
    let site = "param tcp type=addr\nparam socket type=addr\nlisten (param)tcp\nlisten (param)socket\nsite * {\n respond 200 \"here\"\n}\n";
    let binary = build_text("sockets-passed", site);
    let path = scratch("sockets-passed").join("a.sock");
    let (tcp, unused, unix) = (address(), address(), path.display().to_string());
    let flags = |tcp: &str| [format!("--tcp={tcp}"), format!("--socket=unix:{unix}")];
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask_early(&tcp));
        let proxy = Proxy::spawn(activated(&[&tcp, &unused, &unix], &binary, &flags(&tcp)), [].into());
        assert!(asked.join().expect("a response").ends_with("here"));
        assert!(ask(&path).ends_with("here"));
        proxy.notice(&format!("the parent process passes a socket of `{unused}`, where the site does not listen"));
        assert!(!proxy.noticed().iter().any(|line| line.contains(&format!("socket of `{tcp}`"))));
    });

    // A socket of one address is none for all of them.
    let port = 17_000 + std::process::id() % 10_000;
    let (one, all) = (format!("127.0.0.3:{port}"), format!("0.0.0.0:{port}"));
    std::fs::remove_file(&path).expect("removed");
    let failed = std::thread::scope(|scope| {
        scope.spawn(|| ask_early(&one));
        activated(&[&one], &binary, &flags(&all)).output().expect("it ends by itself")
    });
    let said = String::from_utf8_lossy(&failed.stderr);
    let reason = format!("the parent process passes a socket of `{one}`, which is another address");
    assert!(!failed.status.success() && said.contains(&reason), "{said}");
}
