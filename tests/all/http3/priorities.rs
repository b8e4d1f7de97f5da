//! Extensible priorities (RFC 9218), of HTTP/3: of several responses that compete for a connection, the most urgent arrives first.

use std::cell::RefCell;

use quinn::RecvStream;

use super::client::{H3, HEADERS, frame, get, section};
use super::{Site, run};

/// The size of a response: many times what the proxy sends without acknowledgement, so that the head start of a response whose request came first
/// decides nothing.
const SIZE: usize = 16 << 20;

/// Requests responses, one for each value of `priority`, and returns the order in which their ends arrive. `updates` are sent before the first response
/// is read.
async fn order(client: &H3, values: &[Option<&str>], updates: &[(u64, &str)]) -> Vec<usize> {
    let mut streams = Vec::new();
    for value in values {
        let fields: Vec<_> =
            get("a.test", "/large").into_iter().chain(value.map(|value| ("priority", value))).collect();
        let (mut send, receive) = client.stream(&frame(HEADERS, &section(&fields))).await;
        send.finish().expect("an end");
        streams.push(receive);
    }
    for (stream, value) in updates {
        client.update_priority(*stream, value).await;
    }
    if !updates.is_empty() {
        // Whoever responds to this has read what came before.
        assert_eq!(client.get("a.test", "/none").await.status, 404);
    }
    let ends = RefCell::new(Vec::new());
    let read = |at: usize, mut stream: RecvStream| {
        let ends = &ends;
        async move {
            let mut received = 0;
            while let Some(chunk) = stream.read_chunk(1 << 20, true).await.expect("a response") {
                received += chunk.bytes.len();
            }
            assert!(received > SIZE);
            ends.borrow_mut().push(at);
        }
    };
    let mut streams = streams.into_iter().enumerate().map(|(at, stream)| read(at, stream));
    let (one, two, three) = (streams.next(), streams.next(), streams.next());
    tokio::join!(one.expect("a stream"), two.expect("a stream"), async {
        if let Some(three) = three {
            three.await;
        }
    });
    ends.take()
}

fn site(name: &str) -> Site {
    let dir = kiln_tests::kiln::scratch(&format!("{name}-files"));
    std::fs::write(dir.join("large"), vec![b'x'; SIZE]).expect("a file");
    Site::new(name, "", &format!("route \"/*\" {{\n files \"{}\"\n }}", dir.display()), &[])
}

#[test]
fn urgent_responses_come_first() {
    let site = site("h3-priorities");
    run(async {
        let client = site.client().await;
        assert_eq!(order(&client, &[Some("u=6"), Some("u=4"), Some("u=1")], &[]).await, [2, 1, 0]);
        // Of the same urgency, one after the other.
        assert_eq!(order(&client, &[Some("u=2"), Some("u=2"), Some("u=2, i=?0")], &[]).await, [0, 1, 2]);
        // Without a word, they share: that of a client that says something else is more urgent, or less.
        assert_eq!(order(&client, &[None, Some("u=2")], &[]).await, [1, 0]);
        assert_eq!(order(&client, &[Some("u=7"), None], &[]).await, [1, 0]);
    });
}

#[test]
fn updates_change_the_order() {
    let site = site("h3-priority-update");
    run(async {
        let client = site.client().await;
        assert_eq!(order(&client, &[Some("u=2"), Some("u=5")], &[(0, "u=7"), (4, "u=0")]).await, [1, 0]);
        // An update before its request, whose own word it replaces.
        client.update_priority(16, "u=6").await;
        assert_eq!(client.get("a.test", "/none").await.status, 404);
        assert_eq!(order(&client, &[Some("u=1"), Some("u=4")], &[]).await, [1, 0], "streams 16 and 20");
    });
}

#[test]
fn updates_are_checked() {
    let site = site("h3-priority-errors");
    run(async {
        // The id of a stream that is no request's, one of a push, and the frame where it may not be (RFC 9218 section 7.2).
        for (frame_of, code) in
            [(frame(0xf0700, b"\x02u=1"), 0x108), (frame(0xf0701, b"\x00u=1"), 0x108), (frame(0xf0700, b""), 0x106)]
        {
            let client = site.bare().await;
            let _open = client.uni(&[b"\x00\x04\x00", &frame_of[..]].concat()).await;
            assert_eq!(client.code().await, code);
        }
        let client = site.client().await;
        let _open = client.stream(&frame(0xf0700, b"\x00u=1")).await;
        assert_eq!(client.code().await, 0x105);
    });
}
