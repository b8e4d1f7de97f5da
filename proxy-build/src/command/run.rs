//! `kiln run`.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::artefact::recipe::Settings;
use super::{Outcome, artefact, compile_to_build};

pub(crate) fn run(file: &Path, arguments: &[String]) -> Outcome {
    let Some(compiled) = compile_to_build(file) else { return Ok(ExitCode::FAILURE) };
    let artefact = artefact::make(&compiled, file, Settings::QUICK)?;
    // This process becomes the proxy, with its signals and exit code.
    let error = Command::new(&artefact.path).args(arguments).exec();
    Err(format!("can't run {}: {error}", artefact.path.display()))
}
