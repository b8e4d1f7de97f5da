//! The servers to choose among ([`Candidates`]), and the input of a choice ([`PickContext`]). Pure; no allocation.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::load::Load;
use crate::dice::Dice;

/// The servers that a policy chooses among, by position.
pub trait Candidates {
    /// How many there are.
    fn count(&self) -> usize;
    /// What a server's share is relative to the others'; 0 is never chosen.
    fn weight(&self, position: usize) -> u32;
    /// What is counted of it.
    fn load(&self, position: usize) -> &Load;
    /// Whether it may be asked now.
    fn can(&self, position: usize) -> bool;

    /// Whether it may be chosen: it may be asked, and has a weight.
    fn eligible(&self, position: usize) -> bool {
        self.weight(position) > 0 && self.can(position)
    }

    /// The first that may be chosen from a position on, and round to it.
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
    /// Chance.
    pub dice: &'a Dice,
    /// The time, in nanoseconds since the start.
    pub now: u64,
}

/// Two different servers by chance, if there are two that may be chosen.
pub(super) fn two(servers: &impl Candidates, dice: &Dice) -> Option<(usize, Option<usize>)> {
    let one = servers.from(dice.below(servers.count()))?;
    // Thrown for all others, so that no neighbour is preferred; counted on from the one chosen.
    let others = servers.count() - 1;
    let start = if others == 0 { one } else { one + 1 + dice.below(others) };
    let other = servers.from(start % servers.count()).filter(|&other| other != one);
    let other = other.or_else(|| servers.from((one + 1) % servers.count()).filter(|&other| other != one));
    Some((one, other))
}

/// The hash of a key, or of a server's name: SipHash-1-3, the same on every machine and in every version.
pub fn hash(key: &[u8], salt: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(salt, 0);
    hasher.write(key);
    hasher.finish()
}
