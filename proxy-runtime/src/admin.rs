//! The endpoint for operators (`admin`): a small HTTP/1.1 server on hyper, in a thread of its own ([`start`]).
//!
//! No worker has a part in it, and none waits for it: it reads counters and states that workers write without a lock. Connections are few and
//! short: [`MOST`] at once, each for [`LIFETIME`], so a client that sends or takes nothing costs no more than that.

mod answer;
mod form;
mod metrics;
mod peer;
mod process;
mod servers;
mod stores;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use self::answer::{Answerer, DrainAccepted};
use self::peer::Peer;
use crate::cache::CacheStore;
use crate::context::settings::Settings;
use crate::metrics::counters::Metrics;
use crate::net::budget::ConnectionBudget;
use crate::net::listen::Bound;
use crate::net::memory::Memory;
use crate::observe::notice;
use crate::site::{Admin, Site};
use crate::upstream::Servers;
use crate::worker::StopSignal;

/// So many connections are served at once; others wait to be accepted.
const MOST: usize = 32;

/// How long a connection is served. A scrape takes milliseconds, and clients connect again.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long a connection may be idle, and a request's head may take.
const IDLE: Duration = Duration::from_secs(20);

/// How long a response that is under way has when the time of its connection is over.
const GRACE: Duration = Duration::from_secs(5);

/// No head of a request is larger, in bytes.
const HEAD: usize = 16 << 10;

/// How long nothing is accepted after that has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What operators see and change.
pub(crate) struct Operated {
    pub(crate) site: &'static Site,
    pub(crate) admin: &'static Admin,
    pub(crate) settings: &'static Settings,
    pub(crate) servers: &'static Servers,
    pub(crate) budget: &'static ConnectionBudget,
    pub(crate) memory: &'static Memory,
    pub(crate) stores: &'static [CacheStore],
    pub(crate) metrics: Option<&'static Metrics>,
    pub(crate) stop: watch::Receiver<StopSignal>,
    /// Begins the drain.
    pub(crate) drain: &'static Notify,
}

/// Starts the thread. It ends with the process: while a drain lasts, operators still see what goes on.
///
/// # Errors
/// There can't be a thread.
pub(crate) fn start(socket: Bound, operated: Operated) -> io::Result<()> {
    if let Bound::Tcp(socket) = &socket
        && operated.admin.allow.is_empty()
        && !socket.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
    {
        notice("others can connect to the address of `admin`, which has no `allow`");
    }
    let run = move || {
        let served = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .and_then(|runtime| runtime.block_on(listen(socket, Rc::new(Answerer::new(operated)))));
        if let Err(error) = served {
            notice(&format!("the endpoint of `admin` has failed: {error}"));
        }
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(run).map(|_| ())
}

/// Accepts connections, for ever.
async fn listen(socket: Bound, answerer: Rc<Answerer>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MOST));
    let (tcp, unix) = match socket {
        Bound::Tcp(socket) => (Some(TcpListener::from_std(socket)?), None),
        Bound::Unix(socket) => (None, Some(UnixListener::from_std(socket)?)),
    };
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let accepted = match (&tcp, &unix) {
            (Some(tcp), _) => tcp.accept().await.map(|(stream, peer)| {
                let peer = Peer { ip: peer.ip().to_canonical(), uid: None, user: None };
                tokio::task::spawn_local(serve(stream, peer, Rc::clone(&answerer), place));
            }),
            // Who connects to a unix socket is on this machine.
            (None, Some(unix)) => unix.accept().await.map(|(stream, _)| {
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                let peer = Peer { ip: Ipv4Addr::LOCALHOST.into(), uid, user: None };
                tokio::task::spawn_local(serve(stream, peer, Rc::clone(&answerer), place));
            }),
            (None, None) => return Ok(()),
        };
        if accepted.is_err() {
            // Out of descriptors, or the peer was gone again: that passes, and asking again at once would not help it.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Serves a connection to its end.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: Peer,
    answerer: Rc<Answerer>,
    _place: OwnedSemaphorePermit,
) {
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
        // What is not taken by then is given up.
        let _ = tokio::time::timeout(GRACE, connection).await;
    }
    // Only now: it may end the process before a response is written.
    if drains.get() {
        answerer.operated.drain.notify_one();
    }
}
