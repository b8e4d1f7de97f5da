//! Passes a client connection through (`stream`): to an upstream that is chosen by the host in the client's TLS
//! handshake, or to the same for all.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Version};
use tokio::time::{Instant, timeout};

use crate::balance;
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::connection::tunnel;
use crate::failure::Failure;
use crate::net::clock::Timer;
use crate::net::stream::BufferedStream;
use crate::protocol::fields::Fields;
use crate::site::Stream;
use crate::upstream::{Lease, PickRequest, announce};

/// Serves a connection until it is closed.
pub(super) async fn serve(peer: Rc<Peer>, mut link: BufferedStream, stream: &Stream) {
    let worker = peer.worker;
    let mut record = Record::new(
        &peer,
        Method::from_bytes(b"-").unwrap_or_default(),
        Version::HTTP_11,
        Fields::new(),
        Instant::now(),
    );
    let (mut server, _lease) = match connect(&peer, &mut record, &mut link, stream).await {
        Ok(connected) => connected,
        Err(failure) => {
            record.failed(failure);
            return record.finished();
        }
    };
    let (timer, client) = (Timer::default(), RefCell::new(link));
    let silence = worker.site.root.timeouts.idle.get(worker.settings);
    let pumped = tunnel::pump((&client, &mut server), (&timer, silence), None, |bytes| record.sent(bytes));
    timer.run(pin!(pumped)).await;
    record.finished();
}

/// Connects to a server that the load-balancing policy chooses, and to others if that fails.
async fn connect(
    peer: &Peer,
    record: &mut Record,
    link: &mut BufferedStream,
    stream: &Stream,
) -> Result<(BufferedStream, Lease), Failure> {
    let (worker, timeouts) = (peer.worker, &peer.worker.site.root.timeouts);
    if worker.memory.resident.is_exceeded() {
        return Err(Failure::MemoryLimit);
    }
    let name = if stream.reads_names() {
        let patience = timeouts.handshake.get(worker.settings).min(Duration::from_secs(3600));
        timeout(patience, worker.engine.server_name(link)).await.map_err(|_| Failure::HandshakeTimeout)?
    } else {
        None
    };
    let upstream = stream.upstream(name.as_deref()).ok_or(Failure::UnknownServerName)?;
    let upstream = &worker.servers.upstreams[usize::from(upstream)];
    record.upstream = &upstream.config.name;
    let mut introduction = Vec::new();
    if let Some(version) = upstream.config.proxy_protocol {
        let (from, to) = peer.addresses;
        announce(version, from, to, &mut introduction);
    }
    let (mut tried, mut last) = (Vec::new(), Failure::NoHealthyUpstream);
    loop {
        let key = balance::hash(peer.text.as_bytes(), 0);
        let pick = PickRequest { key, dice: &worker.dice, tried: &tried, sticky: None };
        let mut lease = upstream.lease(&worker.servers.servers, &pick, Instant::now());
        if matches!(lease, Err(Failure::UpstreamOverloaded)) {
            lease = upstream.wait(&worker.servers.servers, &pick).await;
        }
        let lease = lease.map_err(|failure| if tried.is_empty() { failure } else { last })?;
        tried.push(lease.id);
        record.asked(lease.server.name(), lease.server.load.active());
        let patience = timeouts.connect.get(worker.settings);
        let dialled = worker.pools.dialler.connect(upstream, lease.server, &introduction, patience).await;
        if upstream.observes() {
            lease.report(&worker.servers.servers, dialled.is_ok(), None, Instant::now());
        }
        match dialled {
            Ok(mut server) => {
                // With TLS, the PROXY header was sent before the handshake.
                if upstream.config.tls.is_none() && !introduction.is_empty() {
                    let told = tokio::io::AsyncWriteExt::write_all(&mut server, &introduction).await;
                    told.map_err(|_| Failure::UpstreamReset)?;
                }
                return Ok((server, lease));
            }
            Err(failure) if tried.len() > upstream.max_unreachable() => return Err(failure),
            Err(failure) => last = failure,
        }
    }
}
