//! `kiln verify`: builds a site again as a binary says that it was built, and compares both. The binary is read, and never run.

mod description;

use std::path::Path;
use std::process::ExitCode;

use proxy_build::source::sha256;

use self::description::{Description, section_at};
use super::build::PROVENANCE;
use super::{artefact, compile_to_build, masked, print, signature, suffixed};

/// Exit codes: 0 the same bytes, 1 other bytes, another provenance or a wrong signature, 2 an error.
pub(crate) fn verify(binary: &Path, file: &Path, public_key: Option<&Path>) -> ExitCode {
    verified(binary, file, public_key).map_or_else(
        |error| {
            // What a binary says may be meant for terminals.
            anstream::eprintln!("error: {}", masked(&error));
            ExitCode::from(2)
        },
        |same| if same { ExitCode::SUCCESS } else { ExitCode::FAILURE },
    )
}

/// Checks that a binary says that `kiln build` has made it.
///
/// # Errors
/// It does not, or can't be read.
pub(crate) fn verify_origin(binary: &Path) -> Result<(), String> {
    let content = read(binary).map_err(|why| format!("can't read {}: {why}", binary.display()))?;
    Description::of(&content).map(|_| ()).map_err(|why| format!("{} {why}", binary.display()))
}

fn verified(binary: &Path, file: &Path, public_key: Option<&Path>) -> Result<bool, String> {
    let name = binary.display();
    let given = read(binary).map_err(|why| format!("can't read {name}: {why}"))?;
    let beside = suffixed(binary, PROVENANCE);
    let provenance = match beside.try_exists() {
        Ok(false) => None,
        _ => Some(read(&beside).map_err(|why| format!("can't read {}: {why}", beside.display()))?),
    };
    if let Some(key) = public_key {
        for (path, content) in [(binary, Some(&given)), (&beside, provenance.as_ref())] {
            let Some(content) = content else { continue };
            let signed = signature::verifies(path, content, key)?;
            let with = if signed { "signed" } else { "not signed" };
            print(&format!("{}: {with} with the key {}\n", path.display(), key.display()))?;
            if !signed {
                return Ok(false);
            }
        }
    }
    let theirs = Description::of(&given).map_err(|why| format!("{name} {why}"))?;
    let settings = theirs.settings().ok_or_else(|| format!("{name} does not say how it was built"))?;
    let compiled = compile_to_build(file).ok_or_else(|| format!("{} has errors", file.display()))?;
    let artefact = artefact::make(&compiled, file, settings)?;
    let made = std::fs::read(&artefact.path).map_err(|error| format!("can't read the new build: {error}"))?;
    let statement = provenance.as_deref().map(String::from_utf8_lossy);
    if made == given {
        let differences = statement.map(|statement| artefact.differences(&statement, &given)).unwrap_or_default();
        if !differences.is_empty() {
            print(&format!("{}: not the provenance of a build of {}\n", beside.display(), file.display()))?;
            print(&listed(differences))?;
            return Ok(false);
        }
        print(&format!("{name}: the same bytes as a build of {} (sha256 {})\n", file.display(), sha256(&given)))?;
        return Ok(true);
    }
    let mut differences = theirs.differences(&Description::of(&made)?);
    // The C compiler is told there alone: where it does not matter, binaries are the same.
    if let Some(statement) = statement {
        differences.extend(artefact.other_tools(&statement, &given));
    }
    if differences.is_empty() {
        differences.push(
            "nothing that binaries say of themselves: another C compiler or C library, or changed bytes".to_owned(),
        );
    }
    print(&format!("{name}: not the same bytes as a build of {}\n", file.display()))?;
    print(&listed(differences))?;
    print(&listed(vec![first_difference(&given, &made)]))?;
    Ok(false)
}

/// Returns differences as lines, of which there are not too many, and none too long: others have written what is in them.
fn listed(mut differences: Vec<String>) -> String {
    let more = differences.len().saturating_sub(LISTED);
    differences.truncate(LISTED);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    let line = |text: &String| {
        let short: String = text.chars().take(LONGEST).collect();
        let dots = if short.len() < text.len() { "..." } else { "" };
        format!("  {}{dots}\n", short.replace(char::is_control, "?"))
    };
    differences.iter().map(line).collect()
}

/// The largest binary that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// The most differences that are listed.
const LISTED: usize = 50;

/// The longest line of them, in characters.
const LONGEST: usize = 400;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_bounded() {
        let check = |differences: &[&str], expected: &str| {
            assert_eq!(listed(differences.iter().map(|&line| line.to_owned()).collect()), expected);
        };
        check(&["one", "two"], "  one\n  two\n");
        check(&["a\x1b[2Jb\nc\u{9b}"], "  a?[2Jb?c?\n");
        check(&[&"x".repeat(LONGEST)], &format!("  {}\n", "x".repeat(LONGEST)));
        check(&[&"x".repeat(LONGEST + 1)], &format!("  {}...\n", "x".repeat(LONGEST)));
        check(&["a"; LISTED + 2], &format!("{}  and 2 more\n", "  a\n".repeat(LISTED)));
    }
}
