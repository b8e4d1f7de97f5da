//! What operators have set of a server ([`Overrides`]): workers read it, and `operated` writes it. Lock-free.

use std::sync::atomic::{AtomicBool, Ordering};

/// What operators have set of a server, until the process ends.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    /// It gets no new exchanges.
    pub(super) drained: AtomicBool,
    /// Its weight is an operator's: discovery leaves it alone.
    pub(super) weight: AtomicBool,
}

impl Overrides {
    /// Whether the server gets no new exchanges. Cost: one load, and none in a proxy that is built without `admin`.
    pub(super) fn is_drained(&self) -> bool {
        cfg!(feature = "admin") && self.drained.load(Ordering::Relaxed)
    }

    /// Whether an operator has set the weight.
    pub(super) fn has_weight(&self) -> bool {
        cfg!(feature = "admin") && self.weight.load(Ordering::Relaxed)
    }

    /// Forgets all: there is another server in its place.
    pub(super) fn reset(&self) {
        self.drained.store(false, Ordering::Relaxed);
        self.weight.store(false, Ordering::Relaxed);
    }
}
