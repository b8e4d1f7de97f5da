//! A worker's connections to servers that speak HTTP/2: shared by exchanges ([`SharedPools`]), a place on one ([`Held`]).
//!
//! A connection is a task of its own. It takes as many exchanges as its server allows; a second one is made only when the first is
//! full, and while one is being made those who need it wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Dialler, Group, Server, Servers};
use crate::failure::Failure;
use crate::http2::{CONNECTION_WINDOW, SEND_BUFFER, WINDOW};

/// Where nothing is known of a server's limit yet, and no more than this in any case: exchanges at once.
const MAX_STREAMS: usize = 1000;

/// The largest header of an answer, in bytes.
const MAX_HEADER: u32 = 64 << 10;

/// See above.
pub(crate) struct SharedPools {
    dialler: Dialler,
    servers: &'static Servers,
    of_server: Vec<OfServer>,
}

#[derive(Default)]
struct OfServer {
    connections: RefCell<Vec<Shared>>,
    /// One is being made.
    opening: Cell<bool>,
    opened: Notify,
}

/// A connection.
struct Shared {
    sender: SendRequest<Bytes>,
    state: Rc<State>,
    opened: Instant,
    /// Which server it is to.
    generation: u32,
}

#[derive(Default)]
struct State {
    /// It is over, or is not to be used again.
    closed: Cell<bool>,
    /// Exchanges on it.
    active: Cell<usize>,
    /// When the last one ended.
    idle_since: Cell<Option<Instant>>,
}

/// A place on a connection, until it is dropped.
pub(crate) struct Held {
    pub(super) sender: SendRequest<Bytes>,
    state: Rc<State>,
}

impl Held {
    /// No more exchanges are to be put on the connection.
    pub(super) fn distrust(&self) {
        self.state.closed.set(true);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.active.set(self.state.active.get() - 1);
        self.state.idle_since.set(Some(Instant::now()));
    }
}

impl SharedPools {
    pub(crate) fn new(servers: &'static Servers, dialler: Dialler) -> SharedPools {
        SharedPools { dialler, servers, of_server: servers.servers.iter().map(|_| OfServer::default()).collect() }
    }

    /// A place on a connection to a server; whether the connection was there before.
    ///
    /// # Errors
    /// See [`Dialler::connect`].
    pub(crate) async fn hold(
        &self,
        group: &Group,
        server: &Server,
        patience: Duration,
    ) -> Result<(Held, bool), Failure> {
        let of_it = &self.of_server[server.index];
        let until = Instant::now() + patience.min(Duration::from_secs(3600));
        let mut waited = false;
        loop {
            if let Some(held) = of_it.free(server, Instant::now()) {
                return Ok((held, !waited));
            }
            if of_it.opening.get() {
                waited = true;
                timeout_at(until, of_it.opened.notified()).await.map_err(|_| Failure::ConnectTimeout)?;
                continue;
            }
            let opening = Opening::new(of_it);
            let outcome = timeout_at(until, self.open(group, server)).await;
            let shared = outcome.map_err(|_| Failure::ConnectTimeout)??;
            of_it.connections.borrow_mut().push(shared);
            drop(opening);
            waited = true;
        }
    }

    async fn open(&self, group: &Group, server: &Server) -> Result<Shared, Failure> {
        let generation = server.generation();
        let link = self.dialler.connect(group, server, &[], Duration::MAX).await?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake(link);
        let (sender, connection) = handshake.await.map_err(|_| Failure::ConnectFailed)?;
        let state = Rc::<State>::default();
        let its_state = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            // How it ended is told to those who are on it.
            let _ = connection.await;
            its_state.closed.set(true);
        });
        Ok(Shared { sender, state, opened: Instant::now(), generation })
    }

    /// Closes connections that are not to be used again, or have been idle for too long, once nobody is on them.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for (of_it, server) in self.of_server.iter().zip(&self.servers.servers) {
            of_it
                .connections
                .borrow_mut()
                .retain(|shared| shared.state.active.get() > 0 || shared.is_good(server, now));
        }
    }
}

impl OfServer {
    /// A place on a connection with room.
    fn free(&self, server: &Server, now: Instant) -> Option<Held> {
        let mut connections = self.connections.borrow_mut();
        // What is not to be used again lives as long as somebody is on it.
        connections.retain(|shared| shared.is_good(server, now));
        let at = connections.iter_mut().position(Shared::has_room)?;
        let shared = &connections[at];
        shared.state.active.set(shared.state.active.get() + 1);
        Some(Held { sender: shared.sender.clone(), state: Rc::clone(&shared.state) })
    }
}

impl Shared {
    fn is_good(&self, server: &Server, now: Instant) -> bool {
        let idle = self.state.idle_since.get().filter(|_| self.state.active.get() == 0);
        !self.state.closed.get()
            && self.generation == server.generation()
            && now.saturating_duration_since(self.opened) < server.kept.max_age
            && idle.is_none_or(|since| now.saturating_duration_since(since) < server.kept.idle_timeout)
    }

    fn has_room(&mut self) -> bool {
        let most = self.sender.current_max_send_streams().min(MAX_STREAMS);
        if self.state.active.get() >= most {
            return false;
        }
        let ready = self.sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        if matches!(ready, std::task::Poll::Ready(Err(_))) {
            self.state.closed.set(true);
        }
        matches!(ready, std::task::Poll::Ready(Ok(())))
    }
}

/// A connection that is being made: those who wait for it are told when it is, or when it can't be.
struct Opening<'a>(&'a OfServer);

impl<'a> Opening<'a> {
    fn new(of_it: &'a OfServer) -> Opening<'a> {
        of_it.opening.set(true);
        Opening(of_it)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}
