//! The commands, and the code that several of them share.

mod artefact;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod dev;
pub(crate) mod diff;
pub(crate) mod expand;
pub(crate) mod explain;
pub(crate) mod fmt;
mod licences;
pub(crate) mod monitoring;
pub(crate) mod new;
pub(crate) mod report;
pub(crate) mod routes;
pub(crate) mod run;
mod source;
mod stdin;
pub(crate) mod test;

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use proxy_build::Compiled;

/// The result of a command: an exit code, or a message and exit code 1.
pub(crate) type Outcome = Result<ExitCode, String>;

/// Compiles a site and prints the findings; `None` if there are errors.
fn compile(file: &Path) -> Option<Compiled> {
    shown(file, proxy_build::compile(file, &file.display().to_string()))
}

/// Compiles a site that will be built here.
fn compile_to_build(file: &Path) -> Option<Compiled> {
    shown(file, proxy_build::compile_without_crate(file, &file.display().to_string()))
}

fn shown(file: &Path, compiled: Compiled) -> Option<Compiled> {
    anstream::eprint!("{}", compiled.diagnostics(true));
    if compiled.model.is_some() {
        return Some(compiled);
    }
    let summary = compiled.report.summary().unwrap_or_default();
    anstream::eprintln!("{}: {summary}", file.display());
    None
}

/// Prints a result on standard output; a closed pipe is not an error.
pub(crate) fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("can't write: {error}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Returns the message for a failed operation, with its reason.
fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// "1 site", "2 sites".
fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}
