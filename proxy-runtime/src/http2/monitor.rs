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
    PRIORITY_UPDATE, PUSH_PROMISE, RST_STREAM, SETTINGS,
};
use super::hpack::{HpackError, OVERHEAD, Scanner};
use super::priorities::StreamPriorities;
use crate::net::stream::BufferedStream;
use crate::protocol::priority::LONGEST;

/// Why a connection is terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Too many useless frames.
    Flood,
    /// Frames where they are not allowed.
    Protocol,
    /// A malformed field block.
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

/// The role of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerRole {
    Client,
    Server,
}

/// The monitor of a connection.
pub(crate) struct Monitor {
    state: RefCell<MonitorState>,
    cut: Cell<Option<Violation>>,
    /// The number of sent bytes.
    written: Cell<u64>,
    largest: usize,
}

/// A head that exceeds the limit by this factor ends the connection. Smaller ones are received, so that the client gets a
/// response.
const FAR_TOO_LARGE: usize = 4;

impl Monitor {
    /// Creates a monitor that limits heads and trailers to `largest` bytes.
    pub(crate) fn new(from: PeerRole, largest: usize) -> Rc<Monitor> {
        let state = RefCell::new(MonitorState::new(from, largest.saturating_mul(FAR_TOO_LARGE), Instant::now()));
        Rc::new(Monitor { state, cut: Cell::new(None), written: Cell::new(0), largest })
    }

    /// Returns the limit for the library, which no head may reach: it would refuse larger heads silently, and truncate
    /// trailers.
    pub(crate) fn most(&self) -> u32 {
        u32::try_from(self.largest.saturating_mul(FAR_TOO_LARGE)).unwrap_or(u32::MAX)
    }

    /// Returns whether fields are too large (RFC 9113 section 6.5.2), with `pseudo` bytes of pseudo-header fields.
    pub(crate) fn is_too_large(&self, pseudo: usize, headers: &HeaderMap) -> bool {
        let sizes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
        pseudo + sizes.sum::<usize>() >= self.largest
    }

    /// Returns whether a stream had malformed fields. Removes its mark.
    pub(crate) fn is_malformed(&self, stream: u32) -> bool {
        let marked = &mut self.state.borrow_mut().malformed;
        let at = marked.iter().position(|&malformed| malformed == stream);
        at.map(|at| marked.swap_remove(at)).is_some()
    }

    /// Returns the priorities of the client's streams.
    pub(crate) fn priorities(&self) -> Rc<StreamPriorities> {
        Rc::clone(&self.state.borrow().priorities)
    }

    /// Returns why the connection was terminated, if it was.
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

    /// Returns the final frames, if a frame can begin now: GOAWAY (RFC 9113 section 5.4.1), and before it RST_STREAM for the
    /// stream at fault, so that its client learns the reason.
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

/// The most streams that are marked at a time.
const MAX_MARKS: usize = 64;

/// The state of the received frames. Pure.
struct MonitorState {
    from: PeerRole,
    received: Frames,
    sent: Frames,
    scanner: Scanner,
    allowance: Allowance,
    /// Whether the first frame has arrived.
    begun: bool,
    /// The field block that is being received.
    block: Option<OpenBlock>,
    /// The beginning of a payload that is inspected: padding and priority of HEADERS, or a setting.
    front: [u8; 6],
    /// The latest stream that the client has opened.
    latest: u32,
    /// Open streams to a server, and whether the response's head has arrived.
    open: Vec<(u32, bool)>,
    malformed: Vec<u32>,
    /// The part of PRIORITY_UPDATE that has arrived.
    update: Vec<u8>,
    priorities: Rc<StreamPriorities>,
}

/// HEADERS whose field block is incomplete.
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
            update: Vec::new(),
            priorities: Rc::default(),
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
                PRIORITY_UPDATE if self.from == PeerRole::Client => self.priority_update(part)?,
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
        // Section 6.10: no other frame may interrupt a field block.
        let goes_on = head.kind == CONTINUATION;
        let block = self.block.is_some_and(|block| !goes_on || block.stream != head.stream);
        // Section 6.6: clients can't push, and servers were told not to.
        let pushes = head.kind == PUSH_PROMISE;
        if first && (head.kind != SETTINGS || head.has(ACK)) || block || pushes || goes_on && self.block.is_none() {
            return Err(Violation::Protocol);
        }
        if head.kind == HEADERS {
            self.block = Some(OpenBlock { stream: head.stream, ends_stream: head.has(END_STREAM) });
        }
        Ok(())
    }

    /// Inspects a part of a field block, without padding and priority (RFC 9113 section 6.2).
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
            // RFC 7540 section 5.3.1: a stream must not depend on itself. The library does not decode such a block, so its table
            // would be wrong for all later blocks.
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
        // Sections 8.1 and 8.3: trailers have no pseudo-header fields, and responses only `:status`. The library checks that
        // it is present, and the pseudo-header fields of requests.
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
                // A stream that was reset or never opened is handled by the library.
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

    /// RFC 9113 section 6.5.2: servers must not set ENABLE_PUSH to 1.
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

    /// RFC 9218 section 7.1: a stream, and the value of `Priority`. The library ignores the frame.
    fn priority_update(&mut self, part: FramePart<'_>) -> Result<(), Violation> {
        if part.starts {
            self.update.clear();
        }
        if part.head.stream != 0 || part.head.length < 4 {
            return Err(Violation::Protocol);
        }
        // What is longer is no value that would be parsed.
        let space = 4 + LONGEST + 1 - self.update.len();
        self.update.extend_from_slice(&part.payload[..part.payload.len().min(space)]);
        if let Some((stream, value)) = self.update.split_first_chunk().filter(|_| part.ends()) {
            match u32::from_be_bytes(*stream) & (u32::MAX >> 1) {
                // An id that no request has.
                stream if stream % 2 == 0 => return Err(Violation::Protocol),
                stream => self.priorities.update(stream.into(), value),
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

/// Returns the price of a part of a frame: data and the end of a body are free.
fn price(part: FramePart<'_>) -> u32 {
    let (head, first) = (part.head, part.payload.first());
    match head.kind {
        DATA if head.has(END_STREAM) => 0,
        DATA if head.length == 0 => FRAME,
        // The payload is padding alone (RFC 9113 section 6.1).
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

/// The size of a client's connection preface (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// A connection whose frames are monitored.
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
        // If the peer reads nothing, it does not receive these frames.
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
