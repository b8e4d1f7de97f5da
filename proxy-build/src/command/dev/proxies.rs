//! The proxies that `kiln dev` starts: the one that serves, and those that still finish their exchanges. None outlives the
//! command, however that ends.
//!
//! A separate thread receives a signal that would end the command, stops the proxies and waits for them. When the
//! command is killed, or panics, the kernel kills them (`PR_SET_PDEATHSIG`, prctl(2)): each is started through
//! [`become_proxy`], as only a process itself can request that, and the setting survives execve(2).

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::super::{Outcome, failed};

#[derive(Clone, Default)]
pub(super) struct RunningProxies(Arc<Mutex<Vec<RunningProxy>>>);

struct RunningProxy {
    child: Child,
    /// The proxy was told to stop. A second signal would abort its exchanges.
    stopping: bool,
}

impl RunningProxies {
    /// Creates an empty list; from here on, signals are received. `folder` is removed before the command ends by one.
    pub(super) fn new(folder: &Path) -> Result<RunningProxies, String> {
        let ignored = ignored();
        let ending = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let signals = Signals::new(ending).map_err(failed("can't receive signals"))?;
        let proxies = RunningProxies::default();
        let stopped = proxies.clone();
        let folder = folder.to_owned();
        std::thread::spawn(move || stopped.stop_on(signals, &folder));
        Ok(proxies)
    }

    /// Starts a proxy, from the thread that lives as long as the command: the kernel kills it when that thread ends. Returns its
    /// process id and its standard error.
    pub(super) fn start(&self, mut command: Command) -> Result<(u32, impl Read + use<>), String> {
        let mut proxies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Forget those that have ended.
        proxies.retain_mut(|proxy| !matches!(proxy.child.try_wait(), Ok(Some(_))));
        // A terminal's Ctrl-C goes to the command alone, which passes it on once.
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed("can't run the proxy"))?;
        let (id, stderr) = (child.id(), child.stderr.take());
        proxies.push(RunningProxy { child, stopping: false });
        Ok((id, stderr.ok_or("no standard error")?))
    }

    /// Kills a proxy that does not become ready.
    pub(super) fn kill(&self, id: u32) {
        let mut proxies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = proxies.iter().position(|proxy| proxy.child.id() == id) {
            let mut proxy = proxies.remove(at);
            let _ = proxy.child.kill();
            let _ = proxy.child.wait();
        }
    }

    /// Stops all except one; they drain for as long as their exchanges take.
    pub(super) fn stop_others(&self, id: u32) {
        let mut proxies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proxies.iter_mut().filter(|proxy| proxy.child.id() != id).for_each(RunningProxy::stop);
    }

    /// Returns whether a proxy is serving.
    pub(super) fn serve(&self) -> bool {
        let mut proxies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proxies.iter_mut().any(|proxy| !proxy.stopping && matches!(proxy.child.try_wait(), Ok(None)))
    }

    fn stop_on(&self, mut signals: Signals, folder: &Path) {
        let Some(signal) = signals.forever().next() else { return };
        std::thread::spawn(move || {
            // After a second signal, the command ends at once, and the kernel kills the proxies.
            if let Some(signal) = signals.forever().next() {
                die(signal);
            }
        });
        // Held until the end, so that no other proxy is started.
        let mut proxies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proxies.iter_mut().for_each(RunningProxy::stop);
        for proxy in proxies.iter_mut() {
            let _ = proxy.child.wait();
        }
        let _ = std::fs::remove_dir_all(folder);
        die(signal);
    }
}

impl RunningProxy {
    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            // The process may have ended; its ID is not reused before it is waited for.
            let _ = process::kill_process(process::Pid::from_child(&self.child), process::Signal::TERM);
        }
    }
}

/// Ends the command by the signal, so that its parent learns which one it was.
fn die(signal: i32) -> ! {
    let _ = emulate_default_handler(signal);
    std::process::exit(128 + signal);
}

/// Returns the signals that this process was started to ignore (`nohup`), as the kernel's mask.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Returns a command of `kiln` that becomes a proxy, which ends when this process does.
pub(super) fn command(artefact: &Path, arguments: &[String]) -> Command {
    // The running program, even if its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("kiln").arg("become-proxy").arg(std::process::id().to_string()).arg(artefact).args(arguments);
    command
}

/// Becomes the proxy, as the counterpart of [`command`].
pub(crate) fn become_proxy(parent: u32, artefact: &Path, arguments: &[OsString]) -> Outcome {
    process::set_parent_process_death_signal(Some(process::Signal::KILL)).map_err(failed("can't follow kiln"))?;
    // The parent may have ended before the request.
    if process::getppid().is_none_or(|now| now.as_raw_nonzero().get().cast_unsigned() != parent) {
        return Err("kiln has ended".to_owned());
    }
    let error = Command::new(artefact).args(arguments).exec();
    Err(format!("can't run {}: {error}", artefact.display()))
}
