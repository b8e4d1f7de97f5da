//! One client connection, from its first byte: who is there ([`Peer`]), and what is spoken.
//!
//! Takes [`Accepted`], gives nothing back. In this order, as far as the listener has it so: the PROXY header, the TLS
//! handshake, then HTTP/1.1 ([`http1`]) or HTTP/2 ([`http2`]). Exchanges see all of them as a [`Client`]. Those of a `stream`
//! are passed through ([`stream`]).

pub(crate) mod http1;
pub(crate) mod http2;
mod proxy_protocol;
mod stream;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use self::http1::Http1;
use self::http2::Http2;
use crate::body::Flaw;
use crate::clock::{Timer, after};
use crate::facts::ClientCertificate;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::listen::{Accepted, Permit};
use crate::matcher;
use crate::observe::Record;
use crate::run::{Stop, Worker};
use crate::site::{Group, Listener, ProxyProtocolIn, Tls, TlsVersion};
use crate::stream::Link;

/// Who is at the other end of a connection; the same for all exchanges on it.
pub(crate) struct Peer {
    pub(crate) worker: &'static Worker,
    /// The index of the listener it came in by.
    pub(crate) listener: u32,
    pub(crate) ip: IpAddr,
    /// The same as text; made once.
    pub(crate) text: String,
    /// The other end and this one, where they are known.
    pub(crate) addresses: (Option<SocketAddr>, Option<SocketAddr>),
    /// What the handshake came to, on an encrypted connection.
    pub(crate) secured: Option<Secured>,
}

/// What a TLS handshake came to.
pub(crate) struct Secured {
    /// The `tls` that the client was served by, by index.
    pub(crate) tls: u16,
    pub(crate) version: TlsVersion,
    /// The group of the key exchange, if it is one that a site can ask for; `None` for a session of TLS 1.2 that was resumed.
    pub(crate) group: Option<Group>,
    /// HTTP/2 was agreed on.
    pub(crate) http2: bool,
    /// Who the client has shown to be.
    pub(crate) certificate: Option<Rc<ClientCertificate>>,
}

impl Secured {
    /// Whether what was agreed on by the rules of `made_for` is what `wanted` would have agreed to as well.
    pub(crate) fn serves(&self, made_for: &Tls, wanted: &Tls) -> bool {
        made_for.client == wanted.client
            && self.version >= wanted.min_version
            && (wanted.groups.is_empty() || self.group.is_some_and(|group| wanted.groups.contains(&group)))
    }
}

impl Peer {
    pub(crate) fn new(worker: &'static Worker, listener: u32, ip: IpAddr) -> Peer {
        Peer { worker, listener, ip, text: ip.to_string(), addresses: (None, None), secured: None }
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// Whether an `https` URL may be asked for on the connection: it is encrypted, or was where it began, as far as somebody
    /// trusted says (RFC 9110 section 7.4).
    pub(crate) fn may_say_https(&self) -> bool {
        self.secured.is_some()
            || self.listener().speaks.proxy_protocol.is_some()
            || matcher::contains(&self.worker.site.trusted.networks, self.ip)
    }

    fn listener(&self) -> &'static Listener {
        &self.worker.site.listeners[self.listener as usize]
    }
}

/// The client's side of an exchange: of a whole connection in HTTP/1.1, of a stream in HTTP/2.
pub(crate) struct Client {
    pub(crate) worker: &'static Worker,
    pub(crate) peer: Rc<Peer>,
    pub(crate) timer: Timer,
    /// How long the exchange under way lets either side be silent.
    pub(crate) idle: Cell<Duration>,
    /// Its client may close its sending side and is still there.
    pub(crate) half_close: Cell<bool>,
    pub(crate) wire: Wire,
}

/// What a client speaks.
pub(crate) enum Wire {
    Http1(Http1),
    Http2(Http2),
    /// Nothing: there is nobody, and the exchange is the proxy's own.
    Nobody,
}

impl Client {
    fn new(peer: Rc<Peer>, wire: Wire) -> Client {
        let worker = peer.worker;
        let idle = Cell::new(worker.site.root.timeouts.idle.get(worker.settings));
        let half_close = Cell::new(worker.site.root.limits.half_close);
        Client { worker, peer, timer: Timer::default(), idle, half_close, wire }
    }

    /// Nobody, in the place of a client: for what the proxy fetches for itself.
    pub(crate) fn nobody(peer: &Rc<Peer>) -> Client {
        Client::new(Rc::clone(peer), Wire::Nobody)
    }

    /// How much there is of the request's body now; 0 at its end.
    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<usize, Flaw>> {
        match &self.wire {
            Wire::Http1(http1) => http1.inbound.borrow_mut().poll(cx, &mut http1.link.borrow_mut()),
            Wire::Http2(http2) => http2.poll_body(cx),
            Wire::Nobody => Poll::Ready(Ok(0)),
        }
    }

    /// Gives it to `to`, which says how much of it is dealt with.
    pub(crate) fn take_body(&self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        match &self.wire {
            Wire::Http1(http1) => http1.inbound.borrow_mut().take(&mut http1.link.borrow_mut(), to),
            Wire::Http2(http2) => http2.take_body(to),
            Wire::Nobody => 0,
        }
    }

    /// What followed the request's body.
    pub(crate) fn trailers(&self) -> Option<Fields> {
        match &self.wire {
            Wire::Http1(http1) => http1.inbound.borrow_mut().decoder.trailers.take(),
            Wire::Http2(http2) => http2.trailers(),
            Wire::Nobody => None,
        }
    }

    /// The client's body is waited for: if it waits to hear that it is wanted, it is told (RFC 9110 section 10.1.1); once.
    pub(crate) fn ask_for_body(&self) {
        if self.expects_continue().is_some_and(|expects| expects.replace(false)) {
            self.interim(StatusCode::CONTINUE, &Fields::new());
        }
    }

    /// The client's body comes, unasked or not.
    pub(crate) fn body_comes(&self) {
        if let Some(expects) = self.expects_continue() {
            expects.set(false);
        }
    }

    /// Whether the client waits to hear that its body is wanted.
    pub(crate) fn waits_for_continue(&self) -> bool {
        self.expects_continue().is_some_and(Cell::get)
    }

    fn expects_continue(&self) -> Option<&Cell<bool>> {
        match &self.wire {
            Wire::Http1(http1) => Some(&http1.expects_continue),
            Wire::Http2(http2) => Some(&http2.expects_continue),
            Wire::Nobody => None,
        }
    }

    /// Sends an interim answer, as soon as the exchange has to wait.
    pub(crate) fn interim(&self, status: StatusCode, fields: &Fields) {
        match &self.wire {
            Wire::Http1(http1) => http1.interim(status, fields),
            Wire::Http2(http2) => http2.interim(status, fields),
            Wire::Nobody => {}
        }
    }
}

/// How long a client may take to notice that it is no longer listened to.
const LINGER: Duration = Duration::from_secs(2);

/// An unused connection is closed so long after the drain began: its first request may be on its way.
const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &'static Worker, accepted: Accepted) {
    let _running = worker.running();
    let Accepted { stream, peer, listener, mut permit } = accepted;
    let speaks = &worker.site.listeners[listener as usize].speaks;
    let mut peer = Peer::new(worker, listener, peer);
    if worker.announces {
        peer.addresses = stream.addresses();
    }
    let link = Link::new(stream, worker.buffers);
    let plain = !speaks.tls && speaks.proxy_protocol.is_none() && !speaks.http2;
    if let Some(stream) = speaks.stream {
        // Boxed: what HTTP needs is large enough.
        Box::pin(stream::serve(Rc::new(peer), link, &worker.site.streams[usize::from(stream)])).await;
    } else if plain {
        http1::serve(Rc::new(peer), link).await;
    } else {
        // Boxed: large, and over soon.
        match Box::pin(begin(&mut peer, link, &mut permit)).await {
            Ok(Some((link, false))) => http1::serve(Rc::new(peer), link).await,
            Ok(Some((link, true))) => Box::pin(http2::serve(Rc::new(peer), link)).await,
            Ok(None) => {}
            Err((failure, Some(link))) => Box::pin(http1::turn_away(Rc::new(peer), link, failure)).await,
            Err((failure, None)) => {
                let method = http::Method::from_bytes(b"-").unwrap_or_default();
                let mut record =
                    Record::new(&Rc::new(peer), method, http::Version::HTTP_11, Fields::new(), Instant::now());
                record.failed(failure);
                record.finished();
            }
        }
    }
    drop(permit);
}

/// Why a connection is not served, and the connection if the client can be told.
type TurnedAway = (Failure, Option<Link>);

/// What comes before the first request. Gives the connection, and whether HTTP/2 is spoken on it; `None` if the client has
/// gone without a word.
async fn begin(peer: &mut Peer, mut link: Link, permit: &mut Permit) -> Result<Option<(Link, bool)>, TurnedAway> {
    let (worker, speaks) = (peer.worker, &peer.listener().speaks);
    let patience = worker.site.root.timeouts.handshake.get(worker.settings);
    let until = Instant::now() + patience.min(Duration::from_secs(3600));
    if let Some(expected) = &speaks.proxy_protocol {
        let introduced = tokio::time::timeout_at(until, introduction(peer, expected, &mut link)).await;
        let introduced = introduced.unwrap_or(Err(Failure::HandshakeTimeout));
        introduced.and_then(|()| permit.count(peer.ip)).map_err(|failure| (failure, None))?;
    }
    if speaks.tls {
        return tokio::time::timeout_at(until, secure(peer, link))
            .await
            .unwrap_or(Err((Failure::HandshakeTimeout, None)));
    }
    let http2 = match (speaks.http1, speaks.http2) {
        (_, false) => Some(false),
        (false, true) => Some(true),
        (true, true) => prior_knowledge(worker, &mut link).await,
    };
    Ok(http2.map(|http2| (link, http2)))
}

/// The TLS handshake.
async fn secure(peer: &mut Peer, mut link: Link) -> Result<Option<(Link, bool)>, TurnedAway> {
    let worker = peer.worker;
    match std::future::poll_fn(|cx| if link.is_empty() { link.poll_fill(cx) } else { Poll::Ready(Ok(true)) }).await {
        Ok(true) => {}
        Ok(false) | Err(_) => return Ok(None),
    }
    // A TLS record of a handshake begins with 22; a request with a letter.
    if link.bytes()[0].is_ascii_uppercase() {
        return Err((Failure::PlainHttp, Some(link)));
    }
    // Who connects and says nothing takes nobody's place.
    let Some(_shaking) = worker.budget.handshake() else { return Err((Failure::TooManyHandshakes, None)) };
    let secured = worker.tls.accept(worker.site, peer.listener, link).await;
    let (stream, secured) = secured.map_err(|failure| (failure, None))?;
    let http2 = secured.http2 || !peer.listener().speaks.http1;
    peer.secured = Some(secured);
    Ok(Some((Link::new(stream, worker.buffers), http2)))
}

/// What the proxy in front says of the client (`proxy-protocol`). Its word replaces the peer.
async fn introduction(peer: &mut Peer, expected: &ProxyProtocolIn, link: &mut Link) -> Result<(), Failure> {
    if !matcher::contains(&expected.from, peer.ip) {
        return Err(Failure::ProxyProtocol);
    }
    let header = std::future::poll_fn(|cx| {
        loop {
            match proxy_protocol::read(link.bytes(), expected) {
                Ok(None) => {}
                Ok(Some(header)) => return Poll::Ready(Ok(header)),
                Err(proxy_protocol::Malformed) => return Poll::Ready(Err(Failure::ProxyProtocol)),
            }
            match std::task::ready!(link.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(Err(Failure::ProxyProtocol)),
            }
        }
    })
    .await?;
    link.consume(header.size);
    if let Some((client, proxy)) = header.addresses {
        peer.ip = client.ip().to_canonical();
        peer.text = peer.ip.to_string();
        peer.addresses = (Some(client), Some(proxy));
    }
    Ok(())
}

/// Whether the first bytes are HTTP/2's (RFC 9113 section 3.4): no method of HTTP/1 is `PRI`. `None`: the client is gone, or
/// says nothing.
async fn prior_knowledge(worker: &'static Worker, link: &mut Link) -> Option<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let idle = worker.site.root.timeouts.idle.get(worker.settings);
    let (timer, mut draining) = (Timer::default(), Draining::new(worker));
    let began = Instant::now();
    let first = pin!(std::future::poll_fn(|cx| {
        loop {
            let len = link.bytes().len().min(PREFACE.len());
            if link.bytes()[..len] != PREFACE[..len] {
                return Poll::Ready(Some(false));
            }
            if len == PREFACE.len() {
                return Poll::Ready(Some(true));
            }
            match link.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let over = match draining.poll(cx) {
            Some(since) => timer.over(after(since, DRAIN_GRACE)),
            None => timer.over(after(began, idle)),
        };
        if over { Poll::Ready(None) } else { Poll::Pending }
    }));
    timer.run(first).await
}

/// Whether the worker stops. The signal is asked for again only when it has come: this is polled between all requests.
struct Draining {
    signal: tokio::sync::watch::Receiver<Stop>,
    wait: Option<Pin<Box<dyn Future<Output = ()>>>>,
    since: Option<Instant>,
}

impl Draining {
    fn new(worker: &Worker) -> Draining {
        Draining { signal: worker.stop.clone(), wait: None, since: None }
    }

    fn has_begun(&self) -> bool {
        // An error means that nobody is left to say stop.
        self.signal.has_changed().unwrap_or(true)
    }

    /// Since when, if it has begun.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if self.since.is_none() && (self.wait.is_none() || self.has_begun()) {
            let mut signal = self.signal.clone();
            let wait = self.wait.get_or_insert_with(|| {
                Box::pin(async move {
                    let _ = signal.wait_for(|stop| *stop != Stop::No).await;
                })
            });
            if wait.as_mut().poll(cx).is_ready() {
                self.since = Some(Instant::now());
            }
        }
        self.since
    }
}
