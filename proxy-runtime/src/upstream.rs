//! Servers and the connections to them: [`Servers`] (shared by all workers), [`Pools`] (one per worker), [`Channel`] (a
//! connection at work).
//!
//! A connection is driven by the exchange that uses it, within the same task: no task per connection, no hand-over
//! between tasks per request. An idle one rests in its pool undriven; whether its server has closed it is seen when it
//! is taken out, and by the sweep.

mod connect;
mod resolve;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use crate::balance::Rotation;
use crate::body::RequestBody;
use crate::settings::{self, Address, Settings};
use crate::site::{Place, Site, Upstream};

pub(crate) use connect::connect;
pub(crate) use resolve::keep_resolving;

/// The most idle connections a worker keeps per server.
const MAX_IDLE: usize = 64;

/// How long an idle connection is kept. Most servers close theirs after 60 seconds or more.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// All servers of a site, with what changes while it runs.
pub(crate) struct Servers {
    pub(crate) upstreams: Vec<UpstreamServers>,
    pub(crate) servers: Vec<Server>,
}

/// The servers of an upstream: whose turn it is, and where they stand in [`Servers::servers`].
pub(crate) struct UpstreamServers {
    pub(crate) rotation: Rotation,
    pub(crate) first: usize,
}

/// A server.
pub(crate) struct Server {
    /// Its address as written or given.
    pub(crate) address: String,
    /// The same as a `Host`.
    pub(crate) host: HeaderValue,
    pub(crate) place: Place,
    pub(crate) target: TargetAddress,
}

/// Where to connect.
pub(crate) enum TargetAddress {
    Unix(String),
    Fixed(SocketAddr),
    /// A name, and the addresses it last resolved to.
    Name {
        host: String,
        port: u16,
        found: ArcSwap<Vec<SocketAddr>>,
        next: AtomicUsize,
    },
}

impl Servers {
    /// Makes the servers of a site; addresses and weights may come from parameters.
    pub(crate) fn new(site: &Site, settings: &Settings) -> Servers {
        let mut servers = Vec::new();
        let upstreams = site.upstreams.iter().map(|upstream| {
            let first = servers.len();
            servers.extend(
                upstream.servers.iter().map(|server| Server::new(server.address.get(settings), server.place.clone())),
            );
            UpstreamServers { rotation: rotation(upstream, settings), first }
        });
        Servers { upstreams: upstreams.collect(), servers }
    }
}

fn rotation(upstream: &Upstream, settings: &Settings) -> Rotation {
    let weights: Vec<u64> = upstream.servers.iter().map(|server| server.weight.get(settings)).collect();
    Rotation::new(&weights)
}

impl Server {
    fn new(address: &str, place: Place) -> Server {
        let target = match settings::address(address) {
            Ok(Address::Unix(path)) => TargetAddress::Unix(path.to_owned()),
            Ok(Address::Tcp(host, port)) => match host.parse() {
                Ok(ip) => TargetAddress::Fixed(SocketAddr::new(ip, port)),
                Err(_) => TargetAddress::Name {
                    host: host.to_owned(),
                    port,
                    found: ArcSwap::from_pointee(Vec::new()),
                    next: AtomicUsize::new(0),
                },
            },
            // The compiler and the start refuse these; a server without addresses is never chosen.
            Err(_) => TargetAddress::Name {
                host: String::new(),
                port: 0,
                found: ArcSwap::from_pointee(Vec::new()),
                next: AtomicUsize::new(0),
            },
        };
        let host = if matches!(target, TargetAddress::Unix(_)) { "localhost" } else { address };
        let host = HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Server { address: address.to_owned(), host, place, target }
    }

    /// Whether there is an address to connect to.
    pub(crate) fn resolved(&self) -> bool {
        match &self.target {
            TargetAddress::Name { found, .. } => !found.load().is_empty(),
            TargetAddress::Unix(_) | TargetAddress::Fixed(_) => true,
        }
    }

    /// The address to connect to; those of a name by turns.
    fn socket_address(&self) -> Option<SocketAddr> {
        match &self.target {
            TargetAddress::Fixed(address) => Some(*address),
            TargetAddress::Name { found, next, .. } => {
                let found: Arc<Vec<SocketAddr>> = found.load_full();
                let turn = next.fetch_add(1, Ordering::Relaxed);
                (!found.is_empty()).then(|| found[turn % found.len()])
            }
            TargetAddress::Unix(_) => None,
        }
    }
}

/// A worker's idle connections, per server.
pub(crate) struct Pools {
    idle: Vec<RefCell<Vec<Idle>>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// A connection: hyper's two halves of it.
struct Link {
    sender: SendRequest<RequestBody>,
    /// hyper's connection, whose type has no name outside.
    driver: Pin<Box<dyn Future<Output = hyper::Result<()>>>>,
    /// The driver is through and must not be polled again.
    over: bool,
}

impl Link {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over && self.driver.as_mut().poll(cx).is_ready() {
            self.over = true;
        }
    }

    /// Whether another request can be sent on it; looks at what has arrived meanwhile.
    fn usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.over && self.sender.is_ready()
    }
}

/// A connection at work for one exchange. Dropped early, it closes.
pub(crate) struct Channel {
    link: Link,
    pools: Rc<Pools>,
    server: usize,
}

impl Pools {
    pub(crate) fn new(servers: &Servers) -> Pools {
        Pools { idle: servers.servers.iter().map(|_| RefCell::default()).collect() }
    }

    /// An idle connection that is still good; the one used last, so that the others may run out.
    ///
    /// It is driven once before anything is sent: hyper must see that its server has closed it before there is a
    /// request in its queue, or else it would send that request and wait for an answer that can't come. What is seen
    /// can't change until this task is polled again, as the event loop is this thread's own.
    pub(crate) fn take(self: &Rc<Self>, server: usize) -> Option<Channel> {
        loop {
            let Idle { mut link, .. } = self.idle[server].borrow_mut().pop()?;
            if link.usable() {
                return Some(Channel { link, pools: Rc::clone(self), server });
            }
        }
    }

    fn put(&self, server: usize, link: Link) {
        let mut idle = self.idle[server].borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { link, since: Instant::now() });
        }
    }

    /// Closes connections that have been idle for too long, or whose server has closed them.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for idle in &self.idle {
            idle.borrow_mut().retain_mut(|idle| now - idle.since < IDLE_TIME && idle.link.usable());
        }
    }
}

/// How hyper says what became of a request.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// How a request that was sent came out without an answer.
pub(crate) struct Unanswered {
    /// The request, where not a byte of it was sent.
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
    /// What came was no HTTP.
    pub(crate) invalid: bool,
}

impl Channel {
    /// Queues a request. What it gives is polled by [`Channel::poll_answer`].
    pub(crate) fn start(&mut self, request: Request<RequestBody>) -> impl Future<Output = Sent> + use<> {
        self.link.sender.try_send_request(request)
    }

    /// The head of the answer to the request that was queued. The body is driven by whoever reads it.
    pub(crate) fn poll_answer(
        &mut self,
        sending: Pin<&mut impl Future<Output = Sent>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Incoming>, Unanswered>> {
        self.link.drive(cx);
        // The answer only ever gets ready by driving the connection, so it need not wake anybody itself.
        sending.poll(&mut Context::from_waker(Waker::noop())).map_err(|mut error| {
            let invalid = error.error().is_parse() || error.error().is_parse_too_large();
            Unanswered { unsent: error.take_message().map(Box::new), invalid }
        })
    }

    /// Lets the connection move; for whoever reads the answer's body.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        self.link.drive(cx);
    }

    /// The exchange is over: the connection rests until the next, if it can.
    pub(crate) fn release(mut self) {
        if self.link.usable() {
            self.pools.put(self.server, self.link);
        }
    }

    /// Drives the connection to its end, which is when an upgraded one is handed over.
    pub(crate) async fn finish(mut self) {
        std::future::poll_fn(|cx| {
            self.link.drive(cx);
            if self.link.over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
