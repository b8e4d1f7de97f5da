//! A load generator for HTTP/3: `compare http3 PORT PID` measures any server for `localhost` at a port of this machine, by the CPU time of its
//! process; the same with HTTP/2 is h2load's.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};

use crate::handshakes;
use crate::proxies::{cpu_of, memory_of};

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

pub(crate) fn report(port: u16, pid: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let http3 = runtime.block_on(load(port, pid));
    println!("HTTP/3, {CONNECTIONS} connections of {STREAMS} streams: {http3}");
    println!("HTTP/2, the same: {}", http2(port, pid));
    println!("Large responses (/large), HTTP/3: {}", runtime.block_on(large(port, pid)));
    for (version, flag) in [("HTTP/2", "--alpn-list=h2"), ("HTTP/1.1", "--h1")] {
        println!("{version}, the same: {}", large_over_tcp(port, pid, flag));
    }
    let idle = runtime.block_on(idle(port, pid));
    println!("Memory of an idle QUIC connection: {:.1} KiB", idle / 1024.0);
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

async fn load(port: u16, pid: u32) -> String {
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
    figures(count as f64, began.elapsed(), (before, cpu_of(pid)))
}

async fn large(port: u16, pid: u32) -> String {
    let mut connections = Vec::new();
    for _ in 0..LARGE_CONNECTIONS {
        connections.push(connect(port).await);
    }
    let (before, began) = (cpu_of(pid), Instant::now());
    let tasks = connections.iter().map(|(_, connection)| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let mut bytes = 0;
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
    throughput(bytes as f64, began.elapsed(), (before, cpu_of(pid)))
}

fn large_over_tcp(port: u16, pid: u32, version: &str) -> String {
    let (before, began) = (cpu_of(pid), Instant::now());
    let (count, connections) = (format!("-n{LARGE}"), format!("-c{LARGE_CONNECTIONS}"));
    let url = format!("https://localhost:{port}/large");
    // Windows that are no limit.
    let output = Command::new("h2load").args(["-t1", "-w30", "-W30", version, &count, &connections, &url]).output();
    let Ok(output) = output else { return "h2load is not installed".to_owned() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // traffic: 400.01MB (419446440) total, 1.2KB (1234) headers, 400.00MB (419430400) data
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("traffic: ")?.rsplit('(').next()?.split(')').next()?.parse().ok());
    throughput(data.unwrap_or(f64::NAN), began.elapsed(), (before, cpu_of(pid)))
}

fn throughput(bytes: f64, took: Duration, (before, after): ((f64, f64), (f64, f64))) -> String {
    let (mib, cpu) = (bytes / f64::from(1 << 20), after.0 - before.0 + after.1 - before.1);
    let rate = mib / took.as_secs_f64();
    format!("{:.0} MiB per second of CPU ({mib:.0} MiB, {rate:.0} MiB per second)", mib / cpu)
}

fn http2(port: u16, pid: u32) -> String {
    let (before, began) = (cpu_of(pid), Instant::now());
    let (connections, streams) = (format!("-c{CONNECTIONS}"), format!("-m{STREAMS}"));
    let url = format!("https://localhost:{port}/");
    let output = Command::new("h2load").args(["-t1", &connections, &streams, "-D3", &url]).output();
    let Ok(output) = output else { return "h2load is not installed".to_owned() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = text.lines().find_map(|line| line.strip_prefix("status codes: ")?.split(' ').next()?.parse().ok());
    figures(count.unwrap_or(f64::NAN), began.elapsed(), (before, cpu_of(pid)))
}

fn figures(count: f64, took: Duration, (before, after): ((f64, f64), (f64, f64))) -> String {
    let (user, system) = ((after.0 - before.0) * 1e6 / count, (after.1 - before.1) * 1e6 / count);
    let rate = count / took.as_secs_f64();
    format!("{:.1} us of CPU per request ({system:.1} in the kernel), {rate:.0} requests per second", user + system)
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
