//! `kiln unit`.

use std::path::Path;
use std::process::ExitCode;

use proxy_build::deploy::{Footprint, unit};

use super::{Outcome, compile, service_name, write_generated};

pub(crate) fn unit(file: &Path, output: Option<&Path>, name: Option<&str>, binary: Option<&str>) -> Outcome {
    let name = service_name(file, name)?;
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(site) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let binary = binary.map_or_else(|| format!("/usr/local/bin/{name}"), str::to_owned);
    if !binary.starts_with('/') || binary.chars().any(char::is_control) {
        return Err(format!("`{binary}` is no absolute path, as systemd needs one"));
    }
    let footprint = Footprint::of(site);
    let site_file = file.file_name().unwrap_or_default().to_string_lossy().replace(char::is_control, "?");
    let written = write_generated(&compiled, &unit::write(&footprint, &name, &binary, &site_file)?, output, "\n")?;
    for (variable, param) in footprint.required() {
        anstream::eprintln!("/etc/default/{name} has to set {variable}, a value of the type {}", param.kind);
    }
    Ok(written)
}
