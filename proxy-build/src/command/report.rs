//! `kiln report`.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, failed, print, spare};

pub(crate) fn report(file: &Path, output: Option<&Path>) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(page) = proxy_build::page::page(&compiled) else { return Ok(ExitCode::FAILURE) };
    let Some(output) = output else { return print(&page) };
    spare(compiled.dependencies(), &[output.to_owned()])?;
    std::fs::write(output, page).map_err(failed(format!("can't write {}", output.display())))?;
    Ok(ExitCode::SUCCESS)
}
