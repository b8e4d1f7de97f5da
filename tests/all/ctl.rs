//! The command line for operators in the binary itself: what it shows, what it changes, and its exit codes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_tests::client::get;
use kiln_tests::kiln::{scratch, stderr, stdout};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, address};

const SITE: &str = r#"
param listen type=addr
param server type=addr
param secret type=secret
admin "unix:SOCKET" {
    metrics
    status
    purge
    servers
    drain
    log-level
    tap
    ready app
}
listen (param)listen
cache-store main memory="16MiB"
upstream app {
    server (param)server
    server "unix:/nowhere/b.sock" weight=0
    outlier
}
site a.test {
    request-headers {
        set X-Key (param)secret
    }
    cache main
    proxy app
}
"#;

struct Operated {
    proxy: Proxy,
    binary: PathBuf,
    origin: Origin,
    socket: PathBuf,
}

fn operated(name: &str) -> Operated {
    let dir = scratch(name);
    let (socket, secret) = (dir.join("admin.sock"), dir.join("secret"));
    std::fs::write(&secret, "hunter2").expect("written");
    std::fs::write(dir.join("site.kdl"), SITE.replace("SOCKET", socket.to_str().expect("text"))).expect("written");
    let origin = Origin::always("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello");
    let given = [("server", origin.address.as_str()), ("secret", secret.to_str().expect("text"))];
    let proxy = Proxy::of(&dir.join("site.kdl"), &given);
    let binary = std::fs::read_link(format!("/proc/{}/exe", proxy.pid())).expect("a link");
    Operated { proxy, binary, origin, socket }
}

impl Operated {
    /// Returns the exit code, standard output and standard error. The fixed address of the site needs no parameter.
    fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(&self.binary).arg("ctl").args(arguments).output().expect("it runs");
        (output.status.code().expect("a code"), stdout(&output), stderr(&output))
    }

    #[track_caller]
    fn check(&self, arguments: &[&str], code: i32, says: &str) {
        let (found, out, err) = self.ctl(arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{err}");
        assert!((out.clone() + &err).contains(says), "{arguments:?}: {out}{err}");
    }
}

#[test]
fn all_commands() {
    let mut at = operated("ctl");
    let (server, url) = (at.origin.address.as_str(), "http://a.test/x?y=1");
    assert_eq!(get(at.proxy.address("listen"), "a.test", "/x?y=1").status, 200);
    at.check(&["ready"], 0, "ready\n");
    at.check(&["ready", "--json"], 0, "{\"ready\":true,\"says\":\"ready\"}\n");
    let (_, status, _) = at.ctl(&["status"]);
    for part in ["ready\n\nUPSTREAM  SERVER", &format!("app       {server}"), "STORE  RESPONSES", "main   1"] {
        assert!(status.contains(part), "{status}");
    }
    let json: serde_json::Value = serde_json::from_str(&at.ctl(&["status", "--json"]).1).expect("JSON");
    assert_eq!(
        (&json["ready"], &json["servers"][0]["server"], &json["stores"][0]["name"]),
        (&true.into(), &server.into(), &"main".into())
    );
    at.check(&["servers"], 0, &format!("app       {server}"));
    at.check(&["server", "app", server, "weight", "5"], 0, "enabled  healthy  5");
    at.check(&["server", "app", server, "drain"], 0, "drained");
    at.check(&["ready"], 1, "upstream `app` has no healthy server");
    at.proxy.notice(&format!("admin: server {server} of upstream `app` was drained by uid "));
    at.check(&["server", "app", server, "enable"], 0, "enabled");
    at.check(&["server", "app", "unix:/nowhere/b.sock", "weight", "3"], 0, "unix:/nowhere/b.sock");
    at.check(
        &["server", "app", "127.0.0.1:1", "drain"],
        1,
        "error: 404 Not Found: upstream `app` has no server `127.0.0.1:1`; there are",
    );
    at.check(&["server", "app", server, "weight", "1001"], 1, "error: 400 Bad Request: `weight` is 0 to 1000");
    at.check(&["purge", url, "--soft"], 0, "purged: 1\n");
    at.check(&["purge", url, "--json"], 0, "{\"purged\":1}\n");
    at.check(&["purge", url], 0, "purged: 0\n");
    at.check(&["metrics"], 0, "\nkiln_cache_stored_total{store=\"main\"} 1\n");
    at.check(&["log-level", "loud"], 1, "error: 400 Bad Request: write level=error, level=warn or level=info");
    at.check(&["log-level", "error"], 0, "error\n");
    at.proxy.notice("admin: the level of the error log was set to error by uid ");
    at.check(&["server", "app", "unix:/nowhere/b.sock", "weight", "0"], 0, "unix:/nowhere/b.sock");
    at.check(&["log-level", "info"], 0, "info\n");
    at.proxy.notice("admin: the level of the error log was set to info by uid ");
    assert!(!at.proxy.noticed().iter().any(|line| line.contains("was given the weight 0")), "{:?}", at.proxy.noticed());
    let mut tap = Command::new(&at.binary).args(["ctl", "tap", "n=1"]).stdout(Stdio::piped()).spawn().expect("it runs");
    while tap.try_wait().expect("a child").is_none() {
        get(at.proxy.address("listen"), "a.test", "/tapped");
        std::thread::sleep(Duration::from_millis(20));
    }
    let tapped = stdout(&tap.wait_with_output().expect("it has ended"));
    assert!(tapped.lines().count() == 2 && tapped.contains("/tapped") && tapped.contains("\"shown\":1"), "{tapped}");
    at.check(&["--help"], 0, "Usage: PROXY [PARAMETERS] ctl");
    // Wrong usage.
    for (arguments, says) in [
        (&[][..], "`ctl` needs a command"),
        (&["stop"], "`ctl stop` with these arguments is no command"),
        (&["server", "app", server, "off"], "`drain`, `enable` or `weight N`"),
        (&["purge", "/x"], "is not a URL"),
        (&["ready", "--soft"], "`--soft` is for `purge`"),
        (&["ready", "--loud"], "--loud"),
        (&["ready", "--user", "a"], "the password of `a` is missing"),
        (&["ready", "--ca", "/nowhere/ca.pem"], "`/nowhere/ca.pem`: "),
    ] {
        at.check(arguments, 2, says);
    }
    at.check(&["drain"], 0, "the drain begins\n");
    assert!(at.proxy.wait().success());
    at.check(&["ready"], 1, at.socket.to_str().expect("text"));
}

#[test]
fn the_address_is_a_parameter() {
    let site = "param listen type=addr\nparam admin type=addr\nadmin (param)admin\nsite a.test {\n listen (param)listen\n respond 200\n}\n";
    let proxy = Proxy::of_text("ctl-given", site, &[]);
    let binary = std::fs::read_link(format!("/proc/{}/exe", proxy.pid())).expect("a link");
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(&binary);
        command.args(arguments).env_remove("ADMIN");
        if let Some(address) = variable {
            command.env("ADMIN", address);
        }
        let output = command.output().expect("it runs");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let flag = format!("--admin={}", proxy.address("admin"));
    assert_eq!(run(&["ctl", "ready", &flag], None), (Some(0), "ready\n".to_owned()));
    assert_eq!(run(&[&flag, "ctl", "ready"], None).0, Some(0));
    assert_eq!(run(&["ctl", "ready"], Some(proxy.address("admin"))).0, Some(0));
    let (code, says) = run(&["ctl", "ready"], None);
    assert!(code == Some(2) && says.contains("give --admin or set ADMIN"), "{says}");
    assert!(run(&["--help"], None).1.contains("ctl COMMAND"));
    // The site has no such line, and nothing listens at the address.
    let (code, says) = run(&[&flag, "ctl", "servers"], None);
    assert!(code == Some(1) && says.contains("error: 403 Forbidden: `admin` has no line `servers`"), "{says}");
    let (code, says) = run(&["--admin", &address(), "ctl", "ready"], None);
    assert!(code == Some(1) && says.contains("refused"), "{says}");
}

/// Servers at the address that are no `admin` can't keep `ctl` waiting.
#[test]
fn responses_of_other_servers() {
    let site = "param listen type=addr\nparam admin type=addr\nadmin (param)admin\nsite a.test {\n listen (param)listen\n respond 200\n}\n";
    let proxy = Proxy::of_text("ctl-none", site, &[]);
    let binary = std::fs::read_link(format!("/proc/{}/exe", proxy.pid())).expect("a link");
    let hangs_up = Origin::new(|mut connection, _| drop(connection.request()));
    let garbage = Origin::always("220 mail ESMTP\r\n");
    let truncated = Origin::new(|mut connection, _| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nready");
    });
    let streams = Origin::new(|mut connection, _| {
        let request = connection.request().expect("a request");
        assert!(request.starts_with("GET /tap?status=5xx&host=a.test HTTP/1.1\r\n"), "{request}");
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for line in ["4\r\none\n\r\n", "4\r\ntwo\n\r\n", "0\r\n\r\n"] {
            std::thread::sleep(Duration::from_millis(50));
            connection.send(line);
        }
    });
    let run = |address: &str, arguments: &[&str]| {
        let output = Command::new(&binary).args(["--admin", address, "ctl"]).args(arguments).output().expect("it runs");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    for origin in [&hangs_up, &garbage, &truncated] {
        let (code, says) = run(&origin.address, &["ready"]);
        assert!(code == Some(1) && says.starts_with("error: "), "{says}");
    }
    assert_eq!(run(&streams.address, &["tap", "status=5xx", "host=a.test"]), (Some(0), "one\ntwo\n".to_owned()));
}
