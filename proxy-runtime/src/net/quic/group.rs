//! The endpoints of a listener ([`QuicGroup`]): who reads the sockets, and where datagrams go that are for other endpoints, or for other processes.
//!
//! ```text
//!  sockets ──> new process ──> its endpoints
//!                  │ relay: the process in the connection id is another one
//!                  └─────────> old process, which has paused ──> its endpoints
//! ```
//!
//! At a takeover the new process gets the sockets themselves: if it bound others, the kernel would distribute datagrams anew, and all connections would break.
//! Should it roll back, the old process reads again, and the same way leads to the new one. Datagrams for a process that is not known go to the
//! previous one, which may know it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use quinn::udp::RecvMeta;
use tokio::sync::mpsc;

use super::QuicIdentity;
use super::forwarded::ForwardedDatagram;
use super::ids::{EndpointName, SteeredIds, destination};
use super::relay::Relay;

/// The most datagrams that wait for another endpoint; more are dropped, as a network would.
const INBOX: usize = 256;

/// What the endpoints of a listener share.
#[derive(Debug)]
pub(crate) struct QuicGroup {
    identity: QuicIdentity,
    inboxes: Box<[mpsc::Sender<ForwardedDatagram>]>,
    /// Another process reads the sockets.
    paused: AtomicBool,
    relays: RwLock<Vec<RelayTo>>,
}

/// A relay to a process.
#[derive(Debug, Clone)]
struct RelayTo {
    /// The name of the process; `None` for the one that this one has taken over from.
    process: Option<u8>,
    relay: Relay,
}

impl QuicGroup {
    /// Returns the group of as many endpoints, and their inboxes.
    pub(super) fn new(
        identity: QuicIdentity,
        endpoints: usize,
    ) -> (Arc<QuicGroup>, Vec<mpsc::Receiver<ForwardedDatagram>>) {
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..endpoints).map(|_| mpsc::channel(INBOX)).unzip();
        let (inboxes_of, paused) = (senders.into(), AtomicBool::new(false));
        (Arc::new(QuicGroup { identity, inboxes: inboxes_of, paused, relays: RwLock::default() }), inboxes)
    }

    pub(super) fn identity(&self) -> QuicIdentity {
        self.identity
    }

    /// Whether another process reads the sockets.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Leaves the sockets to another process, or reads them again.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        // A datagram without content wakes an endpoint; if there is no space for it, the endpoint is awake.
        for inbox in &self.inboxes {
            let _ = inbox.try_send(ForwardedDatagram::default());
        }
    }

    /// Adds a relay to the process that this one takes over from. Returns the end for that process.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(crate) fn relay_to_old(self: &Arc<QuicGroup>) -> io::Result<(RelayReceiver, OwnedFd)> {
        let (relay, other) = Relay::pair()?;
        Ok((self.add(RelayTo { process: None, relay }), other))
    }

    /// Adds a relay to a process that takes over from this one, the `count`th.
    ///
    /// # Errors
    /// The descriptor is not a relay.
    #[cfg(feature = "takeover")]
    pub(crate) fn relay_to_new(self: &Arc<QuicGroup>, count: u8, descriptor: OwnedFd) -> io::Result<RelayReceiver> {
        let process = Some(self.identity.next(count).process);
        Ok(self.add(RelayTo { process, relay: Relay::new(descriptor)? }))
    }

    fn add(self: &Arc<QuicGroup>, to: RelayTo) -> RelayReceiver {
        self.relays.write().unwrap_or_else(PoisonError::into_inner).push(to.clone());
        RelayReceiver { group: Arc::clone(self), from: to }
    }

    /// Returns the relay for the datagrams of a process: its own, or that to the previous process.
    fn relay(&self, process: u8, or_previous: bool) -> Option<Relay> {
        let relays = self.relays.read().unwrap_or_else(PoisonError::into_inner);
        let own = relays.iter().find(|to| to.process == Some(process));
        let found = own.or_else(|| relays.iter().find(|to| to.process.is_none()).filter(|_| or_previous));
        found.map(|to| to.relay.clone())
    }

    /// Sends a datagram to another process. `false`: that is gone.
    fn send(&self, relay: &Relay, datagram: &[u8], meta: &RecvMeta) -> bool {
        let sent = relay.send(datagram, meta);
        if !sent {
            self.forget(relay);
        }
        sent
    }

    fn forget(&self, relay: &Relay) {
        self.relays.write().unwrap_or_else(PoisonError::into_inner).retain(|to| !to.relay.is(relay));
    }

    fn deliver(&self, number: u16, datagram: ForwardedDatagram) {
        if let Some(inbox) = self.inboxes.get(usize::from(number)) {
            // An endpoint that is busy or has ended loses it.
            let _ = inbox.try_send(datagram);
        }
    }

    /// Returns where a datagram goes that an endpoint of this process has read; `None` if it is for that endpoint.
    pub(super) fn foreign(&self, datagram: &[u8], ids: &SteeredIds, own: u16) -> Option<EndpointName> {
        let name = destination(datagram, ids)?;
        let is_other = if name.process == self.identity.process {
            name.number != own && self.inboxes.len() > usize::from(name.number)
        } else {
            // Without a relay, the client gets a stateless reset, if the process is one of the past.
            self.relay(name.process, true).is_some()
        };
        is_other.then_some(name)
    }

    /// Passes a datagram on.
    pub(super) fn pass_on(&self, to: EndpointName, datagram: &[u8], meta: &RecvMeta) {
        if to.process == self.identity.process {
            let meta = RecvMeta { len: datagram.len(), stride: datagram.len(), ..*meta };
            self.deliver(to.number, ForwardedDatagram { bytes: datagram.into(), meta });
        } else if let Some(relay) = self.relay(to.process, true) {
            self.send(&relay, datagram, meta);
        }
    }
}

/// Receives what another process sends.
#[derive(Debug)]
pub(crate) struct RelayReceiver {
    group: Arc<QuicGroup>,
    from: RelayTo,
}

impl RelayReceiver {
    /// Receives until the other process ends.
    pub(crate) async fn run(self) {
        let RelayReceiver { group, from } = self;
        let ids = group.identity.ids(0);
        from.relay
            .receive(|datagram| match destination(&datagram.bytes, &ids) {
                Some(name) if name.process != group.identity.process => {
                    // It goes on to older processes, and never back.
                    if let Some(relay) = group.relay(name.process, from.process.is_some()) {
                        group.send(&relay, &datagram.bytes, &datagram.meta);
                    }
                }
                name => group.deliver(name.map_or(0, |name| name.number), datagram),
            })
            .await;
        group.forget(&from.relay);
    }
}

#[cfg(test)]
#[cfg(feature = "takeover")]
mod tests {
    use super::*;

    type Inboxes = Vec<mpsc::Receiver<ForwardedDatagram>>;

    /// A datagram for an endpoint of the process that is the `count`th after the first.
    fn datagram(first: QuicIdentity, count: u8, number: u8) -> Vec<u8> {
        vec![0x40, first.next(count).process, 0, number, count, number]
    }

    fn read(group: &QuicGroup, datagram: &[u8]) -> bool {
        let ids = group.identity.ids(0);
        let to = group.foreign(datagram, &ids, 0);
        if let Some(to) = to {
            group.pass_on(to, datagram, &RecvMeta::default());
        }
        to.is_some()
    }

    fn next(inboxes: &mut Inboxes, number: usize) -> Option<Vec<u8>> {
        inboxes[number].try_recv().ok().map(|datagram| datagram.bytes.into_vec())
    }

    #[tokio::test]
    async fn datagrams_reach_their_process() {
        let first = QuicIdentity::random();
        let (old, mut old_inboxes) = QuicGroup::new(first, 2);
        let (new, mut new_inboxes) = QuicGroup::new(first.next(1), 2);
        let (newest, _inboxes) = QuicGroup::new(first.next(2), 1);
        let tasks = tokio::task::LocalSet::new();
        for (old, new) in [(&old, &new), (&new, &newest)] {
            let (to_old, end) = new.relay_to_old().expect("a pair");
            tasks.spawn_local(to_old.run());
            tasks.spawn_local(old.relay_to_new(1, end).expect("a relay").run());
        }
        let wait = async || {
            tasks
                .run_until(async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
        };
        // From the newest process to the one before, and by that to the first.
        assert!(read(&newest, &datagram(first, 1, 1)) && read(&newest, &datagram(first, 0, 1)));
        assert!(!read(&newest, &datagram(first, 2, 0)), "its own");
        wait().await;
        assert_eq!(next(&mut new_inboxes, 1), Some(datagram(first, 1, 1)));
        assert_eq!(next(&mut old_inboxes, 1), Some(datagram(first, 0, 1)));
        // The other way: the old process reads again after a rollback.
        assert!(read(&old, &datagram(first, 1, 0)));
        wait().await;
        assert_eq!(next(&mut new_inboxes, 0), Some(datagram(first, 1, 0)));
        // Nobody knows the process: it does not go round in circles.
        assert!(!read(&old, &datagram(first, 9, 0)) && read(&newest, &datagram(first, 9, 0)));
        wait().await;
        assert_eq!((next(&mut old_inboxes, 0), next(&mut new_inboxes, 0)), (None, None));
    }

    #[test]
    fn endpoints_are_woken() {
        let (group, mut inboxes) = QuicGroup::new(QuicIdentity::random(), 2);
        group.pause(true);
        assert!(group.is_paused());
        assert_eq!((next(&mut inboxes, 0), next(&mut inboxes, 1)), (Some(Vec::new()), Some(Vec::new())));
        group.pause(false);
        assert!(!group.is_paused());
    }
}
