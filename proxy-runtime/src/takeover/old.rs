//! The side of the running process: hands its sockets over, pauses while the new process serves, and drains or goes on ([`serve`]).

use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::message::{Channel, LONGEST, Message, PATIENCE, VERSION};
use super::{TakeoverTask, build, whole_millis};
use crate::net::listen::Bound;
use crate::observe::{announce, announce_warning};
use crate::site;

/// How long a new process may take to start once it has the sockets. This process accepts meanwhile.
const START: Duration = Duration::from_secs(120);

/// How much later than announced a verdict may come.
const MARGIN: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves new processes, one after the other, until one has taken over. Returns the connection to it.
///
/// # Errors
/// The socket can't be registered with the event loop.
pub(super) async fn serve(takeover: &TakeoverTask) -> io::Result<Rc<Channel>> {
    let own = takeover.own.try_clone()?;
    own.set_nonblocking(true)?;
    let own = UnixListener::from_std(own)?;
    loop {
        let Ok((stream, _)) = own.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match Box::pin(hand_over(stream, takeover)).await {
            Ok((process, channel)) => {
                announce(&format!("takeover: {process} goes on, and this process ends"));
                return Ok(channel);
            }
            Err(reason) => announce_warning(&format!("takeover: {reason}")),
        }
    }
}

/// Hands over to a new process. Returns its name, and the connection to it.
///
/// # Errors
/// This process goes on, for this reason.
async fn hand_over(stream: UnixStream, takeover: &TakeoverTask) -> Result<(String, Rc<Channel>), String> {
    let peer = stream.peer_cred().map_err(|error| format!("a process without credentials: {error}"))?;
    let process = format!("process {}", peer.pid().unwrap_or_default());
    if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
        return Err(format!("{process} of user {} is neither root's nor of this user", peer.uid()));
    }
    let channel = Rc::new(Channel(stream));
    let begun = async {
        let new = greeted(&channel).await?;
        if takeover.crashed.take(&new) {
            return Ok(None);
        }
        send_all(&channel, takeover).await?;
        takeover.candidate.replace(Some(Rc::clone(&channel)));
        begun(&channel, &process, takeover).await.map(|(took, within)| Some((new, took, within)))
    };
    let (new, took, within) = match begun.await {
        Ok(Some(begun)) => begun,
        Ok(None) => {
            let reason = "this build has crashed during its last takeover";
            let _ = channel.send(&Message::NotAgain(reason.to_owned()), None).await;
            return Err(format!("{process} may not take over: {reason}; if it is started once more, it may"));
        }
        Err(error) => {
            takeover.candidate.take();
            // Without this, a new process that still runs would take this one for ended.
            let _ = channel.send(&Message::Refused(error.to_string()), None).await;
            return Err(format!("{process} did not take over: {error}; nothing has changed"));
        }
    };
    takeover.handover.pause(&took);
    #[cfg(feature = "h3")]
    takeover.quic.pause();
    announce(&format!("takeover: {process} serves, and decides within {within:?}; accepting is paused"));
    let since = Instant::now();
    let reason = match verdict(&channel, within).await {
        Ok(Message::Commit) => {
            // Even if this does not arrive, the new process goes on: the connection ends without `Resumed`.
            let _ = channel.send(&Message::Draining, None).await;
            takeover.candidate.take();
            return Ok((process, channel));
        }
        Ok(Message::RollBack(reason)) => format!("{process} rolls back: {reason}"),
        Ok(other) => format!("{process} has no verdict: {}", unexpected(&other)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            // Its service manager may kill it, which is a crash.
            takeover.crashed.add(new).await;
            format!("{process} has not decided in time")
        }
        Err(error) => {
            takeover.crashed.add(new).await;
            format!("{process} has ended without a verdict: {error}")
        }
    };
    takeover.candidate.take();
    takeover.handover.resume();
    #[cfg(feature = "h3")]
    takeover.quic.resume();
    let _ = channel.send(&Message::Resumed, None).await;
    Err(format!("{reason}; accepting again after {:?}", whole_millis(since.elapsed())))
}

/// Receives what a new process begins with. Returns its build.
async fn greeted(channel: &Channel) -> io::Result<String> {
    match channel.expect().await?.0 {
        Message::Hello(VERSION) => {}
        Message::Hello(version) => {
            let reason = format!("the running process has version {VERSION} of takeovers, the new one {version}");
            return Err(io::Error::other(reason));
        }
        other => return Err(unexpected(&other)),
    }
    match channel.expect().await?.0 {
        Message::Build(build) => Ok(build),
        other => Err(unexpected(&other)),
    }
}

/// Waits until a new process, which has the sockets, serves. Returns the listeners that it took over, and when it decides.
async fn begun(channel: &Channel, process: &str, takeover: &TakeoverTask) -> io::Result<(Vec<u32>, Duration)> {
    announce(&format!("takeover: {process} has the sockets, and starts"));
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("it does not serve after {START:?}"));
    tokio::time::timeout(START, serving(channel, takeover)).await.map_err(late)?
}

async fn send_all(channel: &Channel, takeover: &TakeoverTask) -> io::Result<()> {
    channel.send(&Message::Build(build(takeover.site)), None).await?;
    channel.send(&Message::Own, Some(takeover.own.as_fd())).await?;
    for (listener, socket) in &takeover.sockets {
        let descriptor = match socket {
            Bound::Tcp(socket) => socket.as_fd(),
            Bound::Unix(socket) => socket.as_fd(),
        };
        channel.send(&Message::Socket(*listener), Some(descriptor)).await?;
    }
    #[cfg(feature = "h3")]
    takeover.quic.hand_over(channel).await?;
    for keys in takeover.engine.ticket_keys() {
        channel.send(&Message::TicketKeys(keys), None).await?;
    }
    // The last, as this process goes on counting.
    for part in takeover.access.limits_to_hand_over(takeover.site, LONGEST) {
        channel.send(&Message::Limits(part), None).await?;
    }
    channel.send(&Message::Complete, None).await
}

#[cfg_attr(not(feature = "h3"), allow(unused_variables, reason = "for relays"))]
async fn serving(channel: &Channel, takeover: &TakeoverTask) -> io::Result<(Vec<u32>, Duration)> {
    let mut took = Vec::new();
    loop {
        let (message, _descriptor) = channel.receive().await?;
        match message {
            Message::Took(listener) if !took.contains(&listener) => took.push(listener),
            #[cfg(feature = "h3")]
            Message::Relay(listener) => takeover.quic.relay_to_new(listener, _descriptor)?,
            Message::Serving(within) => {
                return Ok((took, within.min(site::Takeover::LONGEST_CANARY)));
            }
            other => return Err(unexpected(&other)),
        }
    }
}

async fn verdict(channel: &Channel, within: Duration) -> io::Result<Message> {
    channel.send(&Message::Paused, None).await?;
    let received = tokio::time::timeout(within + MARGIN + PATIENCE, channel.receive()).await??;
    Ok(received.0)
}

pub(super) fn unexpected(message: &Message) -> io::Error {
    // Without the content, which may be secret.
    let name = match message {
        Message::Refused(reason) => return io::Error::other(reason.clone()),
        Message::TicketKeys(_) => "TicketKeys".to_owned(),
        Message::Limits(_) => "Limits".to_owned(),
        other => format!("{other:?}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} is not expected now"))
}
