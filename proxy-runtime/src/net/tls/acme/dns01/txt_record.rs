//! A TXT record for an authority, and the actions of a provider on it. Only data.

use std::fmt;

/// A record for an authority.
pub(super) struct TxtRecord {
    /// The absolute name, with a trailing dot.
    pub(super) name: String,
    pub(super) value: String,
}

/// The action for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Present,
    Cleanup,
}

impl fmt::Display for Action {
    /// Returns the action's name for providers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Present => "present",
            Action::Cleanup => "cleanup",
        })
    }
}
