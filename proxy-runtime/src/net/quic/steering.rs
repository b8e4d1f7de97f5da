//! Passes the datagrams of a connection on to its worker ([`SteeredSocket`]), whose number is in its connection ids ([`WorkerIds`]).
//!
//! Only packets with a short header are passed on, which a client sends after the handshake: before, it uses ids that it has chosen itself,
//! and its address may not change (RFC 9000 section 9). A datagram costs a comparison, and one for another worker a copy.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};
use quinn_proto::{HashedConnectionIdGenerator, InvalidCid};
use tokio::sync::mpsc;

/// The length of the worker's number in an id, in bytes.
const NUMBER: usize = 2;

/// Creates the connection ids of a worker: its number, and an id that others can't guess.
pub(super) struct WorkerIds {
    number: u16,
    ids: HashedConnectionIdGenerator,
}

impl WorkerIds {
    pub(super) fn new(number: u16, key: u64) -> WorkerIds {
        WorkerIds { number, ids: HashedConnectionIdGenerator::from_key(key) }
    }
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&[&self.number.to_be_bytes()[..], &self.ids.generate_cid()].concat())
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(NUMBER) {
            Some((number, rest)) if number == self.number.to_be_bytes() && rest.len() == self.ids.cid_len() => {
                self.ids.validate(&ConnectionId::new(rest))
            }
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        NUMBER + self.ids.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Returns the number of the worker that a datagram is for; `None` if any may take it.
fn worker_of(datagram: &[u8]) -> Option<u16> {
    match *datagram {
        // A short header (RFC 9000 section 17.3.1): the connection id follows the first byte.
        [0..0x80, high, low, ..] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// A datagram for another worker.
#[derive(Debug)]
pub(super) struct ForwardedDatagram {
    bytes: Box<[u8]>,
    meta: RecvMeta,
}

/// A worker's UDP socket.
#[derive(Debug)]
pub(super) struct SteeredSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    number: u16,
    /// The lock is never contended: one task receives.
    inbox: Mutex<mpsc::Receiver<ForwardedDatagram>>,
    workers: Arc<[mpsc::Sender<ForwardedDatagram>]>,
}

impl SteeredSocket {
    pub(super) fn new(
        socket: Arc<dyn AsyncUdpSocket>,
        number: u16,
        inbox: mpsc::Receiver<ForwardedDatagram>,
        workers: Arc<[mpsc::Sender<ForwardedDatagram>]>,
    ) -> SteeredSocket {
        SteeredSocket { socket, number, inbox: Mutex::new(inbox), workers }
    }

    /// Passes datagrams for other workers on, and keeps the rest in place.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let is_foreign = |datagram: &[u8]| {
            let number = worker_of(datagram).filter(|number| *number != self.number)?;
            self.workers.get(usize::from(number))
        };
        let (length, stride) = (meta.len, meta.stride.max(1));
        if buffer[..length].chunks(stride).all(|datagram| is_foreign(datagram).is_none()) {
            return;
        }
        // The kernel may have joined several datagrams of the same size, and a shorter one at the end.
        let (mut from, mut to) = (0, 0);
        while from < length {
            let end = (from + stride).min(length);
            if let Some(worker) = is_foreign(&buffer[from..end]) {
                let bytes: Box<[u8]> = buffer[from..end].into();
                // A worker that is busy or has ended loses it.
                let _ = worker.try_send(ForwardedDatagram {
                    meta: RecvMeta { len: bytes.len(), stride: bytes.len(), ..*meta },
                    bytes,
                });
            } else {
                buffer.copy_within(from..end, to);
                to += end - from;
            }
            from = end;
        }
        meta.len = to;
    }
}

impl AsyncUdpSocket for SteeredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let forwarded = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx);
        if let (Poll::Ready(Some(datagram)), Some(buffer), Some(meta)) =
            (forwarded, buffers.first_mut(), metas.first_mut())
            && let Some(space) = buffer.get_mut(..datagram.bytes.len())
        {
            space.copy_from_slice(&datagram.bytes);
            *meta = datagram.meta;
            return Poll::Ready(Ok(1));
        }
        let count = ready!(self.socket.poll_recv(cx, buffers, metas))?;
        if self.workers.len() > 1 {
            for (buffer, meta) in buffers.iter_mut().zip(metas).take(count) {
                self.sort(buffer, meta);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct NoSocket;

    impl AsyncUdpSocket for NoSocket {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            unreachable!("nothing is sent")
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn ids() {
        let (mut ids, other) = (WorkerIds::new(258, 7), WorkerIds::new(259, 7));
        let id = ids.generate_cid();
        assert_eq!(id.len(), ids.cid_len());
        assert!(ids.validate(&id).is_ok() && other.validate(&id).is_err());
        assert_eq!(worker_of(&[&b"\x40"[..], &id].concat()), Some(258));
        assert!(ids.validate(&ConnectionId::new(&[1, 2])).is_err());
        assert!(WorkerIds::new(258, 8).validate(&id).is_err(), "an id of another process");
    }

    #[test]
    fn datagrams() {
        let check = |sent: &[&str], stride: usize, kept: &str, forwarded: &[&str]| {
            let (senders, mut inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(8)).unzip();
            let inbox = inboxes.remove(0);
            let socket = SteeredSocket::new(Arc::new(NoSocket), 0, inbox, senders.into());
            let mut buffer = sent.concat().into_bytes();
            let mut meta = RecvMeta { len: buffer.len(), stride, ..RecvMeta::default() };
            socket.sort(&mut buffer, &mut meta);
            assert_eq!(&buffer[..meta.len], kept.as_bytes(), "{sent:?}");
            let mut found = Vec::new();
            while let Ok(datagram) = inboxes[0].try_recv() {
                assert_eq!((datagram.meta.len, datagram.meta.stride), (datagram.bytes.len(), datagram.bytes.len()));
                found.push(String::from_utf8(datagram.bytes.into_vec()).expect("text"));
            }
            assert_eq!(found, forwarded, "{sent:?}");
        };
        let (own, other, unknown) = ("@\0\0own", "@\0\x01two", "@\0\x02333");
        check(&[own], 6, own, &[]);
        check(&[other], 6, "", &[other]);
        check(&[unknown], 6, unknown, &[]);
        check(&["@"], 6, "@", &[]);
        check(&[own, other, own, other, "@\0\0x"], 6, &[own, own, "@\0\0x"].concat(), &[other, other]);
        check(&[own, own, "@\0\x01"], 6, &[own, own].concat(), &["@\0\x01"]);
    }

    #[test]
    fn long_headers_are_not_passed_on() {
        assert_eq!(worker_of(b"\xc0\x00\x00\x00\x01\x08"), None);
        assert_eq!(worker_of(b""), None);
    }
}
