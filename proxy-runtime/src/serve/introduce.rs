//! What a server is told of the client before the first request of a connection ([`introduce`]).

use crate::client::Client;
use crate::client::record::Record;
use crate::upstream::{UpstreamState, announce};

/// Writes the PROXY header for the server, if the upstream has `proxy-protocol`.
pub(super) fn introduce(client: &Client, record: &Record, upstream: &UpstreamState, out: &mut Vec<u8>) {
    if let Some(version) = upstream.config.proxy_protocol {
        let (peer, ours) = client.peer.addresses;
        announce(version, peer.map(|peer| (record.client, peer.port()).into()), ours, out);
    }
}
