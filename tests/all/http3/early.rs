//! Resumption, and early data (0-RTT), which is refused unless the site asks for it.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_tests::origin::Origin;
use quinn::{ClientConfig, Endpoint};
use tokio::net::UdpSocket;

use super::client::{H3, config, get};
use super::{ECHO, Site, python, run};

#[test]
fn sessions_are_resumed_without_early_data() {
    let site = Site::new("h3-resumption", "", ECHO, &[]);
    run(async {
        let config = config(&site.ca, None);
        let first = H3::to(&site.address(), "a.test", config.clone()).await.expect("connected");
        assert_eq!(first.get("a.test", "/one").await.status, 200);
        let address = site.address().parse().expect("an address");
        let connecting = first.endpoint.connect_with(config, address, "a.test").expect("a connection");
        // There is a ticket, and it allows no early data.
        assert!(connecting.into_0rtt().is_err());
    });
}

/// RFC 8446 section 4.2.10: a client that offers early data all the same gets no response to it, and its request is sent again after the handshake.
#[test]
fn early_data_is_refused() {
    let site = Site::new("h3-early", "", ECHO, &[]);
    let address = site.address();
    let (ip, port) = address.split_once(':').expect("a port");
    if let Some(said) = python("aioquic", include_str!("early.py"), &[ip, port, &site.ca]) {
        assert!(said.contains("offered True, accepted False, resumed True, 200 three HTTP/3.0 TLSv1.3"), "{said}");
    }
}

/// A client of an earlier connection.
struct Returning {
    config: ClientConfig,
    to: SocketAddr,
}

impl Returning {
    /// Makes a connection, and gets a session.
    async fn new(site: &Site) -> Returning {
        Returning::by(site, &site.address()).await
    }

    /// The same by another address.
    async fn by(site: &Site, address: &str) -> Returning {
        let config = config(&site.ca, None);
        let first = H3::to(address, "a.test", config.clone()).await.expect("connected");
        assert_eq!(first.get("a.test", "/").await.status, 200);
        Returning { config, to: address.parse().expect("an address") }
    }

    /// Connects, and sends what `ask` does in early data.
    async fn connect<T>(&self, from: Ipv4Addr, ask: impl AsyncFnOnce(&H3) -> T) -> (H3, T, bool) {
        let endpoint = Endpoint::client(SocketAddr::from((from, 0))).expect("an endpoint");
        let connecting = endpoint.connect_with(self.config.clone(), self.to, "a.test").expect("a connection");
        let Ok((connection, accepted)) = connecting.into_0rtt() else { panic!("the session allows early data") };
        let client = H3::of(endpoint, connection).await;
        let said = ask(&client).await;
        (client, said, accepted.await)
    }
}

/// The parameter must be used.
const ALL: &str = "route \"/origin\" {\n proxy (param)origin\n }\nroute \"/*\" {\n echo\n }";

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn with_early_data(name: &str, rest: &str, given: &[(&str, &str)]) -> Site {
    Site::speaking(
        name,
        "h1 h2 h3 early-data=#true",
        ("param origin type=addr default=\"127.0.0.1:9\"\nprocess {\n workers 1\n}", rest),
        given,
    )
}

#[test]
fn safe_requests_are_served_from_early_data() {
    let site = with_early_data("h3-early-data", ALL, &[]);
    run(async {
        let client = Returning::new(&site).await;
        let (client, said, accepted) = client.connect(HERE, async |h3| h3.get("a.test", "/").await).await;
        assert!(accepted && said.status == 200 && said.text().contains("\"early-data\":\"1\""), "{}", said.text());
        // After the handshake, it is a request as any other.
        let said = client.get("a.test", "/").await.text();
        assert!(!said.contains("early-data"), "{said}");
    });
}

/// RFC 8470 section 3: what is not safe, or has a body, is processed after the handshake.
#[test]
fn other_requests_wait() {
    let site = with_early_data("h3-early-waits", ALL, &[]);
    run(async {
        for (method, body) in [("POST", ""), ("PUT", "x"), ("DELETE", ""), ("GET", "x")] {
            let client = Returning::new(&site).await;
            let fields = [&[(":method", method)], &get("a.test", "/")[1..]].concat();
            let (_, said, accepted) = client.connect(HERE, async |h3| h3.ask(&fields, body.as_bytes()).await).await;
            assert!(accepted && said.status == 200, "{method}");
            assert!(!said.text().contains("early-data") && said.text().contains(method), "{}", said.text());
        }
    });
}

/// RFC 8470 section 5.2: the server decides, and the client repeats the request.
#[test]
fn servers_refuse_early_data() {
    let origin = Origin::new(|mut connection, _| {
        while let Some(head) = connection.head() {
            let status = if head.to_ascii_lowercase().contains("early-data: 1") { "425 Too Early" } else { "200 OK" };
            connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let site = with_early_data("h3-too-early", "proxy (param)origin", &[("origin", &origin.address)]);
    run(async {
        let client = Returning::new(&site).await;
        let (client, said, accepted) = client.connect(HERE, async |h3| h3.get("a.test", "/").await.status).await;
        assert_eq!((said, accepted), (425, true));
        assert_eq!(client.get("a.test", "/").await.status, 200);
    });
}

/// Passes datagrams on between a client and the proxy.
struct Tap {
    front: UdpSocket,
    back: UdpSocket,
    /// What a new client has sent before it heard anything, while that is recorded: its packets with long headers, up to the Initial packet of the proxy.
    first: RefCell<Vec<Vec<u8>>>,
    records: Cell<bool>,
}

impl Tap {
    async fn to(address: &str) -> Tap {
        let bind = async || UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let (front, back) = (bind().await, bind().await);
        back.connect(address).await.expect("an address");
        Tap { front, back, first: RefCell::default(), records: Cell::new(false) }
    }

    async fn run(&self) {
        let (mut client, mut up, mut down) = (None, [0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                received = self.front.recv_from(&mut up) => {
                    let (length, from) = received.expect("a datagram");
                    client = Some(from);
                    if self.records.get() && up[0] & 0x80 != 0 {
                        self.first.borrow_mut().push(up[..length].to_vec());
                    }
                    self.back.send(&up[..length]).await.expect("sent");
                }
                received = self.back.recv(&mut down) => {
                    let length = received.expect("a datagram");
                    if down[0] & 0xf0 == 0xc0 {
                        self.records.set(false);
                    }
                    if let Some(client) = client {
                        self.front.send_to(&down[..length], client).await.expect("sent");
                    }
                }
            }
        }
    }

    /// Sends what was recorded again, until the proxy responds to it as to a new client: with an Initial packet.
    async fn replay(&self) {
        let mut response = [0; 2048];
        let recorded = self.first.borrow().clone();
        loop {
            for datagram in &recorded {
                self.back.send(datagram).await.expect("sent");
            }
            let waits = async { while self.back.recv(&mut response).await.is_err() || response[0] & 0xf0 != 0xc0 {} };
            if tokio::time::timeout(Duration::from_millis(200), waits).await.is_ok() {
                return;
            }
        }
    }
}

/// RFC 8446 section 8.1: a session is accepted once. What was recorded of it is not processed again.
#[test]
fn early_data_is_not_replayed() {
    let early = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&early);
    let origin = Origin::new(move |mut connection, _| {
        while let Some(head) = connection.head() {
            let is_early = head.to_ascii_lowercase().contains("early-data: 1");
            counted.fetch_add(usize::from(is_early), Ordering::SeqCst);
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let site = with_early_data("h3-early-replay", "proxy (param)origin", &[("origin", &origin.address)]);
    run(async {
        let tap = Tap::to(&site.address()).await;
        let address = tap.front.local_addr().expect("an address").to_string();
        let first = async {
            let client = Returning::by(&site, &address).await;
            tap.records.set(true);
            let (client, said, accepted) = client.connect(HERE, async |h3| h3.get("a.test", "/").await.status).await;
            assert_eq!((said, accepted), (200, true));
            client.connection.close(0x100_u32.into(), b"");
            client.endpoint.wait_idle().await;
        };
        tokio::select! {
            () = tap.run() => unreachable!("it goes on"),
            () = first => {}
        }
        assert_eq!(early.load(Ordering::SeqCst), 1);
        assert!(!tap.first.borrow().is_empty());
        tap.replay().await;
        // A later request of somebody else has a response.
        assert_eq!(site.client().await.get("a.test", "/").await.status, 200);
    });
    assert_eq!(early.load(Ordering::SeqCst), 1);
}

/// Nobody makes requests in the name of an address from which no handshake was completed.
#[test]
fn sessions_belong_to_an_address() {
    let site = with_early_data("h3-early-address", ALL, &[]);
    run(async {
        let client = Returning::new(&site).await;
        let (client, said, accepted) = client
            .connect(Ipv4Addr::new(127, 0, 0, 2), async |h3| h3.try_ask(&get("a.test", "/"), b"").await.is_ok())
            .await;
        assert_eq!((said, accepted), (false, false));
        assert_eq!(client.get("a.test", "/").await.status, 200);
    });
}
