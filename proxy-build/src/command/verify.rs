//! `kiln verify`: builds a site again as a binary says that it was built, and compares both. The binary is read, and never run.

mod description;

use std::path::Path;
use std::process::ExitCode;

use proxy_build::source::sha256;

use self::description::{Description, section_at};
use super::{artefact, compile_to_build, print, signature, suffixed};

/// Exit codes: 0 the same bytes, 1 other bytes or a wrong signature, 2 an error.
pub(crate) fn verify(binary: &Path, file: &Path, public_key: Option<&Path>) -> ExitCode {
    verified(binary, file, public_key).map_or_else(
        |error| {
            anstream::eprintln!("error: {error}");
            ExitCode::from(2)
        },
        |same| if same { ExitCode::SUCCESS } else { ExitCode::FAILURE },
    )
}

fn verified(binary: &Path, file: &Path, public_key: Option<&Path>) -> Result<bool, String> {
    let name = binary.display();
    let given = read(binary).map_err(|why| format!("can't read {name}: {why}"))?;
    if let Some(key) = public_key {
        if !signature::verifies(binary, &given, key)? {
            print(&format!("{name}: not signed with the key {}\n", key.display()))?;
            return Ok(false);
        }
        print(&format!("{name}: signed with the key {}\n", key.display()))?;
    }
    let theirs = Description::of(&given).map_err(|why| format!("{name} {why}"))?;
    let settings = theirs.settings().ok_or_else(|| format!("{name} does not say how it was built"))?;
    let compiled = compile_to_build(file).ok_or_else(|| format!("{} has errors", file.display()))?;
    let artefact = artefact::make(&compiled, file, settings)?;
    let made = std::fs::read(&artefact.path).map_err(|error| format!("can't read the new build: {error}"))?;
    if made == given {
        print(&format!("{name}: the same bytes as a build of {} (sha256 {})\n", file.display(), sha256(&given)))?;
        return Ok(true);
    }
    let mut differences = theirs.differences(&Description::of(&made)?);
    // The C compiler is told there alone: where it does not matter, binaries are the same.
    if let Ok(statement) = read(&suffixed(binary, ".provenance.json")) {
        differences.extend(artefact.other_tools(&String::from_utf8_lossy(&statement), &given));
    }
    if differences.is_empty() {
        differences.push(
            "nothing that binaries say of themselves: another C compiler or C library, or changed bytes".to_owned(),
        );
    }
    let more = differences.len().saturating_sub(LISTED);
    differences.truncate(LISTED);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    differences.push(first_difference(&given, &made));
    print(&format!("{name}: not the same bytes as a build of {}\n", file.display()))?;
    // What a binary says may be meant for terminals.
    let lines = differences.iter().map(|line| format!("  {}\n", line.replace(char::is_control, "?")));
    print(&lines.collect::<String>())?;
    Ok(false)
}

/// The largest binary that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// The most differences that are listed.
const LISTED: usize = 50;

fn read(binary: &Path) -> Result<Vec<u8>, String> {
    let found = std::fs::metadata(binary).map_err(|error| error.to_string())?;
    match found.is_file() {
        true if found.len() <= LARGEST => std::fs::read(binary).map_err(|error| error.to_string()),
        true => Err(format!("it has more than {} MiB", LARGEST >> 20)),
        false => Err("not a file".to_owned()),
    }
}

/// Says where two binaries begin to differ.
fn first_difference(given: &[u8], made: &[u8]) -> String {
    let at = given.iter().zip(made).position(|(a, b)| a != b).unwrap_or(given.len().min(made.len()));
    let place = section_at(given, at as u64).map_or(String::new(), |section| format!(", in section {section}"));
    format!("first difference: byte {at} of {} and {}{place}", given.len(), made.len())
}
