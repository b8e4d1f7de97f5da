//! A TXT record for an authority, and the actions of a provider on it. Only data.

use std::fmt;

/// A record that an authority is to find.
pub(super) struct TxtRecord {
    /// Absolute, with the dot at the end.
    pub(super) name: String,
    pub(super) value: String,
}

/// What is done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Present,
    Cleanup,
}

impl fmt::Display for Action {
    /// As providers are told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Present => "present",
            Action::Cleanup => "cleanup",
        })
    }
}
