//! WebSocket over HTTP/3 (RFC 9220).

use kiln_tests::origin::{Origin, websocket_accept};
use kiln_tests::proxy::PATIENCE;

use super::client::{DATA, HEADERS, Reader, frame, section};
use super::{Site, python, run};

/// A server that says `welcome`, and then repeats what it receives until the client has ended. One that is asked for `/broken` breaks off instead.
fn echo() -> Origin {
    Origin::new(|mut connection, _| {
        let Some(request) = connection.head() else { return };
        let lower = request.to_ascii_lowercase();
        assert!(lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"), "{request}");
        if !lower.starts_with("get /chat") {
            return connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
        }
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        let accept = websocket_accept(key);
        connection.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\nwelcome"
        ));
        loop {
            match connection.bytes() {
                bytes if bytes.is_empty() => return,
                bytes => connection.send(bytes),
            }
        }
    })
}

const ROUTES: &str =
    "route \"/*\" {\n protocol websocket\n proxy \"http://(param)to\"\n }\n route \"/*\" {\n respond 404\n }";

fn connect<'a>(protocol: &'a str, path: &'a str) -> [(&'a str, &'a str); 6] {
    [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ]
}

#[test]
fn tunnels() {
    let origin = echo();
    let site = Site::new("h3-websocket", "", &ROUTES.replace("(param)to", &origin.address), &[]);
    run(async {
        let client = site.client().await;
        let mut control = Reader::new(client.connection.accept_uni().await.expect("a stream"));
        assert_eq!(control.integer().await, 0);
        let (kind, settings) = control.frame().await.expect("SETTINGS");
        assert!(kind == 4 && settings.ends_with(b"\x08\x01"), "{settings:x?}");
        let (mut send, receive) = client.stream(&frame(HEADERS, &section(&connect("websocket", "/chat")))).await;
        let mut receive = Reader::new(receive);
        let fields = receive.fields().await;
        assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
        let has = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!((has("sec-websocket-protocol"), has("sec-websocket-accept")), (Some("chat"), None));
        assert_eq!((has("content-length"), has("upgrade"), has("connection")), (None, None, None));
        assert_eq!(receive.data(7).await, b"welcome");
        for size in [4, 200_000, 1] {
            let bytes = vec![b'x'; size];
            send.write_all(&frame(DATA, &bytes)).await.expect("sent");
            assert_eq!(receive.data(size).await, bytes);
        }
        send.finish().expect("an end");
        assert!(receive.frame().await.is_none(), "the end of the server is passed on");
        // A tunnel has no trailers (RFC 9114 section 4.4).
        let head = frame(HEADERS, &section(&connect("websocket", "/chat")));
        let (mut send, receive) = client.stream(&head).await;
        assert_eq!(Reader::new(receive).fields().await[0].1, "200");
        send.write_all(&frame(HEADERS, &section(&[("x", "y")]))).await.expect("sent");
        assert_eq!(client.code().await, 0x105);
    });
}

/// Neither exchanges nor their memory are left of tunnels that the client resets without a word about the other direction. The library keeps something of
/// each stream that was reset, so that a connection with many of them ends in order.
#[test]
fn nothing_is_left_of_tunnels_that_were_reset() {
    let origin = echo();
    let site = Site::new("h3-websocket-resets", "", &ROUTES.replace("(param)to", &origin.address), &[]);
    run(async {
        let client = site.client().await;
        for _ in 0..1024 {
            let (mut send, receive) = client.stream(&frame(HEADERS, &section(&connect("websocket", "/chat")))).await;
            let mut receive = Reader::new(receive);
            assert_eq!(receive.fields().await[0].1, "200");
            send.reset(0x10c_u32.into()).expect("reset");
            assert_eq!(receive.reset().await, Some(0x10c));
        }
        assert_eq!(client.code().await, 0x100);
    });
}

/// The server says nothing and the client has ended its direction: only the end of the connection is left to be noticed.
#[test]
fn tunnels_end_with_the_connection() {
    let origin = Origin::new(|mut connection, _| {
        let Some(request) = connection.head() else { return };
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        let accept = websocket_accept(key);
        connection.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        ));
        std::thread::sleep(PATIENCE);
    });
    let top = "process {\n drain timeout=\"10h\"\n}\ntimeouts idle=\"10h\"";
    let mut site = Site::new("h3-websocket-gone", top, &ROUTES.replace("(param)to", &origin.address), &[]);
    run(async {
        let client = site.client().await;
        let (mut send, receive) = client.stream(&frame(HEADERS, &section(&connect("websocket", "/chat")))).await;
        assert_eq!(Reader::new(receive).fields().await[0].1, "200");
        send.finish().expect("an end");
        client.connection.close(0x100_u32.into(), b"");
        client.endpoint.wait_idle().await;
    });
    site.proxy.signal("TERM");
    assert!(site.proxy.wait().success());
}

#[test]
fn no_tunnel() {
    let origin = echo();
    let site = Site::new("h3-no-websocket", "", &ROUTES.replace("(param)to", &origin.address), &[]);
    run(async {
        let client = site.client().await;
        // The server does not upgrade; another protocol is not supported (RFC 9220 section 3).
        for (protocol, path, status) in [("websocket", "/other", 502), ("connect-udp", "/chat", 501)] {
            let said = client.ask(&connect(protocol, path), b"").await;
            assert_eq!(said.status, status, "{protocol} {path}");
        }
        assert_eq!(client.get("a.test", "/chat").await.status, 404);
        // A client that resets the stream ends the tunnel, and not the connection.
        let (mut send, receive) = client.stream(&frame(HEADERS, &section(&connect("websocket", "/chat")))).await;
        let mut receive = Reader::new(receive);
        assert_eq!(receive.fields().await[0].1, "200");
        assert_eq!(receive.data(7).await, b"welcome");
        send.reset(0x10c_u32.into()).expect("reset");
        assert_eq!(receive.reset().await, Some(0x10c));
        assert_eq!(client.get("a.test", "/chat").await.status, 404);
    });
    site.proxy.log("\"reason\":\"not-upgraded\"");
    site.proxy.log("\"reason\":\"unsupported-protocol\"");
}

#[test]
fn aioquic() {
    let origin = echo();
    let site = Site::new("h3-websocket-aioquic", "", &ROUTES.replace("(param)to", &origin.address), &[]);
    let address = site.address();
    let (ip, port) = address.split_once(':').expect("a port");
    if let Some(said) = python("aioquic", include_str!("websocket.py"), &[ip, port, &site.ca]) {
        assert!(said.contains("200 chat welcome 100000"), "{said} within {PATIENCE:?}");
    }
}
