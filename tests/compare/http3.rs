//! A load generator for HTTP/3: `compare http3` measures Kiln and Caddy in turns ([`compare`]), and `compare http3 PORT PID` any server for `localhost`
//! at a port of this machine, by the CPU time of its process. The same over TCP is h2load's.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_tests::kiln::scratch;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::runtime::Runtime;

use crate::jobs::{self, Job};
use crate::proxies::{Kind, Running, cpu_of, memory_of};
use crate::{handshakes, median, requests};

const CONNECTIONS: usize = 64;
const STREAMS: usize = 16;
const TIME: Duration = Duration::from_secs(3);

/// How many large responses are received, one after the other on each of a few connections.
const LARGE: usize = 40;
const LARGE_CONNECTIONS: usize = 4;

/// The same for `/large`.
const GET_LARGE: &[u8] = b"\x01\x17\x00\x00\xd1\xd7\x51\x06/large\x50\x09localhost";

/// `GET https://localhost/` by a field section without Huffman codes: entries of the static table, and the authority.
const GET: &[u8] = b"\x01\x10\x00\x00\xd1\xd7\xc1\x50\x09localhost";

/// How often the proxies take turns.
const ROUNDS: usize = 5;

/// What is measured of a proxy.
#[derive(Clone, Copy)]
enum Figure {
    /// CPU per small request, in microseconds.
    Small,
    /// The same over HTTP/2.
    SmallHttp2,
    /// Large responses, in MiB per second of CPU.
    Large,
    /// The same over HTTP/1.1.
    LargeHttp1,
}

const FIGURES: [(Figure, &str); 4] = [
    (Figure::Small, "HTTP/3, 64 connections of 16 streams, us of CPU per request"),
    (Figure::SmallHttp2, "the same over HTTP/2"),
    (Figure::Large, "10 MiB, HTTP/3, MiB per second of CPU"),
    (Figure::LargeHttp1, "the same over HTTP/1.1 and TLS"),
];

impl Figure {
    fn measure(self, runtime: &Runtime, port: u16, pid: u32) -> f64 {
        match self {
            Figure::Small => runtime.block_on(load(port, pid)).cpu_per_request(),
            Figure::SmallHttp2 => http2(port, pid).map_or(f64::NAN, |load| load.cpu_per_request()),
            Figure::Large => runtime.block_on(large(port, pid)).mib_per_cpu(),
            Figure::LargeHttp1 => large_over_tcp(port, pid, &["--h1"]).map_or(f64::NAN, |load| load.mib_per_cpu()),
        }
    }
}

/// Compares the proxies that speak HTTP/3, with the same certificate and responses: a constant one, and a file of 10 MiB.
pub(crate) fn compare() {
    if requests::lacks(&["h2load", "taskset"]) {
        return;
    }
    let installed = |kind: &Kind| {
        let version = kind.version();
        if version.is_none() {
            println!("Not measured: {} is not installed.", kind.name());
        }
        version.is_some()
    };
    let dir = scratch("compare-http3");
    std::fs::create_dir_all(dir.join("files")).expect("made");
    std::fs::write(dir.join("files/large"), vec![b'x'; jobs::LARGE]).expect("written");
    let proxies: Vec<Running> = [Kind::Kiln, Kind::Caddy]
        .iter()
        .filter(|kind| installed(kind))
        .map(|kind| {
            kind.start(Job::Http3, &dir, requests::FIRST_PORT + *kind as u16)
                .unwrap_or_else(|reason| panic!("{}: {reason}", kind.name()))
        })
        .collect();
    // The load has a core of its own.
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(1);
    rustix::thread::sched_setaffinity(None, &cores).expect("pinned");
    let runtime = runtime();
    println!("| what | {} |", proxies.iter().map(|proxy| proxy.kind.name()).collect::<Vec<_>>().join(" | "));
    println!("|---{}|", "|---".repeat(proxies.len()));
    for (figure, what) in FIGURES {
        let mut rounds = vec![Vec::new(); proxies.len()];
        for round in 0..ROUNDS {
            for turn in 0..proxies.len() {
                let at = (round + turn) % proxies.len();
                rounds[at].push(figure.measure(&runtime, proxies[at].port, proxies[at].pid()));
            }
        }
        let cells = rounds.into_iter().map(|values| {
            let range = values.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(*at), high.max(*at)));
            format!("{:.1} ({:.1} to {:.1})", median(values), range.0, range.1)
        });
        println!("| {what} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let idle = proxies.iter().map(|proxy| runtime.block_on(idle(proxy.port, proxy.pid())) / 1024.0);
    let idle: Vec<_> = idle.map(|kib| format!("{kib:.1}")).collect();
    println!("| memory of an idle QUIC connection, KiB, once | {} |", idle.join(" | "));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn report(port: u16, pid: u32) {
    let runtime = runtime();
    println!(
        "HTTP/3, {CONNECTIONS} connections of {STREAMS} streams: {}",
        runtime.block_on(load(port, pid)).requests()
    );
    println!("HTTP/2, the same: {}", http2(port, pid).map_or("no h2load".to_owned(), |load| load.requests()));
    println!("Large responses (/large), HTTP/3: {}", runtime.block_on(large(port, pid)).throughput());
    // HTTP/2 is what h2load offers first.
    for (version, flags) in [("HTTP/2", &[][..]), ("HTTP/1.1", &["--h1"])] {
        let load = large_over_tcp(port, pid, flags);
        println!("{version}, the same: {}", load.map_or("no h2load".to_owned(), |load| load.throughput()));
    }
    let idle = runtime.block_on(idle(port, pid));
    println!("Memory of an idle QUIC connection: {:.1} KiB", idle / 1024.0);
}

/// A load, and what it took.
struct Load {
    /// The number of requests, or of bytes.
    count: f64,
    took: Duration,
    /// CPU of the proxy in seconds, and the part of the kernel.
    cpu: (f64, f64),
}

impl Load {
    fn new(count: f64, began: Instant, before: (f64, f64), pid: u32) -> Load {
        let after = cpu_of(pid);
        let (user, system) = (after.0 - before.0, after.1 - before.1);
        Load { count, took: began.elapsed(), cpu: (user + system, system) }
    }

    fn cpu_per_request(&self) -> f64 {
        self.cpu.0 * 1e6 / self.count
    }

    fn mib_per_cpu(&self) -> f64 {
        self.count / f64::from(1 << 20) / self.cpu.0
    }

    fn requests(&self) -> String {
        let (system, rate) = (self.cpu.1 * 1e6 / self.count, self.count / self.took.as_secs_f64());
        let total = self.cpu_per_request();
        format!("{total:.1} us of CPU per request ({system:.1} in the kernel), {rate:.0} requests per second")
    }

    fn throughput(&self) -> String {
        let mib = self.count / f64::from(1 << 20);
        let (rate, kernel) = (mib / self.took.as_secs_f64(), self.cpu.1 / self.cpu.0 * 100.0);
        let per_cpu = self.mib_per_cpu();
        format!(
            "{per_cpu:.0} MiB per second of CPU ({kernel:.0} % in the kernel; {mib:.0} MiB, {rate:.0} MiB per second)"
        )
    }
}

async fn connect(port: u16) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("an endpoint");
    let mut tls = (*handshakes::config(false)).clone();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let connection = endpoint.connect_with(config, to, "localhost").expect("an address").await.expect("connected");
    let mut control = connection.open_uni().await.expect("a stream");
    control.write_all(b"\x00\x04\x00").await.expect("sent");
    // The stream must stay open.
    std::mem::forget(control);
    (endpoint, connection)
}

async fn ask(connection: &Connection) -> Option<()> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(GET).await.ok()?;
    send.finish().ok()?;
    let answer = receive.read_to_end(1 << 20).await.ok()?;
    // HEADERS, and `:status` 200 of the static table.
    (answer.first() == Some(&1) && answer.contains(&0xd9)).then_some(())
}

async fn load(port: u16, pid: u32) -> Load {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(port).await);
    }
    let (before, began) = (cpu_of(pid), Instant::now());
    let mut tasks = Vec::new();
    for (_, connection) in &connections {
        for _ in 0..STREAMS {
            let connection = connection.clone();
            tasks.push(tokio::spawn(async move {
                let mut count = 0_usize;
                while began.elapsed() < TIME {
                    ask(&connection).await.expect("a response");
                    count += 1;
                }
                count
            }));
        }
    }
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("an end");
    }
    Load::new(count as f64, began, before, pid)
}

async fn large(port: u16, pid: u32) -> Load {
    let mut connections = Vec::new();
    for _ in 0..LARGE_CONNECTIONS {
        connections.push(connect(port).await);
    }
    let (before, began) = (cpu_of(pid), Instant::now());
    let tasks = connections.iter().map(|(_, connection)| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let mut bytes = 0_usize;
            for _ in 0..LARGE / LARGE_CONNECTIONS {
                let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
                send.write_all(GET_LARGE).await.expect("sent");
                send.finish().expect("an end");
                while let Some(chunk) = receive.read_chunk(1 << 20, false).await.expect("a response") {
                    bytes += chunk.bytes.len();
                }
            }
            bytes
        })
    });
    let mut bytes = 0;
    for task in tasks.collect::<Vec<_>>() {
        bytes += task.await.expect("an end");
    }
    assert!(bytes >= LARGE * jobs::LARGE, "responses are complete");
    Load::new(bytes as f64, began, before, pid)
}

/// `None` without h2load.
fn large_over_tcp(port: u16, pid: u32, version: &[&str]) -> Option<Load> {
    let (before, began) = (cpu_of(pid), Instant::now());
    let (count, connections) = (format!("-n{LARGE}"), format!("-c{LARGE_CONNECTIONS}"));
    let url = format!("https://localhost:{port}/large");
    // Windows that are no limit.
    let output =
        Command::new("h2load").args(["-t1", "-w30", "-W30", &count, &connections]).args(version).arg(&url).output();
    let text = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
    // traffic: 400.01MB (419446440) total, 1.2KB (1234) headers, 400.00MB (419430400) data
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("traffic: ")?.rsplit('(').next()?.split(')').next()?.parse().ok());
    Some(Load::new(data.unwrap_or(f64::NAN), began, before, pid))
}

/// `None` without h2load.
fn http2(port: u16, pid: u32) -> Option<Load> {
    let (before, began) = (cpu_of(pid), Instant::now());
    let (connections, streams) = (format!("-c{CONNECTIONS}"), format!("-m{STREAMS}"));
    let url = format!("https://localhost:{port}/");
    let output = Command::new("h2load").args(["-t1", &connections, &streams, "-D3", &url]).output();
    let text = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
    let count = text.lines().find_map(|line| line.strip_prefix("status codes: ")?.split(' ').next()?.parse().ok());
    Some(Load::new(count.unwrap_or(f64::NAN), began, before, pid))
}

async fn idle(port: u16, pid: u32) -> f64 {
    const COUNT: usize = 500;
    let before = memory_of(pid);
    let mut connections = Vec::new();
    for _ in 0..COUNT {
        let (endpoint, connection) = connect(port).await;
        ask(&connection).await.expect("a response");
        connections.push((endpoint, connection));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (memory_of(pid) - before) / COUNT as f64
}
