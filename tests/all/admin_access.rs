//! Access control of `admin`: by credentials, by certificates and by the requested host, and endpoints without any of these.

use std::path::Path;
use std::process::Command;

use kiln_tests::certificates::Authority;
use kiln_tests::client::{Answer, ask};
use kiln_tests::kiln::{kiln, scratch, stderr, stdout};
use kiln_tests::proxy::{Proxy, build_text};

fn request(proxy: &Proxy, request: &str, fields: &str) -> Answer {
    ask(proxy.address("admin"), &format!("{request} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"))
}

const NAMED: &str = r#"
param listen type=addr
param admin type=addr
admin (param)admin {
    metrics
    host "proxy.example.internal"
}
site a.test {
    listen (param)listen
    respond 200
}
"#;

#[test]
fn hosts_of_others_are_refused() {
    let proxy = Proxy::of_text("admin-names", NAMED, &[]);
    for (host, status) in [
        ("127.0.0.1:9000", 200),
        ("[::1]:9000", 200),
        ("localhost", 200),
        ("LOCALHOST:9000", 200),
        ("kiln", 200),
        ("x.localhost", 200),
        ("proxy.example.internal:9000", 200),
        ("Proxy.Example.Internal.", 200),
        ("a.test", 200),
        ("evil.test:9000", 421),
        ("127.0.0.1.evil.test", 421),
        ("a.test.evil.test", 421),
        ("x.proxy.example.internal", 421),
        ("\u{e9}.test", 421),
    ] {
        let answer = request(&proxy, "GET /metrics", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    assert_eq!(request(&proxy, "GET /metrics", "Host: localhost\r\nHost: evil.test\r\n").status, 421);
    proxy.notice("admin: a request from 127.0.0.1 was refused, whose `Host` is not in `host`");
}

const AUTH: &str = r#"
param listen type=addr
param admin type=addr
admin (param)admin {
    servers
    auth SCHEME (file)"SECRETS" realm="Operators"
}
upstream app {
    server "127.0.0.1:1"
}
site a.test {
    listen (param)listen
    proxy app
}
"#;

/// Starts a proxy whose operators are in a file.
fn with_auth(name: &str, scheme: &str, secrets: &str) -> Proxy {
    let file = scratch(name).join("operators");
    std::fs::write(&file, secrets).expect("written");
    let site = AUTH.replace("SCHEME", scheme).replace("SECRETS", file.to_str().expect("text"));
    Proxy::of_text(name, &site, &[])
}

/// The hash of the password "secret".
const HASH: &str = "$2b$05$RLN9Enp6Q1ijWwatbgkNiO5.0SX2IkdtP9xqYf3oGCsy0sct.QHZa";

#[test]
fn passwords() {
    let proxy = with_auth("admin-basic", "basic", &format!("ops:{HASH}\n"));
    let basic = |pair: &str| format!("Authorization: Basic {}\r\n", data_encoding::BASE64.encode(pair.as_bytes()));
    for (fields, status) in [
        (String::new(), 401),
        (basic("ops:wrong"), 401),
        (basic("nobody:secret"), 401),
        (basic("ops"), 401),
        ("Authorization: Basic ****\r\n".to_owned(), 401),
        ("Authorization: Bearer secret\r\n".to_owned(), 401),
        (basic("ops:secret") + &basic("ops:secret"), 401),
        (basic("ops:secret"), 200),
    ] {
        for path in ["GET /servers", "GET /healthz"] {
            let answer = request(&proxy, path, &format!("Host: evil.test\r\n{fields}"));
            assert_eq!(answer.status, status, "{fields}: {answer:?}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge.is_some(), status == 401);
            assert!(challenge.is_none_or(|challenge| challenge == "Basic realm=\"Operators\", charset=\"UTF-8\""));
        }
    }
    proxy.notice("admin: a request from 127.0.0.1 was refused, with wrong credentials");
    let change =
        request(&proxy, "POST /servers/app/127.0.0.1:1?state=drain", &format!("Host: x\r\n{}", basic("ops:secret")));
    assert_eq!(change.status, 200);
    proxy.notice("was drained by user `ops` at 127.0.0.1");
    assert_eq!(request(&proxy, "POST /servers/app/127.0.0.1:1?state=drain", "Host: x\r\n").status, 401);
    // The same credentials with the binary's own command line.
    let ctl = |user: &str, password: Option<&str>| {
        let mut command = Command::new(build_text_of(&proxy));
        command.env_remove("KILN_CTL_PASSWORD").args(["ctl", "servers"]);
        command.arg(format!("--admin={}", proxy.address("admin"))).args(["--user", user]);
        if let Some(password) = password {
            command.env("KILN_CTL_PASSWORD", password);
        }
        let output = command.output().expect("it runs");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    assert!(ctl("ops", Some("secret")).1.contains("127.0.0.1:1  drained"), "{:?}", ctl("ops", Some("secret")));
    let (code, says) = ctl("ops", Some("wrong"));
    assert!(code == Some(1) && says.contains("401 Unauthorized"), "{says}");
    let (code, says) = ctl("ops", None);
    assert!(code == Some(2) && says.contains("the password of `ops` is missing"), "{says}");
}

/// Returns the binary of a running proxy.
fn build_text_of(proxy: &Proxy) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", proxy.pid())).expect("a link")
}

#[test]
fn keys() {
    let proxy = with_auth("admin-bearer", "bearer", "prometheus:0123456789abcdef\n");
    for (fields, status) in [
        ("", 401),
        ("Authorization: Bearer 0123456789abcdef\r\n", 200),
        ("Authorization: bearer  0123456789abcdef \r\n", 200),
        ("Authorization: Bearer 0123456789abcdeg\r\n", 401),
        ("Authorization: Bearer\r\n", 401),
        ("Authorization: Bearer \r\n", 401),
        ("Authorization: 0123456789abcdef\r\n", 401),
    ] {
        let answer = request(&proxy, "GET /readyz", &format!("Host: x\r\n{fields}"));
        assert_eq!(answer.status, status, "{fields}: {answer:?}");
        assert!(status == 200 || answer.header("www-authenticate") == Some("Bearer realm=\"Operators\""));
    }
    let token = scratch("admin-bearer-token").join("token");
    std::fs::write(&token, "0123456789abcdef\n").expect("written");
    let output = Command::new(build_text_of(&proxy))
        .arg(format!("--admin={}", proxy.address("admin")))
        .args(["ctl", "ready", "--token-file", token.to_str().expect("text")])
        .output()
        .expect("it runs");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "ready\n"), "{}", stderr(&output));
}

#[test]
fn certificates() {
    let dir = scratch("admin-tls");
    let ca = Authority::new(&dir);
    ca.sign("admin", "admin", &["admin.test"]);
    ca.sign_for_client("ops", "ops", &["ops.test"]);
    let file = |name: &str| ca.path(name);
    let site = format!(
        "param listen type=addr\nparam admin type=addr\n\
         tls operators {{\n certificate \"{}\" key=\"{}\"\n client-ca \"{}\"\n}}\n\
         admin (param)admin {{\n drain\n metrics\n tls operators\n}}\nsite a.test {{\n listen (param)listen\n respond 200\n}}\n",
        file("admin.pem"),
        file("admin.key"),
        ca.ca(),
    );
    let mut proxy = Proxy::of_text("admin-tls", &site, &[]);
    let exe = build_text_of(&proxy);
    let ctl = |command: &str, more: &[&str]| {
        let output = Command::new(&exe)
            .arg(format!("--admin={}", proxy.address("admin")))
            .args(["ctl", command, "--ca", &ca.ca(), "--name", "admin.test"])
            .args(more)
            .output()
            .expect("it runs");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let own = [String::from("--cert"), file("ops.pem"), "--key".to_owned(), file("ops.key")];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let (code, says) = ctl("metrics", &own);
    assert!(code == Some(0) && says.contains("\nkiln_connections 0\n"), "{says}");
    let (code, says) = ctl("metrics", &[]);
    assert!(code == Some(1) && says.contains("error: "), "{says}");
    proxy.notice("admin: the TLS handshake with 127.0.0.1 failed: tls-handshake the client sent no certificate");
    let output = Command::new("curl")
        .args(["-s", "--cacert", &ca.ca(), "--cert", &file("ops.pem"), "--key", &file("ops.key"), "--resolve"])
        .arg(format!("admin.test:{}", proxy.address("admin").split(':').rev().collect::<Vec<_>>().join(":")))
        .arg(format!("https://admin.test:{}/healthz", proxy.address("admin").split(':').nth(1).expect("a port")))
        .output()
        .expect("curl runs");
    assert_eq!(stdout(&output), "alive\n");
    // The name is not in the certificate.
    let other = [&own[..], &["--name", "other.test"]].concat();
    assert_eq!(ctl("metrics", &other).0, Some(1));
    // Neither garbage nor plain HTTP gets a response.
    assert!(
        !std::panic::catch_unwind(|| request(&proxy, "GET /metrics", "Host: x\r\n")).is_ok_and(|a| a.status == 200)
    );
    let (code, says) = ctl("drain", &own);
    assert!(code == Some(0) && says == "the drain begins\n", "{says}");
    assert!(proxy.wait().success());
}

/// An endpoint where anyone could change something is refused: by the compiler, and if its address is a parameter, at
/// start.
#[test]
fn unprotected_endpoints_are_refused() {
    let dir = scratch("admin-open");
    let check = |name: &str, site: &str, code: &str| {
        let path = dir.join(format!("{name}.kdl"));
        std::fs::write(&path, site).expect("written");
        let output = kiln(&["check", path.to_str().expect("text")]);
        assert!(stderr(&output).contains(&format!("[{code}]")) || code.is_empty(), "{site}\n{}", stderr(&output));
        // This code is a warning.
        assert_eq!(output.status.success(), matches!(code, "" | "password-on-plain"), "{site}\n{}", stderr(&output));
    };
    let site = |address: &str, lines: &str| {
        format!(
            "admin \"{address}\" {{\n {lines}\n}}\nupstream app {{\n server \"10.0.0.1:80\"\n}}\nsite a.test {{\n proxy app\n}}\n"
        )
    };
    for lines in ["servers", "drain"] {
        check(lines, &site(":9000", lines), "unprotected-admin");
        check(lines, &("lint allow open-admin\n".to_owned() + &site("10.0.0.5:9000", lines)), "unprotected-admin");
        check(lines, &site("127.0.0.1:9000", lines), "");
        check(lines, &site("localhost:9000", lines), "");
        check(lines, &site("unix:/run/x.sock", lines), "");
        check(lines, &site(":9000", &format!("{lines}\n allow \"10.0.0.0/8\"")), "");
        check(lines, &site(":9000", &format!("{lines}\n auth basic (file)\"/etc/x\"")), "password-on-plain");
    }
    check("metrics", &site(":9000", "metrics"), "open-admin");
    check("metrics-allowed", &("lint allow open-admin\n".to_owned() + &site(":9000", "metrics")), "");
    given(&dir);
}

fn given(dir: &Path) {
    let text = "param listen type=addr\nparam admin type=addr\nadmin (param)admin {\n drain\n}\nsite a.test {\n listen (param)listen\n respond 200\n}\n";
    let binary = build_text("admin-open-given", text);
    for (address, mode) in
        [("0.0.0.0:19000", "--check"), ("[::]:19000", "--check"), ("0.0.0.0:19000", "--listen=127.0.0.1:19001")]
    {
        let mut command = Command::new(&binary);
        command.args([&format!("--admin={address}"), "--listen=127.0.0.1:19001", mode]).current_dir(dir);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            stderr(&output).contains("anyone who can connect to the address of `admin` could use `drain`"),
            "{output:?}"
        );
    }
}
