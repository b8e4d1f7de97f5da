//! The part of HTTP/3 in takeovers ([`QuicHandover`]): the UDP sockets themselves are handed over, and each process passes the datagrams of the other one's
//! connections on ([`QuicGroup`](crate::net::quic::QuicGroup)).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::message::{Channel, Message};
use crate::net::listen::quic::{BoundQuic, QuicListeners};

/// The listeners with HTTP/3.
pub(super) struct QuicHandover {
    all: QuicListeners,
    /// How many processes have got the sockets.
    count: Cell<u8>,
    /// The listeners whose sockets the current one reads.
    relayed: RefCell<Vec<u32>>,
}

impl QuicHandover {
    pub(super) fn new(all: QuicListeners) -> QuicHandover {
        QuicHandover { all, count: Cell::new(0), relayed: RefCell::default() }
    }

    /// Sends the sockets to a new process, and what it is called.
    ///
    /// # Errors
    /// The other side is gone, or does not read.
    pub(super) async fn hand_over(&self, channel: &Channel) -> io::Result<()> {
        self.count.set(self.count.get().wrapping_add(1));
        self.relayed.borrow_mut().clear();
        for BoundQuic { listener, sockets, .. } in &self.all.listeners {
            for socket in sockets {
                channel.send(&Message::Datagrams(*listener), Some(socket.as_fd())).await?;
            }
        }
        if !self.all.listeners.is_empty() {
            let identity = self.all.identity.next(self.count.get());
            channel.send(&Message::Identity(identity.encode()), None).await?;
        }
        Ok(())
    }

    /// Receives datagrams from the new process, which reads the sockets of a listener, and sends it those of its connections.
    ///
    /// # Errors
    /// The descriptor is not a relay.
    pub(super) fn relay_to_new(&self, listener: u32, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let (Some(own), Some(descriptor)) =
            (self.all.listeners.iter().find(|own| own.listener == listener), descriptor)
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a relay is not expected"));
        };
        tokio::task::spawn_local(own.group.relay_to_new(self.count.get(), descriptor)?.run());
        self.relayed.borrow_mut().push(listener);
        Ok(())
    }

    /// Leaves the sockets that the new process reads to it.
    pub(super) fn pause(&self) {
        let relayed = self.relayed.borrow();
        let paused = self.all.listeners.iter().filter(|own| relayed.contains(&own.listener));
        paused.for_each(|own| own.group.pause(true));
    }

    /// Reads all sockets again.
    pub(super) fn resume(&self) {
        self.all.listeners.iter().for_each(|own| own.group.pause(false));
    }

    /// Leaves all sockets that are the old process's to it.
    pub(super) fn pause_all(&self) {
        self.all.listeners.iter().filter(|own| own.from_old).for_each(|own| own.group.pause(true));
    }

    /// Sends the old process its ends of the relays, and receives from them.
    pub(super) async fn relay_to_old(&mut self, channel: &Channel) {
        for own in &mut self.all.listeners {
            if let Some((listener, receiver, end)) = own.old.take() {
                tokio::task::spawn_local(receiver.run());
                // If this fails, so do the next messages, and the reply tells why.
                let _ = channel.send(&Message::Relay(listener), Some(end.as_fd())).await;
            }
        }
    }
}
