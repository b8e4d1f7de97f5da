//! `kiln build`: builds the binary of a site file, without a crate of the user's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::artefact::recipe::Settings;
use super::signature::Signer;
use super::{Outcome, artefact, compile_to_build, failed, signature, site_name, spare, suffixed};

/// What the names of the files beside a binary end with.
const LICENCES: &str = ".licences.txt";
pub(crate) const PROVENANCE: &str = ".provenance.json";

pub(crate) fn build(file: &Path, output: Option<&Path>, settings: Settings, key: Option<&Path>) -> Outcome {
    // A wrong key is told before minutes of work.
    let signer = key.map(Signer::open).transpose()?;
    let Some(compiled) = compile_to_build(file) else { return Ok(ExitCode::FAILURE) };
    let output = output.map_or_else(|| default_output(file), Path::to_owned);
    let mut written = vec![output.clone()];
    written.extend([LICENCES, PROVENANCE].map(|suffix| suffixed(&output, suffix)));
    if signer.is_some() {
        written.extend([output.clone(), suffixed(&output, PROVENANCE)].map(|signed| signature::beside(&signed)));
    }
    spare(compiled.dependencies().into_iter().chain(key.map(Path::to_owned)), &written)?;
    let artefact = artefact::make(&compiled, file, settings)?;
    let binary = std::fs::read(&artefact.path).map_err(failed(format!("can't read {}", artefact.path.display())))?;
    // Written beside the target and then renamed, so that a running old binary stays intact.
    let beside = suffixed(&output, &format!(".{}.new", std::process::id()));
    std::fs::copy(&artefact.path, &beside).map_err(failed(format!("can't write {}", beside.display())))?;
    std::fs::rename(&beside, &output).map_err(failed(format!("can't write {}", output.display())))?;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let provenance = artefact.provenance(&name, &binary);
    for (suffix, text) in [(LICENCES, &artefact.licences), (PROVENANCE, &provenance)] {
        let path = suffixed(&output, suffix);
        std::fs::write(&path, text).map_err(failed(format!("can't write {}", path.display())))?;
    }
    if let Some(signer) = signer {
        let comment = format!("file:{name} site:{}", compiled.digest());
        signer.sign(&output, &binary, &comment)?;
        signer.sign(&suffixed(&output, PROVENANCE), provenance.as_bytes(), &comment)?;
    }
    anstream::eprintln!("{}: {:.1} MB, site {}", output.display(), binary.len() as f64 / 1e6, &compiled.digest()[..16]);
    Ok(ExitCode::SUCCESS)
}

/// `shop.kdl` becomes `shop`; `site.kdl` takes its folder's name.
pub(crate) fn default_output(file: &Path) -> PathBuf {
    match site_name(file) {
        // Never the name of an existing folder.
        Some(name) if !Path::new(&name).is_dir() => PathBuf::from(name),
        _ => PathBuf::from("proxy"),
    }
}
