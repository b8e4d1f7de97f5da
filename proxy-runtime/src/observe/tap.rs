//! The tap: heads of live exchanges for operators ([`Taps`]). Each open tap is a [`Tap`]: a filter and a bounded channel.
//!
//! An exchange reads one flag when it begins. If that is set, it keeps its response's head ([`TappedExchange`]), and when it ends, the worker
//! writes a line for each tap whose filter matches. A worker never waits: without room in the channel, the exchange is dropped and counted. A
//! tap ends after a given number of lines, which bounds the work of workers, too.

mod exchange;
mod mask;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::mask::Masks;
use crate::context::facts::Facts;
use crate::context::settings::Settings;
use crate::protocol::fields::Fields;
use crate::site::Site;

/// How many lines wait for the client of a tap. A line has two heads, whose sizes are limited.
const WAITING: usize = 32;

/// All open taps. Workers read them; only the thread of `admin` opens and closes them.
pub(crate) struct Taps {
    /// Whether a tap is open.
    active: AtomicBool,
    open: ArcSwap<Vec<Arc<Tap>>>,
    masks: Masks,
}

/// An open tap: its filter, and the channel for its lines.
pub(crate) struct Tap {
    wanted: Wanted,
    lines: Sender<Vec<u8>>,
    /// How many more lines it shows.
    left: AtomicU32,
    /// How many exchanges were dropped because the channel had no room.
    dropped: AtomicU64,
}

/// The filter of a tap: it shows the exchanges for which all of this holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) route: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) status: Option<WantedStatus>,
}

/// A status, or all statuses of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedStatus {
    /// There is no response.
    None,
    Class(u16),
    Status(u16),
}

/// Returns the taps of a site, if its `admin` has `tap`.
pub(crate) fn start(site: &'static Site, settings: &'static Settings) -> Option<&'static Taps> {
    let admin = site.admin.filter(|admin| admin.tap)?;
    Some(Box::leak(Box::new(Taps {
        active: AtomicBool::new(false),
        open: ArcSwap::default(),
        masks: Masks::new(site, admin, settings),
    })))
}

impl Taps {
    /// Returns a place to keep the response's head in, while a tap is open. Otherwise costs one load.
    pub(crate) fn begin(&'static self) -> Option<Box<TappedExchange>> {
        let active = self.active.load(Ordering::Relaxed);
        active.then(|| Box::new(TappedExchange { taps: self, response: None }))
    }

    /// Opens a tap for at most this many exchanges.
    pub(crate) fn open(&self, wanted: Wanted, most: u32) -> (Arc<Tap>, Receiver<Vec<u8>>) {
        let (lines, taken) = channel(WAITING);
        let tap = Arc::new(Tap { wanted, lines, left: AtomicU32::new(most), dropped: AtomicU64::new(0) });
        self.change(|taps| taps.push(Arc::clone(&tap)));
        (tap, taken)
    }

    /// Closes a tap.
    pub(crate) fn close(&self, tap: &Arc<Tap>) {
        self.change(|taps| taps.retain(|other| !Arc::ptr_eq(other, tap)));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Tap>>)) {
        let mut taps = Vec::clone(&self.open.load());
        change(&mut taps);
        self.active.store(!taps.is_empty(), Ordering::Relaxed);
        self.open.store(Arc::new(taps));
    }
}

impl Tap {
    /// Returns how many exchanges were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Wanted {
    fn has(&self, facts: &Facts<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let status = self.status.is_none_or(|wanted| match wanted {
            WantedStatus::None => facts.status == 0,
            WantedStatus::Class(class) => facts.status / 100 == class,
            WantedStatus::Status(status) => facts.status == status,
        });
        status && is(&self.route, facts.route) && is(&self.host, facts.host) && is(&self.method, facts.method.as_str())
    }
}

/// An exchange that began while a tap was open.
pub(crate) struct TappedExchange {
    taps: &'static Taps,
    /// The header fields of the response.
    response: Option<Fields>,
}

impl TappedExchange {
    /// Keeps the header fields of a response; the last response counts.
    pub(crate) fn responded(&mut self, fields: &Fields) {
        self.response = Some(fields.clone());
    }

    /// Passes the exchange, which is over, to the taps whose filters match.
    pub(crate) fn pass(&self, facts: &Facts<'_>, first_byte: Option<Duration>) {
        for tap in self.taps.open.load().iter().filter(|tap| tap.wanted.has(facts)) {
            let left = tap.left.load(Ordering::Relaxed);
            if left == 0 {
                continue;
            }
            match tap.lines.try_reserve() {
                Ok(room) => {
                    room.send(exchange::line(facts, self.response.as_ref(), first_byte, &self.taps.masks));
                    // If two workers do this at once, one line may be too many: the reader stops in time.
                    tap.left.store(left - 1, Ordering::Relaxed);
                }
                Err(_) => {
                    tap.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn filters() {
        let (fields, settings) = (Fields::new(), Settings::default());
        let check = |wanted: Wanted, status: u16, expected: bool| {
            let nothing = Facts::nothing(&Method::GET, &fields, &settings);
            let facts = Facts { route: "/x/*", host: "a.test", status, ..nothing };
            assert_eq!(wanted.has(&facts), expected, "{wanted:?} {status}");
        };
        let status = |status| Wanted { status: Some(status), ..Wanted::default() };
        check(Wanted::default(), 200, true);
        check(status(WantedStatus::Class(5)), 503, true);
        check(status(WantedStatus::Class(5)), 499, false);
        check(status(WantedStatus::Status(404)), 404, true);
        check(status(WantedStatus::Status(404)), 405, false);
        check(status(WantedStatus::None), 0, true);
        check(status(WantedStatus::None), 200, false);
        let route = |route: &str| Wanted { route: Some(route.to_owned()), ..Wanted::default() };
        check(route("/x/*"), 200, true);
        check(route("/x"), 200, false);
        check(Wanted { host: Some("b.test".to_owned()), ..Wanted::default() }, 200, false);
        check(Wanted { method: Some("POST".to_owned()), ..Wanted::default() }, 200, false);
    }
}
