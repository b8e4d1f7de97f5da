//! How an output reports a problem ([`Tell`]): in the error log, of which it may be an output itself.

use crate::site::LogLevel;

/// Writes notices to the error log.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "logs"), expect(dead_code, reason = "standard output and error have nothing to say"))]
pub(super) struct Tell(fn(LogLevel, &str));

impl Tell {
    /// Calls a function for each notice, which must not block.
    pub(super) fn new(by: fn(LogLevel, &str)) -> Tell {
        Tell(by)
    }

    /// Drops all notices.
    #[cfg(all(test, feature = "logs"))]
    pub(super) fn nobody() -> Tell {
        Tell(|_, _| {})
    }

    /// Reports a problem.
    #[cfg(feature = "logs")]
    pub(super) fn warn(self, message: &str) {
        (self.0)(LogLevel::Warn, message);
    }

    /// Reports that something was done.
    #[cfg(feature = "logs")]
    pub(super) fn info(self, message: &str) {
        (self.0)(LogLevel::Info, message);
    }
}
