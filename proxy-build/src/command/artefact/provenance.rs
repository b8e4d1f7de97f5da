//! The provenance of a binary: an in-toto statement (v1) with SLSA's predicate for builds (provenance v1), which says of what and by what it was
//! built. It names no time and no machine, so that the same build has the same one.

use proxy_build::Compiled;
use proxy_build::source::sha256;
use serde_json::{Map, Value, json};

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
    written(&statement)
}

fn written(statement: &Value) -> String {
    format!("{statement:#}\n")
}

/// What another machine may have differently, and the binary still be the same, as paths in the statement.
const ELSEWHERE: [&str; 4] = [
    "/subject/0/name",
    "/predicate/buildDefinition/internalParameters/host",
    "/predicate/buildDefinition/internalParameters/cc",
    "/predicate/buildDefinition/internalParameters/libc",
];

/// Compares a statement with that of this build, whose binary it must be about, as text: readers take repeated members differently.
pub(super) fn differences(text: &str, binary: &[u8], predicate: &Value) -> Vec<String> {
    let Ok(theirs) = serde_json::from_str::<Value>(text) else { return vec!["not JSON".to_owned()] };
    let mut ours: Value = serde_json::from_str(&statement("", binary, predicate)).unwrap_or_default();
    for path in ELSEWHERE {
        if let (Some(ours), Some(theirs @ (Value::String(_) | Value::Null))) =
            (ours.pointer_mut(path), theirs.pointer(path))
        {
            *ours = theirs.clone();
        }
    }
    if text == written(&ours) {
        return Vec::new();
    }
    let mut found = Vec::new();
    compare(&theirs, &ours, "", &mut found);
    if found.is_empty() {
        found.push("the same content, but not as `kiln build` writes it".to_owned());
    }
    found
}

fn compare(theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for name in theirs.keys().chain(ours.keys().filter(|name| !theirs.contains_key(*name))) {
                let side = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                compare(&side(theirs), &side(ours), &format!("{path}/{name}"), found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                compare(theirs, ours, &format!("{path}/{index}"), found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            found.push(format!("{path}: {} members in the provenance, {} here", theirs.len(), ours.len()));
        }
        _ if theirs != ours => found.push(format!("{path}: {theirs} in the provenance, {ours} here")),
        _ => {}
    }
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
    fn statements() {
        let predicate = |profile: &str, cc: Value| {
            json!({"buildDefinition": {
                "externalParameters": {"profile": profile, "rustflags": ["-C", "strip=none"]},
                "internalParameters": {"host": "x86_64-unknown-linux-gnu", "cc": cc, "libc": null},
            }})
        };
        let ours = predicate("dist", json!("cc 12"));
        let check = |text: &str, expected: &[&str]| assert_eq!(differences(text, b"elf", &ours), expected, "{text}");
        let text = statement("shop", b"elf", &ours);
        check(&text, &[]);
        // Another name, and another C compiler, or none that is known.
        check(&statement("\"x\"", b"elf", &predicate("dist", json!("cc 13"))), &[]);
        check(&statement("shop", b"elf", &predicate("dist", Value::Null)), &[]);
        let profile =
            "/predicate/buildDefinition/externalParameters/profile: \"release\" in the provenance, \"dist\" here";
        check(&statement("shop", b"elf", &predicate("release", json!("cc 12"))), &[profile]);
        let cc = "/predicate/buildDefinition/internalParameters/cc: [1] in the provenance, \"cc 12\" here";
        check(&statement("shop", b"elf", &predicate("dist", json!([1]))), &[cc]);
        let digest = format!(
            "/subject/0/digest/sha256: \"{}\" in the provenance, \"{}\" here",
            sha256(b"other"),
            sha256(b"elf")
        );
        check(&statement("shop", b"other", &ours), &[&digest]);
        check(
            &text.replace("  \"subject\": [", "  \"more\": 1,\n  \"subject\": ["),
            &["/more: 1 in the provenance, null here"],
        );
        check(
            &text.replace("\"strip=none\"", "\"strip=none\", \"-g\""),
            &["/predicate/buildDefinition/externalParameters/rustflags: 3 members in the provenance, 2 here"],
        );
        let twice = text.replace("\"profile\": \"dist\"", "\"profile\": \"release\", \"profile\": \"dist\"");
        check(&twice, &["the same content, but not as `kiln build` writes it"]);
        check(&text.replace('\n', ""), &["the same content, but not as `kiln build` writes it"]);
        check("", &["not JSON"]);
        check(
            "[]",
            &[&format!(
                "{}: [] in the provenance, {} here",
                "",
                serde_json::from_str::<Value>(&statement("", b"elf", &ours)).expect("JSON")
            )],
        );
    }

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
