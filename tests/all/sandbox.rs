//! The sandbox, from inside: a function of the site's own crate tries what the site does not need, and the proxy continues
//! to serve.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::client::{Client, get};
use kiln_tests::kiln::{kiln, scratch, stderr, stdout, target};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

use crate::service::Manager;

const ESCAPES: &str = r#"
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use proxy_runtime::content::respond::Answer;
use proxy_runtime::filter::{Flow, Request};
use proxy_runtime::http::StatusCode;

unsafe extern "C" {
    fn ptrace(request: i64, pid: i32, address: usize, data: usize) -> i64;
}

pub fn escape(request: &mut Request<'_>) -> Flow {
    let what = request.query("what").unwrap_or_default().to_owned();
    let to = request.query("to").unwrap_or_default().to_owned();
    let outcome = match what.as_str() {
        "read" => std::fs::read(&to).map(drop),
        "write" => std::fs::write(&to, "x"),
        "remove" => std::fs::remove_file(&to),
        "connect" => TcpStream::connect(&to).map(drop),
        "listen" => TcpListener::bind(&to).map(drop),
        "run" => Command::new(&to).status().map(drop),
        "trace" => match unsafe { ptrace(0, 0, 0, 0) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        },
        "hang" => loop {
            std::thread::park();
        },
        _ => return Flow::Continue,
    };
    let said = outcome.map_or_else(|error| format!("{:?}", error.kind()), |()| "done".to_owned());
    Flow::Respond(Answer::text(StatusCode::OK, said))
}
"#;

const SITE: &str = r#"
param listen type=addr
param backend type=addr
process {
    sandbox required
    takeover "DIR/takeover.sock" canary="3s"
    drain timeout="1s"
}
listen (param)listen
cache-store main memory="1MiB" {
    disk "DIR/stored" size="100MiB"
}
upstream app {
    server (param)backend
}
site * {
    filter "crate::escapes::escape"
    route "/files/*" {
        files "DIR/www/public"
    }
    route "/*" {
        cache main
        proxy app
    }
}
"#;

fn ok() -> Origin {
    Origin::new(|mut connection, _| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

/// Builds the site's crate.
fn crate_of(name: &str, site: &str) -> std::path::PathBuf {
    let dir = scratch(name).join(name);
    assert!(kiln(&["new", dir.to_str().expect("text")]).status.success());
    let write = |path: &str, text: &str| std::fs::write(dir.join(path), text).expect("written");
    std::fs::create_dir_all(dir.join("www/public")).expect("a folder");
    write("www/public/a.txt", "a");
    write("elsewhere.txt", "secret");
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).expect("text");
    let with = "proxy-runtime = { version = \"=0.1.0\", features = [\"takeover\"] }";
    write("Cargo.toml", &manifest.replace("proxy-runtime = \"=0.1.0\"", with));
    write("site.kdl", &site.replace("DIR", dir.to_str().expect("UTF-8")));
    write("src/escapes.rs", ESCAPES);
    write(
        "src/main.rs",
        "mod escapes;\n\nfn main() -> std::process::ExitCode {\n    proxy_runtime::run(proxy_macros::site!(\"site.kdl\"))\n}\n",
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet"])
        .current_dir(&dir)
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", stderr(&built));
    dir
}

#[test]
fn escapes_fail() {
    let dir = crate_of("sandbox-escapes", SITE);
    let (backend, other) = (ok(), ok());
    let (listen, free) = (address(), address());
    let mut command = Command::new(target().join("debug/sandbox-escapes"));
    command.current_dir(&dir).arg(format!("--listen={listen}")).arg(format!("--backend={}", backend.address));
    let manager = Manager::new("sandbox-notify");
    manager.manages(&mut command, Duration::from_millis(800));
    let proxy = Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into());
    assert!(!proxy.noticed().iter().any(|line| line.contains("sandbox")), "{:?}", proxy.noticed());

    let inside = |path: &str| dir.join(path).display().to_string();
    let elsewhere = inside("elsewhere.txt");
    let check = |what: &str, to: &str, expected: &str| {
        let answer = get(&listen, "a.test", &format!("/x?what={what}&to={to}"));
        assert_eq!(answer.text(), expected, "{what} {to}");
    };
    for to in [elsewhere.as_str(), "/etc/passwd", "/proc/1/environ", "/root"] {
        check("read", to, "PermissionDenied");
    }
    check("read", &inside("www/public/a.txt"), "done");
    for to in [elsewhere.as_str(), &inside("www/public/a.txt"), &inside("www/public/new.txt"), "/tmp/kiln-sandbox"] {
        check("write", to, "PermissionDenied");
    }
    check("remove", &elsewhere, "PermissionDenied");
    check("write", &inside("stored/note"), "done");
    check("connect", &other.address.replace(":7000", ":7001"), "PermissionDenied");
    check("connect", &backend.address, "done");
    check("listen", &free, "PermissionDenied");
    check("run", "/bin/true", "Unsupported");
    check("trace", "", "Unsupported");

    // The proxy still serves.
    assert_eq!(get(&listen, "a.test", "/files/a.txt").text(), "a");
    assert_eq!(get(&listen, "a.test", "/x").text(), "ok");
    let stored = get(&listen, "a.test", "/x");
    assert!(
        stored.header("cache-status").is_some_and(|status| status.contains("hit")),
        "{:?}",
        stored.header("cache-status")
    );
    assert!(Path::new(&elsewhere).exists());

    // Nor does a process whose worker hangs replace it, though nothing has failed.
    let mut command = Command::new(target().join("debug/sandbox-escapes"));
    command.current_dir(&dir).arg(format!("--listen={listen}")).arg(format!("--backend={}", backend.address));
    command.arg("--upgrade");
    let mut hanging = Proxy::spawn(command, [].into());
    hanging.notice("takeover: serving for 3s before the old process ends");
    Client::to(&listen).send("GET /x?what=hang HTTP/1.1\r\nHost: a.test\r\n\r\n");
    hanging.notice("takeover: rolled back: worker ");
    assert_eq!(hanging.wait().code(), Some(3));
    assert_eq!(get(&listen, "a.test", "/x").text(), "ok");

    // A service manager hears of it from within, and hears nothing once a worker hangs.
    manager.expect("WATCHDOG=1\n");
    Client::to(&listen).send("GET /x?what=hang HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let until = Instant::now() + PATIENCE;
    while manager.next(Duration::from_secs(2)).is_some() {
        assert!(Instant::now() < until, "a worker that hangs is not noticed");
    }
}

#[test]
fn the_sandbox_can_be_switched_off() {
    let site = SITE.replace("sandbox required", "sandbox off");
    let dir = crate_of("sandbox-off", &site);
    let backend = ok();
    let listen = address();
    let mut command = Command::new(target().join("debug/sandbox-off"));
    command.current_dir(&dir).arg(format!("--listen={listen}")).arg(format!("--backend={}", backend.address));
    let _proxy = Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into());
    for (what, to) in [("read", "/etc/passwd"), ("run", "/bin/true")] {
        assert_eq!(get(&listen, "a.test", &format!("/x?what={what}&to={to}")).text(), "done", "{what}");
    }
}

#[test]
fn check_prints_what_is_allowed() {
    let site = r#"
param listen type=addr
param store type=string default="/var/cache/site"
listen (param)listen
cache-store main memory="1MiB" {
    disk (param)store size="100MiB"
}
upstream app {
    server "127.0.0.1:3000"
    server "unix:/run/app.sock"
    server "127.0.0.1:3001"
}
upstream named {
    server "app.internal:8080"
}
upstream found {
    discover srv "_app._tcp.internal"
}
site a.test {
    route "/files/*" {
        files "/srv/files"
    }
    route "/named/*" {
        proxy named
    }
    route "/*" {
        cache main
        proxy app
    }
}
"#;
    let check = |site: &str, expected: &[&str], absent: &[&str]| {
        let binary = build_text("sandbox-check", site);
        let output =
            Command::new(binary).args(["--check", &format!("--listen={}", address())]).output().expect("it runs");
        let text = stdout(&output);
        for line in expected {
            assert!(text.contains(line), "{line}: {text}{}", stderr(&output));
        }
        for line in absent {
            assert!(!text.contains(line), "{line}: {text}");
        }
    };
    let found = "upstream found {\n    discover srv \"_app._tcp.internal\"\n}\n";
    let fixed = site.replace(found, "");
    let unnamed = fixed.replace("app.internal", "127.0.0.2");
    let ports = "sandbox: connects to ports 3000 3001 8080\n";
    check(&unnamed, &["sandbox: reads /proc/self /srv\n", "sandbox: writes /var/cache/site\n", ports], &["/etc"]);
    check(&fixed, &["sandbox: reads /etc /lib", "sandbox: connects to ports 53 3000 3001 8080\n"], &[]);
    let found =
        site.replace("    route \"/*\"", "    route \"/found/*\" {\n        proxy found\n    }\n    route \"/*\"");
    check(&found, &["sandbox: connects to any port\n"], &[]);
    check(&format!("process {{\n    sandbox off\n}}\n{fixed}"), &["ok: ready to serve"], &["sandbox:"]);
}
