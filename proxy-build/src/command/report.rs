//! `kiln report`.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, failed, print};

pub(crate) fn report(file: &Path, output: Option<&Path>) -> Outcome {
    let Some(page) = compile(file).and_then(|compiled| proxy_build::page::page(&compiled)) else {
        return Ok(ExitCode::FAILURE);
    };
    let Some(output) = output else { return print(&page) };
    std::fs::write(output, page).map_err(failed(format!("can't write {}", output.display())))?;
    Ok(ExitCode::SUCCESS)
}
