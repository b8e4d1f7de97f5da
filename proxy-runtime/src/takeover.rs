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
mod crashed;
mod message;
mod new;
mod old;
#[cfg(feature = "h3")]
mod quic;

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::crashed::CrashedBuilds;
use self::message::{Channel, Message};
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
    crashed: Rc<CrashedBuilds>,
    /// The new process that has the sockets, until one of the two goes on.
    candidate: RefCell<Option<Rc<Channel>>>,
    outcome: Arc<OnceLock<TakeoverOutcome>>,
}

/// How a process ends that another one goes on instead of.
pub(crate) enum TakeoverOutcome {
    /// It has rolled back, for this reason.
    RolledBack(String),
    /// It was replaced by a process, to which this is the connection.
    Replaced(OwnedFd),
}

impl TakeoverOutcome {
    /// Reports it, and returns the exit code: without it, that would be `code`.
    pub(crate) fn end(&self, code: ExitCode) -> ExitCode {
        match self {
            TakeoverOutcome::RolledBack(reason) => not_again(&format!("the takeover was rolled back: {reason}")),
            TakeoverOutcome::Replaced(successor) => {
                if code == ExitCode::SUCCESS {
                    // If this fails, the successor is gone.
                    let _ = rustix::io::write(successor, &Message::Ended.encode());
                }
                code
            }
        }
    }
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
            crashed: Rc::default(),
            candidate: RefCell::default(),
            outcome: Arc::default(),
        })
    }

    /// Returns what workers have to do with it.
    pub(crate) fn handover(&self) -> &'static Handover {
        self.handover
    }

    /// Returns where the outcome will be.
    pub(crate) fn outcome(&self) -> Arc<OnceLock<TakeoverOutcome>> {
        Arc::clone(&self.outcome)
    }

    /// Completes the takeover from the old process, calls `ready`, and then serves new processes, until this one stops. Workers must be running.
    pub(crate) async fn run(
        mut self,
        mut stop: watch::Receiver<StopSignal>,
        drain: &'static Notify,
        ready: impl FnOnce(),
    ) {
        if let Some(old) = self.old.take() {
            if let Err(reason) = new::take_over(&old, &mut self, stop.clone()).await {
                announce_warning(&format!("takeover: rolled back: {reason}"));
                let _ = self.outcome.set(TakeoverOutcome::RolledBack(reason));
                self.handover.pause_all();
                #[cfg(feature = "h3")]
                self.quic.pause_all();
                return drain.notify_one();
            }
            tokio::task::spawn_local(old.follow(Rc::clone(&self.crashed)));
        }
        self.handover.resume();
        ready();
        tokio::select! {
            handed_over = old::serve(&self) => match handed_over {
                Ok(successor) => {
                    drain.notify_one();
                    self.replaced_by(successor).await;
                }
                Err(error) => announce_warning(&format!("takeover: the socket has failed: {error}")),
            },
            _ = stop.wait_for(|stop| *stop != StopSignal::No) => {
                let candidate = self.candidate.take();
                if let Some(candidate) = candidate {
                    // If this does not arrive, the end of the connection tells the same, but as of a crash.
                    let _ = candidate.send(&Message::Draining, None).await;
                    self.replaced_by(candidate).await;
                }
            }
        }
    }

    /// Another process goes on from now on.
    async fn replaced_by(&self, successor: Rc<Channel>) {
        // Without a descriptor, the successor takes the end for a crash.
        if let Ok(descriptor) = successor.0.as_fd().try_clone_to_owned() {
            let _ = self.outcome.set(TakeoverOutcome::Replaced(descriptor));
        }
        self.crashed.hand_over(successor).await;
    }
}

/// Returns what a build is called: another build of the same site is the same.
fn build(site: &Site) -> String {
    format!("{} {}", site.digest, site.built)
}

/// The exit code of a process that another one serves on instead of: it is not to be started again by itself.
const NOT_AGAIN: u8 = 3;

/// Reports on standard error, wherever notices go, why this process must end, and returns its exit code.
fn not_again(reason: &str) -> ExitCode {
    // Nobody can be told if standard error is closed.
    drop(writeln!(io::stderr(), "error: {reason}"));
    ExitCode::from(NOT_AGAIN)
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

/// Checks the time of the canary, which may be a parameter.
///
/// # Errors
/// It is longer than an old process waits.
fn check_canary(written: &site::Takeover, settings: &Settings) -> Result<(), StartError> {
    if written.canary.get(settings) > site::Takeover::LONGEST_CANARY {
        let message = "`canary` is at most an hour: two processes share the work for that long".to_owned();
        return Err(StartError { message, place: written.place.clone() });
    }
    Ok(())
}

/// Checks whether the socket of takeovers can be bound, or a process that can be taken over from listens there.
///
/// # Errors
/// Neither is possible.
pub(crate) fn probe(site: &Site, settings: &Settings) -> Result<Option<(String, Availability)>, StartError> {
    let Some(written) = &site.process.takeover else { return Ok(None) };
    check_canary(written, settings)?;
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
