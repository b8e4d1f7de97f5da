//! An operator's settings of a server ([`Overrides`]): workers read them, and `operated` writes them. Lock-free.

use std::sync::atomic::{AtomicBool, Ordering};

/// An operator's settings of a server, until the process ends.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    /// Whether it receives no new exchanges.
    pub(super) drained: AtomicBool,
    /// Whether an operator has set the weight, so that discovery must not change it.
    pub(super) weight: AtomicBool,
}

impl Overrides {
    /// Returns whether the server receives no new exchanges. Costs one load, and nothing in a proxy that is built
    /// without `admin`.
    pub(super) fn is_drained(&self) -> bool {
        cfg!(feature = "admin") && self.drained.load(Ordering::Relaxed)
    }

    /// Returns whether an operator has set the weight.
    pub(super) fn has_weight(&self) -> bool {
        cfg!(feature = "admin") && self.weight.load(Ordering::Relaxed)
    }

    /// Removes the settings, because another server takes the slot.
    pub(super) fn reset(&self) {
        self.drained.store(false, Ordering::Relaxed);
        self.weight.store(false, Ordering::Relaxed);
    }
}
