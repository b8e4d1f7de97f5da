//! `site!` in a crate of one's own, as `kiln new` makes it: a right site runs, a wrong one is one error and no noise.

use std::path::Path;
use std::process::{Command, Output};

use kiln_tests::kiln::{cache, kiln, scratch, stderr};

fn cargo(dir: &Path, arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", cache().join("macro-target"))
        .env("CARGO_TERM_COLOR", "never");
    command.output().expect("cargo runs")
}

#[test]
fn a_scaffolded_crate() {
    let dir = scratch("scaffold").join("my-proxy");
    let made = kiln(&["new", dir.to_str().expect("text")]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(!kiln(&["new", dir.to_str().expect("text")]).status.success(), "it is there already");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    let binary = cache().join("macro-target/debug/my-proxy");
    let tested = Command::new(&binary).arg("--self-test").output().expect("runs");
    assert!(tested.status.success());

    // A mistake: one error, the same text as `kiln` prints, and nothing after it.
    let site = dir.join("site.kdl");
    let right = std::fs::read_to_string(&site).expect("the site");
    std::fs::write(&site, right.replace("proxy app", "proxy ap")).expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    let text = stderr(&built);
    assert!(!built.status.success());
    assert!(text.contains("error[unknown-name]: there is no upstream `ap`"), "{text}");
    assert!(text.contains("--> site.kdl:") && text.contains("did you mean `app`?"), "{text}");
    // rustc's own lines begin at the margin, those of the message within are indented.
    assert_eq!(
        text.lines().filter(|line| line.starts_with("error")).count(),
        2,
        "one error, and cargo's last word: {text}"
    );
    assert!(!text.contains("warning"), "{text}");

    // Changes of the site are noticed without any change of Rust.
    std::fs::write(&site, right.replace("it works", "it works again")).expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    let config = Command::new(&binary).arg("--config").output().expect("runs");
    assert!(String::from_utf8_lossy(&config.stdout).contains("it works again"));
}

/// Cargo can't know of files that a pattern will match one day: such a crate needs the build script's help.
#[test]
fn includes_by_pattern_need_a_build_script() {
    let dir = scratch("prepared").join("prepared");
    assert!(kiln(&["new", dir.to_str().expect("text")]).status.success());
    std::fs::create_dir(dir.join("sites")).expect("a folder");
    std::fs::write(dir.join("site.kdl"), "include \"sites/*.kdl\"\n").expect("written");
    std::fs::write(dir.join("sites/a.kdl"), "site a.test {\n    respond 200 \"a\"\n}\n").expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    let text = stderr(&built);
    assert!(
        !built.status.success()
            && text.contains("error[not-prepared]")
            && text.contains("proxy_build::prepare(\"site.kdl\")"),
        "{text}"
    );

    std::fs::write(dir.join("build.rs"), "fn main() {\n    proxy_build::prepare(\"site.kdl\")\n}\n").expect("written");
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).expect("text");
    let build = kiln_tests::kiln::workspace().join("proxy-build");
    let dependency =
        format!("[build-dependencies]\nproxy-build = {{ path = {build:?}, default-features = false }}\n\n[workspace]");
    std::fs::write(dir.join("Cargo.toml"), manifest.replace("[workspace]", &dependency)).expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    // A new file is noticed.
    std::fs::write(dir.join("sites/b.kdl"), "site b.test {\n    nonsense\n}\n").expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(
        stderr(&built).contains("there is no `nonsense`") && stderr(&built).contains("sites/b.kdl:2:5"),
        "{}",
        stderr(&built)
    );
}

/// What is compiled in is compressed by the build script, and new files are noticed.
#[test]
fn folders_are_compiled_in_by_a_build_script() {
    let dir = scratch("bundled").join("bundled");
    assert!(kiln(&["new", dir.to_str().expect("text")]).status.success());
    std::fs::create_dir(dir.join("public")).expect("a folder");
    let write = |path: &str, text: &str| std::fs::write(dir.join(path), text).expect("written");
    write("public/index.html", "<p>home\n");
    let site =
        "param listen type=addr\nlisten (param)listen\nsite * {\n    files \"public\" embed=#true listing=#true\n}\n";
    write("site.kdl", site);
    let text = stderr(&cargo(&dir, &["build", "--quiet"]));
    assert!(text.contains("error[not-prepared]") && text.contains("with the feature `bundle`"), "{text}");

    write("build.rs", "fn main() {\n    proxy_build::prepare(\"site.kdl\")\n}\n");
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).expect("text");
    let build = kiln_tests::kiln::workspace().join("proxy-build");
    let with = |features: &str| {
        let dependency = format!(
            "[build-dependencies]\nproxy-build = {{ path = {build:?}, default-features = false{features} }}\n\n[workspace]"
        );
        write("Cargo.toml", &manifest.replace("[workspace]", &dependency));
        cargo(&dir, &["build", "--quiet"])
    };
    let text = stderr(&with(""));
    assert!(text.contains("give proxy-build the feature `bundle`"), "{text}");
    let built = with(", features = [\"bundle\"]");
    assert!(built.status.success(), "{}", stderr(&built));
    let binary = cache().join("macro-target/debug/bundled");
    let served = |path: &str| {
        let proxy = kiln_tests::proxy::Proxy::start(&binary, site, &[]);
        kiln_tests::client::get(proxy.address("listen"), "a.test", path).text()
    };
    assert_eq!(served("/"), "<p>home\n");
    write("public/new.txt", "new\n");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    assert_eq!(served("/new.txt"), "new\n");
}
