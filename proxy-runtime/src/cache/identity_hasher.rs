//! A hasher for keys that are hashes already ([`IdentityHasher`]).

use std::hash::Hasher;

/// Uses a key as its own hash.
#[derive(Default)]
pub(super) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        // Only names are hashed, by the function below.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u128(&mut self, name: u128) {
        self.0 = name as u64;
    }
}
