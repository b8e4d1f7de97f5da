//! The loop of a client's HTTP/3 connection (RFC 9114): concurrent exchanges.
//!
//! quinn implements QUIC, and `crate::http3` the frames. A request is converted to its HTTP/1.1 form, and goes to [`serve::exchange`].
//! The memory of a connection is limited as in HTTP/2 ([`StreamBudget`]).

mod exchange;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Method, Version};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::draining::{DRAIN_GRACE, Draining};
use crate::client::http3::ClosableConnection;
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::failure::Failure;
use crate::http2::budget::{HeldMemory, StreamBudget};
use crate::http2::flood::{Allowance, FRAME};
use crate::http3::codes::ErrorCode;
use crate::http3::control::{self, PeerStreams, UniOutcome, UniReader};
use crate::http3::integer;
use crate::net::clock::{Timer, after};
use crate::net::listen::FINE_QUEUE;
use crate::protocol::fields::Fields;
use crate::worker::Worker;

/// How long requests wait for memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take to allow the proxy's control stream, and what it may take to close.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// After how many responses that were cut off a client should make another connection: the library keeps a hundred bytes for each until the end.
const MAX_RESETS: usize = 1024;

/// How long a client may be silent that has to acknowledge responses, while the proxy drains. Within it, the library has asked several times.
const VANISHED: Duration = Duration::from_secs(5);

/// The most sent data of a connection that is not acknowledged, in bytes: without a response under way, and with one.
pub(super) const SEND_WINDOW_AT_FIRST: u64 = 64 << 10;
const SEND_WINDOW: u64 = 256 << 10;

/// Returns the send window of a connection with responses under way: no more than what `limits min-rate` can measure.
fn send_window(worker: &Worker) -> u64 {
    let measures = worker.site.policies().any(|policy| policy.limits.min_rate > 0);
    if measures { 2 * FINE_QUEUE } else { SEND_WINDOW }
}

/// Refuses a connection after its handshake.
pub(super) fn refuse(connection: &Connection) {
    connection.close(ErrorCode::ExcessiveLoad.into(), b"");
}

/// Serves a connection until it is closed; `handshake` becomes `true` at the end of a handshake that follows early data.
pub(super) async fn serve(peer: Rc<Peer>, connection: Connection, handshake: Option<watch::Receiver<bool>>) {
    let timer = Timer::default();
    timer.run(pin!(converse(peer, (connection, handshake), &timer))).await;
}

async fn converse(peer: Rc<Peer>, (connection, handshake): (Connection, Option<watch::Receiver<bool>>), timer: &Timer) {
    let worker = peer.worker;
    let session = Rc::new(Session {
        limit: usize::try_from(worker.head_limit).unwrap_or(usize::MAX),
        budget: StreamBudget::new(worker.memory, Rc::default()),
        active: Cell::new(0),
        delivering: Cell::new(0),
        resets: Cell::new(0),
        credit: Cell::new(0),
        allowance: RefCell::new(Allowance::new(Instant::now())),
        streams: RefCell::default(),
        last: Cell::new(Instant::now()),
        connection: Rc::new(ClosableConnection::new(connection)),
        handshake,
        peer,
    });
    let mut control = match tokio::time::timeout(LAST_WORDS, session.open_control()).await {
        Ok(Ok(control)) => control,
        Ok(Err(())) => return,
        Err(_) => return session.fail(ErrorCode::StreamCreation),
    };
    let mut requests = RequestStreams { session: &session, full: None, accepted: 0, announced: None, refuses: false };
    let idle = worker.site.root.timeouts.idle.get(worker.settings);
    let mut draining = Draining::new(worker);
    let mut heard = None;
    // As in HTTP/2, they are part of the connection's task.
    let mut exchanges = FuturesUnordered::new();
    let mut closed = pin!(session.connection.quic.closed());
    let (mut requested, mut opened) =
        (pin!(session.connection.quic.accept_bi()), pin!(session.connection.quic.accept_uni()));
    let why = std::future::poll_fn(|cx| {
        while let Poll::Ready(Ok(stream)) = opened.as_mut().poll(cx) {
            opened.set(session.connection.quic.accept_uni());
            tokio::task::spawn_local(follow(Rc::clone(&session), stream));
        }
        loop {
            let Poll::Ready(place) = requests.poll_place(cx, timer) else { break };
            let Poll::Ready(Ok(stream)) = requested.as_mut().poll(cx) else { break };
            requested.set(session.connection.quic.accept_bi());
            exchanges.extend(requests.begin(place, stream).map(|begun| Box::pin(begun.exchange())));
        }
        while let Poll::Ready(Some(())) = exchanges.poll_next_unpin(cx) {}
        if let Poll::Ready(why) = closed.as_mut().poll(cx) {
            return Poll::Ready(why);
        }
        if session.active.get() > 0 {
            session.last.set(Instant::now());
        }
        let drains = draining.poll(cx).is_some() || session.resets.get() >= MAX_RESETS;
        if drains || timer.over(after(session.last.get(), idle)) {
            requests.end(cx, timer, Pin::new(&mut control));
            if requests.refuses && (session.active.get() == 0 || session.has_vanished(timer, &mut heard)) {
                session.connection.quic.close(ErrorCode::No.into(), b"");
                return closed.as_mut().poll(cx);
            }
        }
        Poll::Pending
    })
    .await;
    session.log(&why);
    // The exchanges that are left see that the connection is closed. One that only waits for a server may not, and is dropped.
    let _ = tokio::time::timeout(LAST_WORDS, async { while exchanges.next().await.is_some() {} }).await;
}

/// Reads a unidirectional stream of the client.
async fn follow(session: Rc<Session>, mut stream: RecvStream) {
    let mut reader = UniReader::default();
    loop {
        match stream.read_chunk(4096, true).await {
            Ok(Some(chunk)) => {
                let outcome = reader.read(&mut session.streams.borrow_mut(), chunk.bytes);
                session.reprioritize();
                match outcome {
                    Ok(UniOutcome::More(frames)) => session.spend(frames.saturating_mul(FRAME)),
                    Ok(UniOutcome::Unknown) => {
                        // RFC 9114 section 6.2: it is not an error, and counts as a frame.
                        session.spend(FRAME);
                        let _ = stream.stop(ErrorCode::StreamCreation.into());
                        return;
                    }
                    Err(code) => return session.fail(code),
                }
            }
            Ok(None) | Err(quinn::ReadError::Reset(_)) => {
                match reader.finish() {
                    Ok(()) => session.spend(FRAME),
                    Err(code) => session.fail(code),
                }
                return;
            }
            Err(_) => return,
        }
    }
}

/// The state that a connection's streams share.
struct Session {
    connection: Rc<ClosableConnection>,
    /// Whether the handshake is complete, if it was not from the beginning.
    handshake: Option<watch::Receiver<bool>>,
    peer: Rc<Peer>,
    /// The largest field section, in bytes.
    limit: usize,
    budget: Rc<StreamBudget>,
    /// The number of exchanges under way.
    active: Cell<usize>,
    /// How many of them only wait until the client has received the response.
    delivering: Cell<usize>,
    /// How many responses were cut off.
    resets: Cell<usize>,
    /// How much memory the connection has of the process's for data that is not acknowledged.
    credit: Cell<usize>,
    allowance: RefCell<Allowance>,
    streams: RefCell<PeerStreams>,
    /// When there was an exchange last.
    last: Cell<Instant>,
}

impl Session {
    /// Opens the control stream, and sends SETTINGS.
    async fn open_control(&self) -> Result<SendStream, ()> {
        let mut stream = self.connection.quic.open_uni().await.map_err(drop)?;
        let _ = stream.set_priority(i32::MAX);
        stream.write_all(&control::opening(self.limit as u64)).await.map_err(drop)?;
        Ok(stream)
    }

    /// Whether a request is early data. Of a connection that has failed before the end of its handshake, the library says no.
    fn is_early(&self, stream: &RecvStream) -> bool {
        let incomplete = || self.handshake.as_ref().is_some_and(|handshake| !*handshake.borrow());
        stream.is_0rtt() || self.connection.quic.close_reason().is_some() && incomplete()
    }

    /// Waits for the end of the handshake; `false`: it has failed.
    async fn is_shaken(&self) -> bool {
        let Some(mut handshake) = self.handshake.clone() else { return true };
        handshake.wait_for(|complete| *complete).await.is_ok()
    }

    /// Whether nothing is left but responses for a client that doesn't acknowledge them, nor sends anything else; `heard` is when it did, and how often.
    fn has_vanished(&self, timer: &Timer, heard: &mut Option<(Instant, u64)>) -> bool {
        if self.active.get() > self.delivering.get() {
            return false;
        }
        let received = self.connection.quic.stats().udp_rx.datagrams;
        let last = heard.filter(|(_, before)| *before == received).unwrap_or_else(|| (Instant::now(), received));
        *heard = Some(last);
        timer.over(after(last.0, VANISHED))
    }

    /// Closes the connection, because the client violates the protocol.
    fn fail(&self, code: ErrorCode) {
        self.connection.fail(code);
    }

    /// Charges the client for something that costs it nothing.
    fn spend(&self, price: u32) {
        if price > 0 && !self.allowance.borrow_mut().spend(price, Instant::now) {
            self.fail(ErrorCode::ExcessiveLoad);
        }
    }

    /// Applies the updates of priorities that have arrived.
    fn reprioritize(&self) {
        for (stream, value) in self.streams.borrow_mut().take_updates() {
            self.budget.priorities.update(stream, &value);
        }
    }

    /// Logs why the connection was closed, if that is the client's fault.
    fn log(&self, why: &ConnectionError) {
        let failure = match (why, self.connection.violation()) {
            (_, Some(ErrorCode::ExcessiveLoad)) => Failure::FrameFlood,
            (_, Some(_)) | (ConnectionError::TransportError(_), None) => Failure::Http3Protocol,
            _ => return,
        };
        let method = Method::from_bytes(b"-").unwrap_or_default();
        let mut record = Record::new(&self.peer, method, Version::HTTP_3, Fields::new(), Instant::now());
        record.failed(failure);
        record.finished();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.peer.worker.memory.give(self.credit.get());
    }
}

/// Counts an exchange under way. While there is one, more data may be on its way to the client, if there is memory for that.
struct ExchangeGuard(Rc<Session>);

impl ExchangeGuard {
    fn new(session: &Rc<Session>) -> ExchangeGuard {
        session.active.set(session.active.get() + 1);
        if session.credit.get() == 0 {
            let worker = session.peer.worker;
            let window = send_window(worker);
            if worker.memory.take_spare(window as usize) {
                session.credit.set(window as usize);
                session.connection.quic.set_send_window(window);
            }
        }
        ExchangeGuard(Rc::clone(session))
    }
}

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        let session = &self.0;
        session.active.set(session.active.get() - 1);
        session.last.set(Instant::now());
        if session.active.get() == 0 {
            session.connection.quic.set_send_window(SEND_WINDOW_AT_FIRST);
            session.peer.worker.memory.give(session.credit.take());
        }
    }
}

/// The requests of a connection.
struct RequestStreams<'a> {
    session: &'a Rc<Session>,
    /// Since when there has been no memory for more requests.
    full: Option<Instant>,
    /// The number of streams that were accepted.
    accepted: u64,
    /// Since when the client knows that the connection ends.
    announced: Option<Instant>,
    /// No more requests are accepted.
    refuses: bool,
}

impl RequestStreams<'_> {
    /// Reserves memory for a request. After some time without memory, requests are refused, which `None` says.
    fn poll_place(&mut self, cx: &mut Context<'_>, timer: &Timer) -> Poll<Option<HeldMemory>> {
        match self.session.budget.poll_place(cx) {
            Poll::Ready(place) => {
                self.full = None;
                Poll::Ready(Some(place))
            }
            Poll::Pending => {
                let since = *self.full.get_or_insert_with(Instant::now);
                if timer.over(after(since, PATIENCE)) { Poll::Ready(None) } else { Poll::Pending }
            }
        }
    }

    /// Accepts a request, or refuses it.
    fn begin(
        &mut self,
        place: Option<HeldMemory>,
        (mut sending, mut receiving): (SendStream, RecvStream),
    ) -> Option<BegunRequest> {
        let Some(place) = place.filter(|_| !self.refuses) else {
            // RFC 9114 section 4.1.1: nothing was processed, so the client may retry.
            let _ = sending.reset(ErrorCode::RequestRejected.into());
            let _ = receiving.stop(ErrorCode::RequestRejected.into());
            self.session.budget.priorities.end(receiving.id().into());
            return None;
        };
        self.accepted = receiving.id().index() + 1;
        Some(BegunRequest { guard: ExchangeGuard::new(self.session), place, streams: (sending, receiving) })
    }

    /// Tells the client that the connection ends (RFC 9114 section 5.2): first without a limit, as requests may be on their way, and then which
    /// requests are processed.
    fn end(&mut self, cx: &mut Context<'_>, timer: &Timer, control: Pin<&mut SendStream>) {
        /// The largest id of a client's request stream.
        const LAST: u64 = integer::MAX - 3;
        let id = match self.announced {
            None => {
                self.announced = Some(Instant::now());
                LAST
            }
            Some(since) if !self.refuses && timer.over(after(since, DRAIN_GRACE)) => {
                self.refuses = true;
                self.accepted * 4
            }
            Some(_) => return,
        };
        // It is small, and the client's window for the stream is not: if it does not fit, the end of the connection tells as much.
        let _ = control.poll_write(cx, &control::goaway(id));
        if let Some(since) = self.announced {
            timer.over(after(since, DRAIN_GRACE));
        }
    }
}

/// A request that has been accepted.
struct BegunRequest {
    guard: ExchangeGuard,
    /// The memory that is reserved for it.
    place: HeldMemory,
    streams: (SendStream, RecvStream),
}

impl BegunRequest {
    /// Handles the request and its response.
    async fn exchange(self) {
        let BegunRequest { guard, place, streams } = self;
        let stream = streams.1.id().into();
        exchange::exchange(&guard.0, streams).await;
        guard.0.budget.priorities.end(stream);
        drop((place, guard));
    }
}
