//! `site!` in a user's crate, as `kiln new` creates it: a valid site runs, an invalid one is exactly one error.

use std::path::Path;
use std::process::{Command, Output};

use kiln_tests::kiln::{kiln, scratch, stderr, target};

fn cargo(dir: &Path, arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .current_dir(dir)
        // Reuses the dependencies that were built for the tests.
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TERM_COLOR", "never");
    command.output().expect("cargo runs")
}

#[test]
fn a_scaffolded_crate() {
    let dir = scratch("scaffold").join("my-proxy");
    let made = kiln(&["new", dir.to_str().expect("text")]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(!kiln(&["new", dir.to_str().expect("text")]).status.success(), "the folder exists already");
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).expect("a manifest");
    assert!(
        manifest.contains("proxy-runtime = \"=") && !manifest.contains("path ="),
        "it can be handed on: {manifest}"
    );
    assert!(dir.join("rust-toolchain.toml").exists());
    let config = std::fs::read_to_string(dir.join(".cargo/config.toml")).expect("a configuration");
    assert!(
        config.starts_with("[env]\nAWS_LC_SYS_NO_JITTER_ENTROPY = \"1\"\nAWS_LC_SYS_USE_SYSTEM = \"0\"\n"),
        "as `kiln build` does: {config}"
    );
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    let binary = target().join("debug/my-proxy");
    let tested = Command::new(&binary).arg("--self-test").output().expect("runs");
    assert!(tested.status.success());

    // An error in the site: one error with the same text that `kiln` prints, and nothing after it.
    let site = dir.join("site.kdl");
    let right = std::fs::read_to_string(&site).expect("the site");
    std::fs::write(&site, right.replace("proxy app", "proxy ap")).expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    let text = stderr(&built);
    assert!(!built.status.success());
    assert!(text.contains("error[unknown-name]: there is no upstream `ap`"), "{text}");
    assert!(text.contains("--> site.kdl:") && text.contains("did you mean `app`?"), "{text}");
    // rustc's own lines begin in the first column, the lines of the message are indented.
    assert_eq!(
        text.lines().filter(|line| line.starts_with("error")).count(),
        2,
        "one error, and cargo's last word: {text}"
    );
    assert!(!text.contains("warning"), "{text}");

    // Changes to the site are noticed although no Rust file changes.
    std::fs::write(&site, right.replace("it works", "it works again")).expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    let config = Command::new(&binary).arg("--config").output().expect("runs");
    assert!(String::from_utf8_lossy(&config.stdout).contains("it works again"));
}

/// Cargo does not notice new files that match a pattern: such a crate needs a build script.
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
    // The build script notices a new file.
    std::fs::write(dir.join("sites/b.kdl"), "site b.test {\n    nonsense\n}\n").expect("written");
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(
        stderr(&built).contains("there is no `nonsense`") && stderr(&built).contains("sites/b.kdl:2:5"),
        "{}",
        stderr(&built)
    );
}

/// Compiled-in files are compressed by the build script, and new files are noticed.
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
    let binary = target().join("debug/bundled");
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

const FILTERS: &str = r#"
use proxy_runtime::filter::{FieldName, Flow, Request, Response};
use proxy_runtime::content::respond::Answer;
use proxy_runtime::http::StatusCode;

const TENANT: FieldName = FieldName::new("x-tenant");

pub fn tenant(request: &mut Request<'_>) -> Flow {
    let tenant = request.host().split('.').next().unwrap_or_default();
    match tenant {
        "nobody" => Flow::Respond(Answer::text(StatusCode::NOT_FOUND, "nobody lives here\n").with(TENANT, tenant)),
        "clumsy" => panic!("as asked"),
        _ => {
            request.set(TENANT, tenant);
            Flow::Continue
        }
    }
}

pub fn versioned(request: &mut Request<'_>) -> Flow {
    request.add(FieldName::new("x-version"), request.query("v").unwrap_or("1"));
    Flow::Continue
}

pub fn stamp(response: &mut Response<'_>) {
    assert_ne!(response.facts().path, "/fails");
    response.remove(FieldName::new("server"));
    response.set(FieldName::new("x-stamp"), format!("{} {}", response.status().as_u16(), response.facts().path));
}
"#;

const FILTERED: &str = r#"
param listen type=addr
param backend type=addr
listen (param)listen
upstream app {
    server (param)backend
}
site * {
    filter "crate::filters::tenant"
    filter "crate::filters::stamp" on=response
    response-headers {
        set X-Always yes
    }
    log access format=json
    route "/health" {
        filter off
        respond 200 "ok"
    }
    route "/*" {
        filter "crate::filters::versioned" on=request
        request-headers {
            set X-Copy "{header.x-tenant}"
        }
        rewrite path="/{header.x-tenant}/x"
        proxy app
    }
}
test "nobody gets nothing" {
    request GET "http://nobody.test/"
    expect status=404 {
        response-header x-stamp "404 /"
    }
}
test "a tenant is named" {
    request GET "http://alice.test/a?v=7"
    expect upstream=app {
        upstream-header x-copy "alice"
        upstream-header x-version "7"
    }
}
test "health is nobody's" {
    request GET "http://nobody.test/health"
    expect status=200
}
"#;

/// `filter` calls functions of the crate: rustc checks their types, and `--self-test` calls them, too.
#[test]
fn functions_of_the_crate() {
    let dir = scratch("filters").join("filters");
    assert!(kiln(&["new", dir.to_str().expect("text")]).status.success());
    let write = |path: &str, text: &str| std::fs::write(dir.join(path), text).expect("written");
    let main = "mod filters;\n\nfn main() -> std::process::ExitCode {\n    proxy_runtime::run(proxy_macros::site!(\"site.kdl\"))\n}\n\n\
        #[test]\nfn the_site() {\n    proxy_runtime::self_test(proxy_macros::site!(\"site.kdl\")).unwrap();\n}\n";
    write("site.kdl", FILTERED);
    write("src/filters.rs", FILTERS);
    write("src/main.rs", main);
    let built = cargo(&dir, &["build", "--quiet"]);
    assert!(built.status.success(), "{}", stderr(&built));
    assert_eq!(stderr(&built), "");

    let binary = target().join("debug/filters");
    let tested = Command::new(&binary).arg("--self-test").output().expect("runs");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    let text =
        String::from_utf8_lossy(&kiln(&["test", dir.join("site.kdl").to_str().expect("text")]).stdout).into_owned();
    assert!(text.contains("left  nobody gets nothing") && text.contains("1 passed, 0 failed, 2 left"), "{text}");

    let backend = kiln_tests::origin::Origin::new(|mut connection, _| {
        while let Some(head) = connection.head() {
            connection.send(format!("HTTP/1.1 200 OK\r\nserver: it\r\ncontent-length: {}\r\n\r\n{head}", head.len()));
        }
    });
    let proxy = kiln_tests::proxy::Proxy::start(&binary, FILTERED, &[("backend", &backend.address)]);
    let get = |host: &str, path: &str| kiln_tests::client::get(proxy.address("listen"), host, path);
    let answer = get("nobody.test", "/a");
    assert_eq!((answer.status, answer.text().as_str()), (404, "nobody lives here\n"));
    assert_eq!(answer.header("x-tenant"), Some("nobody"));
    assert_eq!(answer.header("x-stamp"), Some("404 /a"));
    let line = proxy.log("\"path\":\"/a\"");
    assert!(line.contains("\"rule\":\"crate::filters::tenant\""), "{line}");
    let answer = get("nobody.test", "/health");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-stamp")), (200, "ok", None));
    let answer = get("alice.test", "/a?v=7");
    assert_eq!((answer.status, answer.header("x-stamp"), answer.header("server")), (200, Some("200 /a"), None));
    let head = answer.text();
    assert!(head.starts_with("GET /alice/x?v=7 HTTP/1.1"), "{head}");
    assert!(["x-tenant: alice", "x-copy: alice", "x-version: 7"].iter().all(|line| head.contains(line)), "{head}");

    // A panic fails its exchange and no other.
    for _ in 0..2 {
        let answer = get("clumsy.test", "/b");
        assert_eq!(answer.status, 500);
    }
    proxy.notice("panic in the thread `worker-");
    let line = proxy.log("filter-panicked");
    assert!(line.contains("\"rule\":\"crate::filters::tenant\""), "{line}");
    assert_eq!(get("alice.test", "/a").status, 200);
    let answer = get("alice.test", "/fails");
    assert_eq!((answer.status, answer.header("x-stamp"), answer.header("x-always")), (500, None, Some("yes")));

    // rustc rejects a function with a wrong type, or a missing one; the crate's own tests report a failing test of the
    // site.
    write(
        "src/filters.rs",
        &FILTERS.replace("pub fn stamp(response: &mut Response<'_>)", "pub fn stamp(response: &Response<'_>)"),
    );
    let text = stderr(&cargo(&dir, &["build", "--quiet"]));
    assert!(text.contains("mismatched types") && text.contains("{stamp}"), "{text}");
    write("src/filters.rs", &FILTERS.replace("pub fn stamp", "fn stamp"));
    let text = stderr(&cargo(&dir, &["build", "--quiet"]));
    assert!(text.contains("function `stamp` is private"), "{text}");
    write("src/filters.rs", &FILTERS.replace("\"x-tenant\"", "\"content-length\""));
    let text = stderr(&cargo(&dir, &["build", "--quiet"]));
    assert!(text.contains("the field belongs to the connection"), "{text}");
    write("src/filters.rs", &FILTERS.replace("\"nobody\" =>", "\"none\" =>"));
    let tested = cargo(&dir, &["test", "--quiet"]);
    let text = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(!tested.status.success() && text.contains("FAIL  nobody gets nothing"), "{text}");

    // With `kiln build` there is no crate.
    let alone = kiln(&["build", dir.join("site.kdl").to_str().expect("text")]);
    let text = stderr(&alone);
    assert!(!alone.status.success() && text.contains("error[needs-crate]") && text.contains("site!"), "{text}");
}
