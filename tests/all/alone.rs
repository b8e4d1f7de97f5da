//! `kiln` built alone, as its users build it, accepts the same sites as the compiler in these tests. Features that other
//! packages of the workspace enable would otherwise hide missing ones.

use std::path::{Path, PathBuf};

use kiln_tests::kiln::{kiln, scratch, stderr, workspace};
use proxy_build::directive::ALL;

#[test]
fn every_example_of_the_manual_compiles() {
    let folder = scratch("examples-alone");
    std::fs::create_dir(folder.join("pages")).expect("made");
    std::fs::write(folder.join("pages/index.html"), "<p>home\n").expect("written");
    let site = folder.join("example.kdl");
    let pages = proxy_build::code::all().map(|code| (code.name, code.right));
    for (name, text) in ALL.iter().map(|directive| (directive.name, directive.example)).chain(pages) {
        std::fs::write(&site, text).expect("written");
        check(&site, name);
    }
}

#[test]
fn every_site_of_a_case_compiles() {
    for folder in ["tests/cases", "examples"] {
        for site in sites(&workspace().join(folder)) {
            check(&site, folder);
        }
    }
}

#[track_caller]
fn check(site: &Path, what: &str) {
    let output = kiln(&["check", site.to_str().expect("text")]);
    assert!(output.status.success(), "{what}, {}:\n{}", site.display(), stderr(&output));
}

fn sites(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sites(&path));
        } else if path.file_name().is_some_and(|name| name == "site.kdl") {
            found.push(path);
        }
    }
    found
}
