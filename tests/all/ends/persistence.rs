//! All `Connection` fields form one list, in which `close` overrides everything else (RFC 9112 section 9.3): from clients
//! and from servers.

use kiln_tests::client::Client;
use kiln_tests::origin::Origin;

use super::*;

const CLOSE: [&str; 5] = [
    "Connection: keep-alive, close",
    "Connection: close, keep-alive",
    "Connection: keep-alive\r\nConnection: close",
    "Connection: Close\r\nX: y\r\nConnection: keep-alive",
    "Connection: x, ,\tCLOSE",
];

const GO_ON: [&str; 4] =
    ["Connection: keep-alive", "Connection: x", "Proxy-Connection: close", "Connection: \"close\""];

#[test]
fn of_clients() {
    let proxy = proxy(&[]);
    for (version, fields, goes_on) in [
        ("1.1", &CLOSE[..], false),
        ("1.0", &CLOSE[..], false),
        ("1.1", &GO_ON[..], true),
        ("1.0", &["Connection: x, keep-alive", "Connection: x\r\nConnection: Keep-Alive"], true),
        ("1.0", &["Proxy-Connection: keep-alive", "Keep-Alive: 5", ""], false),
    ] {
        for fields in fields {
            let mut client = Client::to(proxy.address("listen"));
            let end = if fields.is_empty() { "" } else { "\r\n" };
            client.send(format!("GET /own HTTP/{version}\r\nHost: a.test\r\n{fields}{end}\r\n"));
            let answer = client.answer();
            let expected = match (goes_on, version) {
                (false, _) => Some("close"),
                (true, "1.0") => Some("keep-alive"),
                (true, _) => None,
            };
            assert_eq!((answer.text(), answer.header("connection")), ("own\n".to_owned(), expected), "{fields}");
            if goes_on {
                client.send("GET /own HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
                assert_eq!(client.answer().text(), "own\n");
            }
            assert!(client.closed(), "HTTP/{version} {fields:?}");
        }
    }
}

#[test]
fn of_servers() {
    let check = |version: &str, fields: &str, kept: bool| {
        let one = Origin::always(format!("HTTP/{version} 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok"));
        let proxy = proxy(&[("one", &one.address)]);
        let mut client = Client::to(proxy.address("listen"));
        for more in ["", "Expect: 100-continue\r\n"] {
            // Without a body, there is nothing to wait for.
            client.send(format!("GET /1/plain/x HTTP/1.1\r\nHost: a.test\r\n{more}\r\n"));
            let answer = client.answer();
            assert_eq!((answer.text(), answer.header("connection")), ("ok".to_owned(), None), "{fields}");
        }
        assert_eq!(one.connections(), if kept { 1 } else { 2 }, "HTTP/{version} {fields:?}");
    };
    for fields in CLOSE {
        check("1.1", fields, false);
    }
    check("1.0", CLOSE[0], false);
    check("1.0", "Connection: x, keep-alive", true);
    check("1.0", "X: y", false);
    for fields in GO_ON {
        check("1.1", fields, true);
    }
}
