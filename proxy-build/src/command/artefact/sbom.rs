//! The software bill of materials of a binary, as JSON of CycloneDX 1.6: the site's files, the packages that are linked in, and how it
//! was built. It has neither a time nor a serial number, so that the same build has the same one.

use proxy_build::Compiled;
use proxy_build::source::sha256;
use serde_json::{Map, Value, json};

use super::packages::{Package, Packages};
use super::recipe::Recipe;

/// The section of a binary that contains its SBOM.
pub(crate) const SECTION: &str = ".kiln.sbom";

/// The reference to the site itself among the dependencies.
const SITE: &str = "site";

/// Returns the SBOM, on one line.
pub(super) fn write(compiled: &Compiled, packages: &Packages<'_>, recipe: &Recipe) -> String {
    let (name, digest) = (compiled.sources.site_files().next().map_or("", |(name, _)| name), compiled.digest());
    let file = |name: &str, digest: &str| json!({"type": "file", "name": name, "hashes": hashes(digest)});
    let texts = compiled.sources.site_files().map(|(name, text)| file(name, &sha256(text.as_bytes())));
    let assets = compiled.sources.assets().map(|(name, digest)| file(name, digest));
    let mut libraries = vec![library("std", version(&recipe.toolchain.rustc), Some("MIT OR Apache-2.0"))];
    libraries.extend(recipe.linked_libc().map(|libc| library(libc.name, libc.version, Some(libc.terms))));
    let components =
        packages.linked.iter().map(component).chain(libraries.into_iter().map(Value::from)).chain(texts).chain(assets);
    let properties = recipe.properties().map(|(name, value)| json!({"name": name, "value": value}));
    let of_site = json!({"ref": SITE, "dependsOn": references(packages, &packages.of_site)});
    let of_package =
        |package: &Package<'_>| json!({"ref": package.url(), "dependsOn": references(packages, &package.dependencies)});
    let dependencies: Vec<Value> = [of_site].into_iter().chain(packages.linked.iter().map(of_package)).collect();
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": "kiln", "version": env!("CARGO_PKG_VERSION")}]},
            "component": {"type": "application", "bom-ref": SITE, "name": name, "version": digest[..16], "hashes": hashes(&digest)},
            "properties": properties,
        },
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    format!("{bom}\n")
}

fn component(package: &Package<'_>) -> Value {
    let mut component = library(package.name, package.version, package.terms);
    component.insert("bom-ref".to_owned(), package.url().into());
    component.insert("purl".to_owned(), package.url().into());
    if let Some(checksum) = package.checksum {
        component.insert("hashes".to_owned(), hashes(checksum));
    }
    component.into()
}

fn library<'a>(name: &str, version: impl Into<Option<&'a str>>, terms: Option<&str>) -> Map<String, Value> {
    let mut component = Map::new();
    component.insert("type".to_owned(), "library".into());
    component.insert("name".to_owned(), name.into());
    if let Some(version) = version.into() {
        component.insert("version".to_owned(), version.into());
    }
    if let Some(terms) = terms {
        // Cargo has allowed a slash in place of OR, which is no expression of SPDX.
        let expression = terms.replace(" / ", " OR ").replace('/', " OR ");
        component.insert("licenses".to_owned(), json!([{"expression": expression}]));
    }
    component
}

fn hashes(digest: &str) -> Value {
    json!([{"alg": "SHA-256", "content": digest}])
}

fn references(packages: &Packages<'_>, indices: &[usize]) -> Vec<String> {
    indices.iter().filter_map(|index| packages.linked.get(*index)).map(Package::url).collect()
}

/// Returns the version in the first line of `rustc -vV`.
fn version(rustc: &str) -> &str {
    rustc.split(' ').nth(1).unwrap_or_default()
}
