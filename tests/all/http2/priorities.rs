//! Extensible priorities (RFC 9218) in HTTP/2: of several responses that compete for a connection, the most urgent arrives first.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::Request;
use kiln_tests::kiln::scratch;

use super::{Raw, proxy, run};

/// The size of a response: many times what the proxy queues for a connection.
const SIZE: usize = 8 << 20;

/// Returns the order in which the ends of responses arrive, one for each value of `priority`.
async fn order(address: &str, values: &[Option<&'static str>]) -> Vec<usize> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(64 << 20).initial_connection_window_size(64 << 20);
    let (client, connection) = builder.handshake::<_, Bytes>(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let local = tokio::task::LocalSet::new();
    let ends = Rc::<RefCell<Vec<usize>>>::default();
    let mut client = client.ready().await.expect("ready");
    for (at, value) in values.iter().enumerate() {
        let mut request = Request::get("http://a.test/large");
        if let Some(value) = value {
            request = request.header("priority", *value);
        }
        let (response, _) = client.send_request(request.body(()).expect("a request"), true).expect("sent");
        let ends = Rc::clone(&ends);
        local.spawn_local(async move {
            let mut body = response.await.expect("a response").into_body();
            let mut received = 0;
            while let Some(data) = body.data().await {
                received += data.expect("data").len();
            }
            assert_eq!(received, SIZE);
            ends.borrow_mut().push(at);
        });
    }
    local.await;
    ends.take()
}

#[test]
fn urgent_responses_come_first() {
    let dir = scratch("h2-priorities-files");
    std::fs::write(dir.join("large"), vec![b'x'; SIZE]).expect("a file");
    let site = format!(
        "param listen type=addr\nlisten (param)listen {{\n http h2\n}}\nsite a.test {{\n files \"{}\"\n}}\n",
        dir.display()
    );
    let proxy = proxy("h2-priorities", &site, &[]);
    let address = proxy.address("listen").to_owned();
    run({
        let address = address.clone();
        async move {
            assert_eq!(order(&address, &[Some("u=6"), Some("u=4"), Some("u=1")]).await, [2, 1, 0]);
            // Of the same urgency, one after the other.
            assert_eq!(order(&address, &[Some("u=2"), Some("u=2"), Some("u=2, i=?0")]).await, [0, 1, 2]);
            assert_eq!(order(&address, &[None, Some("u=2")]).await, [1, 0]);
            assert_eq!(order(&address, &[Some("u=7"), None]).await, [1, 0]);
        }
    });
    // PRIORITY_UPDATE (section 7.1): on a stream, too short, and for a stream that is no request's.
    let update = |stream: u32, value: &[u8]| [&stream.to_be_bytes()[..], value].concat();
    for (on, payload) in [(1, update(1, b"u=1")), (0, vec![0; 3]), (0, update(0, b"u=1")), (0, update(2, b"u=1"))] {
        assert_eq!(Raw::to(&address).frame(16, 0, on, &payload).goaway(), Some(1), "{on} {payload:x?}");
    }
}
