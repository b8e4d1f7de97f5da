//! Sets records with a program that the site names. It is run without a shell, as `PROGRAM ARG... present|cleanup NAME VALUE`: the form
//! of lego's `exec`.

use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, Command};

use super::txt_record::{Action, TxtRecord};
use crate::site::Text;

/// The most bytes of a program's standard error that are logged.
const MAX_WORDS: u64 = 500;

/// How long standard error is read after the program's end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a program, and waits for its end.
///
/// # Errors
/// Fails if the program can't be run, or its exit status is not 0.
pub(super) async fn run(action: Action, command: &[Text], record: &TxtRecord) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no program is named")?;
    let mut child = Command::new(&**program)
        .args(arguments.iter().map(|argument| &**argument))
        .args([&action.to_string(), &record.name, &record.value])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Its child processes are killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` can't be run: {error}"))?;
    let group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let (stderr, mut words) = (child.stderr.take(), Vec::new());
    let status = {
        let mut listening = pin!(listen(stderr, &mut words));
        let (status, silent) = tokio::select! {
            status = child.wait() => (status, false),
            () = &mut listening => (child.wait().await, true),
        };
        drop(group);
        if !silent {
            // A child process may still have its standard error open.
            let _ = tokio::time::timeout(LAST_WORDS, listening).await;
        }
        status
    };
    let status = status.map_err(|error| format!("`{program}`: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let words = words.trim_ascii().escape_ascii();
    Err(format!("`{program}` ends with {status}: {words}"))
}

/// Reads a program's standard error, and keeps the beginning.
async fn listen(stderr: Option<ChildStderr>, words: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let _ = (&mut stderr).take(MAX_WORDS).read_to_end(words).await;
    // Otherwise the program would block on a full pipe.
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
}

/// The process group of a program; killed on drop.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Checks whether the program exists.
///
/// # Errors
/// Fails if the program does not exist.
pub(super) fn check(command: &[Text]) -> Result<(), String> {
    let program = command.first().ok_or("no program is named")?;
    let found = std::fs::metadata(&**program).map_err(|error| format!("`{program}`: {error}"))?;
    if found.is_file() && found.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(format!("`{program}` is not a program"))
}
