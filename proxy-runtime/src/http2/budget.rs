//! The memory budget of a connection: [`StreamBudget`], and shares of it ([`QueuedBytes`], [`HeldMemory`], [`WindowCredit`]).
//!
//! A client announces how much it accepts (RFC 9113 section 5.2). It may announce a large window and read nothing, or no
//! window, on as many streams as it may open. Memory therefore does not depend on its windows:
//!
//! - At most [`QUEUE`] bytes of all of its streams are queued in the library, whatever its windows.
//! - An exchange counts from the start ([`EXCHANGE`]), and a waiting exchange also counts the data that it holds. The amount
//!   beyond [`ALWAYS`] for a connection counts as the process's ([`Memory`]). If that is used up, the connection accepts no more requests
//!   for the moment, and exchanges that wait for their client while they hold data end.
//! - Bodies of requests are received beyond [`WINDOW_AT_FIRST`] for all streams together only if the process has memory to
//!   spare: then none waits for another whose server does not read. Without it, they share that window. What was
//!   announced can't be taken back: its memory is given back as the client uses it up, or at the end of the connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use h2::RecvStream;
use http::Request;

use super::priorities::StreamPriorities;
use crate::net::memory::Memory;

/// The most bytes that are queued to be written.
const QUEUE: usize = 64 << 10;

/// The memory that a connection may use without a share of the process's memory, in bytes.
const ALWAYS: usize = 64 << 10;

/// The approximate memory of an exchange without data.
const EXCHANGE: usize = 16 << 10;

/// The size of a request's head that [`EXCHANGE`] includes.
const SMALL_HEAD: usize = 2 << 10;

/// The initial receive window of a connection, for all request bodies together.
pub(crate) const WINDOW_AT_FIRST: u32 = 128 << 10;

/// The largest window (RFC 9113 section 6.9.1); the library refuses a larger one.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The memory budget of a connection.
pub(crate) struct StreamBudget {
    memory: &'static Memory,
    queued: Cell<usize>,
    held: Cell<usize>,
    /// By how much the connection's window is meant to exceed its initial size, for bodies under way.
    bodies: Cell<u32>,
    /// By how much it may still do so: a window that was announced shrinks only as data arrives (RFC 9113 section 6.9.2, RFC 9000 section 4.1).
    credit: Cell<u32>,
    /// Streams that wait for space in the queue.
    waiting: RefCell<Vec<(u64, Waker)>>,
    /// In which order these get it.
    pub(crate) priorities: Rc<StreamPriorities>,
    /// The connection's waker, while it accepts no more requests.
    acceptor: Cell<Option<Waker>>,
}

impl StreamBudget {
    pub(crate) fn new(memory: &'static Memory, priorities: Rc<StreamPriorities>) -> Rc<StreamBudget> {
        Rc::new(StreamBudget {
            memory,
            queued: Cell::new(0),
            held: Cell::new(0),
            bodies: Cell::new(0),
            credit: Cell::new(0),
            waiting: RefCell::default(),
            priorities,
            acceptor: Cell::new(None),
        })
    }

    /// Returns how much more may be queued for a stream; ready once that is not zero.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, stream: u64) -> Poll<usize> {
        let room = QUEUE.saturating_sub(self.queued.get());
        if room > 0 {
            return Poll::Ready(room);
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|(_, waker)| waker.will_wake(cx.waker())) {
            waiting.push((stream, cx.waker().clone()));
        }
        Poll::Pending
    }

    /// Counts bytes as queued.
    pub(crate) fn queue(self: &Rc<Self>, bytes: usize) -> QueuedBytes {
        self.queued.set(self.queued.get() + bytes);
        QueuedBytes { budget: Rc::clone(self), bytes }
    }

    /// Reserves memory for an exchange.
    pub(crate) fn poll_place(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<HeldMemory> {
        self.acceptor.take();
        if let Some(place) = self.hold(EXCHANGE) {
            return Poll::Ready(place);
        }
        self.acceptor.set(Some(cx.waker().clone()));
        self.memory.wait(cx);
        Poll::Pending
    }

    /// Reserves memory for a request's fields, and for its body if it has one; without memory for a body, the body shares the
    /// connection's window. `None` if there is no memory for the fields.
    pub(crate) fn admit(self: &Rc<Self>, request: &Request<RecvStream>) -> Option<(HeldMemory, Option<WindowCredit>)> {
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
        let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let length = request.headers().get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(u32::MAX);
        self.admit_parts(fields.sum::<usize>() + path, (!request.body().is_end_stream()).then_some(length))
    }

    /// The same for a head of this size, and for a body of this length if there is one.
    pub(crate) fn admit_parts(
        self: &Rc<Self>,
        head: usize,
        body: Option<u32>,
    ) -> Option<(HeldMemory, Option<WindowCredit>)> {
        let head = self.hold(head.saturating_sub(SMALL_HEAD))?;
        Some((head, body.and_then(|length| self.receive(length.min(WINDOW)))))
    }

    /// Reserves memory; `None` if there is none.
    pub(crate) fn hold(self: &Rc<Self>, bytes: usize) -> Option<HeldMemory> {
        let before = self.held.get();
        let after = before.checked_add(bytes)?;
        let more = beyond(after) - beyond(before);
        if more > 0 && !self.memory.take(more) {
            return None;
        }
        self.held.set(after);
        Some(HeldMemory { budget: Rc::clone(self), bytes })
    }

    /// Enlarges the connection's window for a body of up to this many bytes at once.
    fn receive(self: &Rc<Self>, bytes: u32) -> Option<WindowCredit> {
        let bodies = self.bodies.get().checked_add(bytes).filter(|&bodies| bodies <= MAX_WINDOW - WINDOW_AT_FIRST)?;
        let more = bodies.saturating_sub(self.credit.get());
        if more > 0 && !self.memory.take_spare(more as usize) {
            return None;
        }
        self.bodies.set(bodies);
        self.credit.set(self.credit.get() + more);
        Some(WindowCredit { budget: Rc::clone(self), bytes })
    }

    /// Returns the intended size of the connection's window.
    pub(crate) fn window(&self) -> u32 {
        WINDOW_AT_FIRST + self.bodies.get()
    }

    /// Returns the size of the connection's window that the client may still rely on.
    #[cfg(feature = "h3")]
    pub(crate) fn announced(&self) -> u32 {
        WINDOW_AT_FIRST + self.credit.get()
    }

    /// Counts received data, for which no space is announced again while more is announced than intended. Returns whether that was so.
    pub(crate) fn received(&self, bytes: usize) -> bool {
        let less = (self.credit.get() - self.bodies.get()).min(u32::try_from(bytes).unwrap_or(u32::MAX));
        if less > 0 {
            self.credit.set(self.credit.get() - less);
            self.memory.give(less as usize);
        }
        less > 0
    }
}

fn beyond(held: usize) -> usize {
    held.saturating_sub(ALWAYS)
}

/// Queued bytes, until this is dropped.
pub(crate) struct QueuedBytes {
    budget: Rc<StreamBudget>,
    bytes: usize,
}

impl Drop for QueuedBytes {
    fn drop(&mut self) {
        let budget = &self.budget;
        budget.queued.set(budget.queued.get() - self.bytes);
        // Not after each frame: woken streams then have space for several.
        if budget.queued.get() <= QUEUE / 2 {
            // They run in this order, and each takes what it can use: one whose own window is closed leaves it to the next.
            let mut waiting = budget.waiting.take();
            if waiting.len() > 1 && budget.priorities.matter() {
                waiting.sort_by_cached_key(|(stream, _)| budget.priorities.rank(*stream));
            }
            for (_, waker) in waiting {
                waker.wake();
            }
        }
    }
}

/// An amount of memory, held until this is dropped.
pub(crate) struct HeldMemory {
    budget: Rc<StreamBudget>,
    bytes: usize,
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        let (budget, before) = (&self.budget, self.budget.held.get());
        let after = before - self.bytes;
        budget.held.set(after);
        let less = beyond(before) - beyond(after);
        if less > 0 {
            budget.memory.give(less);
        }
        if let Some(acceptor) = budget.acceptor.take() {
            acceptor.wake();
        }
    }
}

/// A body's share of the connection's window, until this is dropped.
pub(crate) struct WindowCredit {
    budget: Rc<StreamBudget>,
    bytes: u32,
}

impl Drop for WindowCredit {
    fn drop(&mut self) {
        self.budget.bodies.set(self.budget.bodies.get() - self.bytes);
    }
}

impl Drop for StreamBudget {
    fn drop(&mut self) {
        self.memory.give(self.credit.get() as usize);
    }
}

/// The receive window of a body, in bytes.
pub(crate) const WINDOW: u32 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_a_most() {
        let memory: &'static Memory = Box::leak(Box::new(Memory::of(1 << 40)));
        let budget = StreamBudget::new(memory, Rc::default());
        let bodies: Vec<_> = (0..20_000).map(|_| budget.admit_parts(0, Some(u32::MAX))).collect();
        assert!(bodies.iter().all(Option::is_some), "they share the window");
        assert!(budget.window() <= MAX_WINDOW && budget.window() > MAX_WINDOW - WINDOW);
    }

    /// What was announced counts until it is used up, or the connection ends, whatever requests do meanwhile.
    #[test]
    fn announced_windows_count() {
        let memory: &'static Memory = Box::leak(Box::new(Memory::of(4 << 20)));
        let used = || memory.used().1;
        let budget = StreamBudget::new(memory, Rc::default());
        let body = || budget.admit_parts(0, Some(u32::MAX));
        for _ in 0..3 {
            let several = [body(), body(), body()];
            assert_eq!((used(), budget.window()), (3 * WINDOW as usize, WINDOW_AT_FIRST + 3 * WINDOW));
            assert!(!budget.received(1000), "no more is announced than intended");
            drop(several);
            assert_eq!((used(), budget.window()), (3 * WINDOW as usize, WINDOW_AT_FIRST));
        }
        // As data arrives, it is used up.
        assert!(budget.received(WINDOW as usize));
        let one = body();
        assert_eq!((used(), budget.window()), (2 * WINDOW as usize, WINDOW_AT_FIRST + WINDOW));
        assert!(budget.received(usize::MAX));
        assert_eq!(used(), WINDOW as usize);
        drop(one);
        assert!(budget.received(1));
        assert_eq!(used(), WINDOW as usize - 1);
        drop(budget);
        assert_eq!(used(), 0);
    }
}
