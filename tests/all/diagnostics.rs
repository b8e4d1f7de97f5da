//! Sites with mistakes: each `diagnostics/NAME.kdl` must be rejected with exactly the text of `NAME.txt`.
//!
//! `KILN_UPDATE=1 cargo test` rewrites the texts; their diff is reviewed like code.

use std::path::Path;

use kiln_tests::kiln::workspace;

#[test]
fn wrong_sites_are_refused() {
    let folder = workspace().join("tests/diagnostics");
    let mut failed = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "kdl") && !check(&path) {
            failed.push(path.file_name().expect("a name").to_owned());
        }
    }
    assert!(failed.is_empty(), "the text has changed for {failed:?}");
}

fn check(path: &Path) -> bool {
    let shown = path.file_name().expect("a name").to_str().expect("text");
    let compiled = proxy_build::compile(path, shown);
    assert!(compiled.model.is_none(), "{shown} compiles");
    let found = compiled.diagnostics(false);
    let golden = path.with_extension("txt");
    if std::env::var_os("KILN_UPDATE").is_some() {
        std::fs::write(&golden, &found).expect("written");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if found != expected {
        eprintln!("{shown}, expected:\n{expected}\nfound:\n{found}");
    }
    found == expected
}

/// Every code of the compiler occurs in some fixture.
#[test]
fn every_code_has_a_fixture() {
    let mut sources = String::new();
    collect(&workspace().join("proxy-build/src"), &mut sources);
    let mut texts = String::new();
    for entry in std::fs::read_dir(workspace().join("tests/diagnostics")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            texts += &std::fs::read_to_string(path).expect("a text");
        }
    }
    collect(&workspace().join("tests/corpus/wrong"), &mut texts);
    let made = |code: &String| texts.contains(&format!("error[{code}]")) || texts.contains(&format!("=== {code} "));
    let mut missing: Vec<_> = codes(&sources).into_iter().filter(|code| !made(code)).collect();
    missing.retain(|code| !ELSEWHERE.contains(&code.as_str()));
    assert!(missing.is_empty(), "no fixture makes these mistakes: {missing:?}");
}

/// Limits that only a huge site can reach, and mistakes that need a crate (see `macros`).
const ELSEWHERE: &[&str] = &[
    "too-many-files",
    "too-many-overlaps",
    "too-many-patterns",
    "too-many-routes",
    "too-many-servers",
    "too-many-upstreams",
    "too-many-listeners",
    "tables-too-large",
    "not-prepared",
    "needs-crate",
];

/// All codes of errors and lints in the compiler's source and in fixtures.
pub(crate) fn all_codes() -> Vec<String> {
    let mut sources = String::new();
    collect(&workspace().join("proxy-build/src"), &mut sources);
    let mut codes = codes(&sources);
    for entry in std::fs::read_dir(workspace().join("tests/diagnostics")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(path).expect("a text");
            let found = ["error[", "warning["].into_iter().flat_map(|opener| text.split(opener).skip(1));
            codes.extend(found.filter_map(|rest| Some(rest.split_once("]: ")?.0.to_owned())));
        }
    }
    codes.sort();
    codes.dedup();
    codes
}

/// Comparisons that would take hours are rejected at once.
#[test]
fn too_many_overlaps() {
    let check = |count: usize, matchers: &dyn Fn(usize) -> String, expected: &str, most: usize| {
        let route = |n| format!("    route \"/*\" {{\n        {}\n        respond 200\n    }}\n", matchers(n));
        let routes: String = (0..count).map(route).collect();
        let text = format!("lint allow unanchored-expression\nsite example.com {{\n{routes}}}\n");
        let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text);
        let found: Vec<_> = compiled.report.sorted().iter().map(|found| found.code).collect();
        assert!(!found.is_empty() && found.len() <= most, "{found:?}");
        assert!(found.iter().all(|code| *code == expected), "{found:?}");
    };
    // Each two share a request: so many ties that only some are reported.
    check(300, &|n| format!("path-regex \"word{n}x\""), "ambiguous-routes", 50);
    // Each two are disjoint, which takes a proof.
    check(330, &|n| format!("client-ip \"10.{}.{}.0/24\"", n / 256, n % 256), "too-many-overlaps", 1);
    // More pairs than are compared.
    check(2000, &|n| format!("header X-Kind \"{n}\""), "too-many-overlaps", 1);
}

fn codes(sources: &str) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for opener in ["Diagnostic::error(", "Diagnostic::lint(", ".error(", "problem(", "code: "] {
        for (at, _) in sources.match_indices(opener) {
            let Some(rest) = sources[at + opener.len()..].trim_start().strip_prefix('"') else { continue };
            let code = rest.split('"').next().unwrap_or_default();
            let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_code && !codes.iter().any(|known| known == code) {
                codes.push(code.to_owned());
            }
        }
    }
    assert!(codes.len() > 40, "the codes are in other places: {codes:?}");
    codes
}

fn collect(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            let text = std::fs::read_to_string(&path).expect("text");
            into.push_str(text.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
}
