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

/// The most exchanges at once on a connection, however many its server allows.
const MAX_STREAMS: usize = 256;

/// Exchanges on a connection whose server has not said yet how many it allows.
const UNTIL_SETTINGS: usize = 1;

/// What the library takes for the server's limit until then: nothing that a server can say.
const UNHEARD: usize = usize::MAX - 1;

/// What a server may send of one body before it is passed on, in bytes.
pub(crate) const WINDOW: u32 = 32 << 10;

/// The same of all bodies together.
const CONNECTION_WINDOW: u32 = WINDOW * MAX_STREAMS as u32;

/// A connection with as many exchanges at once was used in a rush, and has grown by it.
const RUSH: usize = 64;

/// For how long connections are idle that are more than one, or were used in a rush.
const SURPLUS: Duration = Duration::from_secs(3);

/// The largest header of a response, in bytes.
pub(crate) const MAX_HEADER: usize = 64 << 10;

/// See above.
pub(crate) struct SharedPools {
    dialler: Dialler,
    servers: &'static Servers,
    of_server: Vec<Rc<ServerConnections>>,
}

#[derive(Default)]
struct ServerConnections {
    connections: RefCell<Vec<SharedConnection>>,
    /// One is being made.
    opening: Cell<bool>,
    /// One was made, or could not be, or its server has said how many exchanges it allows.
    changed: Notify,
}

/// A connection.
struct SharedConnection {
    pub(crate) sender: SendRequest<DataPiece>,
    state: Rc<SharedState>,
    opened: Instant,
    /// Which server it is to.
    generation: u32,
}

struct SharedState {
    /// It is over, or is not to be used again.
    closed: Cell<bool>,
    /// Exchanges on it.
    active: Cell<usize>,
    /// How many its server allows.
    most: Cell<usize>,
    /// The most that there were.
    peak: Cell<usize>,
    /// When the last one ended.
    idle_since: Cell<Option<Instant>>,
    monitor: Rc<Monitor>,
    /// How many exchanges it takes at once, where it has refused one more.
    full_at: Cell<Option<usize>>,
}

/// The number of bytes that were written to a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BytesWritten(u64);

/// A place on a connection, until it is dropped.
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
    /// No more exchanges are to be put on the connection.
    pub(crate) fn distrust(&self) {
        self.state.closed.set(true);
    }

    /// The server has refused this exchange: so many at once are too many, whatever its settings say. Servers may count streams for
    /// a moment longer than they last, and streams may be opened before the settings have come.
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

    /// What is known of the connection's frames.
    pub(crate) fn monitor(&self) -> &Monitor {
        &self.state.monitor
    }

    /// Whether nothing that was put on the connection after that can have left.
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

    /// A place on a connection to a server; whether the connection was there before.
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
                // How it ends is told to those who are on it.
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

    /// Closes connections that are not to be used again, or have been idle for too long, once nobody is on them.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for (of_it, server) in self.of_server.iter().zip(&self.servers.servers) {
            let mut spare = 0;
            of_it.connections.borrow_mut().retain(|shared| {
                let idle = shared.state.active.get() == 0;
                let since = shared.state.idle_since.get().filter(|_| idle);
                // One is enough for the next exchange; those that a rush has left are large.
                spare += usize::from(idle);
                let large = spare > 1 || shared.state.peak.get() >= RUSH;
                let surplus = large && since.is_some_and(|since| now.saturating_duration_since(since) >= SURPLUS);
                !idle || !surplus && shared.is_good(server, now)
            });
        }
    }
}

impl ServerConnections {
    /// A server will say how many exchanges it allows on a connection that is there.
    fn hears_soon(&self) -> bool {
        let unheard = |shared: &SharedConnection| !shared.state.closed.get() && shared.state.most.get() == UNHEARD;
        self.connections.borrow().iter().any(unheard)
    }

    /// A place on a connection with room.
    fn free(&self, server: &ServerState, now: Instant) -> Option<StreamSlot> {
        let mut connections = self.connections.borrow_mut();
        // What is not to be used again lives as long as somebody is on it.
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

/// A connection that is being made: those who wait for it are told when it is, or when it can't be.
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
