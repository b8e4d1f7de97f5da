//! `kiln diff`.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use proxy_build::Compiled;
use proxy_build::source::{Archive, Sources};
use serde_json::Value;

use super::print;

/// Exit codes are those of diff(1): 0 no change, 1 changes, 2 an error.
pub(crate) fn diff(old: &Path, new: &Path) -> ExitCode {
    let sides = load(old).and_then(|old| Ok((old, load(new)?)));
    let outcome = sides.and_then(|(old, new)| {
        let (Some(old), Some(new)) = (&old.model, &new.model) else { return Ok(ExitCode::from(2)) };
        let changes = proxy_build::diff::diff(old, new);
        print(&changes)?;
        Ok(ExitCode::from(u8::from(!changes.is_empty())))
    });
    outcome.unwrap_or_else(|error| {
        anstream::eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// Loads a site from its file, or from a binary that was built from it.
fn load(path: &Path) -> Result<Compiled, String> {
    let shown = path.display().to_string();
    let compiled = if is_binary(path)? {
        let manifest = manifest(path)?;
        let name = manifest["name"].as_str().unwrap_or_default().to_owned();
        let table = |list: &str, value: &str| {
            let entries = manifest[list].as_array().into_iter().flatten();
            let text = |entry: &Value, key: &str| Some(entry[key].as_str()?.to_owned());
            entries.filter_map(|entry| Some((text(entry, "path")?, text(entry, value)?))).collect()
        };
        let archive = Archive { files: table("files", "text"), assets: table("assets", "sha256") };
        proxy_build::compile_from(Sources::for_comparison(archive), name.as_ref(), &name)
    } else {
        proxy_build::compile_from(Sources::for_comparison(Archive::default()), path, &shown)
    };
    if compiled.model.is_none() {
        anstream::eprint!("{}", compiled.diagnostics(true));
        return Err(format!("{shown} has errors"));
    }
    Ok(compiled)
}

fn is_binary(path: &Path) -> Result<bool, String> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(4).read_to_end(&mut start));
    file.map_err(|error| format!("can't read {}: {error}", path.display()))?;
    Ok(start == b"\x7fELF")
}

/// Returns the manifest of a binary, which is run to print it.
fn manifest(path: &Path) -> Result<Value, String> {
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    let output = Command::new(&path).arg("--manifest").output();
    let output = output.map_err(|error| format!("can't start {}: {error}", path.display()))?;
    let manifest: Option<Value> = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
    manifest
        .ok_or_else(|| format!("{} is not a binary of kiln, or of an older kiln without --manifest", path.display()))
}
