//! What arrives by UDP: garbage, packets of clients that are changed on the way, spoofed addresses, and clients that move.

use std::net::UdpSocket;
use std::time::Duration;

use kiln_tests::proxy::PATIENCE;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::client::{config, endpoint};
use super::{ECHO, Site, run};

/// Returns the datagrams that a client begins with, as it sends them to nobody.
fn initial(site: &Site) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    sink.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let mut datagrams = Vec::new();
    run(async {
        let address = sink.local_addr().expect("an address");
        let connecting = endpoint().connect_with(config(&site.ca, None), address, "a.test").expect("a connection");
        let _ = tokio::time::timeout(Duration::from_millis(100), connecting).await;
    });
    let mut buffer = [0; 2048];
    while let Ok(length) = sink.recv(&mut buffer) {
        datagrams.push(buffer[..length].to_vec());
    }
    // The last one says that the client has given up.
    datagrams.retain(|datagram| datagram.len() >= 1200 && datagram[0] & 0xb0 == 0x80);
    assert!(!datagrams.is_empty());
    datagrams
}

fn socket(site: &Site) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(site.address()).expect("an address");
    socket
}

/// Returns how many bytes arrive until there are none for some time.
fn received(socket: &UdpSocket, silence: Duration) -> usize {
    socket.set_read_timeout(Some(silence)).expect("a time-out");
    let (mut bytes, mut buffer) = (0, [0; 2048]);
    while let Ok(length) = socket.recv(&mut buffer) {
        bytes += length;
    }
    bytes
}

/// RFC 9000 section 8.1: an address that is not validated gets at most three times what it has sent, lost packets included.
#[test]
fn spoofed_addresses_get_little() {
    let site = Site::new("h3-amplification", "timeouts handshake=\"3s\"", ECHO, &[]);
    let datagrams = initial(&site);
    for count in 1..=datagrams.len() {
        let socket = socket(&site);
        let sent: usize = datagrams[..count].iter().map(|datagram| socket.send(datagram).expect("sent")).sum();
        let received = received(&socket, Duration::from_secs(4));
        assert!(received <= 3 * sent, "{received} bytes for {sent}");
        assert!(count < datagrams.len() || received > 0, "a complete hello is answered");
    }
    // Section 14.1: an Initial in a datagram of less than 1200 bytes, and section 6.1: an unknown version in such a one.
    for datagram in [&datagrams[0][..1199], b"\xc0\x1a\x2a\x3a\x4a\x08\x01\x02\x03\x04\x05\x06\x07\x08\x00"] {
        let socket = socket(&site);
        socket.send(datagram).expect("sent");
        assert_eq!(received(&socket, Duration::from_millis(300)), 0);
    }
}

/// A change of a datagram.
#[derive(Debug, Clone)]
enum Change {
    Byte(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Twice,
    /// Another type of packet, or version.
    First(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0_usize..64, any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => (0_usize..64, proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, more)| Change::Insert(at, more)),
        1 => Just(Change::Twice),
        1 => any::<u8>().prop_map(Change::First),
    ]
}

fn changed(mut datagram: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = datagram.len();
        match change {
            _ if length == 0 => {}
            Change::Byte(at, byte) => datagram[at % length] = *byte,
            Change::Cut(at) => datagram.truncate(at % length),
            Change::Insert(at, more) => drop(datagram.splice(at % length..at % length, more.iter().copied())),
            Change::Twice => datagram.extend_from_within(..),
            Change::First(byte) => datagram[0] = *byte,
        }
    }
    datagram.truncate(4000);
    datagram
}

/// The datagrams of a client, changed at random: no panic, no amplification, no memory that stays, and others don't notice.
#[test]
fn changed_datagrams() {
    let site = Site::new("h3-changed", "process {\n workers 2\n}\ntimeouts handshake=\"1s\"", ECHO, &[]);
    let real = initial(&site);
    let before = memory(&site);
    let mut runner = TestRunner::new(Config { cases: 4000, rng_seed: RngSeed::Fixed(9000), ..Config::default() });
    let changes = proptest::collection::vec((any::<usize>(), proptest::collection::vec(change(), 0..5)), 1..4);
    let round = std::cell::Cell::new(0);
    runner
        .run(&changes, |datagrams| {
            let socket = socket(&site);
            let sent: usize = datagrams
                .iter()
                .map(|(which, changes)| socket.send(&changed(real[which % real.len()].clone(), changes)).unwrap_or(0))
                .sum();
            // Looking for responses takes time, so that is done now and then.
            round.set(round.get() + 1);
            if round.get() % 200 == 0 {
                let received = received(&socket, Duration::from_millis(20));
                prop_assert!(received <= 3 * sent, "{received} bytes for {sent}");
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    run(async {
        assert_eq!(site.client().await.get("a.test", "/one").await.status, 200);
    });
    // Their handshakes are over.
    std::thread::sleep(Duration::from_secs(4));
    let after = memory(&site);
    assert!(after < before + (24 << 20), "{before} bytes, then {after}");
}

/// Returns the resident memory of the process, in bytes.
fn memory(site: &Site) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.proxy.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn garbage_datagrams() {
    let site = Site::new("h3-garbage", "process {\n workers 2\n}", ECHO, &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(site.address()).expect("an address");
    let mut seed = 1_u32;
    for length in (0..1400).chain((0..1400).rev()) {
        let datagram: Vec<u8> = (0..length)
            .map(|at| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Long headers of version 1, short headers, and anything.
                match (at, length % 3) {
                    (0, 0) => 0xc0 | (seed >> 24) as u8,
                    (1..=3, 0) => 0,
                    (4, 0) => 1,
                    (0, 1) => 0x40,
                    (1..=2, 1) => (seed >> 31) as u8,
                    _ => (seed >> 24) as u8,
                }
            })
            .collect();
        let _ = socket.send(&datagram);
    }
    // An unknown version gets a list of known ones (RFC 9000 section 6).
    let mut unknown = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    unknown.resize(1200, 0);
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket.send(&unknown).expect("sent");
    let mut buffer = [0; 2048];
    let versions = loop {
        let length = socket.recv(&mut buffer).expect("a response");
        if buffer[0] & 0x80 != 0 && buffer[1..5] == [0; 4] {
            break buffer[..length].to_vec();
        }
    };
    assert!(versions.ends_with(&[0, 0, 0, 1]), "{versions:x?}");
    run(async {
        assert_eq!(site.client().await.get("a.test", "/one").await.status, 200);
    });
}

#[test]
fn clients_may_change_their_address() {
    let routes = "route \"/one\" {\n respond 200 \"one\"\n }\n route \"/ip\" {\n respond 200 \"{client.ip}\"\n }";
    let site = Site::new("h3-migration", "process {\n workers 4\n}", routes, &[]);
    run(async {
        let client = site.client().await;
        for _ in 0..12 {
            client.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").expect("a socket")).expect("another socket");
            assert_eq!(client.get("a.test", "/one").await.status, 200);
        }
        // Rules are about the address of the handshake: anybody can write another one on a packet, and the request is here before it is known whose it is.
        client.endpoint.rebind(UdpSocket::bind("127.0.0.77:0").expect("a socket")).expect("another socket");
        for _ in 0..3 {
            assert_eq!(client.get("a.test", "/ip").await.text(), "127.0.0.1");
        }
    });
}

#[test]
fn keys_may_be_updated() {
    let site = Site::new("h3-key-update", "", ECHO, &[]);
    run(async {
        let client = site.client().await;
        for _ in 0..3 {
            assert_eq!(client.get("a.test", "/one").await.status, 200);
            // RFC 9001 section 6.
            client.connection.force_key_update();
        }
        assert_eq!(client.get("a.test", "/one").await.status, 200);
    });
}
