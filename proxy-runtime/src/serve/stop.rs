//! The reasons why an exchange has no response yet ([`Stop`]), or will have none ([`Aborted`]).

use crate::failure::Failure;

/// The reason why a step ends an exchange without a response.
pub(crate) enum Stop {
    /// A failure; the client gets an error response.
    Failure(Failure),
    /// `abort`: the client gets no response.
    Abort,
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Stop {
        Stop::Failure(failure.into())
    }
}

/// The connection must be closed without a response.
pub(crate) struct Aborted;
