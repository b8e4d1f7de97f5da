//! Bodies on their way: [`RequestBody`] from client to server, [`Body`] from whoever answers to the client, and
//! [`Outbound`], which sends either over HTTP/1.1.
//!
//! Nothing is collected: each is asked for more only when what it gave is sent, so a slow reader slows the writer
//! (back-pressure), and memory is a buffer per side however large the body. Data is sent from the buffer it was read
//! into; only small pieces are copied, so that a head and a short body leave in one write. Every wait ends: by the
//! deadline that a request's body grows with what arrives, by silence, by the total.

mod front;
mod kept;
mod outbound;
mod pace;
mod part;

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::front::Front;
pub(crate) use self::outbound::{Broken, LookAround, Outbound, TOGETHER};
pub(crate) use self::pace::Pace;
pub(crate) use self::part::{split, split_block};
use crate::cache::{Kept, Reader};
use crate::clock::after;
use crate::compress::Compressed;
use crate::connection::Client;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::file_reader::FileReader;
use crate::http1::{Decoder, Found, Framing};
use crate::intake;
use crate::replace::Replaced;
use crate::site::FieldRules;
use crate::stream::Link;
use crate::upstream::Call;

/// Where a body comes from.
pub(crate) trait Source {
    /// Makes data available; `false` at the end. Asked again only after all of it was consumed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>>;
    /// Gives the data to `to`, which says how much of it is dealt with.
    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize;
    /// Takes up to so many bytes of the data; without a copy, where it is shared memory.
    fn take_bytes(&mut self, most: usize) -> Bytes {
        let mut taken = Bytes::new();
        self.take(|data| {
            taken = Bytes::copy_from_slice(&data[..data.len().min(most)]);
            taken.len()
        });
        taken
    }
    /// Whether the data is in memory, whoever asks.
    fn is_at_hand(&self) -> bool {
        false
    }
    /// Nobody takes the data for a while: lets go of what can be had again. Says how much memory is still held that nobody else
    /// answers for.
    fn rest(&mut self) -> usize {
        0
    }
    /// What follows the data.
    fn trailers(&mut self) -> Option<Fields>;
    /// Why nothing follows the data that there is, where that is known already.
    fn broken(&self) -> Option<Failure> {
        None
    }
}

/// A body as it arrives on a connection.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) decoder: Decoder,
    /// So much data is at the front of the link.
    ready: usize,
}

/// Why an arriving body is not whole.
pub(crate) enum Flaw {
    /// It is no body.
    Malformed,
    /// The connection ended before it.
    Truncated,
}

impl Inbound {
    pub(crate) fn new(framing: Framing) -> Inbound {
        Inbound { decoder: Decoder::new(framing), ready: 0 }
    }

    /// A body that a server sends.
    pub(crate) fn of_server(framing: Framing) -> Inbound {
        Inbound { decoder: Decoder::of_server(framing), ready: 0 }
    }

    /// How much data there is now; 0 at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Result<usize, Flaw>> {
        loop {
            match self.decoder.find(link.bytes()).map_err(|_| Flaw::Malformed)? {
                Found::Data { skip, len } => {
                    link.consume(skip);
                    self.ready = len;
                    return Poll::Ready(Ok(len));
                }
                Found::End { skip } => {
                    link.consume(skip);
                    return Poll::Ready(Ok(0));
                }
                Found::More { skip } => link.consume(skip),
            }
            match ready!(link.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) if self.decoder.closed() => return Poll::Ready(Ok(0)),
                Ok(false) | Err(_) => return Poll::Ready(Err(Flaw::Truncated)),
            }
        }
    }

    /// Gives the data to `to`.
    pub(crate) fn take(&mut self, link: &mut Link, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&link.bytes()[..self.ready]);
        self.ready -= took;
        self.decoder.took(took);
        link.consume(took);
        took
    }
}

/// A request's body. Counts, and watches the clock.
pub(crate) struct RequestBody {
    client: Rc<Client>,
    pub(crate) framing: Framing,
    /// What is left of it, where all of it was received before any of it is sent.
    kept: Option<Bytes>,
    /// It comes from the client. Boxed: most requests have none, and each would carry its size around.
    coming: Option<Box<Coming>>,
}

/// What there is to a body that comes from the client.
struct Coming {
    /// Bytes that may still come.
    limit: u64,
    /// What is left of the client's time. Each KiB earns it a second; only waiting for the client uses it up.
    patience: Duration,
    /// How long the client may be silent at once.
    silence: Duration,
    /// Since when the client is waited for.
    waiting: Option<Instant>,
    /// Why it ended early.
    failure: Option<Failure>,
    /// Which trailers are taken in, and names that are not beside those.
    trailing: Option<&'static FieldRules>,
    seen_to: Vec<&'static str>,
    /// What goes before what still comes: what was looked at, and what was taken and may have to be sent again.
    front: Front,
    /// Whether it is wanted is the server's to say.
    asks_server: bool,
    /// It is not asked for before this moment, unless the server does.
    held_until: Option<Option<Instant>>,
    /// What arrived and is not taken, in bytes.
    there: u64,
    /// What was received in all.
    received: u64,
    /// How fast the client has to send it.
    pace: Option<Pace>,
}

/// A body in time has at least this many bytes per second, on the average.
const MIN_RATE: u64 = 1024;

impl RequestBody {
    pub(crate) fn new(client: &Rc<Client>, framing: Framing) -> RequestBody {
        let comes = !matches!(framing, Framing::Empty | Framing::Length(0));
        let coming = comes.then(|| {
            Box::new(Coming {
                limit: u64::MAX,
                patience: Duration::MAX,
                silence: Duration::MAX,
                waiting: None,
                failure: None,
                trailing: None,
                seen_to: Vec::new(),
                front: Front::default(),
                asks_server: false,
                held_until: None,
                there: 0,
                received: 0,
                pace: None,
            })
        });
        RequestBody { client: Rc::clone(client), framing, kept: None, coming }
    }

    /// One that was received whole.
    pub(crate) fn of(client: &Rc<Client>, framing: Framing, bytes: Bytes) -> RequestBody {
        RequestBody { client: Rc::clone(client), framing, kept: Some(bytes), coming: None }
    }

    /// What was looked at and has not gone on.
    pub(crate) fn front(&self) -> &[u8] {
        self.coming.as_ref().map_or(&[], |coming| coming.front.unsent())
    }

    /// Holds it to a policy: `limit` in bytes; `min_rate` in bytes a second; `patience` is `timeouts request`, of which `spent` is
    /// gone; `silence` is `timeouts idle`.
    pub(crate) fn hold(
        &mut self,
        (limit, min_rate): (u64, u64),
        patience: Duration,
        spent: Duration,
        silence: Duration,
    ) {
        let Some(coming) = &mut self.coming else { return };
        coming.limit = limit;
        coming.pace = Pace::new(min_rate, 0);
        coming.patience = patience.saturating_sub(spent);
        coming.silence = silence;
    }

    /// Its trailers are taken in by these rules.
    pub(crate) fn takes_trailers_by(&mut self, rules: &'static FieldRules) {
        if let Some(coming) = &mut self.coming {
            coming.trailing = Some(rules);
        }
    }

    /// None of its trailers has one of these names.
    pub(crate) fn trailers_without(&mut self, names: Vec<&'static str>) {
        if let Some(coming) = &mut self.coming {
            coming.seen_to = names;
        }
    }

    /// Whether it is wanted is the server's to say, where the client waits to hear that (RFC 9110 section 10.1.1).
    pub(crate) fn leave_to_server(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.asks_server = coming.front.is_untouched() && self.client.waits_for_continue();
        }
    }

    /// See above.
    pub(crate) fn asks_server(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.asks_server)
    }

    /// A server is sent the head: it has so long to ask for the rest.
    pub(crate) fn wait_for_server(&mut self, wait: Duration) {
        if let Some(coming) = self.coming.as_mut().filter(|coming| coming.asks_server) {
            coming.held_until = Some(after(Instant::now(), wait));
        }
    }

    /// Nobody has asked for it.
    pub(crate) fn is_held(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.held_until.is_some())
    }

    /// The server has asked for it, and so does the proxy.
    pub(crate) fn is_wanted(&mut self) {
        if self.coming.as_mut().is_some_and(|coming| coming.held_until.take().is_some()) {
            self.client.ask_for_body();
        }
    }

    /// Whether there is nothing to send but the head.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.framing, Framing::Empty | Framing::Length(0))
    }

    /// From here on, its first `limit` bytes are kept as they are taken, so that the request can be sent again.
    pub(crate) fn may_be_replayed(&mut self, limit: u64) {
        if let Some(coming) = &mut self.coming {
            coming.front.keep(limit, self.client.worker.memory);
        }
    }

    /// Begins anew with its first byte. `false`: it can't.
    pub(crate) fn rewind(&mut self) -> bool {
        let comes_anew = |coming: &mut Box<Coming>| coming.failure.is_none() && coming.front.rewind();
        self.kept.is_none() && self.coming.as_mut().is_none_or(comes_anew)
    }

    /// It won't be sent again: what was kept for that is let go.
    pub(crate) fn settle(&mut self) {
        if let Some(coming) = &mut self.coming {
            coming.front.settle();
        }
    }

    /// This was received of it, and goes before what still comes.
    fn begins_with(&mut self, front: Front) {
        if let Some(coming) = &mut self.coming {
            coming.front = front;
        }
    }
}

impl Coming {
    fn end(&mut self, failure: Failure) -> Poll<Result<bool, Failure>> {
        self.failure = Some(failure);
        Poll::Ready(Err(failure))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<Result<bool, Failure>> {
        if let Some(failure) = self.failure {
            return Poll::Ready(Err(failure));
        }
        if !self.front.unsent().is_empty() {
            return Poll::Ready(Ok(true));
        }
        if let Some(until) = self.held_until {
            if !client.timer.over(until) {
                return Poll::Pending;
            }
            self.held_until = None;
        }
        match client.poll_body(cx) {
            Poll::Pending => {
                client.ask_for_body();
                let since = *self.waiting.get_or_insert_with(Instant::now);
                // However much was earned: silence is silence.
                if client.timer.over(after(since, self.patience.min(self.silence))) {
                    return self.end(Failure::RequestTimeout);
                }
                if let Some(pace) = &mut self.pace
                    && pace.is_too_slow(&client.timer, || self.received)
                {
                    return self.end(Failure::ClientTooSlow);
                }
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(len)) => {
                // Some of it may have been there before.
                let len = (len as u64).saturating_sub(self.there);
                if len > self.limit {
                    return self.end(Failure::BodyTooLarge);
                }
                client.body_comes();
                self.limit -= len;
                (self.there, self.received) = (self.there + len, self.received + len);
                if let Some(pace) = &mut self.pace {
                    pace.rests();
                }
                if let Some(since) = self.waiting.take() {
                    self.patience = self.patience.saturating_sub(since.elapsed());
                }
                let earned = Duration::from_micros(len.saturating_mul(1_000_000) / MIN_RATE);
                self.patience = self.patience.saturating_add(earned);
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(Flaw::Malformed)) => self.end(Failure::BadFraming),
            Poll::Ready(Err(Flaw::Truncated)) => self.end(Failure::RequestTruncated),
        }
    }

    fn take(&mut self, client: &Client, to: impl FnOnce(&[u8]) -> usize) -> usize {
        if !self.front.unsent().is_empty() {
            return self.front.send(to);
        }
        let front = &mut self.front;
        let took = client.take_body(|data| {
            let took = to(data);
            front.taken(&data[..took]);
            took
        });
        self.there = self.there.saturating_sub(took as u64);
        took
    }

    fn trailers(&mut self, client: &Client) -> Option<Fields> {
        let (rules, seen_to) = (self.trailing, &self.seen_to);
        self.front.trailers(|| {
            let trailers = client.trailers()?;
            Some(match rules {
                Some(rules) => intake::trailers(trailers, rules, seen_to),
                None => trailers,
            })
        })
    }
}

impl Source for RequestBody {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        match (&self.kept, &mut self.coming) {
            (Some(kept), _) => Poll::Ready(Ok(!kept.is_empty())),
            (None, Some(coming)) => coming.poll_fill(cx, &self.client),
            (None, None) => Poll::Ready(Ok(false)),
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        match (&mut self.kept, &mut self.coming) {
            (Some(kept), _) => {
                let took = to(kept);
                bytes::Buf::advance(kept, took);
                took
            }
            (None, Some(coming)) => coming.take(&self.client, to),
            (None, None) => 0,
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        let coming = self.coming.as_mut().filter(|_| self.kept.is_none())?;
        coming.trailers(&self.client)
    }
}

/// An answer's body.
pub(crate) enum Body {
    /// None; an answer to HEAD may still say how long it would be.
    None(Option<u64>),
    /// Memory.
    Bytes(Bytes),
    /// Memory, in pieces of which none is empty.
    Pieces(VecDeque<Bytes>),
    /// A file, in parts that are read as they are sent.
    File(Box<FileReader>),
    /// A server's answer, on its way.
    Server(Box<Call>),
    /// A server's answer that others have, too.
    Joined(Box<Reader>),
    /// What a cache keeps, where it may be compressed: it may be there compressed already.
    Kept(Box<Kept>),
    /// Another body, compressed as it comes.
    Compressed(Box<Compressed>),
    /// Another body, in which texts are replaced as it comes.
    Replaced(Box<Replaced>),
    /// 101: what follows is no HTTP.
    Tunnel(Box<Call>),
}

impl Body {
    /// How many bytes it has, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Body::None(length) => *length,
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Pieces(pieces) => Some(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Body::Server(call) => call.length(),
            Body::File(reader) => Some(reader.length()),
            Body::Joined(reader) => reader.length(),
            Body::Kept(kept) => kept.body.length(),
            Body::Compressed(_) | Body::Replaced(_) | Body::Tunnel(_) => None,
        }
    }
}

impl Source for Body {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        match self {
            Body::None(_) | Body::Tunnel(_) => Poll::Ready(Ok(false)),
            Body::Bytes(bytes) => Poll::Ready(Ok(!bytes.is_empty())),
            Body::Pieces(pieces) => Poll::Ready(Ok(!pieces.is_empty())),
            Body::Server(call) => call.poll_fill(cx),
            Body::File(reader) => reader.poll_fill(cx),
            Body::Joined(reader) => reader.poll_fill(cx),
            Body::Kept(kept) => kept.body.poll_fill(cx),
            Body::Compressed(body) => body.poll_fill(cx),
            Body::Replaced(body) => body.poll_fill(cx),
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        match self {
            Body::None(_) | Body::Tunnel(_) => 0,
            Body::Bytes(bytes) => {
                let took = to(bytes);
                bytes::Buf::advance(bytes, took);
                took
            }
            Body::Pieces(pieces) => {
                let Some(piece) = pieces.front_mut() else { return 0 };
                let took = to(piece);
                bytes::Buf::advance(piece, took);
                if piece.is_empty() {
                    pieces.pop_front();
                }
                took
            }
            Body::Server(call) => call.take(to),
            Body::File(reader) => reader.take(to),
            Body::Joined(reader) => reader.take(to),
            Body::Kept(kept) => kept.body.take(to),
            Body::Compressed(body) => body.take(to),
            Body::Replaced(body) => body.take(to),
        }
    }

    fn take_bytes(&mut self, most: usize) -> Bytes {
        match self {
            Body::None(_) | Body::Tunnel(_) => Bytes::new(),
            Body::Bytes(bytes) => split(bytes, most),
            Body::Pieces(pieces) => {
                let Some(piece) = pieces.front_mut() else { return Bytes::new() };
                let taken = split(piece, most);
                if piece.is_empty() {
                    pieces.pop_front();
                }
                taken
            }
            Body::Server(call) => call.take_bytes(most),
            Body::File(reader) => reader.take_bytes(most),
            Body::Joined(reader) => reader.take_bytes(most),
            Body::Kept(kept) => kept.body.take_bytes(most),
            Body::Compressed(body) => body.take_bytes(most),
            Body::Replaced(body) => body.take_bytes(most),
        }
    }

    fn is_at_hand(&self) -> bool {
        matches!(self, Body::Bytes(_) | Body::Pieces(_))
    }

    fn rest(&mut self) -> usize {
        match self {
            // The site's, the store's, or the flight's, which answer for it.
            Body::None(_) | Body::Tunnel(_) | Body::Bytes(_) | Body::Pieces(_) | Body::Joined(_) => 0,
            Body::Server(call) => call.rest(),
            Body::File(reader) => reader.rest(),
            Body::Kept(kept) => kept.body.rest(),
            Body::Compressed(body) => body.rest(),
            Body::Replaced(body) => body.rest(),
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        match self {
            Body::Server(call) => call.trailers(),
            Body::Compressed(body) => body.trailers(),
            Body::Replaced(body) => body.trailers(),
            Body::None(_)
            | Body::Bytes(_)
            | Body::Pieces(_)
            | Body::File(_)
            | Body::Joined(_)
            | Body::Kept(_)
            | Body::Tunnel(_) => None,
        }
    }

    fn broken(&self) -> Option<Failure> {
        match self {
            Body::Joined(reader) => reader.broken(),
            Body::Compressed(body) => body.broken(),
            Body::Replaced(body) => body.broken(),
            _ => None,
        }
    }
}

impl From<VecDeque<Bytes>> for Body {
    fn from(pieces: VecDeque<Bytes>) -> Body {
        Body::Pieces(pieces)
    }
}
