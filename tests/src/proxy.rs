//! A proxy under test: a site built with `kiln build --fast`, running on its own loopback addresses.
//!
//! Sites declare their addresses as `param NAME type=addr`; each test gets an address out of 127.0.0.0/8 that no other
//! test
//! has, so that tests run in parallel without looking for free ports.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use crate::kiln;

/// How long a test waits for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a proxy may take to start: `kiln dev` builds it first, and the very first build compiles the runtime.
const START: Duration = Duration::from_secs(1200);

/// Returns a loopback address that is most likely unique, in this process and in others.
pub fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    format!("127.{}.{}.{}:7000", 64 + pid % 128, (pid / 128 + next / 250) % 256, 1 + next % 250)
}

/// A running proxy; stopped on drop.
pub struct Proxy {
    child: Child,
    addresses: HashMap<String, String>,
    out: Lines,
    err: Lines,
}

/// The lines that a running program has printed.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(from: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                kept.0.lock().expect("lines").push(line);
            }
        });
        lines
    }

    fn wait_for(&self, what: &str) -> Option<String> {
        self.wait_long_for(what, PATIENCE)
    }

    fn wait_long_for(&self, what: &str, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        loop {
            if let Some(line) = self.0.lock().expect("lines").iter().find(|line| line.contains(what)) {
                return Some(line.clone());
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Two sites that between them need each set of the runtime's features.
const KINDS: [&str; 2] =
    ["site * {\n respond 200 \"\"\n}\n", "site site.test {\n tls internal\n respond 200 \"\"\n}\n"];

/// Builds a site and returns the path of the binary.
///
/// The very first build compiles the runtime, once for each kind of site; all tests wait for that, so that no test is
/// timed during a compilation. A run of some tests only builds what these need.
pub fn build(site: &Path) -> PathBuf {
    static COMPILED: Once = Once::new();
    COMPILED.call_once(|| {
        let all = std::env::args().len() == 1;
        for (number, kind) in KINDS.iter().enumerate().filter(|_| all) {
            let site = kiln::scratch(&format!("kind-{number}")).join("site.kdl");
            std::fs::write(&site, kind).expect("written");
            build_now(&site);
        }
    });
    build_now(site)
}

fn build_now(site: &Path) -> PathBuf {
    let binary = kiln::scratch(&format!("bin-{}", address().replace([':', '.'], "-"))).join("proxy");
    let output =
        kiln::kiln(&["build", "--fast", site.to_str().expect("a path"), "-o", binary.to_str().expect("a path")]);
    assert!(output.status.success(), "{} does not build:\n{}", site.display(), kiln::stderr(&output));
    binary
}

/// Builds a site that is given as text.
pub fn build_text(name: &str, text: &str) -> PathBuf {
    let site = kiln::scratch(&format!("site-{name}")).join("site.kdl");
    std::fs::write(&site, text).expect("written");
    build(&site)
}

impl Proxy {
    /// Builds a site and starts it. Every `param NAME type=addr` without a default that is not in `given` gets an address.
    pub fn of(site: &Path, given: &[(&str, &str)]) -> Proxy {
        let text = std::fs::read_to_string(site).expect("the site");
        Proxy::start(&build(site), &text, given)
    }

    /// The same for a site as text.
    pub fn of_text(name: &str, text: &str, given: &[(&str, &str)]) -> Proxy {
        Proxy::start(&build_text(name, text), text, given)
    }

    /// Starts a binary; `text` is its site.
    pub fn start(binary: &Path, text: &str, given: &[(&str, &str)]) -> Proxy {
        let mut addresses: HashMap<String, String> = HashMap::new();
        for line in text.lines().filter(|line| {
            line.trim_start().starts_with("param ") && line.contains("type=addr") && !line.contains("default=")
        }) {
            let name = line.split_whitespace().nth(1).expect("a name");
            addresses.insert(name.to_owned(), address());
        }
        let mut command = Command::new(binary);
        for (name, value) in given {
            addresses.insert((*name).to_owned(), (*value).to_owned());
        }
        for (name, value) in &addresses {
            command.arg(format!("--{name}={value}"));
        }
        Proxy::spawn(command, addresses)
    }

    /// Starts a command that runs a proxy.
    pub fn spawn(mut command: Command, addresses: HashMap<String, String>) -> Proxy {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the proxy starts");
        let (out, err) =
            (Lines::follow(child.stdout.take().expect("piped")), Lines::follow(child.stderr.take().expect("piped")));
        let mut proxy = Proxy { child, addresses, out, err };
        let until = Instant::now() + START;
        while proxy.err.wait_long_for("listening on", Duration::from_millis(100)).is_none() {
            let ended = proxy.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < until, "the proxy does not start: {:?}", proxy.err.0.lock());
        }
        proxy
    }

    /// Returns the address that a parameter was given.
    pub fn address(&self, param: &str) -> &str {
        &self.addresses[param]
    }

    /// Waits for a line of the access log that contains `what`, and returns it.
    pub fn log(&self, what: &str) -> String {
        self.out.wait_for(what).unwrap_or_else(|| panic!("no log line with {what:?} in {:#?}", self.out.0.lock()))
    }

    /// Returns all lines of the access log so far.
    pub fn logged(&self) -> Vec<String> {
        self.out.0.lock().expect("lines").clone()
    }

    /// Returns all lines on standard error so far.
    pub fn noticed(&self) -> Vec<String> {
        self.err.0.lock().expect("lines").clone()
    }

    /// Waits for a line on standard error that contains `what`, and returns it.
    pub fn notice(&self, what: &str) -> String {
        self.err.wait_for(what).unwrap_or_else(|| panic!("no notice with {what:?} in {:#?}", self.err.0.lock()))
    }

    /// Waits until `count` lines on standard error contain `what`.
    pub fn notices(&self, what: &str, count: usize) {
        let until = Instant::now() + PATIENCE;
        let seen = || self.err.0.lock().expect("lines").iter().filter(|line| line.contains(what)).count();
        while seen() < count {
            assert!(Instant::now() < until, "{} of {count} notices with {what:?} in {:#?}", seen(), self.err.0.lock());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, given by its name.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "the proxy does not end: {:#?}", self.err.0.lock());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("standard error of the proxy: {:#?}\naccess log: {:#?}", self.err.0.lock(), self.out.0.lock());
        }
    }
}
