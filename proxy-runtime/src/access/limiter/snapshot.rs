//! The state of a rate limiter, as a new process gets it at a takeover: the keys that are ahead of the rate, which a client could otherwise exceed by
//! waiting for a takeover. All others have a full burst again.
//!
//! A slot is handed over as it is, with the key of the hash: keys themselves, which may be addresses or secrets, are not stored anywhere. So the new
//! process must have a limit of the same settings ([`Limiter::scope`]).

use std::hash::Hasher as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::Limiter;
use crate::site::RateLimit;

/// Line, tag, and how far the key is ahead.
const ENTRY: usize = 12;
/// The key of the hash.
const HASH_KEY: usize = 16;

impl Limiter {
    /// Returns a number that stands for the settings of a limit: state is passed on only between limits that have the same one.
    pub(crate) fn scope(limit: &RateLimit) -> u64 {
        let settings = (limit.interval, limit.burst, limit.delay, &limit.by, limit.identified, limit.keys);
        let mut hasher = SipHasher13::new();
        hasher.write(format!("{settings:?}").as_bytes());
        hasher.finish()
    }

    /// Returns the state at `now`, in parts of at most `longest` bytes each: of at most so many keys, the furthest ahead.
    pub(crate) fn snapshot(&self, now: Duration, most: usize, longest: usize) -> Vec<Vec<u8>> {
        let now = self.ticks(now);
        let mut entries = Vec::new();
        for (line, slots) in (0_u32..).zip(&*self.lines) {
            for slot in slots.0.iter().map(|slot| slot.load(Ordering::Relaxed)) {
                let ahead = self.ahead(slot, now);
                if ahead > 0 {
                    entries.push((line, (slot >> 32) as u32, ahead));
                }
            }
        }
        if entries.len() > most {
            entries.select_nth_unstable_by_key(most, |&(_, _, ahead)| std::cmp::Reverse(ahead));
            entries.truncate(most);
        }
        let part = |entries: &[(u32, u32, u32)]| {
            let key = [self.hash.0.to_be_bytes(), self.hash.1.to_be_bytes()].concat();
            let entries = entries.iter().flat_map(|&(line, tag, ahead)| [line, tag, ahead]);
            key.into_iter().chain(entries.flat_map(u32::to_be_bytes)).collect()
        };
        entries.chunks((longest.saturating_sub(HASH_KEY) / ENTRY).max(1)).map(part).collect()
    }

    /// Goes on with a part of the state of another process; `now` is the time of this one. Bytes that are not such a part have no effect.
    pub(crate) fn adopt(&mut self, part: &[u8], now: Duration) {
        let Some((key, entries)) = part.split_at_checked(HASH_KEY) else { return };
        let (key, _) = key.as_chunks::<8>();
        let &[first, second] = key else { return };
        self.hash = super::KeyedHash(u64::from_be_bytes(first), u64::from_be_bytes(second));
        let now = self.ticks(now);
        let (entries, _) = entries.as_chunks::<ENTRY>();
        for entry in entries {
            let (numbers, _) = entry.as_chunks::<4>();
            let &[line, tag, ahead] = numbers else { continue };
            let [line, tag, ahead] = [line, tag, ahead].map(u32::from_be_bytes);
            let slot = u64::from(tag.max(1)) << 32 | u64::from(now.wrapping_add(ahead));
            let Some(line) = self.lines.get(line as usize).filter(|_| self.ahead(slot, now) > 0) else { continue };
            if let Some(free) = line.0.iter().find(|slot| slot.load(Ordering::Relaxed) == 0) {
                free.store(slot, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LimitDecision, tests::limiter};
    use super::*;
    use crate::access::counted::LimitKey;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const START: Duration = Duration::from_secs(100);

    fn key(number: u32) -> Vec<u8> {
        number.to_string().into_bytes()
    }

    /// Returns how many of these keys are admitted.
    fn admitted(limiter: &Limiter, keys: std::ops::Range<u32>, now: Duration) -> usize {
        keys.filter(|&number| limiter.take(LimitKey::Bytes(&key(number)), now) == LimitDecision::Now).count()
    }

    #[test]
    fn a_new_process_goes_on() {
        let new = || limiter(MS(100), 2, MS(0), 1 << 12);
        let old = new();
        assert_eq!(admitted(&old, 0..100, START), 100);
        assert_eq!(admitted(&old, 0..50, START), 50);
        // The first fifty have used their burst; and others that have not been seen for long.
        let parts = old.snapshot(START, 1000, 500);
        assert!(parts.len() == 3 && parts.iter().all(|part| part.len() <= 500), "{:?}", parts.len());
        // The other process has another clock.
        let mut other = new();
        parts.iter().for_each(|part| other.adopt(part, MS(7)));
        assert_eq!(admitted(&other, 0..50, MS(7)), 0);
        assert_eq!(admitted(&other, 50..100, MS(7)), 50);
        assert_eq!(admitted(&other, 0..100, MS(7)), 0);
        assert_eq!(admitted(&other, 100..200, MS(7)), 100);
        assert_eq!(admitted(&other, 0..50, MS(120)), 50);
        // Without state, there is nothing to hand over.
        assert!(old.snapshot(START + MS(300), 1000, 500).is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let new = || limiter(MS(100), 3, MS(0), 1 << 12);
        let old = new();
        assert_eq!(admitted(&old, 0..300, START), 300);
        for _ in 0..2 {
            assert_eq!(admitted(&old, 0..20, START), 20);
        }
        let parts = old.snapshot(START, 20, 1 << 20);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [HASH_KEY + 20 * ENTRY]);
        let mut other = new();
        other.adopt(&parts[0], START);
        assert_eq!(admitted(&other, 0..300, START), 280, "those that are the furthest ahead are handed over");
    }

    #[test]
    fn wrong_bytes_have_no_effect() {
        let whole = {
            let old = limiter(MS(100), 1, MS(0), 8);
            admitted(&old, 0..1, START);
            old.snapshot(START, 8, 4096).remove(0)
        };
        let with = |at: usize, bytes: [u8; 4]| {
            let mut changed = whole.clone();
            changed[HASH_KEY + at..HASH_KEY + at + 4].copy_from_slice(&bytes);
            changed
        };
        for bytes in [
            Vec::new(),
            whole[..HASH_KEY - 1].to_vec(),
            whole[..HASH_KEY].to_vec(),
            whole[..whole.len() - 1].to_vec(),
            // A line that there is not; another key; further ahead than is possible; not ahead.
            with(0, [255; 4]),
            with(4, [0; 4]),
            with(8, [255; 4]),
            with(8, [0; 4]),
        ] {
            let mut other = limiter(MS(100), 1, MS(0), 8);
            other.adopt(&bytes, START);
            assert_eq!(admitted(&other, 0..1, START), 1, "{bytes:?}");
        }
        let mut other = limiter(MS(100), 1, MS(0), 8);
        // More than there is room for.
        (0..20).for_each(|_| other.adopt(&whole, START));
        assert_eq!(admitted(&other, 0..1, START), 0);
    }

    #[test]
    fn scopes() {
        let limit = |interval, burst, keys| {
            let by = crate::site::By::Client(32, 64);
            Limiter::scope(&RateLimit {
                id: 0,
                identified: false,
                interval,
                burst,
                by,
                delay: MS(0),
                status: 429,
                keys,
            })
        };
        let one = limit(MS(100), 1, 8);
        assert_eq!(one, limit(MS(100), 1, 8));
        for other in [limit(MS(101), 1, 8), limit(MS(100), 2, 8), limit(MS(100), 1, 16)] {
            assert_ne!(one, other);
        }
    }
}
