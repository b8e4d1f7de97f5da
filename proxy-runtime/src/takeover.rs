//! Takeovers: a new process gets the listening sockets of the running one, serves for a while, and decides which of the two goes on.
//!
//! ```text
//! old                                            new (--upgrade)
//! listens on the socket of `takeover`            its tests, its files
//!                           <── Hello ──         [`receive`]
//!                           ── sockets, keys ──> binds what is left, gives up its privileges
//!                           <── Serving ──       workers accept
//! pauses, goes on with its connections           counts its errors: the canary
//!                           <── Commit ──        or RollBack, or the end of the connection
//! drains                    or accepts again     goes on, or drains
//! ```
//!
//! The old process keeps its sockets open until the end, so that no queue of the kernel is lost whatever happens to the new one. Neither process waits
//! for the other without a time-out. The old one decides about itself: if it has resumed, the new one drains. All of this happens on the main thread; what
//! workers have to do with it is in [`Handover`].

mod canary;
mod message;
mod new;
mod old;
#[cfg(feature = "h3")]
mod quic;

use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub(crate) use self::new::{ReceivedSockets, receive};
use crate::access::state::AccessState;
use crate::context::settings::{Settings, StartError};
use crate::handover::Handover;
use crate::net::listen::{self, Availability, Bound, HandedOver};
use crate::net::tls::Engine;
use crate::observe::announce_warning;
use crate::site::{self, Site, SocketFile};
use crate::worker::StopSignal;

/// The part of this process in takeovers.
pub(crate) struct TakeoverTask {
    site: &'static Site,
    settings: &'static Settings,
    /// What is handed over along with the sockets is asked for here.
    engine: &'static Engine,
    access: &'static AccessState,
    written: &'static site::Takeover,
    handover: &'static Handover,
    /// The socket that takeovers are requested at.
    own: UnixListener,
    /// The listening sockets, by the index of their listener.
    sockets: Vec<(u32, Bound)>,
    /// The same for HTTP/3.
    #[cfg(feature = "h3")]
    quic: quic::QuicHandover,
    /// The old process, if it has handed over.
    old: Option<new::OldProcess>,
    /// Why the takeover was rolled back, once it was.
    rolled_back: Arc<OnceLock<String>>,
}

impl TakeoverTask {
    /// Prepares takeovers from this process; `None` if the site has none.
    pub(crate) fn prepare(
        (site, settings): (&'static Site, &'static Settings),
        (engine, access): (&'static Engine, &'static AccessState),
        workers: usize,
        received: ReceivedSockets,
        handed_over: HandedOver,
    ) -> Option<TakeoverTask> {
        let (written, own) = (site.process.takeover.as_ref()?, received.own?);
        let handover = Box::leak(Box::new(Handover::new(site.listeners.len(), workers)));
        Some(TakeoverTask {
            site,
            settings,
            engine,
            access,
            written,
            handover,
            own,
            sockets: handed_over.sockets,
            #[cfg(feature = "h3")]
            quic: quic::QuicHandover::new(handed_over.quic),
            old: received.old,
            rolled_back: Arc::default(),
        })
    }

    /// Returns what workers have to do with it.
    pub(crate) fn handover(&self) -> &'static Handover {
        self.handover
    }

    /// Returns where the reason for a rollback will be.
    pub(crate) fn outcome(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.rolled_back)
    }

    /// Completes the takeover from the old process, calls `ready`, and then serves new processes, until this one stops. Workers must be running.
    pub(crate) async fn run(
        mut self,
        mut stop: watch::Receiver<StopSignal>,
        drain: &'static Notify,
        ready: impl FnOnce(),
    ) {
        if let Some(old) = self.old.take()
            && let Err(reason) = new::take_over(&old, &mut self, stop.clone()).await
        {
            announce_warning(&format!("takeover: rolled back: {reason}"));
            let _ = self.rolled_back.set(reason);
            self.handover.pause_all();
            #[cfg(feature = "h3")]
            self.quic.pause_all();
            return drain.notify_one();
        }
        self.handover.resume();
        ready();
        tokio::select! {
            handed_over = old::serve(&self) => match handed_over {
                Ok(()) => drain.notify_one(),
                Err(error) => announce_warning(&format!("takeover: the socket has failed: {error}")),
            },
            _ = stop.wait_for(|stop| *stop != StopSignal::No) => {}
        }
    }
}

/// The exit code of a new process that has rolled back.
const ROLLED_BACK: u8 = 3;

/// Reports a rollback on standard error at the end of the process, wherever its notices go, and returns its exit code.
pub(crate) fn end(reason: &str) -> ExitCode {
    // Nobody can be told if standard error is closed.
    drop(writeln!(io::stderr(), "error: the takeover was rolled back: {reason}"));
    ExitCode::from(ROLLED_BACK)
}

fn bind(site: &Site, written: &site::Takeover, settings: &Settings) -> io::Result<UnixListener> {
    // A new process may be started as root, or as the user that this one becomes.
    let user = site.process.privileges.as_ref().and_then(|privileges| privileges.user.clone());
    listen::bind_unix(written.path.get(settings), &SocketFile { mode: Some(0o600), user, group: None }).map_err(
        |error| match error.kind() {
            io::ErrorKind::AddrInUse => io::Error::other("a process is running; with --upgrade, this one takes over"),
            _ => error,
        },
    )
}

/// Checks whether the socket of takeovers can be bound, or a process that can be taken over from listens there.
///
/// # Errors
/// Neither is possible.
pub(crate) fn probe(site: &Site, settings: &Settings) -> Result<Option<(String, Availability)>, StartError> {
    let Some(written) = &site.process.takeover else { return Ok(None) };
    let path = written.path.get(settings);
    match listen::probe_unix(path) {
        Ok(found) => Ok(Some((path.to_owned(), found))),
        Err(error) => Err(refused(written, settings, &error.to_string()).remove(0)),
    }
}

/// Returns a duration that is read easily.
fn whole_millis(took: Duration) -> Duration {
    Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

fn refused(written: &site::Takeover, settings: &Settings, reason: &str) -> Vec<StartError> {
    let message = format!("takeover at `{}`: {reason}", written.path.get(settings));
    vec![StartError { message, place: written.place.clone() }]
}
