//! File descriptors: they are divided at start, and exhaustion is temporary.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use kiln_tests::client::ask;
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const SITE: &str = "\
param listen type=addr
param app type=addr
param folder type=string
log access
process {
    workers 1
}
upstream app {
    server (param)app
}
cache-store main memory=\"64MiB\" max-object=\"64KiB\" {
    disk (param)folder size=\"1GiB\"
}
site site.test {
    listen (param)listen
    route \"/here\" {
        respond 200 \"here\"
    }
    route \"/cached/*\" {
        cache main {
            ttl default=\"1h\"
        }
        proxy app
    }
    route \"/*\" {
        proxy app
    }
}
";

/// Too large for memory.
const LARGE: usize = 70 << 10;

fn origin() -> Origin {
    Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let length = if request.contains("/cached/") { LARGE } else { 2 };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            connection.send(vec![b'x'; length]);
        }
    })
}

/// Starts the proxy with a soft and hard limit of descriptors.
fn start(binary: &Path, origin: &Origin, limit: usize, name: &str) -> Proxy {
    let folder = scratch(name);
    let given = [("listen", address()), ("app", origin.address.clone()), ("folder", folder.display().to_string())];
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(binary);
    command.args(given.iter().map(|(name, value)| format!("--{name}={value}")));
    Proxy::spawn(command, given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>())
}

fn get(proxy: &Proxy, path: &str) -> kiln_tests::client::Answer {
    ask(proxy.address("listen"), &format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"))
}

/// A kept-alive connection for many requests.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(proxy: &Proxy) -> Client {
        let stream = TcpStream::connect(proxy.address("listen")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client(BufReader::new(stream))
    }

    /// The status; `None` if the connection has ended.
    fn get(&mut self, path: &str) -> Option<u16> {
        let _ = self.0.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n").as_bytes());
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
            length = line.strip_prefix("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(length);
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        status
    }
}

fn open(proxy: &Proxy) -> BTreeSet<usize> {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("a process");
    folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Ensures that nothing can be opened any more: the limit becomes the lowest free number.
fn use_up(proxy: &Proxy) {
    // Descriptors that its threads hold for a moment, such as a cache folder that is being read, would become free again.
    let until = std::time::Instant::now() + PATIENCE;
    while !is_idle(proxy) {
        assert!(std::time::Instant::now() < until, "the process never becomes idle");
        std::thread::yield_now();
    }
    let open = open(proxy);
    let free = (0..).find(|number| !open.contains(number)).expect("a number");
    limit(proxy, free);
}

/// Whether all of its threads sleep.
fn is_idle(proxy: &Proxy) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("a process");
    let stat = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).ok();
    threads.flatten().filter_map(stat).all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
}

fn limit(proxy: &Proxy, soft: usize) {
    let pid = proxy.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status();
    assert!(set.expect("prlimit").success());
}

/// Large cached responses hold no descriptors, however many there are.
#[test]
fn large_cached_responses() {
    const OBJECTS: usize = 200;
    let (binary, origin) = (build_text("descriptors-large", SITE), origin());
    let proxy = start(&binary, &origin, 128, "descriptors-large-folder");
    for round in 0..2 {
        for number in 0..OBJECTS {
            let answer = get(&proxy, &format!("/cached/{number}"));
            assert_eq!((answer.status, answer.body.len()), (200, LARGE));
            let hit = answer.header("cache-status").is_some_and(|status| status.contains("; hit"));
            assert_eq!(hit, round == 1, "{number}");
        }
    }
    assert!(open(&proxy).len() < 64, "{:?}", open(&proxy));
}

/// A small limit allows few connections, each of which can be served; a notice at start tells the numbers. A smaller limit is
/// refused.
#[test]
fn small_limits() {
    let (binary, origin) = (build_text("descriptors-small", SITE), origin());
    let proxy = start(&binary, &origin, 64, "descriptors-small-folder");
    let told = proxy.notice("file descriptors");
    assert!(
        told.contains("64 file descriptors (`ulimit -n`)") && told.contains("`limits connections=10000` needs"),
        "{told}"
    );
    let mut clients: Vec<Client> = (0..40).map(|_| Client::new(&proxy)).collect();
    let served: Vec<Option<u16>> = clients.iter_mut().map(|client| client.get("/")).collect();
    assert!(served.iter().all(|status| matches!(status, Some(200 | 503) | None)), "{served:?}");
    let count = served.iter().filter(|status| **status == Some(200)).count();
    assert!((8..40).contains(&count), "{count} of {served:?}");
    assert!(proxy.log("too-many-connections").contains("503"));
    drop(clients);
    let mut again = Client::new(&proxy);
    let until = std::time::Instant::now() + PATIENCE;
    while again.get("/") != Some(200) {
        assert!(std::time::Instant::now() < until, "no connection is accepted again");
        again = Client::new(&proxy);
    }
    let folder = scratch("descriptors-none-folder");
    let given = [("listen", address()), ("app", origin.address.clone()), ("folder", folder.display().to_string())];
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 24; exec \"$0\" \"$@\"").arg(&binary);
    let output = command.args(given.map(|(name, value)| format!("--{name}={value}"))).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("24 file descriptors (`ulimit -n`) are too few: at least"),
        "{said}"
    );
}

/// The soft limit is raised to the hard one.
#[test]
fn raised() {
    let (binary, origin) = (build_text("descriptors-raised", SITE), origin());
    let folder = scratch("descriptors-raised-folder");
    let given = [("listen", address()), ("app", origin.address.clone()), ("folder", folder.display().to_string())];
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -Sn 70; ulimit -Hn 512; exec \"$0\" \"$@\"").arg(&binary);
    command.args(given.iter().map(|(name, value)| format!("--{name}={value}")));
    let addresses = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let proxy = Proxy::spawn(command, addresses);
    assert!(proxy.notice("file descriptors").contains("512 file descriptors"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().nth(3), Some("512"), "{line}");
}

/// Without free descriptors, despite all budgets, an idle connection to a server is closed so that clients are accepted; if there is none, a
/// request fails because of this process, and the server is not blamed.
#[test]
fn exhausted_descriptors() {
    let (binary, origin) = (build_text("descriptors-none", SITE), origin());
    let proxy = start(&binary, &origin, 256, "descriptors-none-left-folder");
    let mut client = Client::new(&proxy);
    assert_eq!(client.get("/here"), Some(200));
    use_up(&proxy);
    assert_eq!(client.get("/"), Some(503));
    assert!(proxy.log("no-descriptors").contains("503"));
    limit(&proxy, 256);
    assert_eq!(client.get("/"), Some(200));
    // Now there is an idle connection to the server.
    use_up(&proxy);
    let mut another = Client::new(&proxy);
    assert_eq!(another.get("/here"), Some(200));
    assert!(proxy.notice("can't accept").contains("trying again"));
    // Without any idle connection, the proxy continues once there are descriptors again.
    use_up(&proxy);
    let mut waiting = Client::new(&proxy);
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || waiting.get("/here"));
        assert_eq!(client.get("/here"), Some(200), "existing connections are served meanwhile");
        limit(&proxy, 256);
        assert_eq!(asked.join().expect("a response"), Some(200));
    });
}

/// A worker whose event loop can't be created ends the process, which would serve with fewer workers otherwise, or with none. Descriptors
/// that a parent process passes on are unknown to the budget, so that the last ones to be opened fail.
#[test]
fn a_worker_that_can_not_start_ends_the_process() {
    let site = "param listen type=addr\nprocess {\n workers 4\n}\nlisten (param)listen\nsite * {\n respond 200\n}\n";
    let binary = build_text("descriptors-worker", site);
    let start = |passed_on: usize| {
        let script = "ulimit -n 110; for fd in $(seq 10 $1); do eval \"exec $fd</dev/null\"; done; exec timeout 20 \"$2\" \"$3\"";
        let listen = format!("--listen={}", address());
        let arguments = [script, "bash", &(9 + passed_on).to_string(), binary.to_str().expect("UTF-8"), &listen];
        Command::new("bash").arg("-c").args(arguments).output().expect("bash runs")
    };
    // With more of them, the start fails before.
    let listens = |output: &Output| String::from_utf8_lossy(&output.stderr).contains("listening on");
    let says_why = |output: &Output| assert!(!output.stderr.is_empty(), "{}", output.status);
    let died = (60..100).rev().map(start).inspect(says_why).find(listens).expect("it starts");
    let said = String::from_utf8_lossy(&died.stderr).into_owned();
    assert_eq!(died.status.code(), Some(1), "{said}");
    assert!(said.contains("a worker can't start: ") && said.contains("has died: the process ends"), "{said}");
    assert!(said.contains("stopped"), "{said}");
}
