//! The manual is what the compiler says it is, and every example in it compiles.

use kiln_tests::kiln::workspace;
use proxy_build::directive::ALL;

#[test]
fn the_manual_is_up_to_date() {
    let path = workspace().join("docs/reference.md");
    let generated = proxy_build::reference::reference();
    if std::env::var_os("KILN_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == generated,
        "docs/reference.md is not what `kiln reference` prints: KILN_UPDATE=1 cargo test writes it"
    );
}

#[test]
fn every_example_compiles() {
    // What examples compile in is beside them.
    let folder = kiln_tests::kiln::scratch("examples");
    std::fs::create_dir(folder.join("pages")).expect("made");
    std::fs::write(folder.join("pages/index.html"), "<p>home\n").expect("written");
    for directive in ALL {
        let compiled = proxy_build::compile_text(&folder.join("example.kdl"), "example.kdl", directive.example);
        assert!(compiled.model.is_some(), "the example of `{}`:\n{}", directive.name, compiled.diagnostics(false));
    }
}

/// The two examples of every page: the wrong one has what the page is about, the right one has not, and compiles.
#[test]
fn every_page_is_right() {
    for code in proxy_build::code::all() {
        let compile = |text: &str| proxy_build::compile_text("example.kdl".as_ref(), "example.kdl", text);
        let found = |compiled: &proxy_build::Compiled| {
            compiled.report.sorted().iter().any(|diagnostic| diagnostic.code == code.name)
        };
        let (wrong, right) = (compile(code.wrong), compile(code.right));
        assert!(found(&wrong), "{}, wrong:\n{}", code.name, wrong.diagnostics(false));
        assert!(right.model.is_some() && !found(&right), "{}, right:\n{}", code.name, right.diagnostics(false));
        let page = proxy_build::code::page(code.name).expect("a page");
        assert!(page.starts_with(code.name) && page.contains("Wrong:"), "{page}");
    }
}

/// Every directive is in some case that runs over real sockets, and every property.
#[test]
fn every_directive_runs_in_a_case() {
    let mut sites = String::new();
    for tests in [
        "tests/all/wire.rs",
        "tests/all/cli.rs",
        "tests/all/upstreams.rs",
        "tests/all/cache.rs",
        "tests/all/cache/controls.rs",
        "tests/all/disk.rs",
        "tests/all/tls.rs",
        "tests/all/http2.rs",
        "tests/all/memory.rs",
        "tests/all/acme.rs",
        "tests/all/acme/dns01.rs",
        "tests/all/ends.rs",
        "tests/all/auth.rs",
        "tests/all/files.rs",
        "tests/all/files/or_else.rs",
        "tests/all/sockets.rs",
        "tests/all/intake.rs",
        "tests/all/compress.rs",
        "tests/all/macros.rs",
    ] {
        // Sites within strings: their line ends are written out, and braces are doubled.
        let text = std::fs::read_to_string(workspace().join(tests)).expect("tests");
        sites += &text.replace("\\n", "\n").replace("{{", "{").replace("}}", "}");
    }
    let mut folders = vec![workspace().join("tests/cases"), workspace().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "kdl") {
                sites += &std::fs::read_to_string(path).expect("a site");
            }
        }
    }
    let mut missing = Vec::new();
    for directive in ALL {
        let used = sites.lines().any(|line| line.split_whitespace().next() == Some(directive.name));
        if !used {
            missing.push(directive.name.to_owned());
        }
        for prop in directive.props {
            let used = sites.lines().any(|line| {
                line.split_whitespace().next() == Some(directive.name) && line.contains(&format!(" {}=", prop.name))
            });
            if !used {
                missing.push(format!("{} {}=", directive.name, prop.name));
            }
        }
    }
    assert!(missing.is_empty(), "no case uses: {missing:?}");
}
