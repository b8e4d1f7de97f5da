//! What two processes say to each other during a takeover ([`Message`]), over a unix stream ([`Channel`]), along with descriptors (unix(7),
//! SCM_RIGHTS).
//!
//! A message is a byte for its kind, the length of its content in four bytes, and the content. Its descriptor goes with the first byte. Both sides are
//! trusted by their user ID, but may be of different versions, so that all that is received is checked.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The version of this protocol.
pub(super) const VERSION: u32 = 3;

/// The most bytes of a message.
pub(super) const LONGEST: usize = 4096;

/// How long a message may take to arrive once it is due, or to be sent.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The new process begins, with this version of the protocol.
    Hello(u32),
    /// The build of the process that sends it.
    Build(String),
    /// The old process does not hand over, for this reason.
    Refused(String),
    /// It does not hand over to this build, for this reason: the new process should not be started again.
    NotAgain(String),
    /// This build has crashed while another process had its sockets.
    Crashed(String),
    /// The socket that takeovers are requested at.
    Own,
    /// A socket of the old process's listener with this index.
    Socket(u32),
    /// A UDP socket of the old process's listener with this index.
    Datagrams(u32),
    /// What the new process is called in QUIC.
    Identity(Vec<u8>),
    /// The keys for session tickets of one `tls`.
    TicketKeys(Vec<u8>),
    /// A part of the state of a rate limit.
    Limits(Vec<u8>),
    /// All was sent.
    Complete,
    /// The new process has the sockets of this listener of the old one.
    Took(u32),
    /// A relay for the connections of the old process's listener with this index, whose UDP sockets the new process has.
    Relay(u32),
    /// The new process serves, and decides within this time.
    Serving(Duration),
    /// The old process has stopped accepting.
    Paused,
    /// The old process has to end.
    Commit,
    /// The old process has to go on, for this reason.
    RollBack(String),
    /// The old process ends.
    Draining,
    /// The old process accepts again.
    Resumed,
    /// The old process ends as it should: if its connection ends without this, it has crashed.
    Ended,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let number = |number: u32| number.to_be_bytes().to_vec();
        let (kind, content) = match self {
            Message::Hello(version) => (b'H', number(*version)),
            Message::Build(build) => (b'N', clipped(build)),
            Message::Refused(reason) => (b'X', clipped(reason)),
            Message::NotAgain(reason) => (b'A', clipped(reason)),
            Message::Crashed(build) => (b'Z', clipped(build)),
            Message::Own => (b'O', Vec::new()),
            Message::Socket(listener) => (b'S', number(*listener)),
            Message::Datagrams(listener) => (b'U', number(*listener)),
            Message::Identity(identity) => (b'I', identity.clone()),
            Message::TicketKeys(keys) => (b'K', keys.clone()),
            Message::Limits(part) => (b'L', part.clone()),
            Message::Complete => (b'E', Vec::new()),
            Message::Took(listener) => (b'T', number(*listener)),
            Message::Relay(listener) => (b'Y', number(*listener)),
            Message::Serving(within) => (b'V', number(u32::try_from(within.as_millis()).unwrap_or(u32::MAX))),
            Message::Paused => (b'P', Vec::new()),
            Message::Commit => (b'C', Vec::new()),
            Message::RollBack(reason) => (b'B', clipped(reason)),
            Message::Draining => (b'D', Vec::new()),
            Message::Resumed => (b'R', Vec::new()),
            Message::Ended => (b'Q', Vec::new()),
        };
        let mut frame = vec![kind];
        frame.extend(number(content.len() as u32));
        frame.extend(content);
        frame
    }

    fn decode(kind: u8, content: Vec<u8>) -> Option<Message> {
        let number = || content.as_slice().try_into().ok().map(u32::from_be_bytes);
        let text = || String::from_utf8_lossy(&content).into_owned();
        Some(match kind {
            b'H' => Message::Hello(number()?),
            b'N' => Message::Build(text()),
            b'X' => Message::Refused(text()),
            b'A' => Message::NotAgain(text()),
            b'Z' => Message::Crashed(text()),
            b'O' => Message::Own,
            b'S' => Message::Socket(number()?),
            b'U' => Message::Datagrams(number()?),
            b'I' => Message::Identity(content),
            b'K' => Message::TicketKeys(content),
            b'L' => Message::Limits(content),
            b'E' => Message::Complete,
            b'T' => Message::Took(number()?),
            b'Y' => Message::Relay(number()?),
            b'V' => Message::Serving(Duration::from_millis(number()?.into())),
            b'P' => Message::Paused,
            b'C' => Message::Commit,
            b'B' => Message::RollBack(text()),
            b'D' => Message::Draining,
            b'R' => Message::Resumed,
            b'Q' => Message::Ended,
            _ => return None,
        })
    }
}

/// Returns a text that fits into a message.
fn clipped(text: &str) -> Vec<u8> {
    text.bytes().take(LONGEST).collect()
}

/// The connection of the two processes.
pub(super) struct Channel(pub(super) UnixStream);

impl Channel {
    /// Sends a message.
    ///
    /// # Errors
    /// The other side is gone, or does not read.
    pub(super) async fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let frame = message.encode();
        let mut rest = frame.as_slice();
        let mut descriptors = descriptor.as_slice();
        let sent = async {
            while !rest.is_empty() {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let written = self.0.async_io(Interest::WRITABLE, || {
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    if !descriptors.is_empty() {
                        control.push(SendAncillaryMessage::ScmRights(descriptors));
                    }
                    Ok(sendmsg(&self.0, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL)?)
                });
                rest = &rest[written.await?.min(rest.len())..];
                descriptors = &[];
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, sent).await?
    }

    /// Receives the next message within [`PATIENCE`].
    ///
    /// # Errors
    /// As of [`Channel::receive`], and if it takes too long.
    pub(super) async fn expect(&self) -> io::Result<(Message, Option<OwnedFd>)> {
        tokio::time::timeout(PATIENCE, self.receive()).await?
    }

    /// Receives the next message, with its descriptor. The caller limits the time.
    ///
    /// # Errors
    /// The other side is gone (`UnexpectedEof`), or this is not a message.
    pub(super) async fn receive(&self) -> io::Result<(Message, Option<OwnedFd>)> {
        let mut descriptor = None;
        let mut head = [0; 5];
        self.fill(&mut head, &mut descriptor).await?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        let mut content = vec![0; length];
        self.fill(&mut content, &mut None).await?;
        let message = Message::decode(kind, content);
        let message = message.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message is not known"))?;
        Ok((message, descriptor))
    }

    /// Reads exactly as many bytes, and keeps a descriptor that comes with them.
    async fn fill(&self, buffer: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.0.async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let into = &mut [IoSliceMut::new(&mut buffer[filled..])];
                let received = recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                        *descriptor = descriptors.next();
                    }
                }
                Ok(received.bytes)
            });
            match read.await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    fn all() -> Vec<Message> {
        let text = || "a reason".to_owned();
        vec![
            Message::Hello(VERSION),
            Message::Build(text()),
            Message::Refused(text()),
            Message::NotAgain(text()),
            Message::Crashed(text()),
            Message::Own,
            Message::Socket(7),
            Message::Datagrams(8),
            Message::Identity(vec![7; 33]),
            Message::TicketKeys(vec![1, 0, 255]),
            Message::Limits(vec![7; LONGEST]),
            Message::Complete,
            Message::Took(u32::MAX),
            Message::Relay(0),
            Message::Serving(Duration::from_millis(1500)),
            Message::Paused,
            Message::Commit,
            Message::RollBack(text()),
            Message::Draining,
            Message::Resumed,
            Message::Ended,
        ]
    }

    #[tokio::test]
    async fn messages_arrive_with_their_descriptors() {
        let (old, new) = UnixStream::pair().map(|(old, new)| (Channel(old), Channel(new))).expect("a pair");
        let (mut file, handed) = std::os::unix::net::UnixStream::pair().expect("a pair");
        for message in all() {
            old.send(&message, Some(handed.as_fd())).await.expect("sent");
            let (received, descriptor) = new.expect().await.expect("received");
            assert_eq!(received, message);
            let mut other = std::os::unix::net::UnixStream::from(descriptor.expect("a descriptor"));
            file.write_all(b"x").expect("written");
            other.read_exact(&mut [0]).expect("the same socket");
        }
        old.send(&Message::Paused, None).await.expect("sent");
        assert!(new.expect().await.expect("received").1.is_none());
        drop(old);
        assert_eq!(new.expect().await.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn wrong_messages_are_errors() {
        for bytes in [&b"?\0\0\0\0"[..], b"C\xff\xff\xff\xff", b"S\0\0\0\x01\0", b"H\0\0\0\0"] {
            let (mut other, own) = std::os::unix::net::UnixStream::pair().expect("a pair");
            own.set_nonblocking(true).expect("set");
            other.write_all(bytes).expect("written");
            let channel = Channel(UnixStream::from_std(own).expect("a stream"));
            let error = channel.expect().await.expect_err("not a message");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
