//! `mirror`: sends a copy of a request to another upstream, beside the exchange, and drops the response.
//!
//! It can neither delay nor fail the exchange: the copy is made of data that has arrived already, is sent by a separate task
//! on a separate connection, and is dropped if there are too many.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::introduce::introduce;
use super::retry::UpstreamRequest;
use crate::client::Client;
use crate::client::record::Record;
use crate::http1::{self, Framing};
use crate::protocol::names::KnownField;
use crate::site::Mirror;
use crate::upstream::{Lease, PickRequest};
use crate::worker::Worker;

/// The most copies that a worker sends at a time.
const MOST: usize = 100;

/// The time-out of a copy.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of a response is read before its connection is closed, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Returns whether a request is sampled for mirroring.
pub(super) fn is_wanted(worker: &Worker, mirror: &Mirror) -> bool {
    mirror.percent >= 100 || (worker.dice.below(100) as u64) < mirror.percent
}

/// Sends a copy of a request, with `body` as its body.
pub(super) fn send(
    client: &Client,
    record: &Record,
    mirror: &Mirror,
    request: &UpstreamRequest,
    (framing, body): (Framing, Bytes),
) {
    let worker = client.worker;
    let upstream = &worker.servers.upstreams[usize::from(mirror.upstream)];
    if worker.mirrored.get() >= MOST {
        return upstream.notice(&format!("a copy of a request is not sent: {MOST} of a worker are under way"));
    }
    let pick = PickRequest { key: worker.dice.number(), dice: &worker.dice, tried: &[], sticky: None };
    let Ok(lease) = upstream.lease(&worker.servers.servers, &pick, tokio::time::Instant::now()) else { return };
    let host = request.fields.get(KnownField::HOST).map_or(lease.server.host().as_bytes(), |host| host);
    let host = shadow(host);
    let mut fields = request.fields.with_room(host.len(), 2);
    fields.set(KnownField::HOST, &host);
    fields.set(KnownField::CONNECTION, b"close");
    fields.remove(KnownField::UPGRADE);
    if let (Some(tracer), Some(trace)) = (worker.tracer, &record.trace) {
        tracer.tell(&mut fields, trace, trace.within());
    }
    let (mut introduction, mut head) = (Vec::new(), Vec::new());
    introduce(client, record, upstream, &mut introduction);
    if upstream.config.tls.is_none() {
        head.append(&mut introduction);
    }
    http1::write_request(&mut head, (&request.method, &request.target), None, &fields, framing);
    let counted = MirrorGuard::new(&worker.mirrored);
    tokio::task::spawn_local(async move {
        // The outcome is ignored, except by the lease, which counts it for the server.
        let copied = exchange(worker, &lease, &introduction, (&head, &body));
        let _ = tokio::time::timeout(PATIENCE, copied).await;
        drop((lease, counted));
    });
}

/// Adds `-shadow` to the host name, so that the copy can be distinguished from the request.
fn shadow(host: &[u8]) -> Vec<u8> {
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (name, port) = host.split_at(host.len() - digits);
    match name.strip_suffix(b":") {
        Some(name) => [name, b"-shadow:", port].concat(),
        None => [host, b"-shadow"].concat(),
    }
}

async fn exchange(
    worker: &Worker,
    lease: &Lease,
    introduction: &[u8],
    (head, body): (&[u8], &[u8]),
) -> std::io::Result<()> {
    let link = worker.pools.dialler.connect(lease.upstream, lease.server, introduction, PATIENCE).await;
    let mut link = link.map_err(|_| std::io::ErrorKind::NotConnected)?;
    link.write_all(head).await?;
    link.write_all(body).await?;
    link.flush().await?;
    tokio::io::copy(&mut link.take(MAX_ANSWER), &mut tokio::io::sink()).await.map(drop)
}

/// Counts a copy under way.
struct MirrorGuard(&'static Cell<usize>);

impl MirrorGuard {
    fn new(count: &'static Cell<usize>) -> MirrorGuard {
        count.set(count.get() + 1);
        MirrorGuard(count)
    }
}

impl Drop for MirrorGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadows() {
        for (host, expected) in [
            ("a.example", "a.example-shadow"),
            ("a:80", "a-shadow:80"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
        ] {
            assert_eq!(shadow(host.as_bytes()), expected.as_bytes());
        }
    }
}
