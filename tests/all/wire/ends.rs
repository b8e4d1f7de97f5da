//! Time-outs, slow peers, limits on connections, and the shutdown of the proxy.

use super::*;

/// Every wait has a time-out. Without it, each of these would hang; the exact duration is not measured.
#[test]
fn waits_for_clients_time_out() {
    // An incomplete head.
    let silent = Origin::new(|mut connection, _| while !connection.bytes().is_empty() {});
    let proxy = proxy(&[("origin", &silent.address), ("patience", "300ms"), ("silence", "300ms")]);
    let address = proxy.address("listen").to_owned();
    let mut client = Client::to(&address);
    client.send("GET / HTTP/1.1\r\nHost: si");
    assert_eq!(client.answer().status, 408);
    assert!(client.closed());
    proxy.log("\"reason\":\"request-timeout\"");
    // A connection without any request, and one that is idle after a request.
    assert!(Client::to(&address).closed());
    let mut client = Client::to(&address);
    client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert!(client.closed());
    // An incomplete body, with a length or chunked; single bytes from time to time do not help.
    for (path, framing) in
        [("/", "Content-Length: 1000"), ("/", "Transfer-Encoding: chunked"), ("/echo", "Content-Length: 1000")]
    {
        let mut client = Client::to(&address);
        client.send(format!("POST {path} HTTP/1.1\r\nHost: site.test\r\n{framing}\r\n\r\n"));
        client.stream().set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let until = Instant::now() + PATIENCE;
        while client.stream().peek(&mut [0]).is_err() && Instant::now() < until {
            client.try_send(if framing.starts_with('C') { "x" } else { "1\r\nx\r\n" });
        }
        client.stream().set_read_timeout(Some(PATIENCE)).expect("a time-out");
        assert_eq!(client.answer().status, 408, "{path} {framing}");
    }
    // A client that has sent much may not pause for longer either.
    let mut client = Client::to(&address);
    client.send("POST /echo HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1000000\r\n\r\n").send(vec![b'x'; 100_000]);
    assert_eq!(client.answer().status, 408);
    // A server that never responds.
    assert_eq!(get(&address, "site.test", "/").status, 504);
    proxy.log("\"reason\":\"response-timeout\"");
}

/// An upload that the origin does not read fails with a time-out, and the origin is blamed. If the origin reads slowly,
/// the upload succeeds.
#[test]
fn origins_that_read_slowly() {
    let deaf = Origin::new(|mut connection, _| {
        let _ = connection.head();
        std::thread::sleep(PATIENCE);
    });
    let proxy = proxy(&[("origin", &deaf.address), ("silence", "300ms")]);
    let mut client = Client::to(proxy.address("listen"));
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1073741824\r\n\r\n");
    let mut writer = client.stream().try_clone().expect("a clone");
    std::thread::spawn(move || while writer.write_all(&[0; 1 << 16]).is_ok() {});
    assert_eq!(client.answer().status, 504);
    proxy.log("\"reason\":\"body-idle-timeout\"");

    // The client has 300 ms to send, and the origin starts reading later than that: the client is not to blame.
    const SIZE: usize = 8 << 20;
    let slow = Origin::new(|mut connection, _| {
        let _ = connection.head();
        std::thread::sleep(Duration::from_secs(1));
        let mut left = SIZE;
        while left > 0 {
            left = left.saturating_sub(connection.bytes().len());
        }
        connection.send(OK);
    });
    let proxy = self::proxy(&[("origin", &slow.address), ("patience", "300ms")]);
    let mut client = Client::to(proxy.address("listen"));
    client.send(format!("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(vec![0; SIZE]);
    assert_eq!(client.answer().status, 200);
}

#[test]
fn waits_for_servers_time_out() {
    // A body that stalls.
    let stalling = Origin::new(|mut connection, _| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        while !connection.bytes().is_empty() {}
    });
    let proxy = proxy(&[("origin", &stalling.address), ("silence", "300ms")]);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert!(String::from_utf8_lossy(&client.rest()).ends_with("half"));
    proxy.log("\"reason\":\"body-idle-timeout\"");
    // A body that continues, but exceeds the total time-out.
    let trickling = Origin::new(|mut connection, _| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        for _ in 0..2000 {
            connection.send("x");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let proxy = self::proxy(&[("origin", &trickling.address), ("whole", "500ms"), ("silence", "400ms")]);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert!(client.rest().ends_with(b"x"));
    proxy.log("\"reason\":\"total-timeout\"");
    // A client that stops reading its response.
    let flooding = Origin::new(|mut connection, _| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        for _ in 0..1 << 10 {
            connection.send(vec![0; 1 << 20]);
        }
    });
    let proxy = self::proxy(&[("origin", &flooding.address), ("silence", "300ms")]);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    proxy.log("\"reason\":\"client-disconnected\"");
}

#[test]
fn exchanges_of_disconnected_clients_end() {
    let (left, has_left) = std::sync::mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        let _ = connection.head();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..10_000 {
            connection.send("4\r\ntick\r\n");
            std::thread::sleep(Duration::from_millis(2));
            if connection.closed_by_peer() {
                let _ = left.send(());
                return;
            }
        }
    });
    let proxy = proxy_to(&origin);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    drop(client);
    has_left.recv_timeout(PATIENCE).expect("the origin is let go");
    proxy.log("\"reason\":\"client-disconnected\"");
}

#[test]
fn all_connections_are_limited() {
    let proxy = proxy(&[("most", "2")]);
    let mut open: Vec<Client> = (0..2).map(|_| Client::to(proxy.address("listen"))).collect();
    for client in &mut open {
        client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(Client::to(proxy.address("listen")).answer().status, 503);
    proxy.log("\"reason\":\"too-many-connections\"");
}

#[test]
fn connections_are_limited() {
    let origin = Origin::always(OK);
    let proxy = proxy(&[("origin", &origin.address), ("crowd", "3")]);
    let mut first: Vec<Client> = (0..3).map(|_| Client::to(proxy.address("listen"))).collect();
    for client in &mut first {
        client.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    let mut fourth = Client::to(proxy.address("listen"));
    assert_eq!(fourth.answer().status, 503);
    assert!(fourth.closed());
    proxy.log("\"reason\":\"client-connection-limit\"");
    first.pop();
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::to(proxy.address("listen"));
        if client.try_send("GET /hello HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
            && client.answer().status == 200
        {
            break;
        }
        assert!(Instant::now() < until, "the slot of a closed connection is not available");
    }
}

/// SIGTERM: no new connections are accepted, running exchanges are completed, and those that take too long are cut off.
#[test]
fn stopping() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::new(move |mut connection: Connection, _| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        let _ = wait.lock().expect("a lock").recv();
        connection.send("later");
    });
    let mut proxy = proxy_to(&origin);
    let address = proxy.address("listen").to_owned();
    let mut running = Client::to(&address);
    running.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert!(running.head().starts_with("HTTP/1.1 200"));
    let mut idle = Client::to(&address);
    idle.send("GET /hello HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    proxy.signal("TERM");
    proxy.notice("stopping");
    assert!(idle.closed(), "idle connections are closed at once");
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < until, "the proxy still accepts connections");
    }
    go.send(()).expect("the origin waits");
    assert_eq!(running.exactly(10), b"firstlater");
    assert!(proxy.wait().success());
    proxy.notice("stopped");

    // An unfinished exchange is cut off, and logged.
    let mut proxy = proxy_to(&origin);
    let mut running = Client::to(proxy.address("listen"));
    running.send("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    assert!(running.head().starts_with("HTTP/1.1 200"));
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    proxy.notice("cutting off");
    proxy.log("\"reason\":\"client-disconnected\"");
}
