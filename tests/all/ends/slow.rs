//! Clients that trickle (`limits min-rate`), and the kernel's send queue of clients that do not read.

use std::time::{Duration, Instant};

use kiln_tests::client::Client;
use kiln_tests::origin::Origin;

use super::*;

/// The rate is measured over ten seconds; the limit allows for a few more.
const LATEST: Duration = Duration::from_secs(25);

/// A server that reads requests, and responds with more than any client accepts.
fn flood() -> Origin {
    Origin::new(|mut connection, _| {
        let Some(head) = connection.head() else { return };
        if head.starts_with("PUT") {
            while !connection.bytes().is_empty() {}
            return;
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        while !connection.closed_by_peer() {
            connection.send(vec![b'x'; 1 << 16]);
        }
    })
}

fn sends(address: &str) {
    let mut client = Client::to(address);
    client.send("PUT /1/rated/sends HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 100_000]);
    client.stream().set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    let began = Instant::now();
    while client.stream().peek(&mut [0]).is_err() {
        assert!(began.elapsed() < LATEST, "the client may trickle forever");
        client.try_send("x");
    }
    client.stream().set_read_timeout(Some(PATIENCE)).expect("a time-out");
    assert_eq!(client.answer().status, 408);
    assert!(client.closed());
}

fn takes(proxy: &Proxy) {
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /1/rated/takes HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.head();
    let began = Instant::now();
    while proxy.logged().iter().all(|line| !line.contains("/1/rated/takes\"")) {
        assert!(began.elapsed() < LATEST, "the client may trickle forever");
        assert_eq!(client.stream().read(&mut [0; 10]).expect("more"), 10);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(client.rest().len() < 1 << 20, "the client was disconnected");
}

fn streams(address: &str) {
    run_for(async {
        let mut client = super::client(address).await;
        let get = |path: &str| http::Request::get(format!("http://a.test{path}")).body(()).expect("a request");
        let (takes, _) = client.send_request(get("/1/rated/takes-h2"), true).expect("sent");
        let request = http::Request::put("http://a.test/1/rated/sends-h2").body(()).expect("a request");
        let (sends, mut up) = client.send_request(request, false).expect("sent");
        let mut body = takes.await.expect("an answer").into_body();
        let took = async {
            loop {
                match body.data().await.expect("an end") {
                    // The client accepts one byte at a time.
                    Ok(_) => body.flow_control().release_capacity(1).expect("a window"),
                    Err(error) => return error.reason(),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let sent = async {
            let mut sends = std::pin::pin!(sends);
            loop {
                up.send_data("x".into(), false).expect("sent");
                if let Ok(response) = tokio::time::timeout(Duration::from_millis(100), &mut sends).await {
                    return response.expect("an answer").status().as_u16();
                }
            }
        };
        let (took, sent) = tokio::join!(took, sent);
        assert_eq!((took, sent), (Some(h2::Reason::CANCEL), 408));
    });
}

fn run_for(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(LATEST, test).await.expect("in time") });
}

#[test]
fn clients_that_trickle_are_cut_off() {
    let one = flood();
    let proxy = proxy(&[("one", &one.address)]);
    let address = proxy.address("listen");
    std::thread::scope(|scope| {
        scope.spawn(|| sends(address));
        scope.spawn(|| takes(&proxy));
        scope.spawn(|| streams(address));
    });
    for (path, status) in [("sends", 408), ("takes", 200), ("sends-h2", 408), ("takes-h2", 200)] {
        let said = [&*format!("\"status\":{status}"), "\"reason\":\"client-too-slow\""];
        logged(&proxy, &format!("/1/rated/{path}"), &said);
    }
}

/// The data that a client does not read stays with the server: the kernel holds a bounded amount of it unsent.
#[test]
fn the_queue_of_a_slow_reader() {
    let one = flood();
    let proxy = proxy(&[("one", &one.address)]);
    let mut client = Client::to(proxy.address("listen"));
    // A small window, so that little data is in flight.
    socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(64 << 10).expect("a socket");
    client.send("GET /1/plain/flood HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.head();
    let from = client.stream().peer_addr().expect("an address");
    let to = client.stream().local_addr().expect("an address");
    let (mut last, mut same) = (0, 0);
    let until = Instant::now() + PATIENCE;
    // Waits until the queue no longer changes.
    while same < 10 {
        assert!(Instant::now() < until, "the queue never stops growing");
        let now = unsent(from, to);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(last < 512 << 10, "the kernel holds {last} bytes");
}

/// The number of bytes in the send queue of a connection (proc(5)).
fn unsent(from: std::net::SocketAddr, to: std::net::SocketAddr) -> u64 {
    let shown = |address: std::net::SocketAddr| {
        let std::net::IpAddr::V4(ip) = address.ip() else { panic!("an address of IPv4") };
        format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port())
    };
    let (from, to) = (shown(from), shown(to));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = line.filter(|parts| parts.len() > 4).find(|parts| parts[1] == from && parts[2] == to);
    found.and_then(|parts| u64::from_str_radix(parts[4].split(':').next()?, 16).ok()).unwrap_or(0)
}
