//! The list of linked packages in the form of cargo-auditable, which scanners for vulnerabilities find in binaries: compressed JSON in a section
//! of its own.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Map, Value, json};

use super::packages::{Package, Packages};
use crate::command::failed;

/// The section that scanners look for.
pub(super) const SECTION: &str = ".dep-v0";

/// Returns the content of the section. `root` is the name of the site's crate.
///
/// # Errors
/// The data can't be compressed.
pub(super) fn write(packages: &Packages<'_>, root: &str) -> Result<Vec<u8>, String> {
    let site = json!({
        "name": root, "version": "0.0.0", "source": "local", "dependencies": packages.of_site, "root": true,
    });
    let all: Vec<Value> = packages.linked.iter().map(entry).chain([site]).collect();
    let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
    // Format 1: dependencies of macros are not linked, and not listed.
    let written = write!(out, "{}", json!({"packages": all, "format": 1}));
    written.and_then(|()| out.finish()).map_err(failed("the list of packages"))
}

fn entry(package: &Package<'_>) -> Value {
    let source = match package.registry {
        None => "local",
        Some(_) if package.is_from_crates_io() => "crates.io",
        Some(_) => "registry",
    };
    let mut entry = Map::new();
    entry.insert("name".to_owned(), package.name.into());
    entry.insert("version".to_owned(), package.version.into());
    entry.insert("source".to_owned(), source.into());
    if !package.dependencies.is_empty() {
        entry.insert("dependencies".to_owned(), package.dependencies.clone().into());
    }
    entry.into()
}
