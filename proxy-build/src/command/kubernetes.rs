//! `kiln kubernetes`.

use std::path::Path;
use std::process::ExitCode;

use proxy_build::deploy::Footprint;
use proxy_build::deploy::kubernetes::{ManifestNames, write};

use super::{Outcome, compile, service_name, write_generated};

pub(crate) fn kubernetes(file: &Path, output: Option<&Path>, name: Option<&str>, image: Option<&str>) -> Outcome {
    let name = service_name(file, name)?;
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(site) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let image = image.map_or_else(|| format!("{name}:latest"), str::to_owned);
    let site_file = file.file_name().unwrap_or_default().to_string_lossy().replace(char::is_control, "?");
    let names = ManifestNames { name: &name, image: &image, site: &site_file };
    let (files, notes) = write(&Footprint::of(site), &names)?;
    let written = write_generated(&compiled, &files, output, "---\n")?;
    for note in notes {
        anstream::eprintln!("{note}");
    }
    Ok(written)
}
