//! The compiler's output: small sites and the Rust code they compile to, in reviewed files; the code compiles, too.
//!
//! `KILN_UPDATE=1 cargo test` updates the Rust files.

use kiln_tests::kiln::workspace;

#[test]
fn expansions_are_as_reviewed() {
    let mut failed = Vec::new();
    for entry in std::fs::read_dir(workspace().join("tests/expand")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "kdl") {
            continue;
        }
        let shown = path.file_name().expect("a name").to_str().expect("text");
        let compiled = proxy_build::compile(&path, shown);
        let output = compiled.output("bundle".as_ref()).unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
        let file = syn::parse2(output.items).expect("Rust");
        let found = prettyplease::unparse(&file);
        let golden = path.with_extension("rs");
        if std::env::var_os("KILN_UPDATE").is_some() {
            std::fs::write(&golden, &found).expect("written");
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            failed.push(shown.to_owned());
        }
    }
    assert!(failed.is_empty(), "the Rust of these has changed: {failed:?}");
}

/// The output is the same, byte for byte, however often a site is compiled.
#[test]
fn output_is_deterministic() {
    let site = workspace().join("tests/cases/matchers/site.kdl");
    let once =
        || proxy_build::compile(&site, "site.kdl").output("bundle".as_ref()).expect("compiles").items.to_string();
    assert!(once() == once());
}

/// The expansions are compiled as part of this test binary.
mod compiled {
    #[allow(dead_code, unused_imports, missing_docs, clippy::all)]
    mod minimal {
        include!("../expand/minimal.rs");
    }
    #[allow(dead_code, unused_imports, missing_docs, clippy::all)]
    mod policies {
        include!("../expand/policies.rs");
    }
}
