//! The priorities of a connection's streams ([`StreamPriorities`]), by fields of requests and responses, and by PRIORITY_UPDATE (RFC 9218 section 7).

use std::cell::{Cell, RefCell};

use crate::protocol::priority::{Rank, ResponsePriority};

/// The most updates that are kept for requests that have not begun; others are ignored.
const MAX_EARLY: usize = 64;

/// The priorities of a connection's streams.
#[derive(Debug, Default)]
pub(crate) struct StreamPriorities {
    /// Open streams, and those that were named before their request.
    streams: RefCell<Vec<(u64, StreamPriority)>>,
    /// One more than the last stream that has begun.
    begun: Cell<u64>,
    /// How many updates there were.
    updates: Cell<u64>,
    /// Somebody has said something.
    matter: Cell<bool>,
}

#[derive(Debug, Default)]
struct StreamPriority {
    begun: bool,
    client: ResponsePriority,
    /// PRIORITY_UPDATE has replaced what the request says.
    updated: bool,
    server: ResponsePriority,
    /// It waits for space to send more.
    #[cfg(feature = "h3")]
    waits: bool,
}

impl StreamPriorities {
    /// Begins a stream, whose request may say something.
    pub(crate) fn begin(&self, stream: u64, field: Option<&[u8]>) {
        self.begun.set(self.begun.get().max(stream + 1));
        let mut streams = self.streams.borrow_mut();
        if let Some((_, early)) = streams.iter_mut().find(|(early, _)| *early == stream) {
            early.begun = true;
        } else {
            let client = field.map_or(ResponsePriority::default(), ResponsePriority::parse);
            self.matter.set(self.matter.get() || client != ResponsePriority::default());
            streams.push((stream, StreamPriority { begun: true, client, ..StreamPriority::default() }));
        }
    }

    /// Handles PRIORITY_UPDATE. It may precede its request, and has no effect after the end of the stream.
    pub(crate) fn update(&self, stream: u64, value: &[u8]) {
        let (client, begun) = (ResponsePriority::parse(value), self.begun.get());
        let mut streams = self.streams.borrow_mut();
        if let Some((_, priority)) = streams.iter_mut().find(|(open, _)| *open == stream) {
            (priority.client, priority.updated) = (client, true);
        } else if stream >= begun {
            let early = |streams: &[(u64, StreamPriority)]| streams.iter().filter(|(_, early)| !early.begun).count();
            if early(&streams) == MAX_EARLY {
                // HTTP/2 closes lower streams without a word (RFC 9113 section 5.1.1).
                streams.retain(|(id, early)| early.begun || *id >= begun);
            }
            if early(&streams) < MAX_EARLY {
                streams.push((stream, StreamPriority { client, updated: true, ..StreamPriority::default() }));
            }
        }
        self.updates.set(self.updates.get() + 1);
        self.matter.set(true);
    }

    /// Returns how many updates there were: the rank of a stream may differ after another one.
    #[cfg(feature = "h3")]
    pub(crate) fn updates(&self) -> u64 {
        self.updates.get()
    }

    /// Whether streams differ in rank.
    pub(crate) fn matter(&self) -> bool {
        self.matter.get()
    }

    /// Notes whether a stream waits for space to send more.
    #[cfg(feature = "h3")]
    pub(crate) fn wait(&self, stream: u64, waits: bool) {
        if let Some((_, priority)) = self.streams.borrow_mut().iter_mut().find(|(open, _)| *open == stream) {
            priority.waits = waits;
        }
    }

    /// Returns how many streams of a better rank wait.
    #[cfg(feature = "h3")]
    pub(crate) fn better(&self, stream: u64) -> usize {
        let own = self.rank(stream);
        let streams = self.streams.borrow();
        let waiting = streams.iter().filter(|(_, priority)| priority.waits);
        waiting.filter(|(open, priority)| priority.client.merged(priority.server).rank(*open) < own).count()
    }

    /// Adds what the server says in its response.
    pub(crate) fn respond(&self, stream: u64, field: &[u8]) {
        if let Some((_, priority)) = self.streams.borrow_mut().iter_mut().find(|(open, _)| *open == stream) {
            priority.server = ResponsePriority::parse(field);
            self.matter.set(true);
        }
    }

    /// Returns the rank of a stream.
    pub(crate) fn rank(&self, stream: u64) -> Rank {
        let streams = self.streams.borrow();
        let said = streams.iter().find(|(open, _)| *open == stream);
        said.map_or(ResponsePriority::default(), |(_, said)| said.client.merged(said.server)).rank(stream)
    }

    /// Ends a stream, which may have ended before it began.
    pub(crate) fn end(&self, stream: u64) {
        self.begun.set(self.begun.get().max(stream + 1));
        let mut streams = self.streams.borrow_mut();
        if let Some(at) = streams.iter().position(|(open, _)| *open == stream) {
            streams.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_replace_what_requests_say() {
        let priorities = StreamPriorities::default();
        let said = |value: &str, stream| ResponsePriority::parse(value.as_bytes()).rank(stream);
        priorities.begin(1, Some(b"u=1"));
        priorities.begin(5, None);
        assert_eq!((priorities.rank(1), priorities.rank(5)), (said("u=1", 1), said("", 5)));
        priorities.update(1, b"u=6, i");
        // One that precedes its request.
        priorities.update(9, b"u=2");
        priorities.begin(9, Some(b"u=5"));
        assert_eq!((priorities.rank(1), priorities.rank(9)), (said("u=6, i", 1), said("u=2", 9)));
        priorities.respond(1, b"u=0");
        priorities.respond(5, b"i=?0");
        assert_eq!((priorities.rank(1), priorities.rank(5)), (said("u=0, i", 1), said("u=3, i=?0", 5)));
        for stream in [1, 5, 9] {
            priorities.end(stream);
            priorities.update(stream, b"u=0");
        }
        assert!(priorities.streams.borrow().is_empty(), "nothing is kept of streams that have ended");
    }

    #[test]
    fn updates_for_later_streams_are_limited() {
        let priorities = StreamPriorities::default();
        for stream in 0..1000 {
            priorities.update(4 * stream, b"u=0");
        }
        assert_eq!(priorities.streams.borrow().len(), MAX_EARLY);
        assert_eq!(priorities.rank(4), ResponsePriority::parse(b"u=0").rank(4));
    }

    #[test]
    fn updates_for_streams_that_never_begin_are_limited() {
        for ended in [true, false] {
            let priorities = StreamPriorities::default();
            for round in 0..1000 {
                let first = 400 * round;
                for stream in (first..first + 400).step_by(4) {
                    if ended {
                        priorities.end(stream);
                    }
                    priorities.update(stream, b"u=0");
                }
                // A later one is a request.
                priorities.begin(first + 396, None);
                priorities.end(first + 396);
            }
            assert!(priorities.streams.borrow().len() <= MAX_EARLY);
            // Those that begin later still count.
            priorities.update(400_000, b"u=0");
            assert_eq!(priorities.rank(400_000), ResponsePriority::parse(b"u=0").rank(400_000), "{ended}");
        }
    }
}
