//! An in-flight fetch and its followers: [`Flight`]. One request fetches ([`FetchGuard`]), others join
//! ([`Follower`]) and get the body while it arrives, each at its own pace, on any worker.
//!
//! If the fetching request ends early, no follower waits in vain: dropping a [`FetchGuard`] notifies them. A response that turns out too large
//! to store is still passed to its followers, with only the part between the slowest and the fastest of them in memory.
//!
//! There may be several fetches for a key: a slow one is overtaken, and responses that may not be shared are fetched
//! in parallel. Requests join the listed flight: the one that began last, or that got a shareable response last.

mod state;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use tokio::time::Instant;

pub(crate) use self::state::FetchOutcome;
use self::state::{FlightState, NextChunk};
use super::cached_body::CachedBody;
use super::entry::CachedHead;
use super::freshness::NotStored;
use super::groups;
use super::purges::Purge;
use crate::body::source::Source;
use crate::body::source::split;
use crate::failure::Failure;
use crate::protocol::fields::Fields;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, MutexGuard};

/// The in-flight fetches of a store.
#[derive(Default)]
pub(crate) struct Flights {
    shards: [Mutex<HashMap<u128, Arc<Flight>>>; SHARDS],
    /// The number of purges so far.
    purges: AtomicU64,
}

const SHARDS: usize = 16;

/// The result of joining: the first request fetches.
pub(crate) enum FlightRole {
    Fetch(FetchGuard),
    Follow(Follower),
}

impl Flights {
    /// Joins the in-flight fetch of this name, or starts one.
    pub(crate) fn join(&'static self, name: u128, url: &str) -> FlightRole {
        let mut flights = self.shard(name);
        match flights.get(&name) {
            Some(flight) => FlightRole::Follow(Follower::of(flight)),
            None => FlightRole::Fetch(self.listed(&mut flights, name, url)),
        }
    }

    /// Joins the in-flight fetch of this name, if it has a shareable response.
    pub(crate) fn join_landed(&self, name: u128) -> Option<Follower> {
        let flights = self.shard(name);
        let flight = flights.get(&name)?;
        // The lock is released before the follower takes it.
        let has_landed = matches!(locked(&flight.state).landed(), Some(FetchOutcome::Answer(..)));
        has_landed.then(|| Follower::of(flight))
    }

    /// Joins the in-flight fetch of this name, if no response has arrived.
    pub(crate) fn join_undecided(&self, name: u128) -> Option<Follower> {
        let flights = self.shard(name);
        let flight = flights.get(&name)?;
        let undecided = locked(&flight.state).landed().is_none();
        undecided.then(|| Follower::of(flight))
    }

    /// Starts another fetch in place of one that is too slow or unusable; of several requests, the first one starts it, and the
    /// others join.
    pub(crate) fn overtake(&'static self, slow: &Arc<Flight>) -> FlightRole {
        let mut flights = self.shard(slow.name);
        match flights.get(&slow.name) {
            Some(flight) if !Arc::ptr_eq(flight, slow) => FlightRole::Follow(Follower::of(flight)),
            _ => FlightRole::Fetch(self.listed(&mut flights, slow.name, &slow.url)),
        }
    }

    /// Returns a fetch that no request joins, unless its response turns out to be shareable.
    pub(crate) fn beside(&'static self, name: u128, url: &str) -> FetchGuard {
        let (began, purges) = (Instant::now(), self.purges.load(Ordering::SeqCst));
        let flight = Flight { name, url: url.into(), began, purges, state: Mutex::default() };
        FetchGuard { flights: self, flight: Arc::new(flight) }
    }

    fn listed(&'static self, flights: &mut HashMap<u128, Arc<Flight>>, name: u128, url: &str) -> FetchGuard {
        let guard = self.beside(name, url);
        flights.insert(name, Arc::clone(&guard.flight));
        guard
    }

    /// Lists a fetch with a shareable response, unless a purge since its start has delisted it, or might have. Requests that wait for another
    /// one may use this response.
    fn list(&self, flight: &Arc<Flight>) {
        let other = {
            let mut flights = self.shard(flight.name);
            if self.purges.load(Ordering::SeqCst) != flight.purges {
                return;
            }
            flights.insert(flight.name, Arc::clone(flight))
        };
        if let Some(other) = other.filter(|other| !Arc::ptr_eq(other, flight)) {
            other.change(|state| state.land(FetchOutcome::Abandoned));
        }
    }

    /// Lists a fetch also under the name that its response is stored under: later requests know the response's `Vary` and look there, and do not
    /// know the name that the fetch was started under.
    fn list_as(&self, flight: &Arc<Flight>, name: u128) {
        let mut flights = self.shard(name);
        if self.purges.load(Ordering::SeqCst) == flight.purges {
            flights.entry(name).or_insert_with(|| Arc::clone(flight));
        }
    }

    /// Delists all fetches that a purge applies to, or may apply to, so that later requests do not join them. Costs a look at each
    /// listed fetch.
    pub(super) fn purge(&self, purge: &Purge) {
        // Before the lists: a fetch that is listed later has started later, or sees this.
        self.purges.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            locked(shard).retain(|_, flight| !flight.may_be_meant(purge));
        }
    }

    /// Delists a fetch, so that no request joins it any more.
    fn delist(&self, flight: &Arc<Flight>) {
        let landed = locked(&flight.state).landed().and_then(FetchOutcome::name);
        for name in [Some(flight.name), landed].into_iter().flatten() {
            let mut flights = self.shard(name);
            if flights.get(&name).is_some_and(|listed| Arc::ptr_eq(listed, flight)) {
                flights.remove(&name);
            }
        }
    }

    #[cfg(feature = "admin")]
    /// Returns the number of fetches that can be joined.
    pub(super) fn count(&self) -> u64 {
        let begun = |flights: &HashMap<u128, Arc<Flight>>| {
            flights.iter().filter(|(name, flight)| **name == flight.name).count() as u64
        };
        self.shards.iter().map(|shard| begun(&locked(shard))).sum()
    }

    fn shard(&self, name: u128) -> MutexGuard<'_, HashMap<u128, Arc<Flight>>> {
        locked(&self.shards[name as usize % SHARDS])
    }

    #[cfg(test)]
    fn has(&self, name: u128) -> bool {
        self.shard(name).contains_key(&name)
    }
}

/// An in-flight fetch.
pub(crate) struct Flight {
    name: u128,
    url: Box<str>,
    began: Instant,
    /// The number of purges before it.
    purges: u64,
    state: Mutex<FlightState>,
}

impl Flight {
    fn may_be_meant(&self, purge: &Purge) -> bool {
        match purge {
            Purge::Tags(tags) => match locked(&self.state).landed() {
                Some(FetchOutcome::Answer(head, ..) | FetchOutcome::Refreshed(head, ..)) => {
                    purge.means(&self.url, &head.tags)
                }
                // Its tags are not known yet.
                _ => tags.iter().any(|tag| groups::may_have(&self.url, tag)),
            },
            purge => purge.means(&self.url, ""),
        }
    }

    /// Changes its state, and then wakes the tasks that `by` returns.
    fn change<W: IntoIterator<Item = Waker>>(&self, by: impl FnOnce(&mut FlightState) -> W) {
        let woken = by(&mut locked(&self.state));
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns why it was not stored, if that was decided during the fetch.
    pub(crate) fn unkept(&self) -> Option<NotStored> {
        locked(&self.state).unkept
    }
}

/// The guard of the request that fetches.
pub(crate) struct FetchGuard {
    flights: &'static Flights,
    flight: Arc<Flight>,
}

impl FetchGuard {
    /// Records the head of a shareable response. Returns a follower.
    pub(crate) fn lands(&self, head: Arc<CachedHead>, name: u128, length: Option<u64>) -> Follower {
        let follower = Follower::of(&self.flight);
        self.lands_for_all(FetchOutcome::Answer(head, name, length));
        follower
    }

    /// Returns a follower, whatever the outcome will be.
    pub(crate) fn follower(&self) -> Follower {
        Follower::of(&self.flight)
    }

    /// The response is not shareable.
    pub(crate) fn lands_alone(self) {
        self.flight.change(|state| state.land(FetchOutcome::Nothing));
    }

    /// The response was revalidated, and is stored already.
    pub(crate) fn refreshes(self, head: Arc<CachedHead>, name: u128, content: CachedBody) {
        self.lands_for_all(FetchOutcome::Refreshed(head, name, content));
    }

    fn lands_for_all(&self, landed: FetchOutcome) {
        // First: woken tasks may look there.
        if let Some(name) = landed.name().filter(|name| *name != self.flight.name) {
            self.flights.list_as(&self.flight, name);
        }
        self.flight.change(|state| state.land(landed));
        self.flights.list(&self.flight);
    }

    /// Adds a chunk of the body.
    pub(crate) fn push(&self, chunk: Bytes) {
        self.flight.change(|state| state.push(chunk));
    }

    /// The body will not be stored in memory, for this reason, or because it is stored elsewhere: no request can join
    /// any more, and chunks that were read are dropped.
    pub(crate) fn passes_on(&self, why: Option<NotStored>) {
        self.flights.delist(&self.flight);
        locked(&self.flight.state).pass_on(why);
    }

    /// The response was not stored after all.
    pub(crate) fn is_unkept(&self, why: NotStored) {
        locked(&self.flight.state).unkept.get_or_insert(why);
    }

    /// Returns whether it has followers.
    pub(crate) fn is_read(&self) -> bool {
        locked(&self.flight.state).is_read()
    }

    /// Waits until another chunk may be added; `false`: it is neither stored nor read.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = locked(&self.flight.state);
        match state.is_for_nobody() {
            true => Poll::Ready(false),
            false if state.has_room(cx.waker()) => Poll::Ready(true),
            false => Poll::Pending,
        }
    }

    /// Returns the chunks received so far.
    pub(crate) fn chunks(&self) -> Vec<Bytes> {
        locked(&self.flight.state).chunks().cloned().collect()
    }

    /// The body is complete, or failed. If it is to be stored, it is stored already.
    pub(crate) fn ends(self, end: Result<(), Failure>) {
        self.flights.delist(&self.flight);
        self.flight.change(|state| state.finish(end));
    }
}

impl Drop for FetchGuard {
    fn drop(&mut self) {
        self.flights.delist(&self.flight);
        self.flight.change(|state| {
            let mut woken = state.land(FetchOutcome::Abandoned);
            woken.append(&mut state.finish(Err(Failure::UpstreamTruncated)));
            woken
        });
    }
}

/// A request that waits for a fetch, and then reads its response.
pub(crate) struct Follower {
    flight: Arc<Flight>,
    /// Its number among the followers.
    number: usize,
    /// The unread rest of the current chunk.
    current: Bytes,
    /// How many bytes to skip.
    skip: u64,
    /// How many bytes are left to read; `None` for all.
    left: Option<u64>,
}

impl Follower {
    fn of(flight: &Arc<Flight>) -> Follower {
        let number = locked(&flight.state).join();
        Follower { flight: Arc::clone(flight), number, current: Bytes::new(), skip: 0, left: None }
    }

    /// Waits for the outcome of the fetch.
    pub(crate) fn poll_landed(&mut self, cx: &mut Context<'_>) -> Poll<FetchOutcome> {
        let mut state = locked(&self.flight.state);
        match state.landed() {
            Some(landed) => Poll::Ready(landed.clone()),
            None => {
                state.wait(self.number, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Restricts it to a range of the body.
    pub(crate) fn only(mut self, skip: u64, length: Option<u64>) -> Follower {
        (self.skip, self.left) = (skip, length);
        self
    }

    /// Returns when the fetch started.
    pub(crate) fn began(&self) -> Instant {
        self.flight.began
    }

    /// Returns whether the head had arrived before this time.
    pub(crate) fn landed_before(&self, moment: Instant) -> bool {
        locked(&self.flight.state).landed_at().is_some_and(|landed| landed < moment)
    }

    /// Returns the fetch that it follows.
    pub(crate) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// Returns how many bytes are left, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.left
    }
}

impl Source for Follower {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        loop {
            if self.left == Some(0) {
                return Poll::Ready(Ok(false));
            }
            if !self.current.is_empty() {
                return Poll::Ready(Ok(true));
            }
            let mut state = locked(&self.flight.state);
            let (next, woken) = state.read(self.number);
            if matches!(next, NextChunk::Pending) {
                state.wait(self.number, cx.waker());
            }
            drop(state);
            woken.into_iter().for_each(Waker::wake);
            let chunk = match next {
                NextChunk::Chunk(chunk) => chunk,
                NextChunk::End(end) => return Poll::Ready(end.map(|()| false)),
                NextChunk::Pending => return Poll::Pending,
            };
            self.current = chunk;
            let unwanted = self.skip.min(self.current.len() as u64);
            self.skip -= unwanted;
            self.current.advance(unwanted as usize);
            if let Some(left) = self.left.filter(|&left| left < self.current.len() as u64) {
                self.current.truncate(left as usize);
            }
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let took = to(&self.current);
        self.current.advance(took);
        self.left = self.left.map(|left| left - took as u64);
        took
    }

    fn take_bytes(&mut self, most: usize) -> Bytes {
        let taken = split(&mut self.current, most);
        self.left = self.left.map(|left| left - taken.len() as u64);
        taken
    }

    fn trailers(&mut self) -> Option<Fields> {
        // RFC 9111 section 3.1: a cache may omit trailers.
        None
    }

    fn broken(&self) -> Option<Failure> {
        locked(&self.flight.state).end.and_then(Result::err)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.change(|state| state.leave(self.number));
    }
}

/// No code panics while it holds one of these locks; even if it did, the data would be consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::store::tests::head;
    use super::state::WINDOW;
    use super::*;

    pub(super) fn flights() -> &'static Flights {
        Box::leak(Box::default())
    }

    pub(super) fn begin(flights: &'static Flights) -> FetchGuard {
        match flights.join(1, "http://a/") {
            FlightRole::Fetch(guard) => guard,
            FlightRole::Follow(_) => panic!("nobody was first"),
        }
    }

    pub(super) fn join(flights: &'static Flights) -> Follower {
        match flights.join(1, "http://a/") {
            FlightRole::Follow(follower) => follower,
            FlightRole::Fetch(_) => panic!("there is one"),
        }
    }

    /// Returns all that can be read now, and how the body ends: `None` if more may follow.
    pub(super) fn read(follower: &mut Follower) -> (String, Option<Result<(), Failure>>) {
        let (mut all, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
        let end = loop {
            match follower.poll_fill(&mut cx) {
                Poll::Pending => break None,
                Poll::Ready(Ok(false)) => break Some(Ok(())),
                Poll::Ready(Err(failure)) => break Some(Err(failure)),
                Poll::Ready(Ok(true)) => drop(follower.take(|data| {
                    all.extend_from_slice(data);
                    data.len()
                })),
            }
        };
        (String::from_utf8(all).expect("text"), end)
    }

    fn text(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn landed(follower: &mut Follower) -> &'static str {
        match follower.poll_landed(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => "pending",
            Poll::Ready(FetchOutcome::Answer(..)) => "answer",
            Poll::Ready(FetchOutcome::Refreshed(..)) => "refreshed",
            Poll::Ready(FetchOutcome::Nothing) => "nothing",
            Poll::Ready(FetchOutcome::Abandoned) => "abandoned",
        }
    }

    #[test]
    fn requests_join_a_fetch_in_flight() {
        let flights = flights();
        let guard = begin(flights);
        let mut early = join(flights);
        assert_eq!(landed(&mut early), "pending");
        let mut first = guard.lands(head("http://a/", &[], ""), 1, None);
        assert_eq!(landed(&mut early), "answer");
        guard.push(text("ab"));
        assert_eq!(read(&mut first), ("ab".to_owned(), None));
        guard.push(text("cd"));
        let mut late = join(flights);
        let mut part = join(flights).only(1, Some(2));
        assert_eq!(read(&mut late), ("abcd".to_owned(), None));
        assert_eq!(read(&mut part), ("bc".to_owned(), Some(Ok(()))));
        assert_eq!(guard.chunks().concat(), b"abcd");
        guard.ends(Ok(()));
        assert!(!flights.has(1));
        assert_eq!(read(&mut early), ("abcd".to_owned(), Some(Ok(()))));
        assert_eq!(read(&mut first), ("cd".to_owned(), Some(Ok(()))));
    }

    #[test]
    fn abandoned_fetches_wake_followers() {
        let flights = flights();
        for (end, expected) in [
            (Box::new(|guard: FetchGuard| drop(guard)) as Box<dyn Fn(FetchGuard)>, "abandoned"),
            (Box::new(|guard| guard.lands_alone()), "nothing"),
            (
                Box::new(|guard| guard.refreshes(head("http://a/", &[], ""), 1, CachedBody::One(Bytes::new()))),
                "refreshed",
            ),
        ] {
            let guard = begin(flights);
            let mut follower = join(flights);
            end(guard);
            assert_eq!(landed(&mut follower), expected);
            assert!(!flights.has(1));
        }
        // In the middle of a body.
        let guard = begin(flights);
        let mut follower = guard.lands(head("http://a/", &[], ""), 1, Some(9));
        guard.push(text("ab"));
        drop(guard);
        assert_eq!(read(&mut follower), ("ab".to_owned(), Some(Err(Failure::UpstreamTruncated))));
    }

    /// A slow fetch is overtaken by one of the waiting requests; the first response is for all, whoever has fetched it.
    #[test]
    fn slow_fetches_are_overtaken() {
        let flights = flights();
        let slow = begin(flights);
        let (mut patient, first, second) = (join(flights), join(flights), join(flights));
        let FlightRole::Fetch(fast) = flights.overtake(&first.flight()) else { panic!("the first may") };
        let FlightRole::Follow(mut second) = flights.overtake(&second.flight()) else {
            panic!("there is a faster fetch already")
        };
        assert!(flights.join_landed(1).is_none());
        // The slow fetch responds first after all: the others look again, and find its response.
        let _leader = slow.lands(head("http://a/", &[], ""), 1, None);
        assert_eq!((landed(&mut patient), landed(&mut second)), ("answer", "abandoned"));
        assert_eq!(landed(&mut join(flights)), "answer");
        assert!(flights.join_landed(1).is_some());
        // Another fetch that ends removes nothing.
        fast.lands_alone();
        assert!(flights.has(1));
        slow.ends(Ok(()));
        assert!(!flights.has(1));
        // A parallel fetch is listed once its response turns out to be shareable.
        let beside = flights.beside(1, "http://a/");
        assert!(!flights.has(1));
        let _reader = beside.lands(head("http://a/", &[], ""), 1, None);
        assert_eq!(landed(&mut join(flights)), "answer");
    }

    /// The body of a response that is not stored is not accumulated.
    #[test]
    fn unstored_bodies_are_not_accumulated() {
        let flights = flights();
        let guard = begin(flights);
        let mut slow = guard.lands(head("http://a/", &[], ""), 1, None);
        let mut fast = join(flights);
        let mut cx = Context::from_waker(Waker::noop());
        let chunk = Bytes::from(vec![b'x'; WINDOW / 2]);
        guard.push(chunk.clone());
        guard.passes_on(Some(NotStored::TooLarge));
        assert!(!flights.has(1), "requests that would miss the beginning can't join");
        assert_eq!(guard.poll_room(&mut cx), Poll::Ready(true));
        guard.push(chunk.clone());
        assert_eq!(read(&mut fast).0.len(), WINDOW);
        assert_eq!(guard.poll_room(&mut cx), Poll::Pending);
        assert!(matches!(slow.poll_fill(&mut cx), Poll::Ready(Ok(true))));
        assert_eq!(guard.poll_room(&mut cx), Poll::Ready(true));
        drop(slow);
        assert_eq!(locked(&guard.flight.state).chunks().len(), 0);
        drop(fast);
        assert_eq!(guard.poll_room(&mut cx), Poll::Ready(false));
    }

    /// A request after a purge joins no earlier fetch that the purge applies to, whatever its outcome; followers keep
    /// reading.
    #[test]
    fn purges_delist_fetches() {
        let check = |purge: &Purge, landed: bool, expected: bool| {
            let flights = flights();
            let guard = begin(flights);
            let mut before = join(flights);
            let lands = || drop(guard.lands(head("http://a/", &[], "t"), 1, None));
            if landed {
                lands();
            }
            flights.purge(purge);
            assert_eq!(!flights.has(1), expected, "{purge:?} {landed}");
            if !landed {
                lands();
            }
            assert_eq!(flights.has(1), !expected, "{purge:?} {landed}");
            guard.push(text("whole"));
            assert_eq!(super::tests::landed(&mut before), "answer");
            assert_eq!(read(&mut before).0, "whole");
        };
        let url = |url: &str| Purge::Url(url.to_owned());
        let tags = |tag: &str| Purge::Tags(vec![tag.to_owned()]);
        for landed in [true, false] {
            check(&Purge::All, landed, true);
            check(&url("http://a/"), landed, true);
            check(&url("http://b/"), landed, false);
            check(&Purge::Below("http://a".to_owned()), landed, true);
            check(&tags("t"), landed, true);
            check(&tags("other"), landed, !landed);
        }
        // A parallel fetch with a shareable response is not listed after a purge.
        let flights = flights();
        let beside = flights.beside(1, "http://a/");
        flights.purge(&url("http://b/"));
        drop(beside.lands(head("http://a/", &[], ""), 1, None));
        assert!(!flights.has(1));
    }

    /// Each of many followers of an unstored body gets all of it, and only the part between them is held.
    #[test]
    fn many_followers() {
        let flights = flights();
        let guard = begin(flights);
        let mut followers: Vec<Follower> = (0..1000).map(|_| join(flights)).collect();
        let first = guard.lands(head("http://a/", &[], ""), 1, None);
        let held = |guard: &FetchGuard| guard.chunks().len();
        guard.push(text("ab"));
        guard.passes_on(Some(NotStored::TooLarge));
        for round in 0..20 {
            guard.push(text("cd"));
            // Some followers leave in the middle.
            followers.truncate(1000 - 10 * round);
            for (index, follower) in followers.iter_mut().enumerate() {
                let expected = if round == 0 { "abcd" } else { "cd" };
                assert_eq!(read(follower), (expected.to_owned(), None), "{round} {index}");
            }
        }
        assert_eq!(held(&guard), 21, "the first follower has read nothing");
        drop(first);
        assert!(guard.is_read());
        assert_eq!(held(&guard), 0);
        drop(followers);
        assert!(!guard.is_read());
        guard.push(text("ef"));
        assert_eq!(held(&guard), 0);
    }

    /// Small chunks count with the memory that they take.
    #[test]
    fn small_chunks() {
        let flights = flights();
        let guard = begin(flights);
        let follower = guard.lands(head("http://a/", &[], ""), 1, None);
        guard.passes_on(Some(NotStored::TooLarge));
        let mut cx = Context::from_waker(Waker::noop());
        let pushed =
            (0..WINDOW).take_while(|_| guard.poll_room(&mut cx).is_ready()).map(|_| guard.push(text("x"))).count();
        assert!(pushed < WINDOW / 32, "{pushed}");
        drop(follower);
    }
}

#[cfg(all(test, kiln_loom))]
mod interleavings {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::super::store::tests::head;
    use super::tests::{begin, flights, join, read};
    use super::*;

    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut checked = loom::model::Builder::new();
        checked.preemption_bound = Some(2);
        checked.check(model);
    }

    /// A request after a purge joins no earlier fetch, even if that gets its response or is overtaken at the same moment.
    #[test]
    fn purged_while_it_lands() {
        for overtaken in [false, true] {
            check(move || {
                let flights = flights();
                let guard = begin(flights);
                let slow = join(flights);
                let lands = loom::thread::spawn(move || {
                    drop(guard.lands(head("http://a/", &[], ""), 1, None));
                    guard
                });
                let overtakes = overtaken.then(|| loom::thread::spawn(move || flights.overtake(&slow.flight())));
                flights.purge(&Purge::All);
                if let FlightRole::Follow(follower) = flights.join(1, "http://a/") {
                    assert_eq!(follower.flight.purges, 1, "the fetch began before the purge");
                }
                let _held = (lands.join().expect("ended"), overtakes.map(|overtakes| overtakes.join().expect("ended")));
                if let FlightRole::Follow(follower) = flights.join(1, "http://a/") {
                    assert_eq!(follower.flight.purges, 1, "it has begun before the purge");
                }
            });
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// A waiting follower is woken for new chunks, and reads all of them, whatever happens in between.
    #[test]
    fn followed_while_it_comes() {
        for passes in [false, true] {
            check(move || {
                let flights = flights();
                let guard = begin(flights);
                let mut follower = guard.lands(head("http://a/", &[], ""), 1, None);
                let woken = Arc::new(Woken::default());
                let waker = Waker::from(Arc::clone(&woken));
                let follows = loom::thread::spawn(move || {
                    let mut all = Vec::new();
                    loop {
                        match follower.poll_fill(&mut Context::from_waker(&waker)) {
                            Poll::Ready(Ok(true)) => drop(follower.take(|data| {
                                all.extend_from_slice(data);
                                data.len()
                            })),
                            Poll::Ready(_) => return (all, None),
                            Poll::Pending => return (all, Some(follower)),
                        }
                    }
                });
                guard.push(Bytes::from_static(b"ab"));
                if passes {
                    guard.passes_on(None);
                }
                guard.push(Bytes::from_static(b"c"));
                guard.ends(Ok(()));
                let (mut all, waits) = follows.join().expect("ended");
                if let Some(mut follower) = waits {
                    assert!(woken.0.load(Ordering::SeqCst), "the follower was not woken");
                    all.extend_from_slice(read(&mut follower).0.as_bytes());
                }
                assert_eq!(all, b"abc");
            });
        }
    }
}
