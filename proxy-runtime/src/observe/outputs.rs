//! Opens the outputs of a site's logs ([`OpenOutput`]): each has a queue and a thread that writes.

use std::io;

use super::framing::RecordFraming;
use super::output::Standard;
#[cfg(feature = "logs")]
use super::output::file::LogFileOutput;
#[cfg(feature = "logs")]
use super::output::socket::{Receiver, SocketOutput};
use super::queue::{Output, Queue};
use super::tell::Tell;
use crate::context::settings::{Settings, StartError};
use crate::site::{LogOutput, LogTarget, Site};
#[cfg(feature = "logs")]
use crate::site::{SyslogAddress, log_path, syslog_address};

/// An output with its queue.
pub(super) struct OpenOutput {
    /// The name to show in messages and metrics.
    pub(super) name: String,
    pub(super) queue: Queue,
    pub(super) framing: RecordFraming,
    /// Whether SIGUSR1 reopens it.
    pub(super) is_file: bool,
    /// Whether a wait for it may take long.
    pub(super) is_remote: bool,
}

/// The log that outputs are opened for.
pub(super) struct OutputUse<R> {
    /// The name of its threads.
    pub(super) thread: &'static str,
    /// The most bytes that wait.
    pub(super) room: usize,
    /// Receives the output's name and how many lines were lost. Returns whether the report was passed on.
    pub(super) report: R,
    #[cfg_attr(not(feature = "logs"), expect(dead_code, reason = "standard output and error have nothing to say"))]
    pub(super) tell: Tell,
}

impl<R: Fn(&str, u64) -> bool + Copy + Send + 'static> OutputUse<R> {
    /// Opens an output and starts its writer.
    ///
    /// # Errors
    /// Fails if a file can't be opened, an address is not valid, or the system has no thread.
    pub(super) fn open(&self, output: &LogOutput, settings: &Settings) -> Result<OpenOutput, StartError> {
        let refused = |message: String| StartError { message, place: output.place.clone() };
        let failed = |error: io::Error| refused(format!("no log can be written: {error}"));
        match &output.target {
            LogTarget::Stdout => self.start(output, "standard output", Standard(io::stdout())).map_err(failed),
            LogTarget::Stderr => self.start(output, "standard error", Standard(io::stderr())).map_err(failed),
            LogTarget::File(_) | LogTarget::Syslog(_) | LogTarget::Journal(_) => self.open_named(output, settings),
        }
    }

    /// Opens a file or socket.
    #[cfg(feature = "logs")]
    fn open_named(&self, output: &LogOutput, settings: &Settings) -> Result<OpenOutput, StartError> {
        let refused = |message: String| StartError { message, place: output.place.clone() };
        let started = if let LogTarget::File(file) = &output.target {
            let path = file.path.get(settings);
            let rotate = file.rotate.as_ref().map(|limit| (limit.get(settings), file.keep));
            let opened = on_path(path, |path| LogFileOutput::open(path, rotate, self.tell)).map_err(refused)?;
            self.start(output, path, opened)
        } else {
            let receiver = receiver(&output.target, settings).map_err(refused)?;
            let name = receiver.name();
            self.start(output, &name, SocketOutput::new(receiver, self.tell))
        };
        started.map_err(|error| refused(format!("no log can be written: {error}")))
    }

    /// Fails: the compiler's output asserts that this never happens.
    #[cfg(not(feature = "logs"))]
    fn open_named(&self, output: &LogOutput, _: &Settings) -> Result<OpenOutput, StartError> {
        let message = "this was built without the feature `logs`".to_owned();
        Err(StartError { message, place: output.place.clone() })
    }

    fn start(&self, output: &LogOutput, name: &str, to: impl Output) -> io::Result<OpenOutput> {
        let (report, shown) = (self.report, name.to_owned());
        let queue = Queue::start(self.thread, self.room, to, move |lost| report(&shown, lost))?;
        let target = &output.target;
        Ok(OpenOutput {
            name: name.to_owned(),
            queue,
            framing: RecordFraming::of(output),
            is_file: matches!(target, LogTarget::File(_)),
            is_remote: matches!(target, LogTarget::Syslog(_) | LogTarget::Journal(_)),
        })
    }
}

/// Calls `act` for the file at a path, if the path is valid.
#[cfg(feature = "logs")]
fn on_path<T>(path: &str, act: impl FnOnce(&str) -> io::Result<T>) -> Result<T, String> {
    let outcome = log_path(path).map_err(str::to_owned).and_then(|()| act(path).map_err(|error| error.to_string()));
    outcome.map_err(|why| format!("the log can't be written to `{path}`: {why}"))
}

/// Returns what would prevent the outputs of a site's logs from being opened. Creates no file, and connects to no
/// server.
pub(crate) fn check(site: &Site, settings: &Settings) -> Vec<StartError> {
    let outputs = site.outputs.iter().chain(site.errors.iter().flat_map(|errors| errors.outputs.iter()));
    let refused = outputs.filter_map(|output| {
        let message = find_fault(&output.target, settings).err()?;
        Some(StartError { message, place: output.place.clone() })
    });
    refused.collect()
}

#[cfg(feature = "logs")]
fn find_fault(target: &LogTarget, settings: &Settings) -> Result<(), String> {
    match target {
        LogTarget::Stdout | LogTarget::Stderr => Ok(()),
        LogTarget::File(file) => on_path(file.path.get(settings), super::output::file::check),
        LogTarget::Syslog(_) | LogTarget::Journal(_) => receiver(target, settings).map(drop),
    }
}

/// Finds no fault: standard output and error need nothing.
#[cfg(not(feature = "logs"))]
fn find_fault(_: &LogTarget, _: &Settings) -> Result<(), String> {
    Ok(())
}

/// Returns the receiver that a socket leads to.
#[cfg(feature = "logs")]
fn receiver(target: &LogTarget, settings: &Settings) -> Result<Receiver, String> {
    match target {
        LogTarget::Syslog(syslog) => {
            let address = syslog.address.get(settings);
            match syslog_address(address).map_err(|why| format!("`{address}` is no syslog server: {why}"))? {
                SyslogAddress::Unix(path) => Ok(Receiver::Unix(path.to_owned())),
                SyslogAddress::Udp(host, port) => Ok(Receiver::Udp(host.to_owned(), port)),
                SyslogAddress::Tcp(host, port) => Ok(Receiver::Tcp(host.to_owned(), port)),
            }
        }
        LogTarget::Journal(path) => {
            let path = path.get(settings);
            log_path(path).map_err(|why| format!("`{path}` is no socket of the journal: {why}"))?;
            Ok(Receiver::Journal(path.to_owned()))
        }
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::File(_) => Err("this is no socket".to_owned()),
    }
}
