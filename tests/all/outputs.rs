//! Standard output and standard error that are not read, and signals: a blocked output stops neither the proxy nor its shutdown.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kiln_tests::client::{Client, get};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const SITE: &str = "\
param listen type=addr
param app type=addr default=\"127.0.0.1:1\"
param slow type=addr default=\"127.0.0.1:1\"
process {
    workers 1
    drain timeout=\"10m\"
}
lint allow unverified-upstream
log access format=\"{path} {header.user-agent}\"
listen (param)listen
upstream app {
    server (param)app
    tls verify=#false
}
upstream slow {
    server (param)slow
}
site * {
    route \"/own\" {
        respond 200 \"own\"
    }
    route \"/app\" {
        proxy app
    }
    route \"/slow\" {
        timeouts response=\"10m\"
        proxy slow
    }
}
";

fn binary() -> &'static std::path::Path {
    static BINARY: OnceLock<std::path::PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build_text("outputs", SITE))
}

/// A proxy whose standard output and error are read only when the test wants to.
struct Unread {
    child: Child,
    address: String,
    out: PipeReader,
    err: PipeReader,
}

/// The byte that fills a pipe.
const FILLING: u8 = b'#';

/// Returns a pipe, filled up if `full`.
fn unread(full: bool) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    // This is the capacity of a pipe, whatever the page size (pipe(7)); if the capacity were less, this would block.
    if full {
        writer.write_all(&[FILLING; 64 << 10]).expect("filled");
    }
    (reader, writer)
}

impl Unread {
    fn start(origin: &str, (out_full, err_full): (bool, bool)) -> Unread {
        let ((out, stdout), (err, stderr)) = (unread(out_full), unread(err_full));
        let address = address();
        let mut command = Command::new(binary());
        command.arg(format!("--listen={address}")).args(["app", "slow"].map(|name| format!("--{name}={origin}")));
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("it starts");
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < until, "the proxy does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        Unread { child, address, out, err }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the process to end, and returns the rest of both pipes.
    fn end(mut self) -> (ExitStatus, String, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("text");
        self.err.read_to_string(&mut err).expect("text");
        let unfilled = |text: String| text.trim_start_matches(char::from(FILLING)).to_owned();
        (status, unfilled(out), unfilled(err))
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the number of lost lines of the access log, according to the notices.
fn lost(notices: &str) -> usize {
    let number = |line: &str| {
        let (before, _) = line.split_once(" lines of the access log were lost")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    };
    notices.lines().filter_map(number).sum()
}

/// Starts a server that responds to TLS handshakes in plain text.
fn no_tls() -> Origin {
    Origin::new(|mut connection, _| {
        connection.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    })
}

/// Unread notices and log lines delay neither requests nor the shutdown, which is fast, although the drain may take up
/// to ten minutes.
#[test]
fn unread_outputs_do_not_block() {
    let origin = no_tls();
    for (out, err) in [(false, true), (true, false), (true, true)] {
        let proxy = Unread::start(&origin.address, (out, err));
        for _ in 0..5 {
            assert_eq!(get(&proxy.address, "site.test", "/app").status, 502);
            assert_eq!(get(&proxy.address, "site.test", "/own").status, 200);
        }
        proxy.signal("TERM");
        let (status, lines, notices) = proxy.end();
        assert!(status.success(), "{status}");
        if !out {
            assert_eq!(lines.lines().count(), 10, "{lines}");
        }
        if !err {
            assert!(notices.contains("listening on") && notices.contains("stopped"), "{notices}");
            assert!(notices.contains("no handshake with server"), "{notices}");
            assert_eq!(lost(&notices), 10, "{notices}");
        }
    }
}

/// A second signal ends the process, whatever is blocked or in progress.
#[test]
fn a_second_signal_ends_the_process() {
    let silent = Origin::new(|mut connection, _| while !connection.bytes().is_empty() {});
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
        let proxy = Unread::start(&silent.address, (true, true));
        let mut client = Client::to(&proxy.address);
        client.send("GET /slow HTTP/1.1\r\nHost: site.test\r\n\r\n");
        let mut idle = Client::to(&proxy.address);
        idle.send("GET /own HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(idle.answer().status, 200);
        proxy.signal(first);
        assert!(idle.closed(), "the drain has not begun");
        proxy.signal(second);
        assert!(client.closed());
        assert!(proxy.end().0.success());
    }
}

/// Lines without room are dropped and counted; all others are written once the output is read.
#[test]
fn dropped_lines_are_counted() {
    const REQUESTS: usize = 2000;
    let mut proxy = Unread::start("127.0.0.1:1", (false, false));
    let mut client = Client::to(&proxy.address);
    let long = "x".repeat(8000);
    for _ in 0..REQUESTS {
        client.send(format!("GET /own HTTP/1.1\r\nHost: site.test\r\nUser-Agent: {long}\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
    }
    // A reader learns about the losses at once.
    let mut out = proxy.out.try_clone().expect("a descriptor");
    let seen = std::thread::spawn(move || {
        let mut seen = String::new();
        out.read_to_string(&mut seen).map(|_| seen).expect("text")
    });
    let mut notices = String::new();
    while lost(&notices) == 0 {
        let mut some = [0; 4096];
        let read = proxy.err.read(&mut some).expect("notices");
        notices.push_str(std::str::from_utf8(&some[..read]).expect("text"));
    }
    drop(client);
    proxy.signal("TERM");
    let (status, _, more) = proxy.end();
    let seen = seen.join().expect("read");
    notices.push_str(&more);
    assert!(status.success(), "{status}");
    assert!(seen.lines().all(|line| line.len() == "/own ".len() + long.len()), "a line is incomplete");
    assert_eq!(seen.lines().count() + lost(&notices), REQUESTS, "{notices}");
}

/// Repeated notices are counted.
#[test]
fn repeated_notices() {
    let origin = no_tls();
    let mut proxy = Proxy::start(binary(), SITE, &[("app", &origin.address)]);
    for _ in 0..50 {
        assert_eq!(get(proxy.address("listen"), "site.test", "/app").status, 502);
    }
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    proxy.notice("stopped");
    let said: Vec<String> = proxy.noticed().into_iter().filter(|line| line.contains("no handshake")).collect();
    let counted = |line: &String| line.rsplit_once('(').and_then(|(_, count)| count.split(' ').next()?.parse().ok());
    // Each line counts for one notice, or for as many as it says.
    let all: u32 = said.iter().map(|line| counted(line).unwrap_or(1)).sum();
    assert_eq!(all, 50, "{said:#?}");
    assert!(said.len() < 25, "{said:#?}");
}

/// None of these signals ends the proxy, and each is confirmed by a notice.
#[test]
fn signals() {
    let mut proxy = Proxy::start(binary(), SITE, &[]);
    for (signal, reply) in [
        ("USR1", "SIGUSR1: there is no log file to reopen"),
        ("USR2", "SIGUSR2: nothing is done"),
        ("HUP", "files were reloaded"),
    ] {
        for count in 1..=5 {
            proxy.signal(signal);
            proxy.notices(reply, count);
        }
    }
    assert_eq!(get(proxy.address("listen"), "site.test", "/own").status, 200);
    proxy.signal("TERM");
    assert!(proxy.wait().success());
}
