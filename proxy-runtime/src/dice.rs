//! Random numbers ([`Dice`]): fast, and good enough for load balancing, but not for secrets.

use std::cell::Cell;

/// A random number generator, fast and good enough for load balancing: xorshift64* (Vigna 2016). One per worker.
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Creates a generator with this seed.
    pub fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed.max(1)))
    }

    /// Returns a random 64-bit number.
    pub fn number(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns a random number below `limit`, which must not be 0.
    pub fn below(&self, limit: usize) -> usize {
        // Multiplication instead of division (Lemire 2019); the bias is negligible at these sizes.
        ((u128::from(self.number()) * limit as u128) >> 64) as usize
    }
}
