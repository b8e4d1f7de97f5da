//! The provenance of a binary: an in-toto statement (v1) with SLSA's predicate for builds (provenance v1), which says of what and by what it was
//! built. It names no time and no machine, so that the same build has the same one.

use proxy_build::Compiled;
use proxy_build::source::sha256;
use serde_json::{Value, json};

use super::packages::Packages;
use super::recipe::Recipe;

/// The kind of build, and who builds: the command itself, on a machine that vouches for nothing.
const KILN: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/kiln-build/v1");

/// Returns the predicate. `lock` is the text of `Cargo.lock`.
pub(super) fn predicate(compiled: &Compiled, packages: &Packages<'_>, recipe: &Recipe, lock: &str) -> Value {
    let file = |name: &str, digest: &str| json!({"name": name, "digest": {"sha256": digest}});
    let texts = compiled.sources.site_files().map(|(name, text)| file(name, &sha256(text.as_bytes())));
    let assets = compiled.sources.assets().map(|(name, digest)| file(name, digest));
    let published = packages
        .linked
        .iter()
        .filter_map(|package| Some(json!({"uri": package.url(), "digest": {"sha256": package.checksum?}})));
    let rustc = match &recipe.toolchain.commit {
        Some(commit) => json!({"name": recipe.toolchain.rustc, "digest": {"gitCommit": commit}}),
        None => json!({"name": recipe.toolchain.rustc}),
    };
    let materials = texts.chain(assets).chain([file("Cargo.lock", &sha256(lock.as_bytes())), rustc]).chain(published);
    json!({
        "buildDefinition": {
            "buildType": KILN,
            "externalParameters": {
                "site": compiled.sources.site_files().next().map(|(name, _)| name),
                "siteDigest": {"sha256": compiled.digest()},
                "profile": recipe.settings.profile,
                "static": recipe.is_static(),
                "target": recipe.toolchain.target,
                "rustflags": recipe.flags,
            },
            "internalParameters": {
                "host": recipe.toolchain.host,
                "features": recipe.features,
                "source": recipe.source,
                "cc": recipe.toolchain.cc,
                "libc": recipe.toolchain.libc,
            },
            "resolvedDependencies": materials.collect::<Vec<_>>(),
        },
        "runDetails": {"builder": {"id": KILN, "version": {"kiln": env!("CARGO_PKG_VERSION")}}},
    })
}

/// Returns the statement about a file with this name and content.
pub(super) fn statement(name: &str, binary: &[u8], predicate: &Value) -> String {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256(binary)}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": predicate,
    });
    format!("{statement:#}\n")
}

/// Compares the C compiler and library of a statement, if it is about this binary, with those of a predicate.
pub(super) fn other_tools(statement: &str, binary: &[u8], predicate: &Value) -> Vec<String> {
    let statement: Value = serde_json::from_str(statement).unwrap_or_default();
    if statement["subject"][0]["digest"]["sha256"] != sha256(binary) {
        return Vec::new();
    }
    let tool = |predicate: &Value, name: &str| predicate["buildDefinition"]["internalParameters"][name].clone();
    let compared = [("cc", "C compiler"), ("libc", "C library")].map(|(name, words)| {
        let (theirs, ours) = (tool(&statement["predicate"], name), tool(predicate, name));
        (theirs != ours).then(|| format!("{words}: {theirs} by the provenance of the binary, {ours} here"))
    });
    compared.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools() {
        let predicate = |cc: &str| json!({"buildDefinition": {"internalParameters": {"cc": cc, "libc": "glibc 2.36"}}});
        let check = |statement: &str, expected: &[&str]| {
            assert_eq!(other_tools(statement, b"elf", &predicate("cc 12")), expected, "{statement}");
        };
        check(&statement("a", b"elf", &predicate("cc 12")), &[]);
        check(
            &statement("a", b"elf", &predicate("cc 13")),
            &["C compiler: \"cc 13\" by the provenance of the binary, \"cc 12\" here"],
        );
        // It is about another binary, or none.
        check(&statement("a", b"other", &predicate("cc 13")), &[]);
        check("", &[]);
    }
}
