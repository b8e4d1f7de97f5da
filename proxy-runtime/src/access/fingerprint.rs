//! Fingerprints of verified secrets, which are remembered instead of the secrets ([`Fingerprints`]).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Computes fingerprints that can't be guessed without the key, which is random and never leaves the process (SipHash is a
/// pseudorandom function).
pub(crate) struct Fingerprints((u64, u64));

impl Fingerprints {
    pub(crate) fn new() -> Fingerprints {
        // The standard library's source of random keys.
        let random = |number: u64| RandomState::new().hash_one(number);
        Fingerprints((random(0), random(1)))
    }

    /// Returns the fingerprint of these parts, in this order.
    pub(crate) fn of<const N: usize>(&self, parts: [&[u8]; N]) -> u128 {
        let mut hasher = SipHasher24::new_with_keys(self.0.0, self.0.1);
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}
