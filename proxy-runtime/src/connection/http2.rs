//! The loop of a client's HTTP/2 connection (RFC 9113): concurrent exchanges.
//!
//! `h2` implements the protocol; [`Monitor`] checks what `h2` does not, and then the connection ends with GOAWAY. A request is converted to
//! its HTTP/1.1 form, and goes to [`serve::exchange`]; flow control releases data only as it is passed on.

mod tunnel;

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::draining::{Draining, LINGER};
use super::websocket;
use crate::body::pace::Pace;
use crate::client::http2::Http2Client;
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::client::{Client, Wire};
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::http1::{Framing, declared_length};
use crate::http2::budget::{HeldMemory, StreamBudget, WINDOW, WINDOW_AT_FIRST, WindowCredit};
use crate::http2::monitor::{Monitor, Monitored, PeerRole, Violation};
use crate::http2::{DataPiece, Http2Outbound, SEND_BUFFER, are_well_formed, to_send};
use crate::net::clock::{Timer, after};
use crate::net::listen::FINE_QUEUE;
use crate::net::stream::BufferedStream;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::serve::{self, Aborted};

/// The approximate size of a request's pseudo-header fields, without path and authority (RFC 9113 section 6.5.2).
const PSEUDO: usize = 4 * 32 + ":method:scheme:authority:path".len() + "GEThttps".len();

/// The most header fields of a request.
const MAX_FIELDS: usize = 100;

/// Serves a connection until it is closed.
pub(super) async fn serve(peer: Rc<Peer>, link: BufferedStream) {
    let timer = Timer::default();
    timer.run(pin!(converse(&peer, link, &timer))).await;
}

async fn converse(peer: &Rc<Peer>, link: BufferedStream, timer: &Timer) {
    let (worker, timeouts) = (peer.worker, &peer.worker.site.root.timeouts);
    let began = Instant::now();
    let max_streams = u32::try_from(worker.site.process.max_streams.get(worker.settings)).unwrap_or(u32::MAX);
    let monitor = Monitor::new(PeerRole::Client, usize::try_from(worker.head_limit).unwrap_or(usize::MAX));
    let mut handshake = pin!(
        h2::server::Builder::new()
            .max_concurrent_streams(max_streams)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW_AT_FIRST)
            .max_header_list_size(monitor.most())
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_CANCELLED)
            .data_frame_budget(SMALL_FRAMES)
            .enable_connect_protocol()
            .handshake(Monitored::new(link, &monitor))
    );
    let patience = timeouts.request.get(worker.settings);
    let begun = std::future::poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome.ok()),
        Poll::Pending if timer.over(after(began, patience)) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    let Some(connection) = begun.await else { return };
    let idle = timeouts.idle.get(worker.settings);
    let budget = StreamBudget::new(worker.memory, monitor.priorities());
    let mut streams = Streams { peer, connection, monitor, budget, window: WINDOW_AT_FIRST, full: None, ending: None };
    let (mut draining, mut last) = (Draining::new(worker), Instant::now());
    // Exchanges are part of the connection's task, as tasks cost more than they seem to (ARCHITECTURE.md). Boxed, as the list has space for one
    // even when it is empty.
    let mut exchanges = FuturesUnordered::new();
    std::future::poll_fn(|cx| {
        let begin = |begun: BegunStream| exchanges.push(Box::pin(begun.exchange()));
        if streams.poll(cx, timer, begin).is_ready() {
            return Poll::Ready(());
        }
        if !exchanges.is_empty() {
            last = Instant::now();
        }
        while let Poll::Ready(Some(())) = exchanges.poll_next_unpin(cx) {}
        if draining.poll(cx).is_some() || timer.over(after(last, idle)) {
            streams.end();
            // GOAWAY must still be sent.
            let begin = |begun: BegunStream| exchanges.push(Box::pin(begun.exchange()));
            if streams.poll(cx, timer, begin).is_ready() {
                return Poll::Ready(());
            }
        }
        // Responses may still be on their way to a slow client.
        let patience = if streams.connection.has_streams() { idle } else { LAST_WORDS };
        let over = streams.ending.filter(|_| exchanges.is_empty());
        let over = over.is_some_and(|since| timer.over(after(since.max(last), patience)));
        if over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // The exchanges that are left see that the connection is closed.
    drop(streams);
    while exchanges.next().await.is_some() {}
}

/// The most streams that are reset by the client before the proxy has accepted them; the monitor limits their rate.
const MAX_CANCELLED: usize = 1024;

/// The allowed overhead of DATA frames shorter than 256 bytes, over all queued frames. By default the library allows half of the
/// connection's window, which is not enough for 300 small messages at once.
const SMALL_FRAMES: usize = 2 << 20;

/// How long requests wait for memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection without streams may take to close.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection and its streams.
struct Streams<'a> {
    peer: &'a Rc<Peer>,
    connection: Connection<Monitored, DataPiece>,
    monitor: Rc<Monitor>,
    budget: Rc<StreamBudget>,
    /// The connection's receive window, for all bodies together.
    window: u32,
    /// Since when there has been no memory for more requests.
    full: Option<Instant>,
    /// Since when no more requests are accepted.
    ending: Option<Instant>,
}

impl Streams<'_> {
    /// Reads, writes, and begins exchanges; ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>, timer: &Timer, mut begin: impl FnMut(BegunStream)) -> Poll<()> {
        // Before more data is read.
        self.resize();
        loop {
            let place = match self.budget.poll_place(cx) {
                Poll::Ready(place) => {
                    self.full = None;
                    Some(place)
                }
                Poll::Pending => {
                    let since = *self.full.get_or_insert_with(Instant::now);
                    if !timer.over(after(since, PATIENCE)) {
                        // The requests wait in the library, which continues to read and write.
                        let closed = std::task::ready!(self.connection.poll_closed(cx));
                        return closed.map_or_else(|error| self.failed(&error), Poll::Ready);
                    }
                    None
                }
            };
            let Some(accepted) = std::task::ready!(self.connection.poll_accept(cx)) else { return Poll::Ready(()) };
            let (request, mut respond) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => return self.failed(&error),
            };
            let Some(share) = place.zip(self.budget.admit(&request)) else {
                // RFC 9113 section 8.7: nothing was processed, so the client may retry.
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            };
            self.resize();
            let (budget, monitor) = (Rc::clone(&self.budget), Rc::clone(&self.monitor));
            let stream = respond.stream_id().as_u32().into();
            budget.priorities.begin(stream, request.headers().get("priority").map(HeaderValue::as_bytes));
            begin(BegunStream { peer: Rc::clone(self.peer), budget, monitor, request, respond, share });
        }
    }

    /// Sets the intended size of the connection's window.
    fn resize(&mut self) {
        if self.window != self.budget.window() {
            self.window = self.budget.window();
            self.connection.set_target_window_size(self.window);
        }
    }

    /// Handles a failed connection, which is logged if it is the client's fault.
    fn failed(&self, error: &h2::Error) -> Poll<()> {
        let failure = match self.monitor.cut() {
            Some(Violation::HeadTooLarge(_)) => Failure::HeadersTooLarge,
            Some(Violation::Flood) => Failure::FrameFlood,
            Some(Violation::Protocol | Violation::Compression) => Failure::Http2Protocol,
            None if !error.is_go_away() || !error.is_library() => return Poll::Ready(()),
            // The library also counts some frames: endless CONTINUATION frames, and one-byte DATA.
            None if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) => Failure::FrameFlood,
            None => Failure::Http2Protocol,
        };
        let method = Method::from_bytes(b"-").unwrap_or_default();
        let mut record = Record::new(self.peer, method, Version::HTTP_2, Fields::new(), Instant::now());
        record.failed(failure);
        record.finished();
        Poll::Ready(())
    }

    /// Accepts no more exchanges, and tells the client (RFC 9113 section 6.8).
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now());
            self.connection.graceful_shutdown();
        }
    }
}

/// A request that has been accepted.
struct BegunStream {
    peer: Rc<Peer>,
    budget: Rc<StreamBudget>,
    monitor: Rc<Monitor>,
    request: Request<RecvStream>,
    respond: SendResponse<DataPiece>,
    /// The memory that is reserved for it.
    share: (HeldMemory, (HeldMemory, Option<WindowCredit>)),
}

impl BegunStream {
    /// Converts the request, and handles it and its response. The conversion is not part of the future: that has no space for the request, and there
    /// may be thousands.
    fn exchange(self) -> impl Future<Output = ()> {
        let BegunStream { peer, budget, monitor, request, respond, share } = self;
        let began = Instant::now();
        let stream = respond.stream_id().as_u32().into();
        let (parts, body) = request.into_parts();
        let ended = body.is_end_stream();
        let head = StreamHead::of(parts, ended, &peer, &monitor);
        let client = Rc::new(Client::new(
            peer,
            Wire::Http2(Http2Client::new(
                (body, respond),
                (Rc::clone(&budget), monitor),
                (ended || head.websocket.is_some(), !ended && head.fields.contains(KnownField::EXPECT)),
            )),
        ));
        async move {
            if let Wire::Http2(http2) = &client.wire {
                client.timer.run(pin!(answer(&client, http2, head, began))).await;
            }
            budget.priorities.end(stream);
            drop(share);
        }
    }
}

/// The head of a request, converted to HTTP/1.1.
struct StreamHead {
    method: Method,
    target: String,
    fields: Fields,
    framing: Framing,
    /// The key of a WebSocket request: an extended CONNECT (RFC 8441) becomes a `GET` with `Upgrade`.
    websocket: Option<websocket::WebSocketKey>,
    /// Why the head is invalid, if it is.
    flaw: Option<Failure>,
}

impl StreamHead {
    fn of(parts: http::request::Parts, ended: bool, peer: &Peer, monitor: &Monitor) -> StreamHead {
        let mut fields = Fields::new();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let authority = parts.uri.authority();
        let pseudo = PSEUDO + path.len() + authority.map_or(0, |authority| authority.as_str().len());
        let too_large = parts.headers.len() > MAX_FIELDS || monitor.is_too_large(pseudo, &parts.headers);
        let mut flaw = too_large.then_some(Failure::HeadersTooLarge);
        // RFC 9113 section 8.3.1: a path, or `*` for OPTIONS; absolute URLs are not allowed here.
        let is_path = match path {
            "*" => parts.method == Method::OPTIONS,
            // An extended CONNECT has a path, a plain one has none.
            "" => parts.method == Method::CONNECT,
            _ => path.starts_with('/'),
        };
        if !are_well_formed(&parts.headers) || !is_path {
            flaw = flaw.or(Some(Failure::BadRequest));
        }
        if parts.uri.scheme() == Some(&http::uri::Scheme::HTTPS) && !peer.may_say_https() {
            flaw = flaw.or(Some(Failure::MisdirectedRequest));
        }
        if let Some(authority) = authority {
            fields.add_known(KnownField::HOST, authority.as_str().as_bytes());
        }
        for (name, value) in &parts.headers {
            match authority {
                // RFC 9113 section 8.3.1: `:authority` replaces `Host`, and both must be equal.
                Some(authority) if name == http::header::HOST => {
                    if !authority.as_str().as_bytes().eq_ignore_ascii_case(value.as_bytes()) {
                        flaw = flaw.or(Some(Failure::BadHost));
                    }
                }
                _ if name == http::header::COOKIE => {}
                _ => fields.add(name.as_str().as_bytes(), value.as_bytes()),
            }
        }
        // Section 8.2.3: cookie crumbs are joined again.
        let crumbs: Vec<&[u8]> =
            parts.headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if !crumbs.is_empty() {
            fields.add_known(KnownField::COOKIE, &crumbs.join(&b"; "[..]));
        }
        let mut target = String::with_capacity(path.len() + 64);
        target.push_str(path);
        let framing = match declared_length(&fields) {
            // A server may need to be told (RFC 9110 section 8.6).
            Some(0) if ended => Framing::Length(0),
            _ if ended => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        let websocket =
            parts.method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
        if protocol.is_some() && !websocket {
            flaw = flaw.or(Some(Failure::UnsupportedProtocol));
        }
        let mut head = StreamHead { method: parts.method, target, fields, framing, websocket: None, flaw };
        if websocket {
            head.method = Method::GET;
            head.framing = Framing::Empty;
            head.websocket = Some(websocket::ask(&mut head.fields, &peer.worker.dice));
        }
        head
    }
}

async fn answer(client: &Rc<Client>, http2: &Http2Client, head: StreamHead, began: Instant) {
    let StreamHead { method, target, fields, framing, websocket, flaw } = head;
    let to_head = method == Method::HEAD;
    let mut record = Record::new(&client.peer, method, Version::HTTP_2, fields, began);
    let answered = {
        let mut steps = pin!(async {
            match flaw {
                None => serve::exchange(client, &mut record, target, framing).await,
                Some(failure) => Ok(serve::refuse_malformed(client, &mut record, failure)),
            }
        });
        std::future::poll_fn(|cx| match steps.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            // The client has reset the stream, or the connection is closed.
            Poll::Pending if http2.respond.borrow_mut().poll_reset(cx).is_ready() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    match answered {
        Some(Ok(answer)) => {
            send(client, http2, &mut record, answer, (to_head, websocket.as_ref())).await;
            drop(record);
            linger(client, http2).await;
        }
        Some(Err(Aborted)) => {
            record.finished();
            http2.respond.borrow_mut().send_reset(Reason::CANCEL);
        }
        None if http2.whole.get() => {}
        None => {
            record.failed(Failure::RequestTruncated);
            record.answered(Failure::RequestTruncated.status().as_u16());
        }
    }
}

/// Reads and discards what the client still sends for a moment: clients whose upload is cut off often miss the response
/// (RFC 9113 section 8.1).
async fn linger(client: &Client, http2: &Http2Client) {
    let until = after(Instant::now(), LINGER);
    std::future::poll_fn(|cx| {
        while let Poll::Ready(there) = http2.poll_body(cx) {
            match there {
                Ok(1..) if !client.timer.over(until) => drop(http2.take_body(<[u8]>::len)),
                _ => return Poll::Ready(()),
            }
        }
        if client.timer.over(until) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Sends a response.
async fn send(
    client: &Client,
    http2: &Http2Client,
    record: &mut Record,
    mut answer: Answer<Body>,
    (to_head, websocket): (bool, Option<&websocket::WebSocketKey>),
) {
    let tunnel = matches!(answer.body, Body::Tunnel(_));
    if let Some(failure) = websocket::check(websocket, &mut answer) {
        let answer = serve::instead(record, failure);
        return Box::pin(send(client, http2, record, answer, (to_head, None))).await;
    }
    let bodiless = to_head || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = answer.body.length().filter(|_| match answer.status {
        StatusCode::NO_CONTENT => false,
        StatusCode::NOT_MODIFIED => !matches!(answer.body, Body::Bytes(_)),
        _ => true,
    });
    if bodiless {
        answer.body = Body::None(None);
    }
    if let Some(said) = answer.fields.get("priority") {
        let stream = http2.respond.borrow().stream_id().as_u32().into();
        http2.budget.priorities.respond(stream, said);
    }
    let mut outbound = Http2Outbound::to_client(length, &http2.budget);
    let streams = !matches!(answer.body, Body::None(_) | Body::Bytes(_) | Body::Pieces(_) | Body::Tunnel(_));
    if streams
        && let Err(failure) = outbound.begin(&mut answer.body).await
        && record.failure().is_none()
    {
        // Nothing was sent yet: the response can still be replaced by an error response.
        let answer = serve::instead(record, failure);
        return Box::pin(send(client, http2, record, answer, (to_head, websocket))).await;
    }
    if !answer.fields.contains(KnownField::DATE) {
        answer.fields.add_known(KnownField::DATE, client.worker.date_value(Instant::now()).as_bytes());
    }
    if let Some(length) = length.filter(|_| !tunnel) {
        answer.fields.set(KnownField::CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
    }
    let mut response = Response::new(());
    (*response.status_mut(), *response.headers_mut()) = (answer.status, to_send(&answer.fields));
    let empty = matches!(answer.body, Body::None(_)) || !tunnel && length == Some(0);
    let sent = http2.respond.borrow_mut().send_response(response, empty);
    let Ok(mut stream) = sent else { return record.unanswered() };
    if empty {
        return record.finished();
    }
    if let Body::Tunnel(call) = answer.body {
        record.finished();
        // Boxed, as all exchanges would have space for it otherwise.
        return Box::pin(tunnel::through(client, http2, stream, *call)).await;
    }
    let mut pace = Pace::new(record.policy().limits.min_rate, 2 * FINE_QUEUE);
    let outcome = std::future::poll_fn(|cx| {
        let outcome = outbound.poll(cx, &mut answer.body, &mut stream);
        record.sent(outbound.sent);
        record.received(client.received.get());
        if let Poll::Ready(outcome) = outcome {
            return Poll::Ready(outcome);
        }
        if let Some(pace) = &mut pace {
            if outbound.blocked.is_none() {
                pace.rests();
            } else if pace.is_too_slow(&client.timer, || outbound.sent) {
                record.failed(Failure::ClientTooSlow);
                return Poll::Ready(Err(None));
            }
        }
        let stalled = outbound.blocked.and_then(|since| after(since, client.idle.get()));
        if client.timer.over(stalled) || stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(None));
        }
        Poll::Pending
    })
    .await;
    match outcome {
        Ok(()) => record.finished(),
        Err(Some(failure @ Failure::MemoryFull)) => {
            record.failed(failure);
            stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        }
        Err(Some(failure)) => {
            record.failed(failure);
            record.finished();
            break_off(client, stream).await;
        }
        Err(None) => stream.send_reset(Reason::CANCEL),
    }
}

/// Resets a stream within a body. RST_STREAM overtakes queued frames, including the head of the response, so this waits until they are
/// written.
async fn break_off(client: &Client, mut stream: SendStream<DataPiece>) {
    let (marker, mut written) = oneshot::channel();
    if stream.send_data(Bytes::from_owner(FlushMarker(marker)).into(), false).is_ok() {
        let until = after(Instant::now(), client.idle.get());
        std::future::poll_fn(|cx| {
            let written = pin!(&mut written).poll(cx).is_ready();
            let over = written || stream.poll_reset(cx).is_ready() || client.timer.over(until);
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    stream.send_reset(Reason::INTERNAL_ERROR);
}

/// An empty piece of data that is queued behind others: its drop signals that they are written.
struct FlushMarker(#[expect(dead_code, reason = "its end is what is waited for")] oneshot::Sender<()>);

impl AsRef<[u8]> for FlushMarker {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}
