//! A worker's UDP socket ([`SteeredSocket`]), which passes datagrams on that are for another endpoint, or another process ([`QuicGroup`]).
//!
//! The connection ids name the endpoint. A datagram costs a comparison, and one for another endpoint a copy. The first packets of a client, which have an id
//! of its own, are for the endpoint whose socket the kernel has chosen: the client's address may not change before the end of the handshake (RFC 9000 section 9).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use super::forwarded::ForwardedDatagram;
use super::group::QuicGroup;
use super::ids::SteeredIds;

/// A worker's UDP socket.
pub(super) struct SteeredSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    number: u16,
    ids: SteeredIds,
    /// The lock is never contended: one task receives.
    inbox: Mutex<mpsc::Receiver<ForwardedDatagram>>,
    group: Arc<QuicGroup>,
}

impl std::fmt::Debug for SteeredSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SteeredSocket").field("number", &self.number).finish_non_exhaustive()
    }
}

impl SteeredSocket {
    pub(super) fn new(
        socket: Arc<dyn AsyncUdpSocket>,
        number: u16,
        inbox: mpsc::Receiver<ForwardedDatagram>,
        group: Arc<QuicGroup>,
    ) -> SteeredSocket {
        SteeredSocket { socket, number, ids: group.identity().ids(number), inbox: Mutex::new(inbox), group }
    }

    /// Passes datagrams on that are not for this endpoint, and keeps the rest in place.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let foreign = |datagram: &[u8]| self.group.foreign(datagram, &self.ids, self.number);
        let (length, stride) = (meta.len, meta.stride.max(1));
        if buffer[..length].chunks(stride).all(|datagram| foreign(datagram).is_none()) {
            return;
        }
        // The kernel may have joined several datagrams of the same size, and a shorter one at the end.
        let (mut from, mut to) = (0, 0);
        while from < length {
            let end = (from + stride).min(length);
            match foreign(&buffer[from..end]) {
                Some(name) => self.group.pass_on(name, &buffer[from..end], meta),
                None => {
                    buffer.copy_within(from..end, to);
                    to += end - from;
                }
            }
            from = end;
        }
        meta.len = to;
    }

    /// Returns a datagram that was passed on to this endpoint.
    fn poll_inbox(&self, cx: &mut Context<'_>) -> Poll<Option<ForwardedDatagram>> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match ready!(inbox.poll_recv(cx)) {
                // It has only woken this endpoint.
                Some(datagram) if datagram.bytes.is_empty() => {}
                received => return Poll::Ready(received),
            }
        }
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
        if let (Poll::Ready(Some(datagram)), Some(buffer), Some(meta)) =
            (self.poll_inbox(cx), buffers.first_mut(), metas.first_mut())
            && let Some(space) = buffer.get_mut(..datagram.bytes.len())
        {
            space.copy_from_slice(&datagram.bytes);
            *meta = datagram.meta;
            return Poll::Ready(Ok(1));
        }
        if self.group.is_paused() {
            return Poll::Pending;
        }
        let count = ready!(self.socket.poll_recv(cx, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas).take(count) {
            self.sort(buffer, meta);
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
    use super::super::QuicIdentity;
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
            buffers: &mut [IoSliceMut<'_>],
            metas: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            buffers[0][..3].copy_from_slice(b"own");
            metas[0] = RecvMeta { len: 3, stride: 3, ..RecvMeta::default() };
            Poll::Ready(Ok(1))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn datagrams() {
        let identity = QuicIdentity::random();
        let check = |sent: &[&str], stride: usize, kept: &str, forwarded: &[&str]| {
            let (group, mut inboxes) = QuicGroup::new(identity, 2);
            let inbox = inboxes.remove(0);
            let socket = SteeredSocket::new(Arc::new(NoSocket), 0, inbox, group);
            let named = |datagram: &str| {
                let mut bytes = datagram.as_bytes().to_vec();
                if let Some(process) = bytes.get_mut(1) {
                    *process = identity.process;
                }
                bytes
            };
            let mut buffer: Vec<u8> = sent.iter().flat_map(|datagram| named(datagram)).collect();
            let kept: Vec<u8> =
                kept.as_bytes().chunks(stride).flat_map(|one| named(str::from_utf8(one).expect("text"))).collect();
            let mut meta = RecvMeta { len: buffer.len(), stride, ..RecvMeta::default() };
            socket.sort(&mut buffer, &mut meta);
            assert_eq!(buffer[..meta.len], kept, "{sent:?}");
            let mut found = Vec::new();
            while let Ok(datagram) = inboxes[0].try_recv() {
                assert_eq!((datagram.meta.len, datagram.meta.stride), (datagram.bytes.len(), datagram.bytes.len()));
                found.push(datagram.bytes.into_vec());
            }
            assert_eq!(found, forwarded.iter().map(|datagram| named(datagram)).collect::<Vec<_>>(), "{sent:?}");
        };
        let (own, other, unknown) = ("@p\0\0own", "@p\0\x01two", "@p\0\x02333");
        check(&[own], 7, own, &[]);
        check(&[other], 7, "", &[other]);
        check(&[unknown], 7, unknown, &[]);
        check(&["@"], 7, "@", &[]);
        check(&[own, other, own, other, "@p\0\0x"], 7, &[own, own, "@p\0\0x"].concat(), &[other, other]);
        check(&[own, own, "@p\0\x01"], 7, &[own, own].concat(), &["@p\0\x01"]);
    }

    #[test]
    fn pauses() {
        let (group, mut inboxes) = QuicGroup::new(QuicIdentity::random(), 1);
        let socket = SteeredSocket::new(Arc::new(NoSocket), 0, inboxes.remove(0), Arc::clone(&group));
        let receive = || {
            let (mut bytes, mut metas) = ([0; 100], [RecvMeta::default()]);
            let received = socket.poll_recv(
                &mut Context::from_waker(std::task::Waker::noop()),
                &mut [IoSliceMut::new(&mut bytes)],
                &mut metas,
            );
            received.is_ready().then(|| bytes[..metas[0].len].to_vec())
        };
        assert_eq!(receive(), Some(b"own".to_vec()));
        group.pause(true);
        assert_eq!(receive(), None);
        group.pass_on(
            super::super::ids::EndpointName { process: group.identity().process, number: 0 },
            b"x",
            &RecvMeta::default(),
        );
        assert_eq!((receive(), receive()), (Some(b"x".to_vec()), None), "what is passed on is received all the same");
        group.pause(false);
        assert_eq!(receive(), Some(b"own".to_vec()));
    }
}
