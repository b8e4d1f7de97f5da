//! `kiln new`.

use std::path::Path;
use std::process::ExitCode;

use super::artefact::{FOR_TLS, PROFILES, cache};
use super::source::{Source, checkout};
use super::{Outcome, failed};

const SITE: &str = include_str!("../../templates/site.kdl");

const MAIN: &str =
    "fn main() -> std::process::ExitCode {\n    proxy_runtime::run(proxy_macros::site!(\"site.kdl\"))\n}\n";

/// The version of this Kiln; compiler and runtime have the same one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn new(dir: &Path) -> Outcome {
    if dir.exists() {
        return Err(format!("{} exists already", dir.display()));
    }
    let name = dir.file_name().and_then(|name| name.to_str()).ok_or("a folder's name is needed")?;
    if !name.starts_with(|char: char| char.is_ascii_alphabetic())
        || !name.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
    {
        return Err(format!("`{name}` can't be the name of a crate: letters, digits, - and _, a letter first"));
    }
    let lock = Source::find(&cache()?)?.lock()?;
    let checkout = checkout()?;
    let write = |path: &str, content: &[u8]| {
        let path = dir.join(path);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, content)).map_err(failed(format!("can't write {}", path.display())))
    };
    write("site.kdl", SITE.as_bytes())?;
    write("Cargo.toml", manifest(name).as_bytes())?;
    write("Cargo.lock", &lock)?;
    write("rust-toolchain.toml", toolchain().as_bytes())?;
    write("src/main.rs", MAIN.as_bytes())?;
    let patches = checkout.as_deref().map(patches).unwrap_or_default();
    let variables: String = FOR_TLS.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    write(".cargo/config.toml", format!("[env]\n{variables}{patches}").as_bytes())?;
    // With a checkout, for this machine alone: distributed files contain no paths of it.
    let ignored = if patches.is_empty() { "/target\n" } else { "/target\n/.cargo\n" };
    write(".gitignore", ignored.as_bytes())?;
    anstream::eprintln!(
        "{}: made. Next:\n  kiln dev {}/site.kdl\n  curl http://localhost:8080/",
        dir.display(),
        dir.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn manifest(name: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nproxy-macros = \"={VERSION}\"\n\
        proxy-runtime = \"={VERSION}\"\n\n[workspace]\n\n{PROFILES}"
    )
}

/// Returns the toolchain that Kiln is tested with; rustup installs it if it is missing.
fn toolchain() -> String {
    format!("[toolchain]\nchannel = \"{}.0\"\n", env!("CARGO_PKG_RUST_VERSION"))
}

/// Replaces the published crates with `KILN_SOURCE`.
fn patches(checkout: &Path) -> String {
    let patch = |name: &str| format!("{name} = {{ path = {:?} }}\n", checkout.join(name));
    format!("\n[patch.crates-io]\n{}{}", patch("proxy-macros"), patch("proxy-runtime"))
}
