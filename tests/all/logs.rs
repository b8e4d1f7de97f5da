//! Outputs of logs: files that are moved, rotated and full; syslog over unix sockets, UDP and TCP; systemd's journal; and receivers that
//! are gone, or read nothing. Requests are served in any case.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kiln_tests::client::{Client, ask, get};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const SITE: &str = "\
param listen type=addr
param ops type=addr
param file type=string default=\"/dev/null\"
param rotated type=string default=\"/dev/null\"
param syslog type=string default=\"unix:/nowhere/syslog\"
param journal type=string default=\"/nowhere/journal\"
param size type=size default=\"4KiB\"
process {
    workers 1
    drain timeout=\"2s\"
}
admin (param)ops {
    metrics
}
listen (param)listen
site * {
    route \"/file/*\" {
        log access format=\"{path}\" {
            to file (param)file
        }
        respond 200 \"ok\"
    }
    route \"/rotated/*\" {
        log access format=\"{path}\" {
            to file (param)rotated rotate=(param)size keep=2
        }
        respond 200 \"ok\"
    }
    route \"/syslog/*\" {
        log access format=\"{path} {header.user-agent}\" {
            to syslog (param)syslog facility=local0 tag=shop
        }
        respond 200 \"ok\"
    }
    route \"/syslog/error\" {
        log access format=\"{path}\" {
            to syslog (param)syslog facility=local0 tag=shop
        }
        respond 503 \"no\"
    }
    route \"/journal/*\" {
        log access {
            fields method path status request-bytes header.x-a response-header.x-b
            rename header.x-a a
            to journal (param)journal
        }
        response-headers {
            set X-B b
        }
        echo
    }
    route \"/full\" {
        log access format=\"{path}\" {
            to stdout
            to file \"/dev/full\"
        }
        respond 200 \"ok\"
    }
    route \"/when/{code}\" {
        log access format=\"{path}\" {
            when status=404
            when status=\"5xx\" route=\"/when/{code}\"
            when reason=any duration=\"<1h\"
            when duration=\">=1h\"
        }
        respond 200 \"ok\"
    }
    route \"/when/404\" {
        log access format=\"{path}\" {
            when status=404
        }
        respond 404 \"no\"
    }
    route \"/when/refused\" {
        deny \"0.0.0.0/0\"
        log access format=\"{path}\" {
            when reason=blocked
            when reason=address-denied
            when reason=any
        }
        respond 200 \"ok\"
    }
    route \"/sample/*\" {
        log access format=\"{path}\" {
            sample \"25%\"
        }
        respond 200 \"ok\"
    }
    route \"/sample/error\" {
        log access format=\"{path}\" {
            sample \"0%\"
        }
        respond 500 \"no\"
    }
}
";

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build_text("logs", SITE))
}

fn start(given: &[(&str, &str)]) -> Proxy {
    Proxy::start(binary(), SITE, given)
}

fn visit(proxy: &Proxy, path: &str) -> u16 {
    get(proxy.address("listen"), "site.test", path).status
}

/// Waits until a condition holds.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a file has this content.
fn holds(path: &Path, expected: &str) {
    let mut found = String::new();
    until(&format!("{} has not {expected:?}", path.display()), || {
        found = std::fs::read_to_string(path).unwrap_or_default();
        found == expected
    });
}

/// Returns how many lines an output of the access log has lost, by the metric.
fn lost(proxy: &Proxy, output: &str) -> u64 {
    let text = get(proxy.address("ops"), "localhost", "/metrics").text();
    let begin = format!("kiln_log_lost_lines_total{{log=\"access\",output=\"{output}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&begin));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {begin} in {text}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Lines go to a moved file until it is reopened; then to a new one, which others can't read.
#[test]
fn a_moved_file_is_reopened() {
    let folder = scratch("logs-moved");
    let (path, moved) = (folder.join("access.log"), folder.join("access.log.old"));
    let proxy = start(&[("file", text(&path))]);
    assert_eq!(std::fs::metadata(&path).expect("made at start").permissions().mode() & 0o777, 0o640 & !umask());
    visit(&proxy, "/file/1");
    holds(&path, "/file/1\n");
    std::fs::rename(&path, &moved).expect("moved");
    visit(&proxy, "/file/2");
    holds(&moved, "/file/1\n/file/2\n");
    proxy.signal("USR1");
    proxy.notice(&format!("`{}` was reopened", path.display()));
    visit(&proxy, "/file/3");
    holds(&path, "/file/3\n");
    // If the file can't be reopened, no lines are lost.
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a folder in its place");
    proxy.signal("USR1");
    proxy.notice("can't be reopened, lines go where they went before");
    visit(&proxy, "/file/4");
    until("a line is lost", || lost(&proxy, text(&path)) == 0);
    holds(&moved, "/file/1\n/file/2\n");
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("a mask");
    u32::from_str_radix(mask.trim(), 8).expect("octal")
}

/// No file is larger than `rotate`, the last files are kept, and no line between them is missing.
#[test]
fn files_are_rotated() {
    let path = scratch("logs-rotated").join("access.log");
    let mut proxy = start(&[("rotated", text(&path))]);
    let mut client = Client::to(proxy.address("listen"));
    let long = "x".repeat(100);
    const REQUESTS: usize = 300;
    for number in 0..REQUESTS {
        client.send(format!("GET /rotated/{number}-{long} HTTP/1.1\r\nHost: site.test\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
    }
    drop(client);
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    let read = |suffix: &str| std::fs::read_to_string(format!("{}{suffix}", path.display())).ok();
    assert_eq!(read(".3"), None, "more than two rotated files are kept");
    let files = [".2", ".1", ""].map(|suffix| read(suffix).unwrap_or_else(|| panic!("the file {suffix} is missing")));
    assert!(files.iter().all(|file| file.len() <= 4096), "{:?}", files.each_ref().map(String::len));
    let all = files.concat();
    let first = REQUESTS - all.lines().count();
    let expected: String = (first..REQUESTS).map(|number| format!("/rotated/{number}-{long}\n")).collect();
    assert!(all == expected, "{all}");
}

/// Splits a syslog message (RFC 5424) into its priority, the rest of its header, and its text.
fn message(message: &str) -> (u32, Vec<&str>, &str) {
    let (priority, rest) = message.strip_prefix('<').and_then(|rest| rest.split_once('>')).expect("a priority");
    let mut parts = rest.splitn(8, ' ');
    let header: Vec<_> = parts.by_ref().take(7).collect();
    (priority.parse().expect("a number"), header, parts.next().expect("a message"))
}

fn is_right(received: &str, proxy: &Proxy, severity: u32, expected: &str) {
    let (priority, header, said) = message(received);
    let pid = proxy.pid().to_string();
    assert_eq!((priority, said), (16 * 8 + severity, expected), "{received}");
    let [version, time, host, app, process, kind, data] = header.as_slice() else { panic!("{received}") };
    assert_eq!([*version, *app, *process, *kind, *data], ["1", "shop", &*pid, "access", "-"], "{received}");
    assert!(time.ends_with('Z') && time.len() == 27 && !host.is_empty(), "{received}");
}

#[test]
fn syslog_over_datagrams() {
    let path = scratch("logs-syslog").join("log");
    let unix = UnixDatagram::bind(&path).expect("a socket");
    unix.set_read_timeout(Some(PATIENCE)).expect("set");
    receives(&format!("unix:{}", path.display()), |buffer| unix.recv(buffer));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.set_read_timeout(Some(PATIENCE)).expect("set");
    receives(&format!("udp:127.0.0.1:{}", udp.local_addr().expect("an address").port()), |buffer| udp.recv(buffer));
}

/// Checks that a receiver gets each line as a message.
fn receives(address: &str, receive: impl Fn(&mut [u8]) -> std::io::Result<usize>) {
    let proxy = start(&[("syslog", address)]);
    let mut buffer = vec![0; 64 << 10];
    for (path, severity, said) in [("/syslog/a", 6, "/syslog/a -"), ("/syslog/error", 3, "/syslog/error")] {
        visit(&proxy, path);
        let length = receive(&mut buffer).expect("a message");
        is_right(std::str::from_utf8(&buffer[..length]).expect("text"), &proxy, severity, said);
    }
}

/// Over TCP, each message has its length before it. A server that restarts gets the remaining messages.
#[test]
fn syslog_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let proxy = start(&[("syslog", &format!("tcp:{address}"))]);
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut stream = BufReader::new(stream);
    for said in ["/syslog/1 -", "/syslog/2 -"] {
        visit(&proxy, said.split(' ').next().expect("a path"));
        is_right(&counted(&mut stream), &proxy, 6, said);
    }
    drop((stream, listener));
    for path in ["/syslog/3", "/syslog/4"] {
        assert_eq!(visit(&proxy, path), 200);
    }
    proxy.notice(&format!("syslog tcp:{address} is not reached, trying again"));
    let listener = TcpListener::bind(address).expect("the same address");
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut stream = BufReader::new(stream);
    for said in ["/syslog/3 -", "/syslog/4 -"] {
        is_right(&counted(&mut stream), &proxy, 6, said);
    }
    proxy.notice(&format!("syslog tcp:{address} is reached again"));
    assert_eq!(lost(&proxy, &format!("syslog tcp:{address}")), 0);
}

/// Reads a message with its length before it (RFC 6587 section 3.4.1).
fn counted(stream: &mut BufReader<TcpStream>) -> String {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).expect("a length");
    let length: usize = std::str::from_utf8(&length).expect("text").trim().parse().expect("a number");
    let mut message = vec![0; length];
    stream.read_exact(&mut message).expect("a message");
    String::from_utf8(message).expect("text")
}

/// A receiver that reads nothing delays neither requests nor the end, and lines for which there is no room are counted.
#[test]
fn a_syslog_server_that_reads_nothing() {
    const REQUESTS: u64 = 1500;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let mut proxy = start(&[("syslog", &format!("tcp:{address}"))]);
    let long = "x".repeat(15_000);
    let mut client = Client::to(proxy.address("listen"));
    let began = Instant::now();
    for _ in 0..REQUESTS {
        client.send(format!("GET /syslog/1 HTTP/1.1\r\nHost: site.test\r\nUser-Agent: {long}\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    drop(client);
    let output = format!("syslog tcp:{address}");
    until("nothing is lost", || lost(&proxy, &output) > 0);
    let stopped = Instant::now();
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    // No exchange delays the drain.
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
    proxy.notice(&format!("lines of the access log were lost: {output} is too slow, full or gone"));
    drop(listener);
}

/// Members of a line become fields of a journal entry.
#[test]
fn journal_entries() {
    let path = scratch("logs-journal").join("socket");
    let journal = UnixDatagram::bind(&path).expect("a socket");
    journal.set_read_timeout(Some(PATIENCE)).expect("set");
    let proxy = start(&[("journal", text(&path))]);
    let request = "POST /journal/1 HTTP/1.1\r\nHost: site.test\r\nX-A: one\ttwo\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(ask(proxy.address("listen"), request).status, 200);
    let mut buffer = vec![0; 64 << 10];
    let length = journal.recv(&mut buffer).expect("an entry");
    let entry = std::str::from_utf8(&buffer[..length]).expect("text");
    let expected = "PRIORITY=6\nSYSLOG_IDENTIFIER=kiln\nMESSAGE=POST /journal/1 200\nKILN_METHOD=POST\nKILN_PATH=/journal/1\n\
         KILN_STATUS=200\nKILN_REQUEST_BYTES=5\nKILN_A=one\\x09two\nKILN_RESPONSE_HEADER_X_B=b\n";
    assert_eq!(entry, expected);
}

/// Lines for a full disk are counted as lost, and the other output gets them.
#[test]
fn lines_for_a_full_disk_are_counted() {
    let proxy = start(&[]);
    for _ in 0..5 {
        assert_eq!(visit(&proxy, "/full"), 200);
    }
    until("not all lines are counted as lost", || lost(&proxy, "/dev/full") == 5);
    proxy.notice("lines of the access log were lost: /dev/full is too slow, full or gone");
    until("standard output lacks lines", || proxy.logged().iter().filter(|line| *line == "/full").count() == 5);
    assert_eq!(lost(&proxy, "standard output"), 0);
}

#[test]
fn conditions_and_samples() {
    const REQUESTS: usize = 400;
    let mut proxy = start(&[]);
    for path in ["/when/200", "/when/404", "/when/refused", "/sample/error"] {
        visit(&proxy, path);
    }
    let mut client = Client::to(proxy.address("listen"));
    for _ in 0..REQUESTS {
        client.send("GET /sample/1 HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    drop(client);
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    until("a line is missing", || proxy.logged().iter().any(|line| line == "/sample/error"));
    let lines = proxy.logged();
    let count = |path: &str| lines.iter().filter(|line| *line == path).count();
    assert_eq!(["/when/200", "/when/404", "/when/refused", "/sample/error"].map(count), [0, 1, 1, 1], "{lines:?}");
    // The bounds are eight standard deviations from a quarter.
    assert!((30..170).contains(&count("/sample/1")), "{}", count("/sample/1"));
}

/// An output that can't be opened prevents the start, with the output's line; `--check` reports it, too.
#[test]
fn outputs_that_can_not_be_opened() {
    let folder = scratch("logs-refused");
    let link = folder.join("link");
    std::os::unix::fs::symlink(folder.join("elsewhere"), &link).expect("a link");
    let (relative, absent) = (PathBuf::from("access.log"), folder.join("absent/access.log"));
    let run = |arguments: &[String]| {
        let addresses = [format!("--listen={}", address()), format!("--ops={}", address())];
        let output = Command::new(binary()).args(addresses).args(arguments).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let check = |flag: &str, value: &str, expected: &str| {
        let setting = format!("--{flag}={value}");
        for arguments in [vec![setting.clone()], vec!["--check".to_owned(), setting]] {
            let (success, said) = run(&arguments);
            assert!(!success && said.contains(expected), "{arguments:?}: {said}");
        }
    };
    check(
        "file",
        text(&relative),
        "site.kdl:19: the log can't be written to `access.log`: an absolute path is expected",
    );
    check("file", text(&absent), "site.kdl:19: the log can't be written to `/");
    check("file", text(&link), "it is a symbolic link, which is not followed");
    check("rotated", text(&folder), "site.kdl:25: the log can't be written to `/");
    check(
        "syslog",
        "10.0.0.1:514",
        "site.kdl:31: `10.0.0.1:514` is no syslog server: a syslog server is \"unix:/path\"",
    );
    check("journal", "journal", "is no socket of the journal: an absolute path is expected");
    // `--check` creates no file.
    let new = folder.join("new.log");
    let (success, said) = run(&["--check".to_owned(), format!("--file={}", new.display())]);
    assert!(success && !new.exists(), "{said}");
}

const ERRORS: &str = "\
param listen type=addr
param app type=addr
param errors type=string
log errors level=warn format=json {
    to stderr
    to file (param)errors
}
lint allow unverified-upstream
listen (param)listen
upstream app {
    server (param)app
    tls verify=#false
}
site * {
    proxy app
}
";

/// A proxy that does not report that it is ready.
struct Quiet(Child);

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The error log goes to the site's outputs, as JSON, without notices below the level `warn`.
#[test]
fn levels_of_the_error_log() {
    // The origin does not respond in TLS.
    let origin = Origin::new(|mut connection, _| {
        connection.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let (path, listen) = (scratch("logs-errors").join("error.log"), address());
    let mut command = Command::new(build_text("log-errors", ERRORS));
    command.args([
        format!("--listen={listen}"),
        format!("--app={}", origin.address),
        format!("--errors={}", path.display()),
    ]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut proxy = Quiet(child.expect("it starts"));
    until("it does not serve", || TcpStream::connect(&listen).is_ok());
    assert_eq!(get(&listen, "site.test", "/").status, 502);
    until("the error log is empty", || std::fs::read_to_string(&path).is_ok_and(|text| !text.is_empty()));
    let status = Command::new("kill").args(["-TERM", &proxy.0.id().to_string()]).status();
    assert!(status.expect("kill runs").success() && proxy.0.wait().expect("a child").success());
    let said = std::fs::read_to_string(&path).expect("text");
    let mut on_stderr = String::new();
    proxy.0.stderr.take().expect("piped").read_to_string(&mut on_stderr).expect("text");
    for text in [&said, &on_stderr] {
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<serde_json::Value> = lines.collect();
        let is = |line: &serde_json::Value, name: &str, what: &str| {
            line[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}")).contains(what)
        };
        assert!(lines.iter().all(|line| is(line, "level", "warn") && is(line, "time", "Z")), "{text}");
        assert!(lines.iter().any(|line| is(line, "message", "upstream `app`: no handshake with server")), "{text}");
    }
}
