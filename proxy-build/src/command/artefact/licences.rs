//! The licences of the packages that are linked into a site's binary: their names, terms, and the texts that must be distributed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::packages::Packages;
use super::recipe::{MUSL, Recipe};
use crate::command::failed;

/// The licence of musl, which comes with the Rust toolchain without it.
const MUSL_TERMS: &str = include_str!("../../../templates/musl.txt");

/// The beginnings of the names of licence files, in lower case.
const TEXTS: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// Collects the licences of packages: a list of them, followed by each distinct
/// text. Of alternative licences, MIT is chosen, whose text is a tenth as long as the others.
///
/// # Errors
/// A text can't be read.
pub(super) fn collect(packages: &Packages<'_>, recipe: &Recipe) -> Result<String, String> {
    let mut out =
        "The packages that are linked into this program, the terms of each, and the texts of these, by number.\n\n"
            .to_owned();
    let mut texts: Vec<String> = Vec::new();
    for package in &packages.linked {
        let terms = package.terms.unwrap_or("terms of its own");
        // A write to a String cannot fail.
        let _ = write!(out, "{} {}: {terms}", package.name, package.version);
        for file in chosen(terms, files(package.folder)?) {
            let text = std::fs::read(&file).map_err(failed(format!("can't read {}", file.display())))?;
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n").trim_end().to_owned();
            let same = |known: &String| known.split_whitespace().eq(text.split_whitespace());
            let index = texts.iter().position(same).unwrap_or_else(|| {
                texts.push(text);
                texts.len() - 1
            });
            let _ = write!(out, " [{}]", index + 1);
        }
        out.push('\n');
    }
    out.push_str("The Rust standard library: MIT OR Apache-2.0\n");
    if let Some(libc) = recipe.linked_libc() {
        let version = libc.version.map_or(String::new(), |version| format!(" {version}"));
        let _ = write!(out, "The C library, {}{version}: {}", libc.name, libc.terms);
        if libc.name == MUSL {
            texts.push(MUSL_TERMS.trim_end().to_owned());
            let _ = write!(out, " [{}]", texts.len());
        }
        out.push('\n');
    }
    for (index, text) in texts.iter().enumerate() {
        let _ = write!(out, "\n[{}]\n\n{text}\n", index + 1);
    }
    Ok(out)
}

/// Returns the licence files of a package, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(format!("can't read {}", folder.display())))?.flatten() {
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        if TEXTS.iter().any(|text| name.starts_with(text)) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the MIT licence file of a package with alternative licences, if its name tells.
fn chosen(terms: &str, files: Vec<PathBuf>) -> Vec<PathBuf> {
    let alternatives: Vec<&str> = terms.split(" OR ").flat_map(|terms| terms.split('/')).map(str::trim).collect();
    let is_mit = |file: &&PathBuf| {
        file.file_name().is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().contains("mit"))
    };
    match files.iter().find(is_mit) {
        Some(mit) if alternatives.len() > 1 && alternatives.contains(&"MIT") => vec![mit.clone()],
        _ => files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_licences() {
        let check = |terms: &str, files: &[&str], expected: &[&str]| {
            let paths = |names: &[&str]| names.iter().map(|name| Path::new("/a").join(name)).collect::<Vec<_>>();
            assert_eq!(chosen(terms, paths(files)), paths(expected), "{terms}");
        };
        let both = ["LICENSE-APACHE", "LICENSE-MIT"];
        check("MIT OR Apache-2.0", &both, &["LICENSE-MIT"]);
        check("Apache-2.0/MIT", &both, &["LICENSE-MIT"]);
        check("Apache-2.0 AND MIT", &both, &both);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", &both, &both);
        check("MIT OR Apache-2.0", &["LICENSE"], &["LICENSE"]);
        check("Apache-2.0", &["LICENSE", "NOTICE"], &["LICENSE", "NOTICE"]);
    }
}
