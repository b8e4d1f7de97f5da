//! The loop of a client's HTTP/1.1 connection: one request and response after another.
//!
//! Its requests go to [`serve::exchange`]. Idle connections are closed after `timeouts idle`, heads that arrive too slowly get
//! a 408, and a client that stops reading is disconnected.

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::draining::{DRAIN_GRACE, Draining, LINGER};
use crate::body::outbound::{BodyFraming, Outbound, SendError};
use crate::body::pace::Pace;
use crate::client::http1::Http1Client;
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::client::{Client, Wire};
use crate::connection::tunnel;
use crate::content::file_reader::FileReader;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::http1::{self, Framing, HeadReader, MessageHead};
use crate::net::clock::after;
use crate::net::listen::FINE_QUEUE;
use crate::net::stream::{BufferedStream, SocketStream};
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::serve::local_response;
use crate::serve::{self, Aborted};

/// The next step of a connection after an exchange.
enum AfterExchange {
    /// Waits for the next request.
    Request,
    /// Skips the rest of the request's body, then waits for the next request.
    Skip,
    /// Closes the connection.
    Close,
    /// Closes the connection such that the response can't be taken for complete.
    Break,
    /// Closes the connection after the client's remaining data was read and discarded for a moment, so that the client
    /// receives its response.
    Linger,
}

/// Serves a connection until it is closed.
pub(super) async fn serve(peer: Rc<Peer>, link: BufferedStream) {
    let client = Rc::new(Client::new(peer, Wire::Http1(Http1Client::new(link))));
    if let Wire::Http1(http1) = &client.wire {
        client.timer.run(pin!(converse(&client, http1))).await;
    }
}

/// Responds with a failure to a client that uses another protocol.
pub(super) async fn turn_away(peer: Rc<Peer>, link: BufferedStream, failure: Failure) {
    let client = Rc::new(Client::new(peer, Wire::Http1(Http1Client::new(link))));
    if let Wire::Http1(http1) = &client.wire {
        let away = pin!(async {
            refuse(&client, http1, failure).await;
            linger(&client, http1).await;
        });
        client.timer.run(away).await;
    }
}

async fn converse(client: &Rc<Client>, http1: &Http1Client) {
    let mut requests = Requests::new(client, http1);
    let next = loop {
        let next = match requests.next().await {
            Ok(Some(request)) => exchange(client, http1, request, &requests).await,
            Ok(None) => break AfterExchange::Close,
            Err(failure) => refuse(client, http1, failure).await,
        };
        requests.idle_since = Instant::now();
        match next {
            AfterExchange::Request => {}
            AfterExchange::Skip if skip(client, http1, requests.idle_since).await => {}
            next => break next,
        }
    };
    match next {
        AfterExchange::Linger => linger(client, http1).await,
        AfterExchange::Break => {}
        AfterExchange::Request | AfterExchange::Skip | AfterExchange::Close => http1.say_goodbye(),
    }
}

/// The requests that arrive on a connection.
struct Requests<'c> {
    client: &'c Client,
    http1: &'c Http1Client,
    reading: HeadReader,
    idle_since: Instant,
    /// The time-outs of an idle connection, and of a head.
    idle: Duration,
    request: Duration,
    draining: Draining,
}

impl<'c> Requests<'c> {
    fn new(client: &'c Client, http1: &'c Http1Client) -> Requests<'c> {
        let (worker, timeouts) = (client.worker, &client.worker.site.root.timeouts);
        Requests {
            client,
            http1,
            reading: HeadReader::default(),
            idle_since: Instant::now(),
            idle: timeouts.idle.get(worker.settings),
            request: timeouts.request.get(worker.settings),
            draining: Draining::new(worker),
        }
    }

    /// Reads the head of the next request; `None` if there are no more requests.
    async fn next(&mut self) -> Result<Option<ReceivedRequest>, Failure> {
        let limit = usize::try_from(self.client.worker.head_limit).unwrap_or(usize::MAX);
        let mut began = None;
        std::future::poll_fn(|cx| {
            let mut link = self.http1.link.borrow_mut();
            loop {
                if !link.is_empty() {
                    let began = *began.get_or_insert_with(Instant::now);
                    if let Some(head) = self.reading.request(link.bytes())? {
                        if head.size > limit {
                            return Poll::Ready(Err(Failure::HeadersTooLarge));
                        }
                        link.consume(head.size);
                        return Poll::Ready(Ok(Some(ReceivedRequest::new(self.client, self.http1, head, began))));
                    }
                    if link.bytes().len() > limit {
                        return Poll::Ready(Err(Failure::HeadersTooLarge));
                    }
                }
                match link.poll_fill(cx) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Ok(None)),
                    Poll::Pending => break,
                }
            }
            let timer = &self.client.timer;
            match (began, self.draining.poll(cx)) {
                (Some(began), _) if timer.over(after(began, self.request)) => Poll::Ready(Err(Failure::RequestTimeout)),
                (None, Some(since)) if timer.over(after(since, DRAIN_GRACE)) => Poll::Ready(Ok(None)),
                (None, None) if timer.over(after(self.idle_since, self.idle)) => Poll::Ready(Ok(None)),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

/// A request whose head has been received.
struct ReceivedRequest {
    record: Box<Record>,
    target: String,
    framing: Framing,
    keep_alive: bool,
}

impl ReceivedRequest {
    fn new(client: &Client, http1: &Http1Client, head: MessageHead<(Method, String)>, began: Instant) -> Self {
        let MessageHead { start: (method, target), version, fields, framing, keep_alive, .. } = head;
        http1.begin(version, &fields, framing);
        client.received.set(0);
        let record = Record::new(&client.peer, method, version, fields, began);
        ReceivedRequest { record, target, framing, keep_alive }
    }
}

/// Handles one request and its response.
async fn exchange(
    client: &Rc<Client>,
    http1: &Http1Client,
    request: ReceivedRequest,
    requests: &Requests<'_>,
) -> AfterExchange {
    let ReceivedRequest { mut record, target, framing, keep_alive } = request;
    let (version, to_head) = (record.version, record.method == Method::HEAD);
    let answered = {
        let mut steps = pin!(serve::exchange(client, &mut record, target, framing));
        std::future::poll_fn(|cx| match steps.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if http1.poll_meanwhile(cx, !client.half_close.get()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    record.received(client.received.get());
    let answer = match answered {
        Some(Ok(answer)) => answer,
        Some(Err(Aborted)) => {
            record.finished();
            return AfterExchange::Close;
        }
        None => {
            if !http1.inbound.borrow().decoder.is_done() {
                record.failed(Failure::RequestTruncated);
                record.answered(Failure::RequestTruncated.status().as_u16());
            }
            return AfterExchange::Close;
        }
    };
    let own = !matches!(answer.body, Body::Server(_) | Body::Tunnel(_));
    let keep_alive = keep_alive
        && !record.failure().is_some_and(Failure::closes)
        && !requests.draining.has_begun()
        // Announce `Connection: close` in advance if it is known; an upstream response may still arrive after the rest
        // of the request's body.
        && (!(own || http1.was_not_asked()) || http1.is_worth_reading());
    send(client, http1, &mut record, answer, &SendOptions { version, to_head, keep_alive }).await
}

/// How a response is sent.
struct SendOptions {
    version: Version,
    to_head: bool,
    keep_alive: bool,
}

/// Sends a response, and handles the rest of the request.
async fn send(
    client: &Client,
    http1: &Http1Client,
    record: &mut Record,
    mut answer: Answer<Body>,
    manner: &SendOptions,
) -> AfterExchange {
    let framing = framing(&answer, manner);
    let keep_alive = manner.keep_alive && framing != Framing::UntilClose;
    let tunnel = matches!(answer.body, Body::Tunnel(_));
    let is_websocket = tunnel && answer.fields.get("upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    let connection: &[u8] = match manner.version {
        _ if tunnel => b"",
        Version::HTTP_10 if keep_alive => b"connection: keep-alive\r\n",
        _ if keep_alive => b"",
        _ => b"connection: close\r\n",
    };
    let date = (!answer.fields.contains(KnownField::DATE)).then(|| client.worker.date(Instant::now()));
    let date: &[u8] = date.as_ref().map_or(b"", |date| date);
    let mut head = http1.take_interim();
    let interim = head.len();
    let status = (answer.status, record.reason(answer.status));
    http1::write_response(&mut head, status, &answer.fields, framing, &[connection, date]);
    if manner.to_head || answer.status == StatusCode::NO_CONTENT || answer.status == StatusCode::NOT_MODIFIED {
        answer.body = Body::None(None);
    }
    let mut outbound = Outbound::answer(head, BodyFraming::of(framing));
    let mut pace = Pace::new(record.policy().limits.min_rate, FINE_QUEUE);
    let mut given_up = false;
    let mut file = file(&mut answer, framing, &http1.link.borrow().stream);
    let sent = std::future::poll_fn(|cx| {
        let write = |cx: &mut Context<'_>, bufs: [&[u8]; 2]| {
            let stream = &mut http1.link.borrow_mut().stream;
            match bufs {
                [head, []] if file.is_some() && !head.is_empty() => stream.poll_write_before_file(cx, head),
                bufs => stream.poll_write(cx, bufs),
            }
        };
        let mut outcome = outbound.poll(cx, &mut answer.body, write);
        if let (Poll::Ready(Ok(())), Some(file)) = (&outcome, &mut file) {
            outcome = outbound.poll_rest(cx, |cx| file.poll_send(cx, &mut http1.link.borrow_mut().stream));
        }
        record.sent(outbound.body);
        record.received(client.received.get());
        if let Poll::Ready(outcome) = outcome {
            return Poll::Ready(outcome);
        }
        let slow = match (&mut pace, outbound.blocked()) {
            (Some(pace), Some(_)) => pace.is_too_slow(&client.timer, || outbound.body),
            (Some(pace), None) => {
                pace.rests();
                false
            }
            (None, _) => false,
        };
        if slow {
            record.failed(Failure::ClientTooSlow);
        }
        let stalled = outbound.blocked().and_then(|since| after(since, client.idle.get()));
        given_up = slow || client.timer.over(stalled);
        // A client that reads slowly is still connected; one that disconnects while the upstream is waited for has
        // gone.
        let may_leave = !client.half_close.get() && outbound.blocked().is_none();
        if given_up || http1.poll_meanwhile(cx, may_leave) {
            return Poll::Ready(Err(SendError::Sink));
        }
        Poll::Pending
    })
    .await;
    match sent {
        Ok(()) => record.finished(),
        Err(SendError::Sink) => {
            if outbound.is_unsent() {
                record.unanswered();
            }
            if given_up {
                // Otherwise the kernel would keep sending to a client that reads nothing.
                http1.link.borrow().stream.reset_on_close();
            }
            return AfterExchange::Close;
        }
        Err(SendError::Source(failure)) if outbound.is_unsent() && record.failure().is_none() => {
            // Nothing was sent yet: the response can still be replaced by an error response.
            http1.give_back_interim(outbound.take_back(interim));
            let answer = serve::instead(record, failure);
            let keep_alive = manner.keep_alive && !failure.closes() && http1.is_worth_reading();
            return Box::pin(send(client, http1, record, answer, &SendOptions { keep_alive, ..*manner })).await;
        }
        Err(SendError::Source(failure)) => {
            record.failed(failure);
            record.finished();
            if framing == Framing::UntilClose {
                // An orderly close would make the response look complete.
                http1.link.borrow().stream.reset_on_close();
                return AfterExchange::Break;
            }
            // Closing with unread bytes would reset the connection, and discard what was sent.
            return if http1.inbound.borrow().decoder.is_done() { AfterExchange::Break } else { AfterExchange::Linger };
        }
    }
    if let Body::Tunnel(call) = answer.body {
        Box::pin(tunnel::through(client, http1, *call, is_websocket)).await;
        return AfterExchange::Close;
    }
    match (http1.inbound.borrow().decoder.is_done(), keep_alive) {
        (true, true) => AfterExchange::Request,
        (true, false) if !record.failure().is_some_and(Failure::closes) => AfterExchange::Close,
        (false, true) if http1.is_worth_reading() => AfterExchange::Skip,
        _ => AfterExchange::Linger,
    }
}

/// Takes a file body that `sendfile` can send out of its response.
fn file(answer: &mut Answer<Body>, framing: Framing, stream: &SocketStream) -> Option<Box<FileReader>> {
    let is_plain = matches!(&answer.body, Body::File(file) if file.is_plain());
    if !is_plain || !matches!(framing, Framing::Length(_)) || !stream.sends_files() {
        return None;
    }
    match std::mem::replace(&mut answer.body, Body::None(None)) {
        Body::File(file) => Some(file),
        _ => None,
    }
}

/// Returns the framing of a response (RFC 9112 section 6.3).
fn framing(answer: &Answer<Body>, manner: &SendOptions) -> Framing {
    match (answer.status, answer.body.length()) {
        (StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT, _) => Framing::Empty,
        (StatusCode::NOT_MODIFIED, Some(_)) if matches!(answer.body, Body::Bytes(_)) => Framing::Empty,
        (_, Some(length)) => Framing::Length(length),
        (StatusCode::NOT_MODIFIED, None) => Framing::Empty,
        (_, None) if manner.to_head => Framing::Empty,
        (_, None) if manner.version == Version::HTTP_11 => Framing::Chunked,
        (_, None) => Framing::UntilClose,
    }
}

/// Responds to a malformed request.
async fn refuse(client: &Client, http1: &Http1Client, failure: Failure) -> AfterExchange {
    let (method, version) = (Method::from_bytes(b"-").unwrap_or_default(), Version::HTTP_11);
    let mut record = Record::new(&client.peer, method, version, Fields::new(), Instant::now());
    record.failed(failure);
    record.answered(failure.status().as_u16());
    let answer = local_response::failure(&record, failure).map(Body::Bytes);
    send(client, http1, &mut record, answer, &SendOptions { version, to_head: false, keep_alive: false }).await;
    AfterExchange::Linger
}

/// Reads and discards the rest of a request's body, which is short. `false`: the client is too slow, or has disconnected.
async fn skip(client: &Client, http1: &Http1Client, since: Instant) -> bool {
    std::future::poll_fn(|cx| {
        loop {
            let (mut inbound, mut link) = (http1.inbound.borrow_mut(), http1.link.borrow_mut());
            match inbound.poll(cx, &mut link) {
                Poll::Ready(Ok(0)) => return Poll::Ready(true),
                Poll::Ready(Ok(_)) => drop(inbound.take(&mut link, <[u8]>::len)),
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending if client.timer.over(after(since, LINGER)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Reads what the client still sends: closing with unread bytes would reset the connection, and the response might be
/// lost (RFC 9112 section 9.6).
async fn linger(client: &Client, http1: &Http1Client) {
    let until = after(Instant::now(), LINGER);
    let mut shut = false;
    std::future::poll_fn(|cx| {
        let mut link = http1.link.borrow_mut();
        shut = shut || link.stream.poll_shutdown(cx).is_ready();
        loop {
            let unread = link.bytes().len();
            link.consume(unread);
            match link.poll_fill(cx) {
                Poll::Ready(Ok(true)) if !client.timer.over(until) => {}
                Poll::Pending if !client.timer.over(until) => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}
