//! A worker's connections to servers: idle in the pool ([`Pools`]), or in use ([`UpstreamConnection`]).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Dialler;
use super::server::ServerState;
use super::servers::Servers;
use super::state::UpstreamState;
use crate::failure::Failure;
use crate::net::stream::BufferedStream;

/// A worker's connections to servers.
pub(crate) struct Pools {
    pub(crate) dialler: Dialler,
    servers: &'static Servers,
    idle: Vec<RefCell<Vec<IdleConnection>>>,
    /// How many are in use.
    active: Vec<Cell<usize>>,
}

struct IdleConnection {
    link: BufferedStream,
    opened: Instant,
    since: Instant,
    /// The generation of the server that it is connected to.
    generation: u32,
}

/// A connection in use by one exchange. It is closed on drop.
pub(crate) struct UpstreamConnection {
    pub(crate) link: BufferedStream,
    opened: Instant,
    generation: u32,
    of: ActiveConnection,
}

/// A connection in use, as it is counted.
struct ActiveConnection {
    pools: Rc<Pools>,
    server: usize,
}

impl Pools {
    pub(crate) fn new(servers: &'static Servers, dialler: Dialler) -> Pools {
        let (idle, active) = servers.servers.iter().map(|_| (RefCell::default(), Cell::default())).unzip();
        Pools { dialler, servers, idle, active }
    }

    /// Takes an idle connection that is still usable: the one used last, so that the others can expire.
    pub(crate) fn take(self: &Rc<Self>, server: &ServerState, now: Instant) -> Option<UpstreamConnection> {
        loop {
            let mut idle = self.idle[server.index].borrow_mut().pop()?;
            if idle.is_good(server, now) {
                let IdleConnection { link, opened, generation, .. } = idle;
                return Some(UpstreamConnection { link, opened, generation, of: ActiveConnection::new(self, server) });
            }
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// See [`Dialler::connect`].
    pub(crate) async fn connect(
        self: &Rc<Self>,
        upstream: &UpstreamState,
        server: &ServerState,
        introduction: &[u8],
        patience: Duration,
    ) -> Result<UpstreamConnection, Failure> {
        let generation = server.generation();
        let mut link = self.dialler.connect(upstream, server, introduction, patience).await;
        if matches!(link, Err(Failure::NoDescriptors)) {
            self.dialler.descriptors.press();
            if self.let_go() {
                link = self.dialler.connect(upstream, server, introduction, patience).await;
            }
        }
        let link = link?;
        let opened = Instant::now();
        Ok(UpstreamConnection { link, opened, generation, of: ActiveConnection::new(self, server) })
    }

    /// Connections to a server: in use, and idle.
    pub(crate) fn count(&self, server: usize) -> (usize, usize) {
        (self.active[server].get(), self.idle[server].borrow().len())
    }

    /// Closes all idle connections; returns whether there were any.
    pub(crate) fn let_go(&self) -> bool {
        self.idle.iter().map(|idle| std::mem::take(&mut *idle.borrow_mut()).len()).sum::<usize>() > 0
    }

    /// Closes connections that are too old, have been idle for too long, or were closed by their server.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for (idle, server) in self.idle.iter().zip(&self.servers.servers) {
            idle.borrow_mut().retain_mut(|idle| idle.is_good(server, now));
        }
    }
}

impl IdleConnection {
    /// Returns whether it may be reused: it is young and fresh enough, open, and there is nothing to read, which would be
    /// a close or an unexpected response. Costs a system call only if an event has occurred.
    fn is_good(&mut self, server: &ServerState, now: Instant) -> bool {
        self.generation == server.generation()
            && now.saturating_duration_since(self.since) < server.kept.idle_timeout
            && now.saturating_duration_since(self.opened) < server.kept.max_age
            && self
                .link
                .stream
                .is_quiet()
                .unwrap_or_else(|| self.link.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending())
    }
}

impl UpstreamConnection {
    /// Returns the connection to the pool, after a complete exchange.
    pub(crate) fn release(self) {
        let UpstreamConnection { link, opened, generation, of } = self;
        let mut idle = of.pools.idle[of.server].borrow_mut();
        if (idle.len() as u64) < of.pools.servers.servers[of.server].kept.max_idle {
            idle.push(IdleConnection { link, opened, since: Instant::now(), generation });
        }
    }
}

impl ActiveConnection {
    fn new(pools: &Rc<Pools>, server: &ServerState) -> ActiveConnection {
        let active = &pools.active[server.index];
        active.set(active.get() + 1);
        ActiveConnection { pools: Rc::clone(pools), server: server.index }
    }
}

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        let active = &self.pools.active[self.server];
        active.set(active.get() - 1);
    }
}
