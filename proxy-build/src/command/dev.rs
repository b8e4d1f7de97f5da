//! `kiln dev`: watch, rebuild, swap.
//!
//! The listening sockets belong to this process and are passed to each proxy that it starts (`LISTEN_FDS`), so that no
//! connection is refused or reset while one proxy replaces the other: the new one accepts before the old one stops, and
//! the old one finishes its exchanges. When this process ends, in any way, the proxies end, too ([`proxies`]).

pub(crate) mod proxies;

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use notify::Watcher as _;
use proxy_build::Compiled;
use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::site::Setting;

use self::proxies::RunningProxies;
use super::artefact::recipe::Settings;
use super::{Outcome, artefact, compile_to_build, failed};

/// Several saves in quick succession count as one change.
const SETTLE: Duration = Duration::from_millis(80);

/// The time-out for a new proxy to become ready.
const READY: Duration = Duration::from_secs(10);

pub(crate) fn dev(file: &Path, arguments: &[String]) -> Outcome {
    let proxies = RunningProxies::new()?;
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
        let swapped = compiled.as_ref().map(|compiled| swap(compiled, file, arguments, &mut sockets, &proxies));
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

/// Builds and starts the new proxy; once it is ready, the old one drains.
fn swap(
    compiled: &Compiled,
    file: &Path,
    arguments: &[String],
    sockets: &mut Sockets,
    proxies: &RunningProxies,
) -> Result<(), String> {
    let artefact = artefact::make(compiled, file, Settings::QUICK)?;
    sockets.open(compiled)?;
    let mut command = proxies::command(&artefact.path, arguments);
    let mappings = sockets.mappings()?;
    // Without LISTEN_PID, which is not known before the process exists, the variable applies to any process.
    command.env("LISTEN_FDS", mappings.len().to_string()).env_remove("LISTEN_PID");
    command.fd_mappings(mappings).map_err(failed("can't hand sockets over"))?;
    let (new, stderr) = proxies.start(command)?;
    let (ready, is_ready) = channel();
    std::thread::spawn(move || show(stderr, ready));
    if is_ready.recv_timeout(READY).is_err() {
        // The new proxy has printed the reason on standard error, and must not stay half started.
        proxies.kill(new);
        return Err("the new proxy did not start".to_owned());
    }
    // Not sooner: the proxy starts from this file.
    drop(artefact);
    proxies.stop_others(new);
    Ok(())
}

/// Prints a proxy's standard error, and signals when it is ready.
fn show(stderr: impl Read, ready: Sender<()>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains(" listening on ") {
            // The waiting side may have given up.
            let _ = ready.send(());
        }
        anstream::eprintln!("{line}");
    }
}

/// The listening sockets by address, opened once and kept for as long as the command runs.
#[derive(Default)]
struct Sockets(Vec<(String, OwnedFd)>);

impl Sockets {
    fn open(&mut self, compiled: &Compiled) -> Result<(), String> {
        let Some(model) = &compiled.model else { return Ok(()) };
        for listener in &model.listeners {
            let Setting::Fixed(address) = &listener.address else { continue };
            if !self.0.iter().any(|(open, _)| open == address) {
                let socket = open(address).map_err(failed(format!("can't listen on `{address}`")))?;
                self.0.push((address.to_string(), socket));
            }
        }
        // Sockets that the site no longer has are closed, because connections to them would wait forever.
        self.0.retain(|(open, _)| {
            model.listeners.iter().any(|listener| listener.address == Setting::Fixed(open.clone().into()))
        });
        Ok(())
    }

    /// Descriptors from 3 on, as the protocol requires.
    fn mappings(&self) -> Result<Vec<FdMapping>, String> {
        let mapping = |(index, (_, socket)): (usize, &(String, OwnedFd))| {
            let parent_fd = socket.try_clone().map_err(failed("can't hand sockets over"))?;
            Ok(FdMapping { parent_fd, child_fd: 3 + index as i32 })
        };
        self.0.iter().enumerate().map(mapping).collect()
    }
}

fn open(address: &str) -> std::io::Result<OwnedFd> {
    match settings::address(address).map_err(std::io::Error::other)? {
        Address::Unix(path) => {
            let _ = std::fs::remove_file(path);
            Ok(UnixListener::bind(path)?.into())
        }
        Address::Tcp("" | "::", port) => {
            // Dual stack if the machine has IPv6, like the proxy itself.
            TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).map(Into::into)
        }
        Address::Tcp(host, port) => Ok(TcpListener::bind((host, port))?.into()),
    }
}
