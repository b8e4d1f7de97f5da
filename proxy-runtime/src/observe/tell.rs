//! How an output says that something is wrong with it ([`Tell`]): in the error log, of which it may be an output itself.

use crate::site::LogLevel;

/// Says something in the error log.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "logs"), expect(dead_code, reason = "standard output and error have nothing to say"))]
pub(super) struct Tell(fn(LogLevel, &str));

impl Tell {
    /// By this function, which does not block.
    pub(super) fn new(by: fn(LogLevel, &str)) -> Tell {
        Tell(by)
    }

    /// To nobody.
    #[cfg(all(test, feature = "logs"))]
    pub(super) fn nobody() -> Tell {
        Tell(|_, _| {})
    }

    /// Something is not as it should be.
    #[cfg(feature = "logs")]
    pub(super) fn warn(self, message: &str) {
        (self.0)(LogLevel::Warn, message);
    }

    /// Something is done.
    #[cfg(feature = "logs")]
    pub(super) fn info(self, message: &str) {
        (self.0)(LogLevel::Info, message);
    }
}
