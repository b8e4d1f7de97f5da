//! Servers fail under load, one at a time and each in a different way: no idempotent request may fail, and soon none
//! needs a
//! retry. In the suite this may take as long as the machine needs; `KILN_CHAOS=1` enforces the time limit.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kiln_tests::client::Client;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, address, build_text};

const CLIENTS: usize = 200;

/// The time to settle if no limit is enforced.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is a separate process, so that it can be killed and stopped.
const SERVER: &str =
    "param listen type=addr\nprocess {\n workers 1\n}\nsite * {\n listen (param)listen\n respond 200 \"fine\"\n}\n";

const SITE: &str = "\
param listen type=addr
param one type=addr
param two type=addr
param three type=addr
log access format=json {
    fields status attempts server reason duration
}
upstream app {
    server (param)one
    server (param)two
    server (param)three
    health-check \"/health\" interval=\"500ms\" timeout=\"500ms\" rise=1 fall=1
    outlier consecutive-5xx=3 eject=\"1s\"
}
site site.test {
    listen (param)listen
    timeouts connect=\"1s\"
    retry 3 per-try=\"1s\" budget=100 {
        on reset timeout 502 503 504
    }
    proxy app
}
";

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The process is killed.
    Killed,
    /// It accepts connections and never responds.
    Hung,
    /// It resets the connection in the middle of the response's head.
    Reset,
    /// It responds after seconds.
    Slow,
}

/// The behavior of the third server.
const FINE: usize = 0;
const RESETS: usize = 1;
const IS_SLOW: usize = 2;

fn moody(mood: &Arc<AtomicUsize>) -> Origin {
    let mood = Arc::clone(mood);
    Origin::new(move |mut connection, _| {
        while connection.request().is_some() {
            match mood.load(Ordering::SeqCst) {
                RESETS => {
                    connection.send("HTTP/1.1 200 OK\r\nConte");
                    return;
                }
                IS_SLOW => sleep(Duration::from_secs(3)),
                _ => {}
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
        }
    })
}

fn serve(binary: &std::path::Path, address: &str) -> Child {
    let mut child = Command::new(binary)
        .arg(format!("--listen={address}"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until && child.try_wait().expect("a child").is_none(), "no server at {address}");
        sleep(Duration::from_millis(5));
    }
    child
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn no_idempotent_request_fails() {
    let long = std::env::var_os("KILN_CHAOS").is_some();
    // The limit is one interval of the health check and a second; without enforcement, a busy machine gets more.
    let (settle, watch) = if long { (1_500, 10_000) } else { (500, 500) };
    let patience = if long { Duration::ZERO } else { PATIENCE };
    let server = build_text("chaos-server", SERVER);
    let addresses = [address(), address()];
    let mut servers = addresses.each_ref().map(|address| serve(&server, address));
    let mood = Arc::new(AtomicUsize::new(FINE));
    let third = moody(&mood);
    let given = [("one", addresses[0].as_str()), ("two", addresses[1].as_str()), ("three", third.address.as_str())];
    let proxy = Proxy::start(&build_text("chaos", SITE), SITE, &given);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS).map(|_| load(proxy.address("listen").to_owned(), Arc::clone(&over))).collect();
    let mut worst = Vec::new();
    for fault in [Fault::Killed, Fault::Hung, Fault::Reset, Fault::Slow] {
        match fault {
            Fault::Killed => servers[0].kill().expect("killed"),
            Fault::Hung => signal(&servers[1], "STOP"),
            Fault::Reset => mood.store(RESETS, Ordering::SeqCst),
            Fault::Slow => mood.store(IS_SLOW, Ordering::SeqCst),
        }
        let until = Instant::now() + patience;
        sleep(Duration::from_millis(settle));
        // From here on, no request may need a retry.
        let (seen, again) = loop {
            let before = proxy.logged().len();
            sleep(Duration::from_millis(watch));
            let lines = proxy.logged();
            let again = lines[before..].iter().filter(|line| !line.contains("\"attempts\":1")).count();
            let seen = lines.len() - before;
            if (seen >= CLIENTS && again * 100 <= seen) || Instant::now() >= until {
                break (seen, again);
            }
        };
        worst.push((fault, seen, again));
        match fault {
            Fault::Killed => {
                servers[0].wait().expect("it ends");
                servers[0] = serve(&server, &addresses[0]);
            }
            Fault::Hung => signal(&servers[1], "CONT"),
            Fault::Reset | Fault::Slow => mood.store(FINE, Ordering::SeqCst),
        }
        let back = match fault {
            Fault::Killed => &addresses[0],
            Fault::Hung => &addresses[1],
            Fault::Reset | Fault::Slow => &third.address,
        };
        returns(&proxy, back);
    }
    over.store(true, Ordering::SeqCst);
    let mut answered = 0;
    for client in clients {
        match client.join().expect("a client") {
            Ok(count) => answered += count,
            Err(failure) => panic!(
                "a request failed: {failure}\n{:#?}",
                proxy.logged().iter().filter(|line| !line.contains("\"status\":200")).take(9).collect::<Vec<_>>()
            ),
        }
    }
    for server in &mut servers {
        server.kill().expect("killed");
        server.wait().expect("it ends");
    }
    eprintln!("{answered} requests, none failed; of so many, so many were tried again in the end: {worst:?}");
    for (fault, seen, again) in worst {
        assert!(seen >= CLIENTS && again * 100 <= seen, "{fault:?}: {again} of {seen} requests were retried");
    }
}

/// Sends requests on a connection until the test is over or a request fails.
fn load(address: String, over: Arc<AtomicBool>) -> std::thread::JoinHandle<Result<usize, String>> {
    std::thread::spawn(move || {
        let mut client = Client::to(&address);
        let mut count = 0;
        while !over.load(Ordering::SeqCst) {
            client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
            let Some(answer) = client.try_answer_to("GET") else { return Err("no answer".to_owned()) };
            if answer.status != 200 || answer.text() != "fine" {
                return Err(format!("{} {}", answer.status, answer.text()));
            }
            count += 1;
            sleep(Duration::from_millis(40));
        }
        Ok(count)
    })
}

/// Waits until a server gets requests again.
fn returns(proxy: &Proxy, server: &str) {
    let until = Instant::now() + PATIENCE;
    let asked = |from: usize| proxy.logged()[from..].iter().any(|line| line.contains(server));
    let from = proxy.logged().len();
    while !asked(from) {
        assert!(Instant::now() < until, "{server} gets no requests again");
        sleep(Duration::from_millis(20));
    }
}
