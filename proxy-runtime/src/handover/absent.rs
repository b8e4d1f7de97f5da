//! Replaces `handover` in a proxy without `takeover`: the same names, with types that have no values.

/// No process takes over.
pub(crate) enum Handover {}

impl Handover {
    pub(crate) fn follow(&self, _: u32) -> Pauses {
        match *self {}
    }

    pub(crate) fn count(&self, _: usize, _: bool) {
        match *self {}
    }

    #[allow(clippy::unused_async, reason = "as the other is")]
    pub(crate) async fn hear(&self, _: usize) {
        match *self {}
    }
}

/// No listener pauses.
pub(crate) enum Pauses {}

/// Never ends.
pub(crate) async fn paused(_: &mut Option<Pauses>) {
    std::future::pending().await
}

/// Does nothing.
#[allow(clippy::unused_async, reason = "as the other is")]
pub(crate) async fn resumed(_: &mut Option<Pauses>) {}
