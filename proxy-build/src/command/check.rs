//! `kiln check`: prints findings, on standard error for people, on standard output for programs.

mod findings;

use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use proxy_build::Compiled;

use super::{Outcome, count, print, stdin};

/// The output format of findings.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// A SARIF 2.1.0 log
    Sarif,
}

/// What is an error beside what always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    /// Every warning, whatever lints say
    Warnings,
}

pub(crate) fn check(file: &Path, format: OutputFormat, deny: &[Deny]) -> Outcome {
    let mut compiled = match stdin::is(file) {
        true => proxy_build::compile_text(stdin::NAME.as_ref(), stdin::NAME, &stdin::read()?),
        false => proxy_build::compile(file, &file.display().to_string()),
    };
    if deny.contains(&Deny::Warnings) {
        compiled.deny_warnings();
    }
    match format {
        OutputFormat::Text => text(&compiled),
        OutputFormat::Json => drop(print(&format!("{:#}\n", findings::json(&compiled)))?),
        OutputFormat::Sarif => drop(print(&format!("{:#}\n", findings::sarif(&compiled)))?),
    }
    Ok(if compiled.model.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(compiled: &Compiled) {
    anstream::eprint!("{}", compiled.diagnostics(true));
    let name = compiled.sources.shown(compiled.sources.start().file);
    let Some(model) = &compiled.model else {
        anstream::eprintln!("{name}: {}", compiled.report.summary().unwrap_or_default());
        return;
    };
    let routes = model.hosts.iter().map(|host| host.routes.len()).sum();
    let tests =
        if model.tests.is_empty() { String::new() } else { format!(", {} passed", count(model.tests.len(), "test")) };
    let what = [count(model.hosts.len(), "site"), count(routes, "route"), count(model.upstreams.len(), "upstream")];
    anstream::eprintln!("{name}: ok: {}{tests}", what.join(", "));
}
