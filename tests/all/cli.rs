//! `kiln` and the binary on the command line.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use kiln_tests::client::{Client, get};
use kiln_tests::kiln::{command, kiln, scratch, stderr, stdout, workspace};
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const QUICKSTART: &str = "examples/quickstart/site.kdl";

fn quickstart() -> String {
    workspace().join(QUICKSTART).display().to_string()
}

#[test]
fn commands_about_a_site() {
    let site = quickstart();
    let check = kiln(&["check", &site]);
    assert!(check.status.success());
    assert!(stderr(&check).contains("ok: 3 sites, 6 routes, 1 upstream, 3 tests passed"), "{}", stderr(&check));

    let explained = stdout(&kiln(&["explain", &site, "GET", "http://localhost:8080/api/items?page=2"]));
    for what in [
        "route                /api/*",
        "rewrite            /items?page=2",
        "origins -> 127.0.0.1:9001 127.0.0.1:9002",
        "forwarded to origins",
    ] {
        assert!(explained.contains(what), "no {what:?} in\n{explained}");
    }
    let explained = stdout(&kiln(&["explain", &site, "GET", "http://localhost:8080/docs?a=b"]));
    assert!(explained.contains("302, keeps the query") && explained.contains(" /hello/reader?a=b\n"), "{explained}");
    let explained = stdout(&kiln(&["explain", &site, "GET", "http://nobody.test:8080/"]));
    assert!(explained.contains("421 (unknown-host)"), "{explained}");

    let routes = stdout(&kiln(&["routes", &site]));
    let order: Vec<_> =
        routes.lines().skip(1).filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).collect();
    assert_eq!(order, ["/api/*", "/docs", "/hello/{name}", "/*", "/*", "/*"], "{routes}");
    let json = stdout(&kiln(&["routes", &site, "--json"]));
    let model: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(model["hosts"][0]["routes"][0]["pattern"]["text"], "/hello/{name}");

    let expanded = stdout(&kiln(&["expand", &site]));
    assert!(expanded.contains("static ROUTES: &[u8] = "), "{expanded}");
    assert!(stdout(&kiln(&["test", &site])).ends_with("3 passed, 0 failed\n"));
    assert!(stdout(&kiln(&["reference"])).starts_with("# The site language"));
    assert!(stdout(&kiln(&["completions", "bash"])).contains("_kiln"));
    let help = stdout(&kiln(&["--help"]));
    assert!(help.contains("Exit codes: 0 success; 1 the site is wrong"), "{help}");
}

/// Scheme and port must be those of a listener; the handling of the request is explained completely.
#[test]
fn explaining() {
    let site = scratch("explain").join("site.kdl");
    let text = r#"
limits connections=500 memory="64MiB"
http2 {
    max-streams 77
}
site example.com {
    listen ":8080"
    allow "10.0.0.0/8" "192.0.2.7"
    rate-limit "100/s" burst=20
    rate-limit "1000/h" by="{header.X-Key}"
    concurrency-limit 5
    block probes {
        path "/.env"
    }
    respond 200
}
site secure.test {
    listen ":8443" {
        tls
    }
    tls internal
    deny "203.0.113.0/24"
    respond 200
}
"#;
    std::fs::write(&site, text).expect("written");
    let check = |url: &str, expected: &[&str]| {
        let output = kiln(&["explain", site.to_str().expect("text"), "GET", url, "--from", "10.0.0.1"]);
        let said = stdout(&output) + &stderr(&output);
        for what in expected {
            assert!(said.contains(what), "no {what:?} in\n{said}");
        }
    };
    check(
        "http://example.com:8080/a/../b/%7Ec//d?x=%41",
        &[
            "path                 /b/~c/d?x=A\n",
            "connections=500 per-client=unlimited memory=64MiB handshakes=1000 max-streams=77",
            "  allow              10.0.0.0/8 192.0.2.7 [",
            "  rate-limit         100/s burst=20 by=client [",
            "  rate-limit         1000/h burst=",
            "by={header.x-key} [",
            "  concurrency-limit  5 by=client [",
            "  block              probes: /.env [",
        ],
    );
    check("https://secure.test:8443/", &["  deny               203.0.113.0/24 ["]);
    check("http://example.com:81/", &["error: no listener has port 81; there are: :8080 (http), :8443 (https)"]);
    check("https://example.com:8080/", &["error: no listener there has https for example.com"]);
    check("https://example.com/", &["error: no listener there has https for example.com"]);
    check("ftp://example.com/", &["error: `ftp` is neither http nor https"]);
    check("http://example.com:8080/%2e%2e%2f", &["400 (bad-path)", "is refused"]);
}

#[test]
fn wrong_sites_and_wrong_usage() {
    let site = scratch("wrong").join("site.kdl");
    std::fs::write(&site, "site example.com {\n    proxi \"http://127.0.0.1:3000\"\n}\n").expect("written");
    let path = site.to_str().expect("text");
    for command in ["check", "expand", "routes", "test", "build", "run"] {
        let output = kiln(&[command, path]);
        assert_eq!(output.status.code(), Some(1), "kiln {command}");
        assert!(stderr(&output).contains("did you mean `proxy`?"), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(kiln(&["chekc", path]).status.code(), Some(2));
    assert_eq!(kiln(&["check"]).status.code(), Some(2));
    let missing = kiln(&["check", "nowhere.kdl"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("can't read `nowhere.kdl`"), "{}", stderr(&missing));
    // Binaries of others are not run.
    let foreign = kiln(&["diff", "/proc/self/exe", path]);
    assert_eq!(foreign.status.code(), Some(2));
    assert!(stderr(&foreign).contains("was not made by `kiln build`"), "{}", stderr(&foreign));
}

#[test]
fn formatting() {
    let site = scratch("fmt").join("site.kdl");
    std::fs::write(&site, "// kept\nsite   example.com{\nrespond 200   \"a  b\" // too\n}\n").expect("written");
    let path = site.to_str().expect("text");
    assert_eq!(kiln(&["fmt", "--check", path]).status.code(), Some(1));
    assert!(kiln(&["fmt", path]).status.success());
    assert_eq!(
        std::fs::read_to_string(&site).expect("text"),
        "// kept\nsite example.com {\n    respond 200 \"a  b\" // too\n}\n"
    );
    assert!(kiln(&["fmt", "--check", path]).status.success());
    let template = workspace().join("proxy-build/templates/site.kdl");
    assert!(kiln(&["fmt", "--check", template.to_str().expect("text")]).status.success());
}

/// Errors name the right file, and standard input is formatted to standard output.
#[test]
fn formatting_names_the_file() {
    let dir = scratch("fmt-names");
    let check = |name: &str, text: &str, what: &str| {
        let path = dir.join(name).display().to_string();
        std::fs::write(&path, text).expect("written");
        let output = kiln(&["fmt", &path]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(&format!("--> {path}:{what}")) && !said.contains("input.kdl"), "{said}");
    };
    check("shop.kdl", "site {\n    a \"\n", "2");
    check("table.csv", "pattern,status\n/a\n", "2");
    let shown = with_input(&["fmt", "-"], "site   *{\nrespond 200\n}");
    assert_eq!(stdout(&shown), "site * {\n    respond 200\n}\n");
    assert_eq!(with_input(&["fmt", "--check", "-"], "a   b\n").status.code(), Some(1));
    assert_eq!(with_input(&["fmt", "--check", "-"], "a b\n").status.code(), Some(0));
    let wrong = with_input(&["fmt", "-"], "site {");
    assert!(wrong.status.code() == Some(1) && stderr(&wrong).contains("--> <stdin>:1"), "{}", stderr(&wrong));
}

#[test]
fn checking_standard_input() {
    let output = with_input(&["check", "-"], "site * {\n    respond 200\n}\n");
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "<stdin>: ok: 1 site, 1 route, 0 upstreams\n")
    );
    let output = with_input(&["check", "-"], "site * {\n    respnd 200\n}\n");
    assert!(output.status.code() == Some(1) && stderr(&output).contains("--> <stdin>:2:5"), "{}", stderr(&output));
    assert_eq!(with_input(&["check", "-"], "site \u{0}").status.code(), Some(1));
}

/// Runs a command with this standard input.
fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut command = command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kiln runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("it ends")
}

/// The examples compile without findings, and their tests pass.
#[test]
fn examples() {
    let entries = std::fs::read_dir(workspace().join("examples")).expect("the folder");
    for folder in entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()) {
        let site = folder.join("site.kdl");
        let output = kiln(&["check", site.to_str().expect("text")]);
        let said = stderr(&output);
        assert!(output.status.success() && said.contains("tests passed") && !said.contains("warning"), "{said}");
        assert!(
            kiln(&["fmt", "--check", site.to_str().expect("text")]).status.success(),
            "{} is not formatted",
            site.display()
        );
    }
}

const FACED: &str = r#"
param listen type=addr help="where to listen"
param backend type=addr default="127.0.0.1:1"
param workers type=number default="1"
param secret type=secret
process {
    workers (param)workers
}
site site.test {
    listen (param)listen
    request-headers {
        set Authorization (param)secret
    }
    proxy (param)backend
}
test "all is forwarded" {
    request GET "http://site.test/x"
    expect handler=proxy upstream-path="/x"
}
"#;

#[test]
fn flags_of_the_binary() {
    let binary = build_text("faced", FACED);
    let dir = scratch("faced");
    std::fs::write(dir.join("token"), "hunter2").expect("written");
    let run = |arguments: &[&str]| Command::new(&binary).args(arguments).env_remove("LISTEN").output().expect("runs");
    let token = dir.join("token").display().to_string();
    let here = address();

    let help = stdout(&run(&["--help"]));
    for what in [
        "--listen <addr>   variable LISTEN, required",
        "where to listen",
        "--backend <addr>   variable BACKEND, default 127.0.0.1:1",
        "--check",
        "Exit codes",
    ] {
        assert!(help.contains(what), "no {what:?} in\n{help}");
    }
    assert!(stdout(&run(&["--version"])).contains("site sha256: "));
    assert_eq!(stdout(&run(&["--config"])), FACED);
    assert!(stdout(&run(&["--self-test"])).ends_with("1 passed, 0 failed\n"));

    let checked = run(&["--check", "--listen", &here, "--secret", &token]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("ok: ready to serve") && !stdout(&checked).contains("hunter2"));

    // Failed starts name the line of the site, and accept no connections.
    let refused = |arguments: &[&str], code: i32, what: &str| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(what), "{arguments:?}: {}", stderr(&output));
    };
    refused(&[], 1, "site.kdl:2: the parameter `listen` (addr) has no value: give --listen or set LISTEN");
    refused(
        &["--listen", "nonsense", "--secret", &token],
        1,
        "site.kdl:2: the parameter `listen` is `nonsense`: a port is missing",
    );
    refused(&["--listen", &here, "--secret", "/nowhere"], 1, "site.kdl:12: can't read `/nowhere`");
    refused(
        &["--listen", &here, "--secret", &token, "--workers", "many"],
        1,
        "site.kdl:4: the parameter `workers` is `many`",
    );
    refused(&["--listne", &here], 2, "invalid option '--listne'");
    let taken = std::net::TcpListener::bind(&here).expect("free");
    refused(
        &["--listen", &here, "--secret", &token],
        1,
        &format!("site.kdl:10: can't listen on `{here}`: Address already in use"),
    );
    refused(&["--check", "--listen", &here, "--secret", &token], 1, "can't listen on");
    drop(taken);

    // Another instance may be serving there; it gets every connection.
    let instance = Proxy::spawn(
        {
            let mut command = Command::new(&binary);
            command.args(["--listen", &here, "--secret", &token]);
            command
        },
        HashMap::new(),
    );
    let connect = std::thread::spawn({
        let here = here.clone();
        move || (0..200).all(|_| get(&here, "site.test", "/").status == 502)
    });
    for _ in 0..10 {
        let checked = run(&["--check", "--listen", &here, "--secret", &token]);
        assert!(checked.status.success(), "{}", stderr(&checked));
        let said = stdout(&checked);
        assert!(said.contains(&format!("listen {here}: in use by a running instance\n")), "{said}");
    }
    assert!(connect.join().expect("it ends"), "no connection is lost");
    drop(instance);

    // A socket's file is neither created nor removed.
    let socket = dir.join("socket").display().to_string();
    let check_socket = |expected: &str| {
        let checked = run(&["--check", "--listen", &format!("unix:{socket}"), "--secret", &token]);
        assert!(stdout(&checked).contains(&format!("listen unix:{socket}: {expected}\n")), "{}", stderr(&checked));
    };
    check_socket("free");
    assert_eq!(std::fs::read_dir(&dir).expect("a folder").count(), 1, "the token alone");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    check_socket("in use by a running instance");
    drop(listener);
    check_socket("free");
    assert!(dir.join("socket").exists(), "a stale socket is replaced at start");
    refused(&["--check", "--listen", "unix:/nowhere/socket", "--secret", &token], 1, "can't listen on");

    // An environment variable suffices, and a flag overrides it.
    let mut command = Command::new(&binary);
    command.args(["--secret", &token]).env("LISTEN", &here).env("SECRET", "/nowhere");
    let proxy = Proxy::spawn(command, HashMap::from([("listen".to_owned(), here.clone())]));
    assert_eq!(get(proxy.address("listen"), "site.test", "/").status, 502);
}

#[test]
fn building() {
    let dir = scratch("build");
    std::fs::write(dir.join("shop.kdl"), "site * {\n    respond 200 \"shop\\n\"\n}\n").expect("written");
    let mut build = command(&["build", "--fast", "shop.kdl"]);
    let output = build.current_dir(&dir).output().expect("kiln runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut made: Vec<_> =
        std::fs::read_dir(&dir).expect("the folder").map(|entry| entry.expect("an entry").file_name()).collect();
    made.sort();
    let expected = ["shop", "shop.kdl", "shop.licences.txt", "shop.provenance.json"];
    assert_eq!(made, expected, "only the artefact, its licences and its provenance");
    assert!(dir.join("shop").is_file());
}

/// `kiln dev`: a change of the file replaces the proxy, without refused or aborted connections.
#[test]
fn developing() {
    let dir = scratch("dev");
    let (site, here) = (dir.join("site.kdl"), address());
    let text = |version: &str| format!("site * {{\n    listen \"{here}\"\n    respond 200 \"{version}\"\n}}\n");
    std::fs::write(&site, text("one")).expect("written");
    let proxy = Proxy::spawn(command(&["dev", site.to_str().expect("text")]), HashMap::new());
    assert_eq!(get(&here, "x", "/").text(), "one");
    let mut kept = Client::to(&here);
    kept.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(kept.answer().text(), "one");

    std::fs::write(&site, "site * {\n    nonsense\n}\n").expect("written");
    proxy.notice("there is no `nonsense`");
    assert_eq!(get(&here, "x", "/").text(), "one", "an invalid site changes nothing");

    std::fs::write(&site, text("two")).expect("written");
    let until = Instant::now() + 3 * PATIENCE;
    loop {
        // Every request is answered, by one of the two.
        let answer = get(&here, "x", "/").text();
        match answer.as_str() {
            "two" => break,
            "one" => assert!(Instant::now() < until, "the new proxy never comes"),
            other => panic!("{other:?}"),
        }
    }
    drop(proxy);
    until_refused(&here);
}

/// A proxy is known to serve by what it tells service managers: here it writes nothing to standard error.
#[test]
fn developing_with_other_logs() {
    let dir = scratch("dev-logs");
    let (site, here) = (dir.join("site.kdl"), address());
    let text = |version: &str| {
        format!(
            "log errors level=warn format=json {{\n    to file \"{}\"\n}}\n\
             site * {{\n    listen \"{here}\"\n    respond 200 \"{version}\"\n}}\n",
            dir.join("errors.log").display()
        )
    };
    std::fs::write(&site, text("one")).expect("written");
    // What takes minutes, if it is the first.
    build_text("dev-logs", &text("one"));
    let said = std::fs::File::create(dir.join("said")).expect("a file");
    let mut dev = command(&["dev", site.to_str().expect("text")]).stderr(said).spawn().expect("kiln runs");
    let until = Instant::now() + 30 * PATIENCE;
    let mut wait_for = |done: &mut dyn FnMut() -> bool, what: &str| {
        while !done() {
            let ended = dev.try_wait().expect("a child").is_some();
            if ended || Instant::now() > until {
                let _ = dev.kill();
                panic!("{what}: {}", std::fs::read_to_string(dir.join("said")).expect("text"));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait_for(&mut || TcpStream::connect(&here).is_ok(), "it listens");
    let mut kept = Client::to(&here);
    kept.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(kept.answer().text(), "one");
    std::fs::write(&site, text("two")).expect("written");
    wait_for(&mut || get(&here, "x", "/").text() == "two", "the new proxy serves");
    // The old one is stopped only then.
    assert!(kept.closed());
    assert_eq!(get(&here, "x", "/").text(), "two");
    let pid = rustix::process::Pid::from_child(&dev);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    dev.wait().expect("it ends");
    let said = std::fs::read_to_string(dir.join("said")).expect("text");
    assert!(!said.contains("error: "), "{said}");
    let left =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&format!("kiln-dev-{}-", dev.id()));
    let left = std::fs::read_dir(std::env::temp_dir()).expect("a folder").flatten().filter(left).count();
    assert_eq!(left, 0, "the folder of its sockets is removed");
}

/// However `kiln dev` ends, its proxies end with it: by a signal, which stops them first, or killed.
#[test]
fn developing_ends() {
    for signal in ["TERM", "INT", "HUP", "KILL"] {
        let (site, here) = (scratch(&format!("dev-{signal}")).join("site.kdl"), address());
        std::fs::write(&site, format!("site * {{\n    listen \"{here}\"\n    respond 200 \"up\"\n}}\n"))
            .expect("written");
        // The tests may have been started with ignored signals.
        let dev = by_way_of(&["env", "--default-signal"], &command(&["dev", site.to_str().expect("text")]));
        let mut proxy = Proxy::spawn(dev, HashMap::new());
        assert_eq!(get(&here, "x", "/").text(), "up");
        proxy.signal(signal);
        let status = proxy.wait();
        assert_eq!(status.code(), None, "the exit status names {signal}, for shells: {status}");
        match signal {
            // The kernel kills the proxy, asynchronously.
            "KILL" => until_refused(&here),
            _ => assert!(TcpStream::connect(&here).is_err(), "{signal}: the proxy is still there"),
        }
    }
}

/// When started with `nohup`, it continues after its terminal is gone.
#[test]
fn developing_behind_nohup() {
    let (site, here) = (scratch("dev-nohup").join("site.kdl"), address());
    std::fs::write(&site, format!("site * {{\n    listen \"{here}\"\n    respond 200 \"up\"\n}}\n")).expect("written");
    let dev = by_way_of(&["env", "--default-signal", "nohup"], &command(&["dev", site.to_str().expect("text")]));
    let mut proxy = Proxy::spawn(dev, HashMap::new());
    proxy.signal("HUP");
    proxy.signal("TERM");
    assert_eq!(proxy.wait().signal(), Some(15), "ignored signals do not end the process");
    assert!(TcpStream::connect(&here).is_err());
}

/// A command that is started by programs which then execute it.
fn by_way_of(programs: &[&str], command: &Command) -> Command {
    let mut whole = Command::new(programs[0]);
    whole.args(&programs[1..]).arg(command.get_program()).args(command.get_args());
    whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole
}

fn until_refused(address: &str) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < until, "the proxy still accepts connections");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
