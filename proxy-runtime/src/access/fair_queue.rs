//! A queue for work with limited concurrency, shared fairly among clients ([`FairQueue`]): a client with many requests delays only
//! itself.
//!
//! Clients are distinguished by IPv4 address or IPv6 /64, and get their turns round-robin. The number of waiting requests is
//! limited, per client and in total. When the queue is full, a client with fewer waiting requests than another gets one of that
//! one's places.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// The most waiting requests of a client.
const PER_CLIENT: usize = 100;

/// The most waiting requests.
const ALL: usize = 1000;

/// The time-out of a waiting request.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct FairQueue {
    at_once: usize,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    running: usize,
    waiting: usize,
    /// The waiting requests by client; no list is empty.
    clients: HashMap<IpAddr, VecDeque<oneshot::Sender<HashingTurn>>>,
    /// The clients, in the order of their next turns.
    order: VecDeque<IpAddr>,
}

/// A turn, which ends when it is dropped.
pub(crate) struct HashingTurn(Option<Arc<FairQueue>>);

enum TurnState {
    Now(HashingTurn),
    Waits(oneshot::Receiver<HashingTurn>),
    Refused,
}

impl FairQueue {
    pub(crate) fn new(at_once: usize) -> Arc<FairQueue> {
        Arc::new(FairQueue { at_once, state: Mutex::default() })
    }

    /// Waits for a turn. `None`: the queue is full, or the time-out has expired.
    pub(crate) async fn turn(self: &Arc<FairQueue>, client: IpAddr) -> Option<HashingTurn> {
        match self.place(network(client)) {
            TurnState::Now(turn) => Some(turn),
            TurnState::Waits(turn) => tokio::time::timeout(PATIENCE, turn).await.ok()?.ok(),
            TurnState::Refused => None,
        }
    }

    fn place(self: &Arc<FairQueue>, client: IpAddr) -> TurnState {
        let mut state = self.lock();
        if state.running < self.at_once {
            state.running += 1;
            return TurnState::Now(HashingTurn(Some(Arc::clone(self))));
        }
        if state.count(client) >= PER_CLIENT || state.waiting >= ALL {
            state.forget_those_that_left();
        }
        let own = state.count(client);
        if own >= PER_CLIENT || (state.waiting >= ALL && !state.make_room(own)) {
            return TurnState::Refused;
        }
        let (turn, waits) = oneshot::channel();
        if own == 0 {
            state.order.push_back(client);
        }
        state.clients.entry(client).or_default().push_back(turn);
        state.waiting += 1;
        TurnState::Waits(waits)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn count(&self, client: IpAddr) -> usize {
        self.clients.get(&client).map_or(0, VecDeque::len)
    }

    /// Removes the last request of the client with the most, if that still has more than `own` and one without it.
    fn make_room(&mut self, own: usize) -> bool {
        let longest = self.clients.values_mut().max_by_key(|waiting| waiting.len());
        let Some(longest) = longest.filter(|longest| longest.len() > own + 1) else { return false };
        longest.pop_back();
        self.waiting -= 1;
        true
    }

    /// Removes requests that do not wait any more.
    fn forget_those_that_left(&mut self) {
        self.clients.retain(|_, waiting| {
            waiting.retain(|one| !one.is_closed());
            !waiting.is_empty()
        });
        self.order.retain(|client| self.clients.contains_key(client));
        self.waiting = self.clients.values().map(VecDeque::len).sum();
    }

    /// Returns the next request to get a turn; `None` if none waits.
    fn next(&mut self) -> Option<oneshot::Sender<HashingTurn>> {
        let next = self.order.pop_front().and_then(|client| {
            let waiting = self.clients.get_mut(&client)?;
            let next = waiting.pop_front();
            if waiting.is_empty() {
                self.clients.remove(&client);
            } else {
                self.order.push_back(client);
            }
            next
        });
        match next {
            Some(_) => self.waiting -= 1,
            None => self.running -= 1,
        }
        next
    }
}

impl Drop for HashingTurn {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        loop {
            let Some(next) = queue.lock().next() else { return };
            match next.send(HashingTurn(Some(Arc::clone(&queue)))) {
                Ok(()) => return,
                // The request no longer waits: the turn goes to the next one.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

/// Returns the network that counts as one client.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(client) => Ipv6Addr::from_bits(client.to_bits() >> 64 << 64).into(),
        client => client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn waits(queue: &Arc<FairQueue>, client: &str) -> oneshot::Receiver<HashingTurn> {
        match queue.place(network(address(client))) {
            TurnState::Waits(turn) => turn,
            TurnState::Now(_) => panic!("{client} has a turn"),
            TurnState::Refused => panic!("{client} is refused"),
        }
    }

    fn is_refused(queue: &Arc<FairQueue>, client: &str) -> bool {
        matches!(queue.place(network(address(client))), TurnState::Refused)
    }

    fn running(queue: &Arc<FairQueue>) -> HashingTurn {
        match queue.place(address("192.0.2.1")) {
            TurnState::Now(turn) => turn,
            _ => panic!("no turn"),
        }
    }

    #[test]
    fn clients_take_turns() {
        let queue = FairQueue::new(1);
        let running = running(&queue);
        let mut many: Vec<_> = (0..PER_CLIENT).map(|number| waits(&queue, &format!("2001:db8::{number}"))).collect();
        assert!(is_refused(&queue, "2001:db8::ffff"));
        let (mut one, mut left) = (waits(&queue, "2001:db8:0:1::"), waits(&queue, "198.51.100.1"));
        left.close();
        drop(running);
        let first = many[0].try_recv().expect("the first is first");
        assert!(one.try_recv().is_err());
        drop(first);
        let second = one.try_recv().expect("the other client is second");
        drop(second);
        // The request that was dropped is skipped.
        let third = many[1].try_recv().expect("then the first client again");
        drop(many);
        drop(third);
        let state = queue.lock();
        assert_eq!((state.running, state.waiting, state.clients.len(), state.order.len()), (0, 0, 0, 0));
    }

    #[test]
    fn places_are_shared() {
        let queue = FairQueue::new(1);
        let _running = running(&queue);
        let mut clients: Vec<Vec<_>> = (0..10)
            .map(|client| (0..PER_CLIENT).map(|_| waits(&queue, &format!("192.0.2.{client}"))).collect())
            .collect();
        // The queue is full, and one client has more than its share.
        let mut new: Vec<_> = (0..50).map(|_| waits(&queue, "198.51.100.1")).collect();
        assert_eq!(queue.lock().waiting, ALL);
        let evicted = |waiting: &mut oneshot::Receiver<HashingTurn>| {
            matches!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed))
        };
        assert_eq!(clients.iter_mut().flatten().filter_map(|one| evicted(one).then_some(())).count(), 50);
        assert!(!new.iter_mut().any(evicted));
        // Dropped requests make space.
        clients.clear();
        assert!(!is_refused(&queue, "192.0.2.1"));
        assert_eq!(queue.lock().waiting, 51);
        // One place per client: none has too many.
        drop(new);
        let one_each = |number: usize| format!("10.0.{}.{}", number / 256, number % 256);
        let each: Vec<_> = (0..ALL).map(|number| waits(&queue, &one_each(number))).collect();
        assert!(is_refused(&queue, "198.51.100.2"));
        assert_eq!(each.len(), ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end() {
        let queue = FairQueue::new(1);
        let running = queue.turn(address("192.0.2.1")).await;
        assert!(running.is_some() && queue.turn(address("192.0.2.1")).await.is_none());
    }
}
