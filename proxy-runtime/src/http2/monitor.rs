//! Checks a peer's frames for violations that the library does not check or report: [`Monitor`], and [`Monitored`], the
//! connection that passes every byte to it.
//!
//! The library drops misplaced pseudo-header fields (RFC 9113 sections 8.1 and 8.3); it accepts any frame as the first one (section 3.4);
//! it does not report a stream that it refuses; and it does not limit most frames. The monitor marks streams with malformed fields, and the
//! owner of the stream asks for it ([`Monitor::is_malformed`]). Violations of the whole connection end it ([`Violation`]), with GOAWAY.
//!
//! It looks at nine bytes of each frame, and at field blocks as [`hpack`](super::hpack) does.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::flood::{Allowance, FOR_DATA, FOR_HEAD, FRAME, RESET};
use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, FramePart, Frames, GOAWAY, HEADERS, PADDED, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS,
};
use super::hpack::{HpackError, OVERHEAD, Scanner};
use crate::net::stream::BufferedStream;

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Too many frames that ask for nothing.
    Flood,
    /// Frames where they may not be.
    Protocol,
    /// A field block that is none.
    Compression,
    /// The fields of this stream are far too large.
    HeadTooLarge(u32),
}

impl Violation {
    fn code(self) -> Reason {
        match self {
            Violation::Protocol => Reason::PROTOCOL_ERROR,
            Violation::Compression => Reason::COMPRESSION_ERROR,
            Violation::Flood | Violation::HeadTooLarge(_) => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

/// The side of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerRole {
    Client,
    Server,
}

/// See above.
pub(crate) struct Monitor {
    state: RefCell<MonitorState>,
    cut: Cell<Option<Violation>>,
    /// How many bytes were sent.
    written: Cell<u64>,
    largest: usize,
}

/// So many times the largest head is the end of the connection. What is between is received, so that its client can be answered.
const FAR_TOO_LARGE: usize = 4;

impl Monitor {
    /// `largest` is what heads may come to, and trailers.
    pub(crate) fn new(from: PeerRole, largest: usize) -> Rc<Monitor> {
        let state = RefCell::new(MonitorState::new(from, largest.saturating_mul(FAR_TOO_LARGE), Instant::now()));
        Rc::new(Monitor { state, cut: Cell::new(None), written: Cell::new(0), largest })
    }

    /// What the library may take: nothing that is larger gets to it. It would refuse heads without telling anybody, and shorten
    /// trailers.
    pub(crate) fn most(&self) -> u32 {
        u32::try_from(self.largest.saturating_mul(FAR_TOO_LARGE)).unwrap_or(u32::MAX)
    }

    /// Whether fields are too large (RFC 9113 section 6.5.2), with so many bytes of pseudo-header fields.
    pub(crate) fn is_too_large(&self, pseudo: usize, headers: &HeaderMap) -> bool {
        let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
        pseudo + sizes.sum::<usize>() >= self.largest
    }

    /// Whether fields of a stream were malformed. A mark is there once.
    pub(crate) fn is_malformed(&self, stream: u32) -> bool {
        let marked = &mut self.state.borrow_mut().malformed;
        let at = marked.iter().position(|&malformed| malformed == stream);
        at.map(|at| marked.swap_remove(at)).is_some()
    }

    /// Why the connection was cut, if it was.
    pub(crate) fn cut(&self) -> Option<Violation> {
        self.cut.get()
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    fn received(&self, bytes: &[u8]) -> Result<(), Violation> {
        let outcome = self.state.borrow_mut().receive(bytes, Instant::now);
        self.cut.set(outcome.err());
        outcome
    }

    fn sent(&self, bytes: &[u8]) {
        self.written.set(self.written.get() + bytes.len() as u64);
        self.state.borrow_mut().send(bytes);
    }

    /// The last frames, where frames can begin now: GOAWAY (RFC 9113 section 5.4.1), and before it the end of the stream that is at
    /// fault, so that its client knows what to make of it.
    fn last_words(&self, cut: Violation) -> Vec<u8> {
        let state = self.state.borrow();
        if !state.sent.is_between() {
            return Vec::new();
        }
        let code = u32::from(cut.code()).to_be_bytes();
        let frame = |kind: u8, stream: u32, payload: &[u8]| {
            [&[0, 0, payload.len() as u8, kind, 0][..], &stream.to_be_bytes(), payload].concat()
        };
        let reset = match cut {
            Violation::HeadTooLarge(stream) => frame(RST_STREAM, stream, &code),
            _ => Vec::new(),
        };
        let last = if state.from == PeerRole::Client { state.latest } else { 0 };
        [reset, frame(GOAWAY, 0, &[last.to_be_bytes(), code].concat())].concat()
    }
}

/// The most marks of streams that nobody has asked for.
const MAX_MARKS: usize = 64;

/// What is known of the frames so far. Pure.
struct MonitorState {
    from: PeerRole,
    received: Frames,
    sent: Frames,
    scanner: Scanner,
    allowance: Allowance,
    /// The first frame has come.
    begun: bool,
    /// The stream of the field block under way.
    block: Option<OpenBlock>,
    /// The beginning of a payload that is looked at: padding and priority of HEADERS, or a setting.
    front: [u8; 6],
    /// The latest stream that the client has opened.
    latest: u32,
    /// Streams at a server that have not ended, and whether their head has come.
    open: Vec<(u32, bool)>,
    malformed: Vec<u32>,
}

/// HEADERS whose block has not come to its end.
#[derive(Clone, Copy)]
struct OpenBlock {
    stream: u32,
    ends_stream: bool,
}

impl MonitorState {
    fn new(from: PeerRole, limit: usize, now: Instant) -> MonitorState {
        let prefaces = if from == PeerRole::Client { [PREFACE, 0] } else { [0, PREFACE] };
        let [received, sent] = prefaces.map(Frames::after);
        MonitorState {
            from,
            received,
            sent,
            scanner: Scanner::new(limit),
            allowance: Allowance::new(now),
            begun: false,
            block: None,
            front: [0; 6],
            latest: 0,
            open: Vec::new(),
            malformed: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Violation> {
        let mut rest = bytes;
        while let Some((part, after)) = self.received.next(rest) {
            if part.starts {
                self.begin(part.head)?;
            }
            if !self.allowance.spend(price(part), &now) {
                return Err(Violation::Flood);
            }
            match part.head.kind {
                HEADERS | CONTINUATION => self.fields(part)?,
                SETTINGS if !part.head.has(ACK) => self.settings(part)?,
                DATA if part.ends() && part.head.has(END_STREAM) => self.close(part.head.stream),
                RST_STREAM if part.ends() => self.close(part.head.stream),
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    fn begin(&mut self, head: FrameHead) -> Result<(), Violation> {
        // RFC 9113 section 3.4: SETTINGS come first.
        let first = !std::mem::replace(&mut self.begun, true);
        // Section 6.10: nothing else comes before the end of a block.
        let goes_on = head.kind == CONTINUATION;
        let block = self.block.is_some_and(|block| !goes_on || block.stream != head.stream);
        // Section 6.6: clients don't push, and servers were told not to.
        let pushes = head.kind == PUSH_PROMISE;
        if first && (head.kind != SETTINGS || head.has(ACK)) || block || pushes || goes_on && self.block.is_none() {
            return Err(Violation::Protocol);
        }
        if head.kind == HEADERS {
            self.block = Some(OpenBlock { stream: head.stream, ends_stream: head.has(END_STREAM) });
        }
        Ok(())
    }

    /// A part of a field block, without padding and priority (RFC 9113 section 6.2).
    fn fields(&mut self, part: FramePart<'_>) -> Result<(), Violation> {
        let (head, FramePart { at, payload, .. }) = (part.head, part);
        let Some(block) = self.block else { return Err(Violation::Protocol) };
        let opens = head.kind == HEADERS;
        let padded = usize::from(opens && head.has(PADDED));
        let start = padded + if opens && head.has(PRIORITY) { 5 } else { 0 };
        if at < start {
            for (kept, byte) in self.front[at..start].iter_mut().zip(payload) {
                *kept = *byte;
            }
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| self.front[padded + at]);
            let depends_on = u32::from_be_bytes([a & 0x7F, b, c, d]);
            // Section 5.3.1 of RFC 7540. The library does not decode the block then, and would take all later ones for what they
            // are not.
            if at + payload.len() >= start && start > 1 && depends_on == head.stream {
                return Err(Violation::Protocol);
            }
        }
        let padding = if padded == 1 { self.front[0].into() } else { 0 };
        let end = head.length.saturating_sub(padding);
        let within = |place: usize| place.saturating_sub(at).min(payload.len());
        let fragment = payload.get(within(start)..within(end)).unwrap_or_default();
        let scanned = self.scanner.feed(fragment).and_then(|()| {
            let whole = part.ends() && head.has(END_HEADERS);
            if whole { self.scanner.finish().map(Some) } else { Ok(None) }
        });
        let scanned = scanned.map_err(|flaw| match flaw {
            HpackError::Malformed => Violation::Compression,
            HpackError::TooLarge => Violation::HeadTooLarge(block.stream),
        })?;
        let Some(found) = scanned else { return Ok(()) };
        self.block = None;
        // Sections 8.1 and 8.3: trailers have no pseudo-header fields, and responses none but `:status`. That it is there, and
        // what else there has to be in requests, the library sees to.
        let is_malformed = match self.from {
            PeerRole::Client => {
                let trailers = block.stream <= self.latest;
                self.latest = self.latest.max(block.stream);
                trailers && (found.pseudo || found.interim.is_some())
            }
            PeerRole::Server => match self.open.iter_mut().find(|(stream, _)| *stream == block.stream) {
                Some((_, headed)) => {
                    let trailers = std::mem::replace(headed, *headed || found.interim == Some(false));
                    found.pseudo || trailers && found.interim.is_some()
                }
                // A stream that was given up, or never was: the library's to deal with.
                None => false,
            },
        };
        if is_malformed {
            self.malformed.push(block.stream);
        }
        if block.ends_stream {
            self.close(block.stream);
        }
        if self.malformed.len() > MAX_MARKS { Err(Violation::Protocol) } else { Ok(()) }
    }

    /// RFC 9113 section 6.5.2: servers don't say that they may be pushed to.
    fn settings(&mut self, part: FramePart<'_>) -> Result<(), Violation> {
        const PUSH: [u8; 6] = [0, 2, 0, 0, 0, 1];
        for (at, byte) in (part.at..).zip(part.payload) {
            self.front[at % 6] = *byte;
            if at % 6 == 5 && self.front == PUSH && self.from == PeerRole::Server {
                return Err(Violation::Protocol);
            }
        }
        Ok(())
    }

    fn close(&mut self, stream: u32) {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == stream) {
            self.open.swap_remove(at);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((part, after)) = self.sent.next(rest) {
            let FrameHead { kind, stream, .. } = part.head;
            if part.starts {
                self.allowance.earn(match kind {
                    HEADERS => FOR_HEAD,
                    DATA => FOR_DATA,
                    _ => 0,
                });
            }
            match kind {
                HEADERS if part.starts && self.from == PeerRole::Server && stream > self.latest => {
                    self.latest = stream;
                    self.open.push((stream, false));
                }
                RST_STREAM if part.starts => self.close(stream),
                _ => {}
            }
            rest = after;
        }
    }
}

/// What a part of a frame costs its sender: what brings data, or the end of a body, nothing.
fn price(part: FramePart<'_>) -> u32 {
    let (head, first) = (part.head, part.payload.first());
    match head.kind {
        DATA if head.has(END_STREAM) => 0,
        DATA if head.length == 0 => FRAME,
        // All of it is padding (RFC 9113 section 6.1).
        DATA if part.at == 0
            && head.has(PADDED)
            && first.is_some_and(|&padding| usize::from(padding) + 1 >= head.length) =>
        {
            FRAME
        }
        DATA => 0,
        _ if !part.starts => 0,
        RST_STREAM => RESET,
        _ => FRAME,
    }
}

/// The size of what clients begin with (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// A connection whose frames are looked at.
pub(crate) struct Monitored {
    link: BufferedStream,
    monitor: Rc<Monitor>,
}

impl Monitored {
    pub(crate) fn new(link: BufferedStream, monitor: &Rc<Monitor>) -> Monitored {
        Monitored { link, monitor: Rc::clone(monitor) }
    }
}

impl AsyncRead for Monitored {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.monitor.cut().is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.link).poll_read(cx, buf))?;
        let Err(cut) = self.monitor.received(&buf.filled()[before..]) else { return Poll::Ready(Ok(())) };
        // The peer may take nothing: then it is not told.
        let last_words = self.monitor.last_words(cut);
        let _ = self.link.stream.poll_write(cx, [&last_words, &[]]);
        let _ = self.link.stream.poll_write(cx, [&[], &[]]);
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncWrite for Monitored {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.link).poll_write(cx, buf))?;
        self.monitor.sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.link).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = &buf[..left.min(buf.len())];
            self.monitor.sent(part);
            left -= part.len();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
