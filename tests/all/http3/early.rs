//! Resumption, and early data (0-RTT), which is refused.

use super::client::{H3, config};
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
