//! `kiln diff`.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use proxy_build::Compiled;
use proxy_build::source::{Archive, Sources};
use serde_json::Value;

use super::{masked, print, verify};

/// Exit codes are those of diff(1): 0 no change, 1 changes, 2 an error.
pub(crate) fn diff(old: &Path, new: &Path) -> ExitCode {
    let sides = load(old).and_then(|old| Ok((old, load(new)?)));
    let outcome = sides.and_then(|(old, new)| {
        let (Some(old), Some(new)) = (&old.model, &new.model) else { return Ok(ExitCode::from(2)) };
        let changes = proxy_build::diff::diff(old, new);
        // A binary may have been made for terminals.
        print(&masked(&changes))?;
        Ok(ExitCode::from(u8::from(!changes.is_empty())))
    });
    outcome.unwrap_or_else(|error| {
        anstream::eprintln!("error: {}", masked(&error));
        ExitCode::from(2)
    })
}

/// Loads a site from its file, or from a binary that was built from it.
fn load(path: &Path) -> Result<Compiled, String> {
    let shown = path.display().to_string();
    let is_binary = is_binary(path)?;
    let compiled = if is_binary {
        let manifest = manifest(path)?;
        let name = manifest["name"].as_str().unwrap_or_default().to_owned();
        let table = |list: &str, value: &str| {
            let entries = manifest[list].as_array().into_iter().flatten();
            let text = |entry: &Value, key: &str| Some(entry[key].as_str()?.to_owned());
            entries.filter_map(|entry| Some((text(entry, "path")?, text(entry, value)?))).collect()
        };
        let archive = Archive { files: table("files", "text"), assets: table("assets", "sha256") };
        if archive.files.is_empty() {
            // Those of this machine would be read.
            return Err(format!("{shown} does not print its site"));
        }
        proxy_build::compile_from(Sources::for_comparison(archive), name.as_ref(), &name)
    } else {
        proxy_build::compile_from(Sources::for_comparison(Archive::default()), path, &shown)
    };
    if compiled.model.is_none() {
        match is_binary {
            true => anstream::eprint!("{}", masked(&compiled.diagnostics(false))),
            false => anstream::eprint!("{}", compiled.diagnostics(true)),
        }
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

/// The limits of a binary that prints its manifest: a time, and the size of the manifest.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: u64 = 512 << 20;

/// Returns the manifest of a binary, which is run to print it, if it says that `kiln build` has made it.
fn manifest(path: &Path) -> Result<Value, String> {
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    verify::verify_origin(&path)?;
    let mut command = Command::new(&path);
    let printed = printed(command.arg("--manifest"), PATIENCE, LARGEST);
    let printed = printed.map_err(|why| format!("{} is run to print its site, and {why}", path.display()))?;
    serde_json::from_slice(&printed)
        .map_err(|_| format!("{} does not print its site: it is of an older kiln, or damaged", path.display()))
}

/// Runs a command to its end, and returns what it prints on standard output.
///
/// # Errors
/// The reason, as the end of a sentence about it.
fn printed(command: &mut Command, patience: Duration, largest: u64) -> Result<Vec<u8>, String> {
    let until = Instant::now() + patience;
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = started.map_err(|error| format!("can't be run here: {error}"))?;
    let outcome = read_to_end(&mut child, until, largest);
    // It may have ended; its ID is not reused before it is waited for.
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn read_to_end(child: &mut Child, until: Instant, largest: u64) -> Result<Vec<u8>, String> {
    let out = child.stdout.take().ok_or("has no standard output")?;
    let (sender, read) = channel();
    // It ends with the child, or with this command.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = out.take(largest + 1).read_to_end(&mut bytes);
        // The waiting side may have given up.
        let _ = sender.send(read.map(|_| bytes));
    });
    let too_late = || "does not end".to_owned();
    let read = read.recv_timeout(until.saturating_duration_since(Instant::now())).map_err(|_| too_late())?;
    let bytes = read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > largest {
        return Err(format!("prints more than {} MiB", largest >> 20));
    }
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(bytes),
            Some(status) => return Err(format!("fails: {status}")),
            None if Instant::now() >= until => return Err(too_late()),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_print() {
        let check = |script: &str, patience: Duration, expected: Result<&str, &str>| {
            let found = printed(Command::new("sh").args(["-c", script]), patience, 3 << 20);
            let found = found.map(|bytes| String::from_utf8(bytes).expect("text"));
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{script}");
        };
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(50));
        check("printf '{}'", long, Ok("{}"));
        check("printf '{}'; exit 3", long, Err("fails: exit status: 3"));
        check("exec yes", long, Err("prints more than 3 MiB"));
        check("exec sleep 600", short, Err("does not end"));
        check("exec >&-; exec sleep 600", short, Err("does not end"));
        let missing = printed(&mut Command::new("/nowhere/proxy"), long, 1).expect_err("there is none");
        assert!(missing.starts_with("can't be run here: "), "{missing}");
    }
}
