//! Turns at work that only a few may do at once, shared fairly among clients ([`FairQueue`]): whoever asks a lot waits for itself,
//! not others for it.
//!
//! Clients are told apart by IPv4 address or IPv6 /64, and get their turns round-robin. How many wait is bounded, for a client and
//! for all. When all places are taken, a client that has fewer than another gets one of that one's.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How many of a client may wait.
const PER_CLIENT: usize = 100;

/// How many may wait.
const ALL: usize = 1000;

/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct FairQueue {
    at_once: usize,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    running: usize,
    waiting: usize,
    /// Who waits, by client; none is empty.
    clients: HashMap<IpAddr, VecDeque<oneshot::Sender<HashingTurn>>>,
    /// The clients, in the order of their next turns.
    order: VecDeque<IpAddr>,
}

/// A turn, which ends when this is dropped.
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

    /// Waits for a turn. `None`: too many wait, or it has taken too long.
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

    /// Takes the last place of the client with the most, if it still has more than `own` and one without it.
    fn make_room(&mut self, own: usize) -> bool {
        let longest = self.clients.values_mut().max_by_key(|waiting| waiting.len());
        let Some(longest) = longest.filter(|longest| longest.len() > own + 1) else { return false };
        longest.pop_back();
        self.waiting -= 1;
        true
    }

    /// Removes those that don't wait any more.
    fn forget_those_that_left(&mut self) {
        self.clients.retain(|_, waiting| {
            waiting.retain(|one| !one.is_closed());
            !waiting.is_empty()
        });
        self.order.retain(|client| self.clients.contains_key(client));
        self.waiting = self.clients.values().map(VecDeque::len).sum();
    }

    /// Who has the turn that has ended; nobody, if nobody waits.
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
                // It has left meanwhile: the turn is the next one's.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

/// What counts as one client.
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
        // The one that has left is passed over.
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
        // All places are taken, and somebody has more than enough.
        let mut new: Vec<_> = (0..50).map(|_| waits(&queue, "198.51.100.1")).collect();
        assert_eq!(queue.lock().waiting, ALL);
        let evicted = |waiting: &mut oneshot::Receiver<HashingTurn>| {
            matches!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed))
        };
        assert_eq!(clients.iter_mut().flatten().filter_map(|one| evicted(one).then_some(())).count(), 50);
        assert!(!new.iter_mut().any(evicted));
        // Those that have left make room.
        clients.clear();
        assert!(!is_refused(&queue, "192.0.2.1"));
        assert_eq!(queue.lock().waiting, 51);
        // One place each: nobody has too many.
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
