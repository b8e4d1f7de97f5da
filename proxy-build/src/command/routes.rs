//! `kiln routes`.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, print};

pub(crate) fn routes(file: &Path, json: bool) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(model) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    if json {
        let text = serde_json::to_string_pretty(model).map_err(|error| error.to_string())?;
        return print(&(text + "\n"));
    }
    print(&proxy_build::explain::routes(model))
}
