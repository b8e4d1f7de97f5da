//! The servers to choose among ([`Candidates`]), and the input of a choice ([`PickContext`]). Pure; no allocation.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::load::Load;
use crate::dice::Dice;

/// The servers that a policy chooses among, by index.
pub trait Candidates {
    /// Returns the number of servers.
    fn count(&self) -> usize;
    /// Returns the server's weight, relative to the others'; a server of weight 0 is never chosen.
    fn weight(&self, position: usize) -> u32;
    /// Returns the server's load.
    fn load(&self, position: usize) -> &Load;
    /// Returns whether the server may be used now.
    fn can(&self, position: usize) -> bool;

    /// Returns whether the server may be chosen: it is available, and has a weight.
    fn eligible(&self, position: usize) -> bool {
        self.weight(position) > 0 && self.can(position)
    }

    /// Returns the first eligible server from an index on, wrapping around.
    fn from(&self, start: usize) -> Option<usize> {
        let count = self.count();
        (0..count).map(|step| (start + step) % count).find(|&position| self.eligible(position))
    }
}

/// The input of a choice, besides the servers.
#[derive(Debug, Clone, Copy)]
pub struct PickContext<'a> {
    /// The hash of the key, for `hash` and `maglev`.
    pub key: u64,
    /// The source of random numbers.
    pub dice: &'a Dice,
    /// The time, in nanoseconds since the start.
    pub now: u64,
}

/// Two different random servers, if two are eligible.
pub(super) fn two(servers: &impl Candidates, dice: &Dice) -> Option<(usize, Option<usize>)> {
    let one = servers.from(dice.below(servers.count()))?;
    // Drawn among all others, so that no neighbour is preferred; counted from the chosen one.
    let others = servers.count() - 1;
    let start = if others == 0 { one } else { one + 1 + dice.below(others) };
    let other = servers.from(start % servers.count()).filter(|&other| other != one);
    let other = other.or_else(|| servers.from((one + 1) % servers.count()).filter(|&other| other != one));
    Some((one, other))
}

/// Returns the hash of a key or a server's name: SipHash-1-3, equal on every machine and in every version.
pub fn hash(key: &[u8], salt: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(salt, 0);
    hasher.write(key);
    hasher.finish()
}
