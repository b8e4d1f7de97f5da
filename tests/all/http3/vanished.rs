//! A client that vanishes without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::origin::Origin;

use super::Site;
use super::client::{HEADERS, frame, get, section};

/// The client never acknowledges its response. The drain waits for it a few seconds, and not for `drain` or `idle`.
#[test]
fn the_drain_goes_on_without_a_client_that_has_vanished() {
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let origin = Origin::new(move |mut connection, _| {
        while connection.request().is_some() {
            while !is_gone.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let top = "process {\n drain timeout=\"100s\"\n}\ntimeouts idle=\"100s\"";
    let mut site = Site::new("h3-vanished", top, &format!("proxy \"http://{}\"", origin.address), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(async {
        let client = site.client().await;
        let (mut send, receive) = client.stream(&frame(HEADERS, &section(&get("a.test", "/")))).await;
        send.finish().expect("an end");
        while origin.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (client, send, receive)
    });
    // Its socket stays open, and nobody reads it.
    gone.store(true, Ordering::Release);
    site.proxy.log("\"status\":200");
    let began = Instant::now();
    site.proxy.signal("TERM");
    assert!(site.proxy.wait().success());
    assert!(began.elapsed() >= Duration::from_secs(4), "it gets a chance");
    drop((client, runtime));
}
