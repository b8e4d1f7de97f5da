//! Takeovers with HTTP/3: the new process has the UDP sockets, and the connections of the old one go on until they end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, address, build_text};
use quinn::ClientConfig;

use super::client::{DATA, H3, HEADERS, Reader, answer, config, frame, get, section};
use super::run;

const SITE: &str = r#"
param listen type=addr
param takeover type=string
param to type=addr
process {
    workers WORKERS
    takeover (param)takeover canary="CANARY" max-error-percent=10
    drain timeout="10s"
    sandbox required
}
listen (param)listen {
    tls
    http h1 h2 h3
}
site a.test {
    tls {
        certificate "DIR/a.pem" key="DIR/a.key"
    }
    route "/upload" {
        proxy (param)to
    }
    route "/*" {
        respond STATUS "VERSION"
    }
}
"#;

struct Swapped {
    dir: PathBuf,
    ca: String,
    listen: String,
    to: String,
}

impl Swapped {
    fn new(name: &str, to: &str) -> Swapped {
        let dir = scratch(name);
        let ca = Authority::new(&dir);
        ca.sign("a", "a", &["a.test"]);
        Swapped { dir, ca: ca.ca(), listen: address(), to: to.to_owned() }
    }

    fn build(&self, name: &str, workers: usize, (status, canary): (u16, &str)) -> PathBuf {
        let text =
            SITE.replace("CANARY", canary).replace("DIR", self.dir.to_str().expect("UTF-8")).replace("VERSION", name);
        build_text(name, &text.replace("WORKERS", &workers.to_string()).replace("STATUS", &status.to_string()))
    }

    fn start(&self, binary: &Path) -> Proxy {
        let mut command = Command::new(binary);
        command.arg(format!("--listen={}", self.listen)).arg(format!("--to={}", self.to)).arg("--upgrade");
        command.arg(format!("--takeover={}", self.dir.join("takeover.sock").display()));
        Proxy::spawn(command, [("listen".to_owned(), self.listen.clone())].into())
    }

    fn config(&self) -> ClientConfig {
        config(&self.ca, None)
    }

    async fn client(&self) -> H3 {
        H3::to(&self.listen, "a.test", self.config()).await.expect("connected")
    }
}

/// A server that counts the body of a request, which arrives slowly.
fn counts() -> Origin {
    Origin::new(|mut connection, _| {
        let Some(head) = connection.head() else { return };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let (length, mut received) = (length.parse().expect("a number"), 0);
        while received < length {
            match connection.bytes() {
                bytes if bytes.is_empty() => return,
                bytes => received += bytes.len(),
            }
        }
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{received}", received.to_string().len()));
    })
}

/// Clients that send one request after the other, and go on with another connection after GOAWAY (RFC 9114 section 5.2). No request is sent twice.
struct Load {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(swapped: &Swapped, clients: usize) -> Load {
        let (stopped, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..clients).map(|number| {
            let (stopped, answered) = (Arc::clone(&stopped), Arc::clone(&answered));
            let (listen, config) = (swapped.listen.clone(), swapped.config());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, requests(number, listen, config, (stopped, answered)))
            })
        });
        Load { clients: clients.collect(), stopped, answered }
    }

    /// Stops them; returns how many requests were answered, and what went wrong with the others.
    fn end(self) -> (usize, Vec<String>) {
        self.stopped.store(true, Ordering::Relaxed);
        let lost = self.clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        (self.answered.load(Ordering::Relaxed), lost)
    }
}

async fn requests(
    number: usize,
    listen: String,
    config: ClientConfig,
    (stopped, answered): (Arc<AtomicBool>, Arc<AtomicUsize>),
) -> Vec<String> {
    let (mut lost, mut kept) = (Vec::new(), None::<(H3, Arc<AtomicBool>)>);
    while !stopped.load(Ordering::Relaxed) {
        // Some clients open a connection for each request.
        let usable = kept.take_if(|(_, ends)| number.is_multiple_of(4) || ends.load(Ordering::Relaxed));
        drop(usable);
        if kept.is_none() {
            match H3::to(&listen, "a.test", config.clone()).await {
                Ok(client) => {
                    let ends = Arc::<AtomicBool>::default();
                    tokio::task::spawn_local(goaway(client.connection.clone(), Arc::clone(&ends)));
                    kept = Some((client, ends));
                }
                Err(error) => {
                    lost.push(format!("no connection: {error}"));
                    continue;
                }
            }
        }
        let (client, ends) = kept.as_ref().expect("a connection");
        let body = if number.is_multiple_of(2) { vec![b'x'; 20_000] } else { Vec::new() };
        let began = Instant::now();
        match client.try_ask(&get("a.test", "/"), &body).await {
            Ok(answer) if answer.status == 200 && began.elapsed() < Duration::from_secs(3) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            other => {
                let (why, ends) = (client.connection.close_reason(), ends.load(Ordering::Relaxed));
                lost.push(format!("{other:?} after {:?}, GOAWAY {ends}, {why:?}", began.elapsed()));
                kept = None;
            }
        }
    }
    lost
}

/// Waits for GOAWAY.
async fn goaway(connection: quinn::Connection, ends: Arc<AtomicBool>) {
    let Ok(control) = connection.accept_uni().await else { return };
    let mut control = Reader::new(control);
    if control.try_integer().await == Some(0) {
        while let Some((kind, _)) = control.frame().await {
            if kind == 7 {
                ends.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn nothing_is_lost() {
    let origin = counts();
    let swapped = Swapped::new("h3-takeover", &origin.address);
    // The number of sockets stays that of the first process.
    let versions =
        [swapped.build("h3-takeover-first", 2, (200, "200ms")), swapped.build("h3-takeover-second", 3, (200, "200ms"))];
    let mut old = swapped.start(&versions[0]);
    let load = Load::on(&swapped, 4);
    for round in 0..4 {
        let mut new = None;
        run(async {
            // This upload begins before the takeover, and ends in the old process when the new one reads all datagrams.
            let client = swapped.client().await;
            let fields =
                [&[(":method", "POST")], &get("a.test", "/upload")[1..], &[("content-length", "600000")]].concat();
            let (mut send, receive) = client.stream(&frame(HEADERS, &section(&fields))).await;
            let begun = swapped.start(&versions[(round + 1) % 2]);
            begun.notice("takeover: complete: ");
            for _ in 0..60 {
                send.write_all(&frame(DATA, &[b'x'; 10_000])).await.expect("sent");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            send.finish().expect("an end");
            assert_eq!(answer(receive).await.expect("a response").text(), "600000");
            assert_eq!(client.code().await, 0x100, "the connection ends once its request has");
            new = Some(begun);
        });
        let (new, began) = (new.expect("a process"), Instant::now());
        assert_eq!(old.wait().code(), Some(0), "{:#?}", old.noticed());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        old = new;
    }
    let (answered, lost) = load.end();
    assert_eq!(lost, [""; 0], "{} of {answered} requests were lost", lost.len());
    assert!(answered > 100, "only {answered} requests were sent");
}

#[test]
fn a_rollback_keeps_connections_of_both() {
    let swapped = Swapped::new("h3-rollback", "127.0.0.1:9");
    let (good, bad) =
        (swapped.build("h3-rollback-good", 2, (200, "15s")), swapped.build("h3-rollback-bad", 2, (500, "15s")));
    let old = swapped.start(&good);
    run(async {
        let before = swapped.client().await;
        assert_eq!(before.get("a.test", "/").await.text(), "h3-rollback-good");
        let mut new = swapped.start(&bad);
        old.notice("accepting is paused");
        // One error is not enough for a verdict.
        let between = swapped.client().await;
        assert_eq!(between.get("a.test", "/").await.status, 500);
        assert_eq!(before.get("a.test", "/").await.status, 200, "through the new process");
        for _ in 0..20 {
            let _ = between.try_ask(&get("a.test", "/"), b"").await;
        }
        // Its connection ends in order, by datagrams that the old process passes on again.
        assert_eq!(between.code().await, 0x100);
        old.notice("accepting again");
        assert_eq!(new.wait().code(), Some(3));
        assert_eq!(before.get("a.test", "/").await.status, 200, "from its own sockets");
        assert_eq!(swapped.client().await.get("a.test", "/").await.status, 200);
    });
}

/// A process that is killed leaves connections behind, whose clients learn from the next process that they are gone.
#[test]
fn connections_of_a_killed_process_are_reset() {
    let swapped = Swapped::new("h3-killed", "127.0.0.1:9");
    let binary = swapped.build("h3-killed", 1, (200, "15s"));
    let mut old = swapped.start(&binary);
    run(async {
        let client = swapped.client().await;
        assert_eq!(client.get("a.test", "/").await.status, 200);
        let new = swapped.start(&binary);
        old.notice("accepting is paused");
        old.signal("KILL");
        new.notice("this process goes on");
        assert!(client.try_ask(&get("a.test", "/"), b"").await.is_err());
        assert!(matches!(client.connection.closed().await, quinn::ConnectionError::Reset));
        assert_eq!(swapped.client().await.get("a.test", "/").await.status, 200);
    });
    old.wait();
}

/// The end does not wait for clients without requests that have vanished.
#[test]
fn vanished_clients_do_not_delay_the_end() {
    let swapped = Swapped::new("h3-vanished", "127.0.0.1:9");
    let mut proxy = swapped.start(&swapped.build("h3-vanished", 1, (200, "200ms")));
    run(async {
        let client = swapped.client().await;
        assert_eq!(client.get("a.test", "/").await.status, 200);
        // The response is acknowledged. From then on, nobody runs the client: the test blocks.
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.signal("TERM");
        let began = Instant::now();
        assert!(proxy.wait().success());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
}
