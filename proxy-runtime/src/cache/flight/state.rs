//! The state of an in-flight fetch ([`FlightState`]): its outcome, the body received so far, and the position of each follower. Pure:
//! it returns the tasks to wake, so that none is woken into a lock that is still held.
//!
//! Reading a chunk costs the same for any number of followers; a new chunk costs a look at each of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::cached_body::CachedBody;
use super::super::entry::CachedHead;
use super::super::freshness::NotStored;
use crate::failure::Failure;

/// The outcome of a fetch.
#[derive(Clone)]
pub(crate) enum FetchOutcome {
    /// A shareable response, and the name that it will be stored under. Its body follows; its length, if it is known.
    Answer(Arc<CachedHead>, u128, Option<u64>),
    /// The revalidated response, under this name.
    Refreshed(Arc<CachedHead>, u128, CachedBody),
    /// The response is not shareable.
    Nothing,
    /// The fetching request was dropped, the server has failed, or another fetch was faster: look again.
    Abandoned,
}

impl FetchOutcome {
    /// Returns the name that the response is stored under.
    pub(super) fn name(&self) -> Option<u128> {
        match self {
            FetchOutcome::Answer(_, name, _) | FetchOutcome::Refreshed(_, name, _) => Some(*name),
            FetchOutcome::Nothing | FetchOutcome::Abandoned => None,
        }
    }
}

/// The state of an in-flight fetch.
#[derive(Default)]
pub(super) struct FlightState {
    landed: Option<FetchOutcome>,
    landed_at: Option<Instant>,
    chunks: VecDeque<Bytes>,
    /// The memory of the chunks, in bytes.
    held: usize,
    /// How many chunks before these were dropped.
    dropped: usize,
    /// The body will not be stored: chunks are dropped once all followers have read them.
    passing: bool,
    /// Why it was not stored, if that was decided during the fetch.
    pub(super) unkept: Option<NotStored>,
    pub(super) end: Option<Result<(), Failure>>,
    followers: Vec<Option<FollowerState>>,
    /// Free follower numbers.
    free: Vec<usize>,
    /// For each available chunk, and the one after them: how many followers read it next.
    next_for: VecDeque<usize>,
    /// The fetching task, while it waits for followers to read.
    filling: Option<Waker>,
}

/// The position of a follower.
struct FollowerState {
    /// The chunk that it reads next, counted from the first of all.
    chunk: usize,
    waker: Option<Waker>,
}

/// The next item for a follower.
pub(super) enum NextChunk {
    Chunk(Bytes),
    End(Result<(), Failure>),
    /// More chunks will follow.
    Pending,
}

/// The most bytes of an unstored body that wait for its followers.
pub(super) const WINDOW: usize = 256 << 10;

impl FlightState {
    pub(super) fn landed(&self) -> Option<&FetchOutcome> {
        self.landed.as_ref()
    }

    pub(super) fn landed_at(&self) -> Option<Instant> {
        self.landed_at
    }

    /// Sets the outcome; the first one counts, except an abandoned fetch. Returns the tasks to wake.
    pub(super) fn land(&mut self, landed: FetchOutcome) -> Vec<Waker> {
        if matches!(self.landed, None | Some(FetchOutcome::Abandoned)) {
            (self.landed, self.landed_at) = (Some(landed), Some(Instant::now()));
            return self.wakers();
        }
        Vec::new()
    }

    /// Adds a chunk of the body. Returns the tasks to wake.
    pub(super) fn push(&mut self, chunk: Bytes) -> Vec<Waker> {
        self.held += cost(&chunk);
        self.chunks.push_back(chunk);
        if !self.is_read() {
            self.drop_read();
        }
        self.wakers()
    }

    /// The body will not be stored in memory, for this reason, or because it is stored elsewhere. No request can join
    /// any more.
    pub(super) fn pass_on(&mut self, why: Option<NotStored>) {
        (self.passing, self.unkept) = (true, why);
        self.drop_read();
    }

    /// Records the end of the body; the first end counts. Returns the tasks to wake.
    pub(super) fn finish(&mut self, end: Result<(), Failure>) -> Vec<Waker> {
        self.end.get_or_insert(end);
        self.wakers()
    }

    /// Returns the available chunks of the body.
    pub(super) fn chunks(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.chunks.iter()
    }

    /// Returns whether it has followers.
    pub(super) fn is_read(&self) -> bool {
        self.free.len() < self.followers.len()
    }

    /// Returns whether another chunk may be added now; if not, `waker` is woken when it may.
    pub(super) fn has_room(&mut self, waker: &Waker) -> bool {
        let has_room = !self.passing || self.held < WINDOW;
        if !has_room {
            self.filling = Some(waker.clone());
        }
        has_room
    }

    /// Returns whether it is neither stored nor read.
    pub(super) fn is_for_nobody(&self) -> bool {
        self.passing && !self.is_read()
    }

    /// Adds a follower, and returns its number.
    pub(super) fn join(&mut self) -> usize {
        // Zero: chunks are only dropped when no request can join any more.
        let chunk = self.dropped;
        *self.next_for(chunk) += 1;
        let follower = Some(FollowerState { chunk, waker: None });
        match self.free.pop() {
            Some(number) => {
                self.followers[number] = follower;
                number
            }
            None => {
                self.followers.push(follower);
                self.followers.len() - 1
            }
        }
    }

    /// Returns the next item for a follower. Also returns a task to wake.
    pub(super) fn read(&mut self, number: usize) -> (NextChunk, Option<Waker>) {
        let Some(follower) = &mut self.followers[number] else { return (NextChunk::Pending, None) };
        let chunk = follower.chunk;
        match (self.chunks.get(chunk - self.dropped), self.end) {
            (Some(found), _) => {
                let found = found.clone();
                follower.chunk += 1;
                *self.next_for(chunk) -= 1;
                *self.next_for(chunk + 1) += 1;
                self.drop_read();
                (NextChunk::Chunk(found), self.filling.take_if(|_| self.held < WINDOW))
            }
            (None, Some(end)) => (NextChunk::End(end), None),
            (None, None) => (NextChunk::Pending, None),
        }
    }

    /// Registers a waiting follower.
    pub(super) fn wait(&mut self, number: usize, waker: &Waker) {
        if let Some(follower) = &mut self.followers[number]
            && !follower.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            follower.waker = Some(waker.clone());
        }
    }

    /// Removes a follower. Returns a task to wake.
    pub(super) fn leave(&mut self, number: usize) -> Option<Waker> {
        if let Some(follower) = self.followers[number].take() {
            *self.next_for(follower.chunk) -= 1;
            self.free.push(number);
        }
        self.drop_read();
        self.filling.take()
    }

    /// Returns how many followers read this chunk next.
    fn next_for(&mut self, chunk: usize) -> &mut usize {
        let index = chunk - self.dropped;
        if self.next_for.len() <= index {
            self.next_for.resize(index + 1, 0);
        }
        &mut self.next_for[index]
    }

    /// Drops the chunks that all followers have read, if no request can join any more.
    fn drop_read(&mut self) {
        while self.passing && *self.next_for(self.dropped) == 0 {
            let Some(chunk) = self.chunks.pop_front() else { break };
            self.held -= cost(&chunk);
            self.next_for.pop_front();
            self.dropped += 1;
        }
    }

    fn wakers(&mut self) -> Vec<Waker> {
        self.followers.iter_mut().flatten().filter_map(|follower| follower.waker.take()).collect()
    }
}

/// Returns the memory of a chunk.
fn cost(chunk: &Bytes) -> usize {
    chunk.len() + size_of::<Bytes>()
}
