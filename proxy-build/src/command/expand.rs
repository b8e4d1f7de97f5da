//! `kiln expand`.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, print};

pub(crate) fn expand(file: &Path) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(output) = compiled.output(proxy_build::BUNDLE.as_ref()) else { return Ok(ExitCode::FAILURE) };
    let file = syn::parse2(output.items)
        .map_err(|error| format!("the output is not valid Rust, which is a bug in kiln: {error}"))?;
    print(&prettyplease::unparse(&file))
}
