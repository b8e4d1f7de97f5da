//! One client connection: hyper's server on a stream, and a guard that watches its clock.
//!
//! Takes [`Accepted`], gives nothing back; its requests go to [`serve::exchange`]. The guard ends connections that are
//! idle for too long, heads that come too slowly (408), and clients that stop reading what they asked for.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::framing::Smuggled;
use crate::listen::Accepted;
use crate::observe::Record;
use crate::run::Worker;
use crate::serve;
use crate::stream::{State, Watch, Watched, lock};

/// The client's side of a connection, for the exchanges on it.
pub(crate) struct Client {
    pub(crate) worker: &'static Worker,
    /// The index of the listener it came in by.
    pub(crate) listener: u32,
    pub(crate) peer: IpAddr,
    /// The peer's address as the value of a field; made once.
    pub(crate) address: HeaderValue,
    /// How long the exchange under way lets a body be silent.
    pub(crate) idle: Cell<Duration>,
    /// When the exchange under way wants to be polled although nothing has happened, and whether that is why it is.
    pub(crate) alarm: Cell<Option<Instant>>,
    pub(crate) struck: Cell<bool>,
    /// What the client still sends is read and thrown away for a moment before closing, so that it gets its answer.
    pub(crate) linger: Cell<bool>,
    watch: Arc<Mutex<Watch>>,
}

impl Client {
    /// A request has arrived whole up to its body.
    fn begin(&self, headers: &HeaderMap) -> Result<(), Smuggled> {
        let chunked = headers.contains_key(TRANSFER_ENCODING);
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut watch = lock(&self.watch);
        watch.state = State::Busy;
        watch.framing.take(chunked, length)
    }

    /// The connection waits for a request again once this is dropped.
    pub(crate) fn busy_until_done(&self) -> BusyGuard {
        BusyGuard(Arc::clone(&self.watch))
    }

    /// The connection is HTTP no more.
    pub(crate) fn upgraded(&self) {
        lock(&self.watch).framing.upgraded();
    }
}

/// See [`Client::busy_until_done`].
pub(crate) struct BusyGuard(Arc<Mutex<Watch>>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut watch = lock(&self.0);
        watch.state = if watch.framing.in_head() { State::Head(now) } else { State::Idle(now) };
    }
}

/// How a connection ended.
enum End {
    /// By itself.
    Closed(Result<(), hyper::Error>),
    /// The head did not arrive in time.
    SlowHead,
    /// It waited for a request, or for the client to read, for too long.
    Silent,
}

/// An unused connection is closed so long after the drain began: its first request may be on its way.
const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &'static Worker, accepted: Accepted) {
    let _running = worker.running();
    let Accepted { stream, peer, listener, permit } = accepted;
    let (stream, watch) = Watched::new(stream);
    let timeouts = &worker.site.root.timeouts;
    let clock = Clock {
        idle: timeouts.idle.get(worker.settings),
        request: timeouts.request.get(worker.settings),
        draining: None,
        moved: 0,
    };
    let address = HeaderValue::from_str(&peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    let client = Rc::new(Client {
        worker,
        listener,
        peer,
        address,
        idle: Cell::new(clock.idle),
        alarm: Cell::new(None),
        struck: Cell::new(false),
        linger: Cell::new(false),
        watch: Arc::clone(&watch),
    });
    let service = {
        let client = Rc::clone(&client);
        service_fn(move |request: http::Request<hyper::body::Incoming>| {
            // At once, not when the exchange is first polled: what hyper reads meanwhile is judged by it.
            let framed = client.begin(request.headers());
            let (parts, incoming) = request.into_parts();
            serve::exchange(Rc::clone(&client), Box::new(parts), incoming, framed)
        })
    };
    let mut connection = http1::Builder::new()
        // Half-closed clients are kept by `Watched`, which tells them from clients that are gone.
        .half_close(false)
        .max_header_size(usize::try_from(worker.head_limit).unwrap_or(usize::MAX))
        .max_buf_size(worker.read_buffer)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let end = guard(&mut connection, &client, clock).await;
    if let Some(failure) = unheard(&end) {
        let mut record = Record::new(worker, Method::from_bytes(b"-").unwrap_or_default(), Version::HTTP_11, peer);
        record.failed(failure);
        record.answered(failure.status().as_u16());
    }
    let answer = matches!(end, End::SlowHead);
    if (answer || client.linger.get())
        && let Some(parts) = connection.into_parts()
    {
        let _ = tokio::time::timeout(LINGER, part(parts.io.into_inner(), answer)).await;
    }
    drop(permit);
}

/// How long a client may take to notice that it is no longer listened to.
const LINGER: Duration = Duration::from_secs(2);

/// The answer to a head that took too long; hyper has none for it.
const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 20\r\nconnection: close\r\n\r\n408 Request Timeout\n";

/// Says the last word, and reads what the client still sends: closing on unread bytes would reset the connection, and
/// the answer might be lost on its way (RFC 9112 section 9.6).
async fn part(mut stream: Watched, answer: bool) -> std::io::Result<()> {
    if answer {
        stream.write_all(TIMED_OUT).await?;
    }
    stream.shutdown().await?;
    let mut thrown_away = [0; 8192];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

/// What went wrong before there was a request to speak of.
fn unheard(end: &End) -> Option<Failure> {
    match end {
        End::SlowHead => Some(Failure::RequestTimeout),
        End::Closed(Err(error)) if error.is_parse_too_large() => Some(Failure::HeadTooLarge),
        End::Closed(Err(error)) if error.is_parse() => Some(Failure::BadRequest),
        End::Closed(_) | End::Silent => None,
    }
}

/// The deadlines of a connection.
struct Clock {
    idle: Duration,
    request: Duration,
    /// Since when.
    draining: Option<Instant>,
    /// What had moved when the clock was last looked at.
    moved: u64,
}

impl Clock {
    /// When the state must have changed; an exchange may last, and is looked at when the clock strikes.
    fn deadline(&self, state: State) -> Option<Instant> {
        match (state, self.draining) {
            (State::Idle(_), Some(since)) => Some(since + DRAIN_GRACE),
            (State::Idle(since), None) => Some(since + self.idle),
            (State::Head(since), _) => Some(since + self.request),
            (State::Busy, _) => None,
        }
    }

    /// What the time that has passed means.
    fn overdue(&mut self, watch: &Watch) -> Option<End> {
        let over = self.deadline(watch.state).is_some_and(|deadline| deadline <= Instant::now());
        match watch.state {
            State::Busy => {
                // Blocked all the while and nothing moved: nobody reads.
                let stalled = watch.blocked && watch.moved == self.moved;
                self.moved = watch.moved;
                stalled.then_some(End::Silent)
            }
            State::Idle(_) => over.then_some(End::Silent),
            State::Head(_) => over.then_some(End::SlowHead),
        }
    }
}

/// Polls the connection until it ends or its time is over. The clock is looked at when it strikes, and set earlier when
/// the state asks for it; a request that comes and goes does not touch it.
async fn guard<S>(
    connection: &mut http1::UpgradeableConnection<TokioIo<Watched>, S>,
    client: &Client,
    mut clock: Clock,
) -> End
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = crate::body::Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut stop = client.worker.stop.clone();
    let changed = client.worker.stop.clone();
    let mut draining = std::pin::pin!(async move {
        // An error means that nobody is left to say stop.
        let _ = stop.wait_for(|stop| *stop != crate::run::Stop::No).await;
    });
    let mut registered = false;
    let mut sleep = std::pin::pin!(tokio::time::sleep(clock.idle.min(clock.request)));
    std::future::poll_fn(|cx| {
        // Once registered, the signal need not be asked again before it has come: this is polled for every request.
        if clock.draining.is_none() && (!registered || changed.has_changed().unwrap_or(true)) {
            registered = true;
            if draining.as_mut().poll(cx).is_ready() {
                clock.draining = Some(Instant::now());
                Pin::new(&mut *connection).graceful_shutdown();
            }
        }
        'poll: loop {
            if let Poll::Ready(outcome) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(End::Closed(outcome));
            }
            loop {
                let state = lock(&client.watch).state;
                if let Some(deadline) = [clock.deadline(state), client.alarm.get()].into_iter().flatten().min()
                    && deadline < sleep.deadline()
                {
                    sleep.as_mut().reset(deadline);
                }
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let now = Instant::now();
                if client.alarm.get().is_some_and(|alarm| alarm <= now) {
                    client.alarm.set(None);
                    client.struck.set(true);
                    continue 'poll;
                }
                let watch = lock(&client.watch);
                if let Some(end) = clock.overdue(&watch) {
                    return Poll::Ready(end);
                }
                sleep.as_mut().reset(clock.deadline(watch.state).unwrap_or_else(|| now + client.idle.get()));
            }
        }
    })
    .await
}
