//! The endpoint for operators (`admin`): a small HTTP/1.1 server on hyper, in a thread of its own ([`start`]).
//!
//! No worker takes part in it or waits for it: it reads counters and states that workers write without a lock. Connections are few and short:
//! [`MOST`] at once, each for [`LIFETIME`], which bounds the cost of a client that sends or reads nothing.

mod access;
mod answer;
mod body;
mod form;
mod members;
mod metrics;
mod operator;
mod page;
mod process;
mod servers;
mod status;
mod stores;
mod streams;
mod table;
mod tap;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use self::answer::{Answerer, DrainAccepted};
use self::operator::Operator;
use crate::access::state::AccessState;
use crate::cache::CacheStore;
use crate::context::settings::{self, Address, Settings, StartError};
use crate::handover::{Handover, paused, resumed};
use crate::metrics::counters::Metrics;
use crate::net::budget::ConnectionBudget;
use crate::net::listen::Bound;
use crate::net::memory::Memory;
use crate::net::stream::{BufferedStream, SocketStream};
use crate::net::tls::Engine;
use crate::observe::tap::Taps;
use crate::observe::{AccessLog, notice};
use crate::site::{Admin, Site};
use crate::trace::Tracer;
use crate::upstream::Servers;
use crate::worker::StopSignal;

/// How many connections are served at once; others wait to be accepted.
const MOST: usize = 32;

/// How long a connection is served. A scrape takes milliseconds, and clients reconnect.
const LIFETIME: Duration = Duration::from_secs(60);

/// The time-out of an idle connection, and of a request's head.
const IDLE: Duration = Duration::from_secs(20);

/// How long a response that has begun may take after the connection's [`LIFETIME`].
const GRACE: Duration = Duration::from_secs(5);

/// The time-out of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes.
const HEAD: usize = 16 << 10;

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What operators can see and change.
pub(crate) struct Operated {
    pub(crate) site: &'static Site,
    pub(crate) admin: &'static Admin,
    pub(crate) settings: &'static Settings,
    pub(crate) servers: &'static Servers,
    pub(crate) access: &'static AccessState,
    pub(crate) engine: &'static Engine,
    pub(crate) budget: &'static ConnectionBudget,
    pub(crate) memory: &'static Memory,
    pub(crate) stores: &'static [CacheStore],
    pub(crate) metrics: Option<&'static Metrics>,
    pub(crate) taps: Option<&'static Taps>,
    pub(crate) log: &'static AccessLog,
    pub(crate) tracer: Option<&'static Tracer>,
    pub(crate) stop: watch::Receiver<StopSignal>,
    /// Begins the drain.
    pub(crate) drain: &'static Notify,
    /// Pauses accepting; `None` if the site has no `takeover`.
    pub(crate) handover: Option<&'static Handover>,
}

/// Returns why the process must not start: others could change something at an address that only the start gives.
pub(crate) fn unprotected(site: &Site, settings: &Settings) -> Option<StartError> {
    let admin = site.admin?;
    let listener = site.listeners.get(usize::from(admin.listener))?;
    let Ok(Address::Tcp(host, _)) = settings::address(listener.address.get(settings)) else { return None };
    let part = admin.changing().filter(|_| !is_guarded(site, admin) && !settings::is_loopback(host))?;
    let message = format!(
        "anyone who can connect to the address of `admin` could use `{part}`: it needs `allow`, `auth`, or a `tls` that requires client certificates"
    );
    Some(StartError { message, place: listener.place.clone() })
}

/// Returns whether access is limited to some of the clients that can connect.
fn is_guarded(site: &Site, admin: &Admin) -> bool {
    let tls = site.listeners.get(usize::from(admin.listener)).and_then(|listener| listener.speaks.default);
    let tls = tls.and_then(|tls| site.tls.get(usize::from(tls)));
    admin.is_guarded(tls.is_some_and(|tls| tls.client.as_ref().is_some_and(|client| client.required)))
}

/// Starts the thread. It runs until the process ends: during a drain, operators still see the proxy's state.
///
/// # Errors
/// Fails if the system has no thread for it.
pub(crate) fn start(socket: Bound, operated: Operated) -> io::Result<()> {
    if let Bound::Tcp(socket) = &socket
        && !is_guarded(operated.site, operated.admin)
        && !socket.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
    {
        notice("others can connect to the address of `admin`, which has neither `allow` nor `auth`");
    }
    let run = move || {
        let served = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .and_then(|runtime| runtime.block_on(listen(socket, Rc::new(Answerer::new(operated)))));
        if let Err(error) = served {
            notice::error(&format!("the endpoint of `admin` has failed: {error}"));
        }
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(run).map(|_| ())
}

/// Accepts connections, forever.
async fn listen(socket: Bound, answerer: Rc<Answerer>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MOST));
    let (tcp, unix) = match socket {
        Bound::Tcp(socket) => (Some(TcpListener::from_std(socket)?), None),
        Bound::Unix(socket) => (None, Some(UnixListener::from_std(socket)?)),
    };
    let Operated { handover, admin, .. } = *answerer.operated;
    let mut pauses = handover.map(|handover| handover.follow(u32::from(admin.listener)));
    let accept = async || match (&tcp, &unix) {
        (Some(tcp), _) => {
            let (stream, peer) = tcp.accept().await?;
            Ok((SocketStream::Tcp(stream), Operator { ip: peer.ip().to_canonical(), ..Operator::LOCAL }))
        }
        // A client of a unix socket is on this machine.
        (None, Some(unix)) => {
            let (stream, _) = unix.accept().await?;
            let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
            Ok((SocketStream::Unix(stream), Operator { uid, ..Operator::LOCAL }))
        }
        (None, None) => std::future::pending::<io::Result<_>>().await,
    };
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let accepted = tokio::select! {
            biased;
            () = paused(&mut pauses) => None,
            accepted = accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            resumed(&mut pauses).await;
            continue;
        };
        match accepted {
            // Before it takes up one of the few connections; without a response, which would need a handshake, and time.
            Ok((_, peer)) if !access::admits(admin, peer.ip) => {
                notice(&format!("admin: a connection from {peer} was refused, which `allow` does not name"));
            }
            Ok((stream, peer)) => drop(tokio::task::spawn_local(secure(stream, peer, Rc::clone(&answerer), place))),
            // Descriptors ran out, or the client has closed the connection: this passes, but an immediate retry would
            // not help.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Makes the TLS handshake, if the listener has TLS, and serves the connection.
async fn secure(stream: SocketStream, mut peer: Operator, answerer: Rc<Answerer>, _place: OwnedSemaphorePermit) {
    let Operated { site, admin, engine, .. } = *answerer.operated;
    let (listener, mut link) = (u32::from(admin.listener), BufferedStream::new(stream, answerer.buffers));
    if site.listeners.get(usize::from(admin.listener)).is_some_and(|listener| listener.speaks.tls) {
        let secured = tokio::time::timeout(HANDSHAKE, engine.accept(site, listener, link)).await;
        match secured {
            Ok(Ok((stream, _))) => link = BufferedStream::new(stream, answerer.buffers),
            Ok(Err((failure, _))) => {
                let (reason, detail) = (failure.reason(), failure.detail());
                return notice(&format!("admin: the TLS handshake with {peer} failed: {reason} {detail}"));
            }
            Err(_) => return,
        }
        peer.secured = true;
    }
    serve(link, peer, answerer).await;
}

/// Serves a connection until it ends.
async fn serve(stream: BufferedStream, peer: Operator, answerer: Rc<Answerer>) {
    let (answerer, peer, drains) = (&answerer, &peer, &Cell::new(false));
    let service = service_fn(|request| async move {
        let response = answerer.answer(request, peer).await;
        drains.set(drains.get() || response.extensions().get::<DrainAccepted>().is_some());
        Ok::<_, Infallible>(response)
    });
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD);
    let mut connection = pin!(http1.serve_connection(TokioIo::new(stream), service));
    let over = tokio::select! {
        _ = connection.as_mut() => true,
        () = tokio::time::sleep(LIFETIME) => false,
    };
    if !over {
        connection.as_mut().graceful_shutdown();
        // What the client has not read by then is dropped.
        let _ = tokio::time::timeout(GRACE, connection).await;
    }
    // The drain begins last: it may end the process before a response is written.
    if drains.get() {
        answerer.operated.drain.notify_one();
    }
}
