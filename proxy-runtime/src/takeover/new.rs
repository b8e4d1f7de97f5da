//! The side of the new process (`--upgrade`): receives the sockets ([`receive`]), and decides whether it goes on ([`take_over`]).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::Instant;

use super::canary::judge;
use super::crashed::CrashedBuilds;
use super::message::{Channel, Message, PATIENCE, VERSION};
use super::old::unexpected;
use super::{TakeoverTask, bind, build, check_canary, not_again, refused, whole_millis};
use crate::context::settings::{Settings, StartError};
use crate::net::accounts;
#[cfg(feature = "h3")]
use crate::net::listen::quic::InheritedQuic;
use crate::net::listen::{self, Bound, Inherited};
#[cfg(feature = "h3")]
use crate::net::quic::QuicIdentity;
use crate::observe::{announce, announce_warning, notice};
use crate::site::Site;
use crate::worker::StopSignal;

/// The most sockets that are received.
const MOST_SOCKETS: usize = 1 << 16;

/// The most messages with the state of rate limits: 16 MiB. The running process sends a quarter of that.
const MOST_LIMITS: usize = 1 << 12;

/// How long workers may take to respond at the end of the canary. The old process waits for longer.
const RESPONSE: Duration = Duration::from_secs(2);

/// How long to wait before looking for other processes again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a running process has handed over.
#[derive(Default)]
pub(crate) struct ReceivedSockets {
    /// Its socket for takeovers.
    pub(super) own: Option<UnixListener>,
    pub(super) old: Option<OldProcess>,
    /// Its listening sockets.
    sockets: Vec<(u32, Bound)>,
    #[cfg(feature = "h3")]
    quic: InheritedQuic,
    ticket_keys: Vec<Vec<u8>>,
    limits: Vec<Vec<u8>>,
}

/// The running process, which ends if this one goes on.
pub(super) struct OldProcess {
    stream: std::os::unix::net::UnixStream,
    build: String,
    /// Its listeners that this process listens for.
    took: Vec<u32>,
}

impl ReceivedSockets {
    /// Passes the sockets on to be bound.
    pub(crate) fn pass_on(&mut self, inherited: &mut Inherited) {
        let took = self.old.as_mut().map(|old| &mut old.took);
        took.into_iter().for_each(|took| took.extend(self.sockets.iter().map(|(listener, _)| *listener)));
        self.sockets.drain(..).for_each(|(listener, socket)| inherited.add(listener, socket));
        #[cfg(feature = "h3")]
        {
            inherited.quic = std::mem::take(&mut self.quic);
        }
    }

    /// The sockets that are left were not bound: the old process goes on accepting from those.
    pub(crate) fn left(&mut self, inherited: &Inherited) {
        let Some(old) = &mut self.old else { return };
        let left: Vec<_> = inherited.left().collect();
        old.took.retain(|listener| !left.contains(listener));
        old.took.dedup();
    }

    /// Returns the keys of session tickets.
    pub(crate) fn ticket_keys(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.ticket_keys)
    }

    /// Returns the state of rate limits.
    pub(crate) fn limits(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.limits)
    }
}

/// Receives the sockets of the running process, if `upgrade` is set and there is one; otherwise, binds the socket for takeovers. Blocks for
/// a few seconds at most. The inner error is the exit code of a process that the running one does not want to see again.
///
/// # Errors
/// The running process doesn't respond, or refuses; or it runs, and `upgrade` is not set.
pub(crate) fn receive(
    site: &'static Site,
    settings: &Settings,
    (upgrade, inherited): (bool, &Inherited),
) -> Result<Result<ReceivedSockets, ExitCode>, Vec<StartError>> {
    let Some(written) = &site.process.takeover else { return Ok(Ok(ReceivedSockets::default())) };
    check_canary(written, settings).map_err(|refused| vec![refused])?;
    let refused = |error: io::Error| refused(written, settings, &error.to_string());
    let mut all = ReceivedSockets::default();
    if upgrade {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let path = written.path.get(settings);
        match runtime.block_on(received(site, path)) {
            Ok(Ok(received)) => all = received,
            Ok(Err(reason)) => return Ok(Err(not_again(&format!("the running process does not hand over: {reason}")))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                refuse_beside_others(site, settings, inherited, path)?;
                notice(&format!("takeover: no process listens on `{path}`, so there is nothing to take over"));
            }
            Err(error) => return Err(refused(error)),
        }
    }
    if all.own.is_none() {
        all.own = Some(bind(site, written, settings).map_err(refused)?);
    }
    Ok(Ok(all))
}

/// Waits until no other process listens on an address of the site: one may be ending, and its service manager may have started this one instead.
///
/// # Errors
/// One does, and does not end: the kernel would give it a part of the connections for good.
fn refuse_beside_others(
    site: &Site,
    settings: &Settings,
    inherited: &Inherited,
    path: &str,
) -> Result<(), Vec<StartError>> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let mut shared = listen::shared(site, settings, inherited);
        if shared.is_empty() {
            return Ok(());
        }
        if std::time::Instant::now() >= until {
            // Binding reports it.
            shared.retain(|listener| !listener.speaks.admin);
            if shared.is_empty() {
                return Ok(());
            }
            let refused = shared.into_iter().map(|listener| {
                let address = listener.address.get(settings);
                let message = format!(
                    "can't take over: another process listens on `{address}`, but none on `{path}`; stop it first, or give `takeover` the path that it has"
                );
                StartError { message, place: listener.place.clone() }
            });
            return Err(refused.collect());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

async fn received(site: &Site, path: &str) -> io::Result<Result<ReceivedSockets, String>> {
    let stream = tokio::time::timeout(PATIENCE, UnixStream::connect(path)).await??;
    let user = site.process.privileges.as_ref().and_then(|privileges| privileges.user.as_deref());
    let user = user.map(accounts::user).transpose()?;
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != geteuid().as_raw() && Some(peer) != user {
        return Err(io::Error::other(format!("the running process is of user {peer}, who is not trusted")));
    }
    let channel = Channel(stream);
    channel.send(&Message::Hello(VERSION), None).await?;
    // If this fails, a process of another version has refused, and the reply tells why.
    let _ = channel.send(&Message::Build(build(site)), None).await;
    let mut received = ReceivedSockets::default();
    let mut old = String::new();
    loop {
        let next = channel.expect().await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => io::Error::other("it does not respond; another takeover may be under way"),
            io::ErrorKind::UnexpectedEof => io::Error::other("it has closed the connection; its error log tells why"),
            _ => error,
        });
        match next? {
            (Message::NotAgain(reason), _) => return Ok(Err(reason)),
            (Message::Build(build), _) => old = build,
            (Message::Own, Some(descriptor)) => match listening(descriptor)? {
                Bound::Unix(own) => received.own = Some(own),
                Bound::Tcp(_) => return Err(unexpected(&Message::Own)),
            },
            (Message::Socket(listener), Some(descriptor)) if received.sockets.len() < MOST_SOCKETS => {
                received.sockets.push((listener, listening(descriptor)?));
            }
            #[cfg(feature = "h3")]
            (Message::Datagrams(listener), Some(descriptor)) if received.quic.sockets.len() < MOST_SOCKETS => {
                received.quic.sockets.push((listener, datagrams(descriptor)?));
            }
            #[cfg(feature = "h3")]
            (Message::Identity(identity), _) => received.quic.identity = QuicIdentity::decode(&identity),
            // This site has no HTTP/3: the old process goes on with it until it ends.
            #[cfg(not(feature = "h3"))]
            (Message::Datagrams(_) | Message::Identity(_), _) => {}
            (Message::TicketKeys(keys), _) if received.ticket_keys.len() < MOST_SOCKETS => {
                received.ticket_keys.push(keys);
            }
            (Message::Limits(part), _) if received.limits.len() < MOST_LIMITS => received.limits.push(part),
            (Message::Complete, _) => break,
            (other, _) => return Err(unexpected(&other)),
        }
    }
    received.old = Some(OldProcess { stream: channel.0.into_std()?, build: old, took: Vec::new() });
    Ok(Ok(received))
}

/// Returns a listening socket.
fn listening(descriptor: OwnedFd) -> io::Result<Bound> {
    let is_listening =
        sockopt::socket_acceptconn(&descriptor)? && sockopt::socket_type(&descriptor)? == SocketType::STREAM;
    match sockopt::socket_domain(&descriptor)? {
        AddressFamily::INET | AddressFamily::INET6 if is_listening => Ok(Bound::Tcp(descriptor.into())),
        AddressFamily::UNIX if is_listening => Ok(Bound::Unix(descriptor.into())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor is not a listening socket")),
    }
}

/// Returns a UDP socket.
#[cfg(feature = "h3")]
fn datagrams(descriptor: OwnedFd) -> io::Result<std::net::UdpSocket> {
    match sockopt::socket_domain(&descriptor)? {
        AddressFamily::INET | AddressFamily::INET6 if sockopt::socket_type(&descriptor)? == SocketType::DGRAM => {
            Ok(descriptor.into())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor is not a UDP socket")),
    }
}

/// Tells the old process that this one serves, waits for the end of the canary, and decides. The workers must be running.
///
/// # Errors
/// The old process goes on, for this reason, and this one must drain.
pub(super) async fn take_over(
    old: &OldProcess,
    takeover: &mut TakeoverTask,
    stop: watch::Receiver<StopSignal>,
) -> Result<(), String> {
    let started = |error: io::Error| format!("the old process does not respond: {error}");
    let stream = old.stream.try_clone().and_then(UnixStream::from_std).map_err(started)?;
    let channel = Channel(stream);
    let canary = takeover.written.canary.get(takeover.settings);
    #[cfg(feature = "h3")]
    takeover.quic.relay_to_old(&channel).await;
    let took = old.took.iter().map(|&listener| Message::Took(listener));
    for message in took.chain([Message::Serving(canary)]) {
        // If this fails, the reply tells why: the old process sends `Refused` unless it has ended.
        let _ = channel.send(&message, None).await;
    }
    match channel.expect().await {
        Ok((Message::Paused, _)) => {}
        Ok((Message::Draining, _)) => return goes_on("the old process ends"),
        Ok((other, _)) => return Err(started(unexpected(&other))),
        Err(error) if is_gone(&error) => return goes_on("the old process has ended"),
        Err(error) => return Err(started(error)),
    }
    announce(&format!("takeover: serving for {canary:?} before the old process ends"));
    let began = Instant::now();
    let verdict = tokio::select! {
        verdict = canary_of(takeover, began + canary, stop) => verdict,
        ended = channel.receive() => {
            return match ended {
                Err(error) if is_gone(&error) => goes_on("the old process has ended"),
                Ok((Message::Draining, _)) => goes_on("the old process ends"),
                Ok((Message::Resumed, _)) => Err("the old process accepts again".to_owned()),
                Ok((other, _)) => Err(unexpected(&other).to_string()),
                Err(error) => Err(error.to_string()),
            };
        }
    };
    let (message, verdict) = match verdict {
        Ok(()) => (Message::Commit, Ok(())),
        Err(reason) => {
            (Message::RollBack(reason.clone()), Err(format!("{reason}, after {:?}", whole_millis(began.elapsed()))))
        }
    };
    let _ = channel.send(&message, None).await;
    let replied = channel.expect().await.map(|(reply, _)| reply);
    let count = takeover.handover.counted();
    let counts = format!("{} responses, {} errors", count.responses, count.errors);
    match (replied, verdict) {
        (Ok(Message::Draining), Ok(())) => {
            announce(&format!("takeover: complete: {counts} in {:?}", whole_millis(began.elapsed())));
            Ok(())
        }
        (Ok(Message::Resumed), Ok(())) => Err("the old process accepts again: the verdict came too late".to_owned()),
        (Ok(_), Err(reason)) => Err(reason),
        (Err(error), _) if is_gone(&error) => goes_on("the old process has ended"),
        (Ok(_) | Err(_), _) => goes_on("the old process does not respond"),
    }
}

impl OldProcess {
    /// Follows the old process, which was replaced, until it has ended.
    pub(super) async fn follow(self, crashed: Rc<CrashedBuilds>) {
        if let Ok(stream) = UnixStream::from_std(self.stream) {
            crashed.follow(Channel(stream), self.build).await;
        }
    }
}

/// This process goes on whatever it has counted: no other one is left.
fn goes_on(why: &str) -> Result<(), String> {
    announce_warning(&format!("takeover: {why}; this process goes on"));
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Waits until the end of the canary.
///
/// # Errors
/// There are too many errors, a worker does not run its tasks, or this process has to stop.
async fn canary_of(
    takeover: &TakeoverTask,
    until: Instant,
    mut stop: watch::Receiver<StopSignal>,
) -> Result<(), String> {
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != StopSignal::No) => {
                return Err("the new process has to stop".to_owned());
            }
            () = takeover.handover.failed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
        if let Some(reason) = judge(takeover.handover.counted(), takeover.written.max_error_percent) {
            return Err(reason);
        }
        if Instant::now() >= until {
            return match takeover.handover.silent(RESPONSE).await {
                Some(worker) => Err(format!("worker {worker} hangs")),
                None => Ok(()),
            };
        }
    }
}
