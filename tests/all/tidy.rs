//! House rules: checks that a reviewer would otherwise have to remember.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_tests::kiln::workspace;

/// The Rust files in folders, with their text.
pub(crate) fn rust_files(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut open: Vec<_> = folders.iter().map(|folder| workspace().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            files.push((path.strip_prefix(workspace()).expect("within").to_owned(), text));
        }
    }
    assert!(!files.is_empty());
    files
}

const SOURCES: &[&str] =
    &["proxy-build/src", "proxy-macros/src", "proxy-runtime/src", "tests/src", "tests/all", "examples"];

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

#[test]
fn every_file_says_what_it_owns() {
    for (path, text) in rust_files(SOURCES) {
        assert!(text.starts_with("//! "), "{} has no header", path.display());
    }
}

#[test]
fn files_are_small() {
    for (path, text) in rust_files(SOURCES) {
        let lines = without_tests(&text).lines().count();
        // Wide but flat: one parser after the other, one test after the other.
        let limit = if path.ends_with("value.rs") || path.starts_with("tests/all") { 800 } else { 600 };
        assert!(lines <= limit, "{} has {lines} lines: split it", path.display());
    }
}

/// Most files and functions are short enough to read at once.
#[test]
fn most_are_short() {
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    for (_, text) in rust_files(&["proxy-build/src", "proxy-macros/src", "proxy-runtime/src"]) {
        let lines: Vec<&str> = without_tests(&text).lines().collect();
        files.push(lines.len());
        functions.extend((0..lines.len()).filter_map(|start| function(&lines[start..])));
    }
    files.sort_unstable();
    functions.sort_unstable();
    let (median, long) = (files[files.len() / 2], functions[functions.len() * 99 / 100]);
    assert!(functions.len() > 1000 && median <= 130, "half of the files have more than {median} lines");
    assert!(long <= 60, "one function of a hundred has more than {long} lines");
}

/// Returns the number of lines of the function that starts on the first line: up to the closing brace with its indentation,
/// as rustfmt formats it.
fn function(lines: &[&str]) -> Option<usize> {
    let first = lines[0].trim_start();
    let indent = &lines[0][..lines[0].len() - first.len()];
    let (before, _) = first.split_once("fn ")?;
    let is_one = before.split_whitespace().all(|word| {
        ["pub", "const", "async", "unsafe"].contains(&word) || word.starts_with("pub(") || word.ends_with(')')
    });
    let end = format!("{indent}}}");
    let length = if first.ends_with('}') { 1 } else { 1 + lines.iter().position(|line| line.starts_with(&end))? };
    (is_one && !first.ends_with(';')).then_some(length)
}

#[test]
fn names_say_something() {
    const VAGUE: &[&str] =
        &["utils", "util", "common", "helpers", "helper", "manager", "globals", "misc", "core", "types", "mod"];
    for (path, _) in rust_files(SOURCES) {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!VAGUE.contains(&stem), "{}: use a specific name", path.display());
    }
}

/// Within a crate, each name of a type is unique, so that a search for it finds one declaration. Associated types, and declarations
/// within functions or tests, don't count.
#[test]
fn one_name_is_one_type() {
    const PASSES: &str = "the same thing as written, as checked, and as numbered: `ast`, `model`, `plan`";
    const TWINS: &str = "an optional feature and its stub, with the same interface";
    const MAY: &[(&str, &[&str], &str)] = &[
        ("proxy-build", &["Matcher", "Rewrite", "Route", "Site", "Test"], PASSES),
        (
            "proxy-runtime",
            &[
                "Challenges",
                "ClientFiles",
                "CredentialList",
                "Encoder",
                "Encryption",
                "Engine",
                "Handover",
                "Keys",
                "Pauses",
                "ReceivedSockets",
                "TakeoverOutcome",
                "TakeoverTask",
                "TappedExchange",
                "Taps",
                "TicketKeys",
                "TokenError",
                "TraceExport",
                "Tracer",
                "Verifier",
            ],
            TWINS,
        ),
    ];
    for (name, may, reason) in MAY {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, text) in rust_files(&[&format!("{name}/src")]) {
            for declared in without_tests(&text).lines().filter_map(declared_type) {
                places.entry(declared.to_owned()).or_default().push(path.display().to_string());
            }
        }
        assert!(places.contains_key("Route") || places.contains_key("Site"), "{name}: types are not found");
        places.retain(|_, places| places.len() > 1);
        for (declared, places) in &places {
            assert!(may.contains(&&**declared), "`{declared}` is several types, in {}", places.join(", "));
        }
        for known in *may {
            assert!(
                places.contains_key(*known),
                "{name}: `{known}` is a single type now; remove it from the list ({reason})"
            );
        }
    }
}

/// The name of the type that a line declares at the top level.
fn declared_type(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.strip_prefix('(').map_or(rest, |rest| rest.split_once(')').map_or(rest, |(_, rest)| rest)),
        None => line,
    };
    let (kind, rest) = line.strip_prefix(' ').unwrap_or(line).split_once(' ')?;
    let name = ["struct", "enum", "union", "trait", "type"].contains(&kind).then_some(rest)?;
    name.split(|c: char| !c.is_alphanumeric()).next().filter(|name| !name.is_empty())
}

#[test]
fn nothing_is_left_undone() {
    for (path, text) in rust_files(&["proxy-build/src", "proxy-macros/src", "proxy-runtime/src"]) {
        for word in ["todo!", "unimplemented!", "FIXME", "#[ignore", "XXX"] {
            assert!(!text.contains(word), "{} has a {word}", path.display());
        }
    }
}

/// Except for one declaration of a function of the C library, with its proof.
#[test]
fn nothing_is_unsafe() {
    for (path, text) in rust_files(&["proxy-build/src", "proxy-macros/src", "proxy-runtime/src"]) {
        let proven = path.ends_with("proxy-runtime/src/net/memory/trim.rs") && text.matches("unsafe ").count() == 1;
        let proven = proven && text.contains("// SAFETY: ");
        assert!(proven || !text.contains("unsafe "), "{} has unsafe code without a proof", path.display());
    }
}

/// A field value that is not UTF-8 is still a value (RFC 9110 section 5.5). Code that replaces it by nothing, or maps several values to
/// one, could let a
/// request bypass a rule; so each place that does this to arbitrary bytes is listed here, with the reason why it may.
#[test]
fn values_that_are_not_utf8_are_kept() {
    const MAY: &[(&str, usize, &str)] = &[
        ("protocol/date.rs", 1, "a date: other values are malformed, which callers handle"),
        ("cache/journal.rs", 1, "a line of the journal: an unreadable one purges everything"),
        ("cache/record.rs", 1, "the cache's own file: a damaged one is not used"),
        ("protocol/canonical.rs", 1, "bytes that may be raw, which are ASCII"),
        ("access.rs", 2, "credentials: invalid ones are rejected"),
        ("protocol/escape.rs", 2, "bytes that were just encoded from characters"),
        ("protocol/fields.rs", 1, "names, which are tokens"),
        ("content/files.rs", 1, "the name of a file in a path that is UTF-8"),
        ("site/bundle.rs", 2, "a text that the compiler has written"),
        ("content/files/listing.rs", 1, "a heading for people"),
        ("protocol/forwarded.rs", 1, "an address: an invalid one ends the chain of trusted addresses"),
        ("serve/files.rs", 1, "a capture of a path, which is UTF-8: no other file can be named"),
        ("serve/warm.rs", 1, "a URL in a list: one that is not ASCII is reported as invalid"),
        ("takeover/message.rs", 1, "a reason for people"),
        ("worker.rs", 1, "a line of the proxy itself"),
    ];
    for (path, text) in rust_files(&["proxy-runtime/src"]) {
        let text = without_tests(&text);
        let forgets = |at: usize| {
            let (before, after) = text.split_at(at);
            let line = before.rsplit('\n').next().unwrap_or_default();
            let statement = after.split([';', '{']).next().unwrap_or_default();
            statement.starts_with("from_utf8_lossy")
                || line.contains("let Ok")
                || [".ok()", "unwrap_or", "is_ok"].iter().any(|end| statement.contains(end))
        };
        let found = text.match_indices("from_utf8").filter(|(at, _)| forgets(*at)).count();
        let name = path.strip_prefix("proxy-runtime/src").expect("within").to_str().expect("text");
        let may = MAY.iter().find(|(known, ..)| *known == name).map_or(0, |(_, count, _)| *count);
        assert_eq!(found, may, "{name}: values that are not UTF-8 are dropped; work on bytes, or list the reason here");
    }
}

/// Allowed dependencies: pure modules do no I/O; the shipped binary has no parser; the compiler does not serve.
#[test]
fn dependencies_point_one_way() {
    const PURE: [&str; 14] = [
        "access/trust.rs",
        "balance",
        "content/respond.rs",
        "context",
        "dice",
        "exchange/forward.rs",
        "failure",
        "filter",
        "http1",
        "protocol",
        "rehearse",
        "router",
        "site",
        "value",
    ];
    for (path, text) in rust_files(&["proxy-runtime/src"]) {
        for forbidden in ["kdl", "syn::", "proxy_build", "proxy_macros", "std::process::Command"] {
            assert!(
                !without_tests(&text).contains(&format!("use {forbidden}")),
                "{} names {forbidden}",
                path.display()
            );
        }
        let within = path.strip_prefix("proxy-runtime/src").expect("within").to_str().expect("text").to_owned();
        let module = within.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if PURE.contains(&module) || PURE.contains(&within.as_str()) {
            for io in ["tokio", "hyper", "std::net::Tcp", "std::fs", "std::io"] {
                assert!(
                    !without_tests(&text).contains(&format!("use {io}")),
                    "{} is pure and uses {io}",
                    path.display()
                );
            }
        }
        if module == "filter" || module == "balance" {
            assert!(!text.contains("crate::upstream"), "{} may not see the upstream", path.display());
        }
    }
    for (path, text) in rust_files(&["proxy-build/src"]) {
        for forbidden in ["tokio", "hyper", "rustls"] {
            assert!(!text.contains(&format!("use {forbidden}")), "{} names {forbidden}", path.display());
        }
    }
    let manifest = std::fs::read_to_string(workspace().join("proxy-macros/Cargo.toml")).expect("a manifest");
    assert!(!manifest.contains("proxy-runtime"), "proxy-macros depends on proxy-build alone");
}

#[test]
fn versions_stand_in_one_place() {
    for member in ["proxy-build", "proxy-macros", "proxy-runtime", "examples/quickstart", "tests"] {
        let manifest = std::fs::read_to_string(workspace().join(member).join("Cargo.toml")).expect("a manifest");
        let own = manifest.lines().find(|line| line.contains("version = \""));
        assert_eq!(own, None, "{member}/Cargo.toml names a version of its own");
    }
}
