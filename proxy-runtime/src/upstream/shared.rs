//! A worker's HTTP/2 connections to servers: shared by exchanges ([`SharedPools`]), and a slot on one ([`StreamSlot`]).
//!
//! A connection is a separate task. It takes as many exchanges as its server allows; a second connection is opened only when the first is
//! full, and requests wait for a connection that is being opened. Until the server has announced its limit (RFC 9113 sections
//! 3.4 and 5.1.2) the connection takes one exchange, and the others wait for that, too.
//!
//! Back-pressure is separate for each stream: the window of the connection is as large as those of all streams that it may have, so that no
//! exchange waits for another one's client.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connect::Dialler;
use super::server::ServerState;
use super::servers::Servers;
use super::state::UpstreamState;
use crate::failure::Failure;
use crate::http2::monitor::{Monitor, Monitored, PeerRole};
use crate::http2::{DataPiece, SEND_BUFFER};

/// The most concurrent exchanges on a connection, whatever its server allows.
const MAX_STREAMS: usize = 256;

/// The exchanges on a connection before the server has announced its limit.
const UNTIL_SETTINGS: usize = 1;

/// The library's value for the server's limit before that: one that no server can announce.
const UNHEARD: usize = usize::MAX - 1;

/// The receive window of a body, in bytes.
pub(crate) const WINDOW: u32 = 32 << 10;

/// The receive window of a connection.
const CONNECTION_WINDOW: u32 = WINDOW * MAX_STREAMS as u32;

/// From this many concurrent exchanges on, a connection counts as used in a burst, which has grown its buffers.
const RUSH: usize = 64;

/// The idle time-out of surplus connections, and of those that were used in a burst.
const SURPLUS: Duration = Duration::from_secs(3);

/// The largest head of a response, in bytes.
pub(crate) const MAX_HEADER: usize = 64 << 10;

/// A worker's HTTP/2 connections to all servers.
pub(crate) struct SharedPools {
    dialler: Dialler,
    servers: &'static Servers,
    of_server: Vec<Rc<ServerConnections>>,
}

#[derive(Default)]
struct ServerConnections {
    connections: RefCell<Vec<SharedConnection>>,
    /// A connection is being opened.
    opening: Cell<bool>,
    /// Notified when a connection was opened or has failed, or its server has announced its limit.
    changed: Notify,
}

/// A shared connection.
struct SharedConnection {
    pub(crate) sender: SendRequest<DataPiece>,
    state: Rc<SharedState>,
    opened: Instant,
    /// The generation of the server that it is connected to.
    generation: u32,
}

struct SharedState {
    /// The connection is closed, or must not be used again.
    closed: Cell<bool>,
    /// The number of exchanges on it.
    active: Cell<usize>,
    /// The server's limit.
    most: Cell<usize>,
    /// The most concurrent exchanges that it has had.
    peak: Cell<usize>,
    /// When the last exchange ended.
    idle_since: Cell<Option<Instant>>,
    monitor: Rc<Monitor>,
    /// The number of exchanges at which the server refused another one.
    full_at: Cell<Option<usize>>,
}

/// The number of bytes that were written to a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BytesWritten(u64);

/// A slot for an exchange on a connection, until it is dropped.
pub(crate) struct StreamSlot {
    pub(crate) sender: SendRequest<DataPiece>,
    state: Rc<SharedState>,
}

impl SharedState {
    fn new(monitor: Rc<Monitor>) -> SharedState {
        SharedState {
            closed: Cell::default(),
            active: Cell::default(),
            most: Cell::new(UNHEARD),
            peak: Cell::default(),
            idle_since: Cell::default(),
            monitor,
            full_at: Cell::default(),
        }
    }
}

impl StreamSlot {
    /// Puts no more exchanges on the connection.
    pub(crate) fn distrust(&self) {
        self.state.closed.set(true);
    }

    /// Records that the server has refused this exchange: the current number of exchanges is too high, whatever its settings say. Servers may
    /// count streams a little longer than they last, and streams may be opened before the settings arrive.
    pub(crate) fn refused(&self) {
        let others = self.state.active.get() - 1;
        self.state.full_at.set(Some(others));
        if others == 0 {
            self.distrust();
        }
    }

    pub(crate) fn written(&self) -> BytesWritten {
        BytesWritten(self.state.monitor.written())
    }

    /// Returns the monitor of the connection's frames.
    pub(crate) fn monitor(&self) -> &Monitor {
        &self.state.monitor
    }

    /// Returns whether nothing was written since then, so that no request that was started after it can have been sent.
    pub(crate) fn has_written_nothing_since(&self, then: BytesWritten) -> bool {
        self.written() == then
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.state.active.set(self.state.active.get() - 1);
        self.state.idle_since.set(Some(Instant::now()));
    }
}

impl SharedPools {
    pub(crate) fn new(servers: &'static Servers, dialler: Dialler) -> SharedPools {
        SharedPools { dialler, servers, of_server: servers.servers.iter().map(|_| Rc::default()).collect() }
    }

    /// Returns a slot on a connection to a server, and whether the connection existed before.
    ///
    /// # Errors
    /// See [`Dialler::connect`].
    pub(crate) async fn hold(
        &self,
        upstream: &UpstreamState,
        server: &ServerState,
        patience: Duration,
    ) -> Result<(StreamSlot, bool), Failure> {
        let of_it = &self.of_server[server.index];
        let until = Instant::now() + patience.min(Duration::from_secs(3600));
        let mut waited = false;
        loop {
            if let Some(held) = of_it.free(server, Instant::now()) {
                return Ok((held, !waited));
            }
            if of_it.opening.get() || of_it.hears_soon() {
                waited = true;
                timeout_at(until, of_it.changed.notified()).await.map_err(|_| Failure::ConnectTimeout)?;
                continue;
            }
            let opening = OpeningGuard::new(of_it);
            let outcome = timeout_at(until, self.open(of_it, upstream, server)).await;
            let shared = outcome.map_err(|_| Failure::ConnectTimeout)??;
            of_it.connections.borrow_mut().push(shared);
            drop(opening);
            waited = true;
        }
    }

    async fn open(
        &self,
        of_it: &Rc<ServerConnections>,
        upstream: &UpstreamState,
        server: &ServerState,
    ) -> Result<SharedConnection, Failure> {
        let generation = server.generation();
        let link = self.dialler.connect(upstream, server, &[], Duration::MAX).await;
        let link = link.inspect_err(|failure| {
            if *failure == Failure::NoDescriptors {
                self.dialler.descriptors.press();
            }
        })?;
        let monitor = Monitor::new(PeerRole::Server, MAX_HEADER);
        let (link, most) = (Monitored::new(link, &monitor), monitor.most());
        let state = Rc::new(SharedState::new(monitor));
        let handshake = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(most)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(UNHEARD)
            .enable_push(false)
            .handshake(link);
        let (sender, mut connection) = handshake.await.map_err(|_| Failure::ConnectFailed)?;
        let (its_state, of_it) = (Rc::clone(&state), Rc::clone(of_it));
        tokio::task::spawn_local(async move {
            std::future::poll_fn(|cx| {
                // The exchanges on the connection learn how it ends.
                let ended = Pin::new(&mut connection).poll(cx).map(drop);
                let most = connection.max_concurrent_send_streams();
                if ended.is_ready() || its_state.most.replace(most) != most {
                    its_state.closed.set(its_state.closed.get() || ended.is_ready());
                    of_it.changed.notify_waiters();
                }
                ended
            })
            .await;
        });
        Ok(SharedConnection { sender, state, opened: Instant::now(), generation })
    }

    /// Connections to a server: in use, and idle.
    pub(crate) fn count(&self, server: usize) -> (usize, usize) {
        let connections = self.of_server[server].connections.borrow();
        let active = connections.iter().filter(|shared| shared.state.active.get() > 0).count();
        (active, connections.len() - active)
    }

    /// Closes connections that must not be used again, or have been idle for too long, once they have no exchanges.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for (of_it, server) in self.of_server.iter().zip(&self.servers.servers) {
            let mut spare = 0;
            of_it.connections.borrow_mut().retain(|shared| {
                let idle = shared.state.active.get() == 0;
                let since = shared.state.idle_since.get().filter(|_| idle);
                // One spare connection is enough, and those left from a burst are large.
                spare += usize::from(idle);
                let large = spare > 1 || shared.state.peak.get() >= RUSH;
                let surplus = large && since.is_some_and(|since| now.saturating_duration_since(since) >= SURPLUS);
                !idle || !surplus && shared.is_good(server, now)
            });
        }
    }
}

impl ServerConnections {
    /// Returns whether a server has yet to announce its limit on an open connection.
    fn hears_soon(&self) -> bool {
        let unheard = |shared: &SharedConnection| !shared.state.closed.get() && shared.state.most.get() == UNHEARD;
        self.connections.borrow().iter().any(unheard)
    }

    /// Returns a slot on a connection that has one free.
    fn free(&self, server: &ServerState, now: Instant) -> Option<StreamSlot> {
        let mut connections = self.connections.borrow_mut();
        // A closed connection lives as long as it has exchanges.
        connections.retain(|shared| shared.is_good(server, now));
        let at = connections.iter_mut().position(SharedConnection::has_room)?;
        let shared = &connections[at];
        let active = shared.state.active.get() + 1;
        shared.state.active.set(active);
        shared.state.peak.set(shared.state.peak.get().max(active));
        Some(StreamSlot { sender: shared.sender.clone(), state: Rc::clone(&shared.state) })
    }
}

impl SharedConnection {
    fn is_good(&self, server: &ServerState, now: Instant) -> bool {
        let idle = self.state.idle_since.get().filter(|_| self.state.active.get() == 0);
        !self.state.closed.get()
            && self.generation == server.generation()
            && now.saturating_duration_since(self.opened) < server.kept.max_age
            && idle.is_none_or(|since| now.saturating_duration_since(since) < server.kept.idle_timeout)
    }

    fn has_room(&mut self) -> bool {
        let most = match self.state.most.get() {
            UNHEARD => UNTIL_SETTINGS,
            most => most.min(MAX_STREAMS).min(self.state.full_at.get().unwrap_or(MAX_STREAMS)),
        };
        if self.state.active.get() >= most {
            return false;
        }
        let ready = self.sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        if matches!(ready, Poll::Ready(Err(_))) {
            self.state.closed.set(true);
        }
        matches!(ready, Poll::Ready(Ok(())))
    }
}

/// Marks a connection as being opened; its drop notifies those who wait for it.
struct OpeningGuard<'a>(&'a ServerConnections);

impl<'a> OpeningGuard<'a> {
    fn new(of_it: &'a ServerConnections) -> OpeningGuard<'a> {
        of_it.opening.set(true);
        OpeningGuard(of_it)
    }
}

impl Drop for OpeningGuard<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.changed.notify_waiters();
    }
}
