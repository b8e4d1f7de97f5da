//! The licences of the packages that are linked into a site's binary: their names, terms, and the texts that must be distributed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::failed;

/// The beginnings of the names of licence files, in lower case.
const TEXTS: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// Collects the licences of the packages in `cargo metadata` of the site's crate: a list of packages, followed by each distinct
/// text. Of alternative licences, MIT is chosen, whose text is a tenth as long as the others.
///
/// # Errors
/// A text can't be read.
pub(super) fn collect(metadata: &Value) -> Result<String, String> {
    let mut out =
        "The packages that are linked into this program, the terms of each, and the texts of these, by number.\n\n"
            .to_owned();
    let mut texts: Vec<String> = Vec::new();
    for package in linked(metadata) {
        let terms = package["license"].as_str().unwrap_or("terms of its own");
        // A write to a String cannot fail.
        let _ = write!(out, "{} {}: {terms}", text_of(&package["name"]), text_of(&package["version"]));
        for file in chosen(terms, files(package)?) {
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
    for (index, text) in texts.iter().enumerate() {
        let _ = write!(out, "\n[{}]\n\n{text}\n", index + 1);
    }
    Ok(out)
}

/// Returns the packages whose code is in the binary, by name and version: the dependencies of the site's crate, except
/// build-time ones.
fn linked(metadata: &Value) -> Vec<&Value> {
    let packages: HashMap<&str, &Value> =
        list(&metadata["packages"]).map(|package| (text_of(&package["id"]), package)).collect();
    let nodes: HashMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).map(|node| (text_of(&node["id"]), node)).collect();
    let is_macro = |package: &Value| {
        list(&package["targets"]).any(|target| list(&target["kind"]).any(|kind| kind == "proc-macro"))
    };
    let root = text_of(&metadata["resolve"]["root"]);
    let (mut open, mut found) = (vec![root], HashMap::new());
    while let Some(node) = open.pop().and_then(|id| nodes.get(id)) {
        for dependency in list(&node["deps"]) {
            let id = text_of(&dependency["pkg"]);
            // Dependencies of build scripts and tests have another kind.
            let is_linked = list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
            let Some(package) = packages.get(id).filter(|package| is_linked && !is_macro(package)) else { continue };
            if found.insert(id, *package).is_none() {
                open.push(id);
            }
        }
    }
    let mut found: Vec<&Value> = found.into_values().collect();
    found.sort_by_key(|package| (text_of(&package["name"]), text_of(&package["version"])));
    found
}

/// Returns the licence files of a package, sorted by name.
fn files(package: &Value) -> Result<Vec<PathBuf>, String> {
    let folder = Path::new(text_of(&package["manifest_path"])).parent().unwrap_or(Path::new(""));
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

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn linked_packages() {
        let package = |name: &str, kind: &str| json!({"id": name, "name": name, "version": "1.0.0", "targets": [{"kind": [kind]}]});
        let node = |id: &str, deps: &[(&str, Value)]| {
            let deps: Vec<Value> =
                deps.iter().map(|(id, kind)| json!({"pkg": id, "dep_kinds": [{"kind": kind}]})).collect();
            json!({"id": id, "deps": deps})
        };
        let (normal, build, dev) = (Value::Null, json!("build"), json!("dev"));
        let metadata = json!({
            "packages": [
                package("site", "bin"), package("b", "lib"), package("a", "lib"), package("derive", "proc-macro"),
                package("syn", "lib"), package("cc", "lib"), package("proptest", "lib"),
            ],
            "resolve": {"root": "site", "nodes": [
                node("site", &[("b", normal.clone()), ("cc", build)]),
                // A cycle: the tests of `a` use `b`, which is linked anyway.
                node("b", &[("a", normal.clone()), ("derive", normal.clone()), ("proptest", dev)]),
                node("a", &[("b", normal.clone())]),
                node("derive", &[("syn", normal)]),
            ]},
        });
        let names: Vec<&str> = linked(&metadata).into_iter().map(|package| text_of(&package["name"])).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
