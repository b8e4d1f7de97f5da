//! The reasons why an exchange has no response yet ([`Stop`]), or will have none ([`Aborted`]).

use crate::failure::Failure;

/// Why an exchange has no response yet.
pub(crate) enum Stop {
    /// Something went wrong; it is answered with the failure's status.
    Failure(Failure),
    /// `abort`: there will be none.
    Abort,
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Stop {
        Stop::Failure(failure.into())
    }
}

/// The connection is to be closed without a response.
pub(crate) struct Aborted;
