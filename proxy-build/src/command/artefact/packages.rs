//! The packages that are linked into a site's binary ([`Packages`]), from `cargo metadata` and `Cargo.lock`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

/// The packages whose code is in a binary, apart from the site's own crate.
pub(crate) struct Packages<'a> {
    /// By name and version.
    pub(crate) linked: Vec<Package<'a>>,
    /// The indices of the packages that the site's crate itself depends on.
    pub(crate) of_site: Vec<usize>,
}

/// A package.
pub(crate) struct Package<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// Its licence, as it declares it.
    pub(crate) terms: Option<&'a str>,
    /// Where its source is.
    pub(super) folder: &'a Path,
    /// The registry that it is from; `None` for Kiln's own.
    pub(crate) registry: Option<&'a str>,
    /// The SHA-256 of its archive in the registry.
    pub(crate) checksum: Option<&'a str>,
    /// The indices of the packages that it depends on.
    pub(crate) dependencies: Vec<usize>,
}

/// The registry of most packages.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

impl Package<'_> {
    /// Returns whether it is from crates.io.
    pub(crate) fn is_from_crates_io(&self) -> bool {
        self.registry == Some(CRATES_IO)
    }

    /// Returns its package URL.
    pub(crate) fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

impl<'a> Packages<'a> {
    /// Returns the dependencies of the site's crate, except build-time ones. `lock` is the text of `Cargo.lock`.
    pub(super) fn new(metadata: &'a Value, lock: &'a str) -> Packages<'a> {
        let packages: HashMap<&str, &Value> =
            list(&metadata["packages"]).map(|package| (text_of(&package["id"]), package)).collect();
        let nodes: HashMap<&str, &Value> =
            list(&metadata["resolve"]["nodes"]).map(|node| (text_of(&node["id"]), node)).collect();
        let needs = |id: &str| -> Vec<&'a str> {
            let dependencies = nodes.get(id).into_iter().flat_map(|node| list(&node["deps"]));
            // Dependencies of build scripts and tests have another kind.
            let linked = dependencies
                .filter(|dependency| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()))
                .map(|dependency| text_of(&dependency["pkg"]));
            linked.filter(|id| packages.get(id).is_some_and(|package| !is_macro(package))).collect()
        };
        let root = text_of(&metadata["resolve"]["root"]);
        let (mut open, mut found) = (vec![root], HashMap::new());
        while let Some(id) = open.pop() {
            for id in needs(id) {
                if let Some(package) = packages.get(id)
                    && found.insert(id, *package).is_none()
                {
                    open.push(id);
                }
            }
        }
        let mut found: Vec<(&str, &Value)> = found.into_iter().collect();
        found.sort_by_key(|(_, package)| (text_of(&package["name"]), text_of(&package["version"])));
        let positions: HashMap<&str, usize> = found.iter().enumerate().map(|(index, (id, _))| (*id, index)).collect();
        let indices = |id: &str| {
            let mut indices: Vec<usize> = needs(id).iter().filter_map(|id| positions.get(id).copied()).collect();
            indices.sort_unstable();
            indices.dedup();
            indices
        };
        let checksums = checksums(lock);
        let package = |(id, package): &(&str, &'a Value)| {
            let (name, version) = (text_of(&package["name"]), text_of(&package["version"]));
            Package {
                name,
                version,
                terms: package["license"].as_str(),
                folder: Path::new(text_of(&package["manifest_path"])).parent().unwrap_or(Path::new("")),
                registry: package["source"].as_str(),
                checksum: checksums.get(&(name, version)).copied(),
                dependencies: indices(id),
            }
        };
        Packages { linked: found.iter().map(package).collect(), of_site: indices(root) }
    }
}

fn is_macro(package: &Value) -> bool {
    list(&package["targets"]).any(|target| list(&target["kind"]).any(|kind| kind == "proc-macro"))
}

/// Returns the checksums of a `Cargo.lock` by name and version. Cargo writes the file, with a line for each value.
fn checksums(lock: &str) -> HashMap<(&str, &str), &str> {
    let value = |package: &'_ str, key: &str| -> Option<(usize, usize)> {
        let start = package.find(&format!("\n{key} = \""))? + key.len() + 5;
        Some((start, start + package[start..].find('"')?))
    };
    let packages = lock.split("[[package]]").skip(1).filter_map(|package| {
        let part = |key| value(package, key).map(|(start, end)| &package[start..end]);
        Some(((part("name")?, part("version")?), part("checksum")?))
    });
    packages.collect()
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
    fn linked_packages() {
        let package = |name: &str, kind: &str| {
            let source = (name == "a").then_some(CRATES_IO);
            json!({"id": name, "name": name, "version": "1.0.0", "source": source, "targets": [{"kind": [kind]}]})
        };
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
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\nchecksum = \"1234\"\n\
            dependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n";
        let packages = Packages::new(&metadata, lock);
        let shown = |package: &Package<'_>| (package.url(), package.is_from_crates_io(), package.checksum.is_some());
        let shown: Vec<_> = packages.linked.iter().map(shown).collect();
        assert_eq!(
            shown,
            [("pkg:cargo/a@1.0.0".to_owned(), true, true), ("pkg:cargo/b@1.0.0".to_owned(), false, false)]
        );
        assert_eq!(packages.linked[0].checksum, Some("1234"));
        assert_eq!((&packages.of_site[..], &packages.linked[1].dependencies[..]), (&[1][..], &[0][..]));
    }
}
