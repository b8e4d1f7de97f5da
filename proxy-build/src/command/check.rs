//! `kiln check`.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, count};

pub(crate) fn check(file: &Path) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    if let Some(model) = &compiled.model {
        let routes = model.hosts.iter().map(|host| host.routes.len()).sum();
        let tests = if model.tests.is_empty() {
            String::new()
        } else {
            format!(", {} passed", count(model.tests.len(), "test"))
        };
        let what = [count(model.hosts.len(), "site"), count(routes, "route"), count(model.upstreams.len(), "upstream")];
        anstream::eprintln!("{}: ok: {}{tests}", file.display(), what.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}
