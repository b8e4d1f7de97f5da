//! `kiln dev`: watch, rebuild, swap.
//!
//! The listening sockets belong to this process and are passed to each proxy that it starts (`LISTEN_FDS`), so that no
//! connection is refused or reset while one proxy replaces the other: the new one accepts before the old one stops, and
//! the old one finishes its exchanges. When this process ends, in any way, the proxies end, too ([`proxies`]).

pub(crate) mod proxies;
mod readiness;
mod sockets;

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use command_fds::CommandFdExt as _;
use notify::Watcher as _;
use proxy_build::Compiled;

use self::proxies::RunningProxies;
use self::readiness::ReadySockets;
use self::sockets::Sockets;
use super::artefact::Artefact;
use super::artefact::recipe::Settings;
use super::{Outcome, artefact, compile_to_build, failed};

/// Several saves in quick succession count as one change.
const SETTLE: Duration = Duration::from_millis(80);

/// The time-out for a new proxy to become ready.
const READY: Duration = Duration::from_secs(10);

pub(crate) fn dev(file: &Path, arguments: &[String]) -> Outcome {
    let mut readiness = ReadySockets::new().map_err(failed("can't make a folder for what proxies say"))?;
    let proxies = RunningProxies::new(readiness.folder())?;
    let (changed, changes) = channel();
    let mut watcher = notify::recommended_watcher({
        let changed = changed.clone();
        move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // The receiver lives as long as the command.
                let _ = changed.send(());
            }
        }
    })
    .map_err(failed("can't watch files"))?;
    let mut sockets = Sockets::default();
    let mut watched: Vec<PathBuf> = Vec::new();
    loop {
        let compiled = compile_to_build(file);
        let dependencies = compiled.as_ref().map(Compiled::dependencies).unwrap_or_else(|| vec![file.to_owned()]);
        let folders = compiled.as_ref().map(|compiled| compiled.sources.folders()).unwrap_or_default();
        for folder in dependencies.iter().filter_map(|path| path.parent()).chain(folders.iter().map(PathBuf::as_path)) {
            // Editors replace files, so their folders are watched.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if !watched.iter().any(|seen| seen == folder) {
                watcher
                    .watch(folder, notify::RecursiveMode::NonRecursive)
                    .map_err(failed(format!("can't watch {}", folder.display())))?;
                watched.push(folder.to_owned());
            }
        }
        let swapped = compiled.as_ref().map(|compiled| {
            let artefact = artefact::make(compiled, file, Settings::QUICK)?;
            sockets.open(compiled)?;
            swap(artefact, arguments, &sockets, &mut readiness, &proxies)
        });
        if let Some(Err(error)) = &swapped {
            anstream::eprintln!("error: {error}");
        }
        if !matches!(swapped, Some(Ok(()))) && proxies.serve() {
            anstream::eprintln!("keeping the previous version");
        }
        wait_for_change(&changes)?;
    }
}

fn wait_for_change(changes: &Receiver<()>) -> Result<(), String> {
    changes.recv().map_err(failed("the watch ended"))?;
    while changes.recv_timeout(SETTLE).is_ok() {}
    Ok(())
}

/// Starts the new proxy; once it is ready, the old one drains.
fn swap(
    artefact: Artefact,
    arguments: &[String],
    sockets: &Sockets,
    readiness: &mut ReadySockets,
    proxies: &RunningProxies,
) -> Result<(), String> {
    let mut command = proxies::command(&artefact.path, arguments);
    let mappings = sockets.mappings()?;
    // Without LISTEN_PID, which is not known before the process exists, the variable applies to any process.
    command.env("LISTEN_FDS", mappings.len().to_string()).env_remove("LISTEN_PID");
    command.fd_mappings(mappings).map_err(failed("can't hand sockets over"))?;
    let starting = readiness.listen().map_err(failed("can't listen to the proxy"))?;
    command.env("NOTIFY_SOCKET", &starting.socket).env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
    let started = proxies.start(command);
    let Ok((new, stderr)) = started else {
        readiness::ended(&starting.socket);
        return started.map(|_| ());
    };
    let socket = starting.socket;
    std::thread::spawn(move || {
        show(stderr);
        readiness::ended(&socket);
    });
    if let Err(error) = starting.ready.recv_timeout(READY) {
        proxies.kill(new);
        // One that has ended has printed the reason on standard error; one that hangs must not stay half started.
        let why = match error {
            RecvTimeoutError::Disconnected => "the new proxy has ended".to_owned(),
            RecvTimeoutError::Timeout => format!("the new proxy is not ready after {} s", READY.as_secs()),
        };
        return Err(why);
    }
    // Not sooner: the proxy starts from this file.
    drop(artefact);
    proxies.stop_others(new);
    Ok(())
}

/// Prints a proxy's standard error, until it ends.
fn show(stderr: impl Read) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        anstream::eprintln!("{}", String::from_utf8_lossy(&line));
    }
}
