//! `kiln build`: builds the binary of a site file, without a crate of the user's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Outcome, artefact, compile_to_build, failed};

pub(crate) fn build(file: &Path, output: Option<&Path>, fast: bool, static_link: bool) -> Outcome {
    let Some(compiled) = compile_to_build(file) else { return Ok(ExitCode::FAILURE) };
    let artefact = artefact::make(&compiled, file, if fast { "release" } else { "dist" }, static_link)?;
    let output = output.map_or_else(|| default_output(file), Path::to_owned);
    // Written beside the target and then renamed, so that a running old binary stays intact.
    let beside = suffixed(&output, &format!(".{}.new", std::process::id()));
    std::fs::copy(&artefact.path, &beside).map_err(failed(format!("can't write {}", beside.display())))?;
    std::fs::rename(&beside, &output).map_err(failed(format!("can't write {}", output.display())))?;
    let licences = suffixed(&output, ".licences.txt");
    std::fs::write(&licences, artefact.licences).map_err(failed(format!("can't write {}", licences.display())))?;
    let size = std::fs::metadata(&output).map_or(0, |file| file.len());
    anstream::eprintln!("{}: {:.1} MB, site {}", output.display(), size as f64 / 1e6, &compiled.digest()[..16]);
    Ok(ExitCode::SUCCESS)
}

/// Returns a name in the same folder: that of the output with a suffix.
fn suffixed(output: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(output);
    name.push(suffix);
    name.into()
}

/// `shop.kdl` becomes `shop`; `site.kdl` takes its folder's name.
fn default_output(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default();
    if stem != "site" {
        return PathBuf::from(stem);
    }
    let folder = file.canonicalize().ok().and_then(|file| Some(file.parent()?.file_name()?.to_owned()));
    match folder {
        // Never the name of an existing folder.
        Some(folder) if !Path::new(&folder).is_dir() => PathBuf::from(folder),
        _ => PathBuf::from("proxy"),
    }
}
