//! Replaces `tap` in a proxy that is built without `admin`: the same names, with types that have no values.

use std::time::Duration;

use crate::context::facts::Facts;
use crate::context::settings::Settings;
use crate::protocol::fields::Fields;
use crate::site::Site;

/// Stands for the taps of a site, which has none.
pub(crate) enum Taps {}

/// Stands for a tapped exchange, of which there is none.
pub(crate) enum TappedExchange {}

pub(crate) fn start(_: &'static Site, _: &'static Settings) -> Option<&'static Taps> {
    None
}

impl Taps {
    pub(crate) fn begin(&'static self) -> Option<Box<TappedExchange>> {
        match *self {}
    }
}

impl TappedExchange {
    pub(crate) fn responded(&mut self, _: &Fields) {
        match *self {}
    }

    pub(crate) fn pass(&self, _: &Facts<'_>, _: Option<Duration>) {
        match *self {}
    }
}
