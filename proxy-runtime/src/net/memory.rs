//! The budget of memory for clients: [`Memory`], one count for all workers of the memory for clients that do not read, and
//! shares of it ([`Charge`]). Data beyond the budget is not buffered: the exchange continues without, or ends.
//!
//! ```text
//! an exchange in HTTP/2, and what one holds that waits for its client ─┬─ within what each connection may always hold
//!                                                                      └─ beyond (`connection::http2::budget`) ─→ Memory
//! a request's body that is kept (`retry`, `mirror`, `block`) ─────→ Memory
//! ```
//!
//! [`resident`] bounds the memory of the whole process, whatever uses it, by refusing requests.
//!
//! A charge is an atomic addition, and there is none for a connection with a few exchanges in progress. [`trim`] returns freed memory to
//! the system.

pub(crate) mod resident;
pub(crate) mod trim;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;

use self::resident::ResidentMemory;
use crate::context::settings::Settings;
use crate::site::Site;

/// The memory budget of the process.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The bound of the process's resident memory.
    pub(crate) resident: ResidentMemory,
    limit: usize,
    used: AtomicUsize,
    most: AtomicUsize,
    /// Connections that accept no requests until less is in use; and their number, so that other tasks need not lock.
    waiting: Mutex<Vec<Waker>>,
    waiters: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(site: &Site, settings: &Settings) -> Memory {
        Memory::of(site.root.limits.memory.get(settings))
    }

    pub(crate) fn of(limit: u64) -> Memory {
        Memory {
            resident: ResidentMemory::default(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            waiting: Mutex::default(),
            waiters: AtomicUsize::new(0),
        }
    }

    /// Returns the peak usage since the last call, and the current usage.
    pub(crate) fn used(&self) -> (usize, usize) {
        let now = self.used.load(Ordering::Relaxed);
        (self.most.swap(now, Ordering::Relaxed).max(now), now)
    }

    #[cfg(feature = "admin")]
    /// Returns the current usage.
    pub(crate) fn in_use(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes an amount of memory, if it is available. It is returned with [`Memory::give`].
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.take_below(bytes, self.limit)
    }

    /// Takes memory if no more than half of the budget is in use afterwards: for optional uses.
    pub(crate) fn take_spare(&self, bytes: usize) -> bool {
        self.take_below(bytes, self.limit / 2)
    }

    fn take_below(&self, bytes: usize, limit: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|&used| used <= limit);
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more);
        if let Ok(before) = taken {
            self.most.fetch_max(before + bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Returns memory. Waiting tasks are woken once an eighth is free, not for each byte.
    pub(crate) fn give(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if self.waiters.load(Ordering::SeqCst) > 0 && used <= self.limit - self.limit / 8 {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiters.store(0, Ordering::SeqCst);
            for waker in waiting.drain(..) {
                waker.wake();
            }
        }
    }

    /// Wakes the task when memory is available again.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        self.waiters.store(waiting.len(), Ordering::SeqCst);
        if self.used.load(Ordering::SeqCst) <= self.limit - self.limit / 8 {
            // Memory was returned in between.
            cx.waker().wake_by_ref();
        }
    }

    /// Returns an empty share.
    pub(crate) fn charge(&'static self) -> Charge {
        Charge { memory: self, bytes: 0 }
    }
}

/// A share of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: &'static Memory,
    bytes: usize,
}

impl Charge {
    /// Enlarges the share, if memory is available.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.memory.take(bytes);
        self.bytes += if grown { bytes } else { 0 };
        grown
    }

    /// Bytes that hold the share as long as any part of them exists.
    pub(crate) fn keeps(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(ChargedBytes { bytes, _charge: self })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.give(self.bytes);
    }
}

struct ChargedBytes {
    bytes: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for ChargedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let memory: &'static Memory = Box::leak(Box::new(Memory::of(100)));
        let (mut first, mut second) = (memory.charge(), memory.charge());
        assert!(first.grow(60) && !second.grow(41) && !second.grow(usize::MAX) && !memory.take_spare(1));
        assert!(second.grow(30) && second.grow(10));
        let kept = second.keeps(vec![1; 40]);
        let part = kept.slice(1..2);
        drop(kept);
        assert_eq!(memory.used(), (100, 100));
        drop((part, first));
        assert_eq!(memory.used(), (100, 0));
        assert_eq!(memory.used(), (0, 0));
        assert!(memory.take_spare(50));
    }
}
