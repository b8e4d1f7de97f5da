//! `kiln alerts` and `kiln dashboard`.

use std::path::Path;
use std::process::ExitCode;

use proxy_build::model::Site;

use super::{Outcome, compile, failed, print, spare};

/// Writes what `generate` makes of a site, a job and nothing else.
pub(crate) fn generated(
    file: &Path,
    job: &str,
    output: Option<&Path>,
    generate: fn(&Site, &str) -> Result<String, String>,
) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(site) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let text = generate(site, job)?;
    let Some(output) = output else { return print(&text) };
    spare(compiled.dependencies(), &[output.to_owned()])?;
    std::fs::write(output, text).map_err(failed(format!("can't write {}", output.display())))?;
    Ok(ExitCode::SUCCESS)
}
