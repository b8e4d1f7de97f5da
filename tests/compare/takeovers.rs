//! Takeovers under mixed load: how many requests are lost, by kind of client, and how long a takeover takes.
//!
//! `compare takeovers [COUNT]`. An exchange of HTTP/2 is one of eight requests at once. The proxy is built by `kiln build --fast`, as its own costs do not matter here.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::scratch;
use kiln_tests::load::{self, Http2, Load, Resuming, WebSocket};
use kiln_tests::proxy::{Proxy, address, build_text};

use crate::{median, row};

const SITE: &str = r#"
param listen type=addr
param secure type=addr
param socket type=addr
param echo type=addr
param takeover type=string
process {
    workers WORKERS
    takeover (param)takeover canary="300ms"
    drain timeout="5s"
    sandbox required
}
log off
listen (param)listen {
    http h1 h2
}
listen (param)socket
listen secure (param)secure {
    tls
}
site a.test {
    route "/" {
        respond 200 "first"
    }
    route "/live" {
        proxy (param)echo
    }
    route "/large" {
        respond 200 file="DIR/large"
    }
}
site b.test {
    listen secure
    tls {
        certificate "DIR/b.pem" key="DIR/b.key"
    }
    respond 200 "secured"
}
"#;

/// How many clients open a new connection for each request, and how many do so in a second together.
const NEW: usize = 8;
const PER_SECOND: u64 = 2000;

pub(crate) fn report(count: usize) {
    let dir = scratch("takeovers");
    std::fs::write(dir.join("large"), vec![b'x'; 4 << 20]).expect("written");
    let authority = Authority::new(&dir);
    authority.sign("b", "b", &["b.test"]);
    let versions = [2, 3].map(|workers| {
        let text = SITE.replace("DIR", dir.to_str().expect("UTF-8")).replace("WORKERS", &workers.to_string());
        build_text(&format!("takeovers-{workers}"), &text)
    });
    let (listen, secure, echo) = (address(), address(), load::echo());
    let socket = dir.join("site.sock");
    let start = |binary: &Path| {
        let mut command = Command::new(binary);
        command.args([format!("--listen={listen}"), format!("--secure={secure}"), format!("--echo={}", echo.address)]);
        command.arg(format!("--socket=unix:{}", socket.display()));
        command.arg(format!("--takeover={}", dir.join("takeover.sock").display())).arg("--upgrade");
        Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into())
    };
    let mut old = start(&versions[0]);

    let mut load = Load::default();
    let pause = Duration::from_millis(2);
    for _ in 0..4 {
        let (address, mut kept) = (listen.clone(), None);
        load.add("kept connections", pause, move || load::over_kept(&mut kept, || load::tcp(&address)));
    }
    for _ in 0..NEW {
        let address = listen.clone();
        let interval = Duration::from_micros(1_000_000 * NEW as u64 / PER_SECOND);
        load.add("new connections", interval, move || load::once(|| load::tcp(&address)));
    }
    let path = socket.clone();
    load.add("unix socket, new connections", pause, move || load::once(|| UnixStream::connect(&path)));
    let (path, mut kept) = (socket.clone(), None);
    load.add("unix socket, kept", pause, move || load::over_kept(&mut kept, || UnixStream::connect(&path)));
    for _ in 0..2 {
        let address = listen.clone();
        load.add("downloads of 4 MiB", pause, move || load::download(&address, "/large"));
    }
    let tls = Resuming::new(&secure, &authority.ca());
    let resumed = Arc::clone(&tls.resumed);
    load.add("TLS, resumed sessions", pause, move || tls.exchange("b.test"));
    let mut told = Vec::new();
    for _ in 0..4 {
        let (address, mut websocket) = (listen.clone(), WebSocket::default());
        told.push(Arc::clone(&websocket.told));
        load.add("frames of WebSockets", pause, move || websocket.exchange(&address));
    }
    let mut again = Vec::new();
    for _ in 0..2 {
        let (address, mut http2) = (listen.clone(), Http2::default());
        again.push(Arc::clone(&http2.again));
        load.add("HTTP/2, eight streams at once", pause, move || http2.exchange(&address));
    }

    let (mut took, began) = (Vec::new(), Instant::now());
    let mut ending = Vec::new();
    for round in 0..count {
        let started = Instant::now();
        let new = start(&versions[(round + 1) % 2]);
        new.notice("takeover: complete: ");
        took.push(started.elapsed().as_secs_f64() * 1000.0);
        ending.push(std::mem::replace(&mut old, new));
        // As many are draining at a time.
        if ending.len() > 3 {
            ended(ending.remove(0));
        }
    }
    ending.into_iter().for_each(ended);
    let seconds = began.elapsed().as_secs();
    let outcome = load.end();

    println!("| {count} takeovers in {seconds} s | complete | lost |\n|---|---|---|");
    for (kind, answered) in &outcome.answered {
        let lost = outcome.lost.iter().filter(|lost| lost.starts_with(kind)).count();
        row(kind, &answered.to_string(), &lost.to_string());
    }
    let told: usize = told.iter().map(|told| told.load(Ordering::Relaxed)).sum();
    let again: usize = again.iter().map(|again| again.load(Ordering::Relaxed)).sum();
    row("requests of HTTP/2 that a GOAWAY has refused, and were sent again", &again.to_string(), "");
    row("WebSockets that a Close frame has ended", &told.to_string(), "");
    row("sessions of TLS that were resumed", &resumed.load(Ordering::Relaxed).to_string(), "");
    row("time of a takeover with a canary of 300 ms, median", &format!("{:.0} ms", median(took)), "");
    for lost in outcome.lost.iter().take(20) {
        println!("lost: {lost}");
    }
}

/// Waits for the end of an old process.
fn ended(mut old: Proxy) {
    let status = old.wait();
    assert!(status.success(), "{status:?}: {:#?}", old.noticed());
}
