//! The commands, and the code that several of them share.

pub(crate) mod artefact;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod dev;
pub(crate) mod diff;
pub(crate) mod expand;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod image;
pub(crate) mod kubernetes;
pub(crate) mod monitoring;
pub(crate) mod new;
pub(crate) mod report;
pub(crate) mod routes;
pub(crate) mod run;
mod signature;
mod source;
mod stdin;
pub(crate) mod test;
pub(crate) mod unit;
pub(crate) mod verify;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proxy_build::Compiled;
use proxy_build::deploy::Generated;

/// The result of a command: an exit code, or a message and exit code 1.
pub(crate) type Outcome = Result<ExitCode, String>;

/// Compiles a site and prints the findings; `None` if there are errors.
fn compile(file: &Path) -> Option<Compiled> {
    shown(file, proxy_build::compile(file, &file.display().to_string()))
}

/// Compiles a site that will be built here.
fn compile_to_build(file: &Path) -> Option<Compiled> {
    shown(file, proxy_build::compile_without_crate(file, &file.display().to_string()))
}

fn shown(file: &Path, compiled: Compiled) -> Option<Compiled> {
    anstream::eprint!("{}", compiled.diagnostics(true));
    if compiled.model.is_some() {
        return Some(compiled);
    }
    let summary = compiled.report.summary().unwrap_or_default();
    anstream::eprintln!("{}: {summary}", file.display());
    None
}

/// Prints a result on standard output; a closed pipe is not an error.
pub(crate) fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("can't write: {error}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Returns the message for a failed operation, with its reason.
fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// Returns a text of others without what terminals take for commands.
fn masked(text: &str) -> String {
    text.replace(|char: char| char.is_control() && char != '\n', "?")
}

/// "1 site", "2 sites".
fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Returns a name in the same folder: that of the path with a suffix.
fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Returns the name that a site gives to users, images and objects: lower-case letters, digits and hyphens, a letter first.
///
/// # Errors
/// The given name is not of that form.
fn service_name(file: &Path, given: Option<&str>) -> Result<String, String> {
    let is_name = |name: &str| {
        let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        name.len() <= 31
            && name.starts_with(|char: char| char.is_ascii_lowercase())
            && name.bytes().all(part)
            && !name.ends_with('-')
    };
    match given {
        Some(name) if is_name(name) => Ok(name.to_owned()),
        Some(name) => {
            Err(format!("`{name}` can't be a name: up to 31 lower-case letters, digits and hyphens, a letter first"))
        }
        None => {
            let name =
                site_name(file).unwrap_or_default().to_string_lossy().to_ascii_lowercase().replace(['_', '.'], "-");
            Ok(if is_name(&name) { name } else { "proxy".to_owned() })
        }
    }
}

/// Returns the name of a site: `shop` of `shop.kdl`, and that of its folder for `site.kdl`.
fn site_name(file: &Path) -> Option<OsString> {
    match file.file_stem() {
        Some(stem) if stem != "site" => Some(stem.to_owned()),
        _ => file.canonicalize().ok().and_then(|file| Some(file.parent()?.file_name()?.to_owned())),
    }
}

/// Checks that none of the files that a command writes is one that it reads.
///
/// # Errors
/// One of them is.
fn spare(read: impl IntoIterator<Item = PathBuf>, written: &[PathBuf]) -> Result<(), String> {
    // What is not there can't be overwritten.
    let read: Vec<PathBuf> = read.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
    match written.iter().find(|path| path.canonicalize().is_ok_and(|path| read.contains(&path))) {
        Some(path) => Err(format!(
            "{} would be overwritten, and is read by this command\nhelp: give the output another name by -o",
            path.display()
        )),
        None => Ok(()),
    }
}

/// Writes generated files into a folder, or to standard output, each after its name and with a line between them.
fn write_generated(compiled: &Compiled, files: &[Generated], folder: Option<&Path>, between: &str) -> Outcome {
    let Some(folder) = folder else {
        let shown = files.iter().map(|file| format!("# {}\n{}", file.name, file.text));
        return print(&shown.collect::<Vec<_>>().join(between));
    };
    spare(compiled.dependencies(), &files.iter().map(|file| folder.join(&file.name)).collect::<Vec<_>>())?;
    std::fs::create_dir_all(folder).map_err(failed(format!("can't make {}", folder.display())))?;
    for file in files {
        let path = folder.join(&file.name);
        std::fs::write(&path, &file.text).map_err(failed(format!("can't write {}", path.display())))?;
        anstream::eprintln!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
