//! Access control that needs several requests at a time.

use kiln_tests::client::{Client, get};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

/// A request counts until its response is complete, and no longer.
#[test]
fn concurrency_limits() {
    let site = "\
param listen type=addr
param one type=addr
listen (param)listen
log access {
    fields path status reason
}
site * {
    concurrency-limit 2
    proxy (param)one
}
";
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /slow") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
                // The rest follows when the test says so, on a separate connection.
                let wanted = request.split(' ').nth(1).and_then(|path| path.strip_prefix("/slow?")).expect("a file");
                while !std::path::Path::new(wanted).exists() {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                connection.send("cd");
            } else {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    let proxy = Proxy::of_text("in-flight", site, &[("one", &origin.address)]);
    let address = proxy.address("listen");
    let signal = kiln_tests::kiln::scratch("in-flight").join("go");
    let slow = || {
        let mut client = Client::to(address);
        client.send(format!("GET /slow?{} HTTP/1.1\r\nHost: a.test\r\n\r\n", signal.display()));
        assert!(client.head().starts_with("HTTP/1.1 200"));
        client
    };
    let (mut first, second) = (slow(), slow());
    let refused = get(address, "a.test", "/");
    assert_eq!((refused.status, refused.text().as_str()), (429, "429 Too Many Requests\n"));
    proxy.log("\"reason\":\"too-many-in-flight\"");
    // One client disconnects in the middle: once that is noticed, there is space for another one.
    second.reset();
    proxy.log("\"reason\":\"client-disconnected\"");
    assert_eq!(get(address, "a.test", "/").status, 200);
    std::fs::write(&signal, "").expect("written");
    assert_eq!(first.exactly(4), b"abcd");
    assert_eq!(get(address, "a.test", "/").status, 200);
}

/// While the file exists, all requests are refused.
#[test]
fn maintenance() {
    let site = "\
param listen type=addr
param switch type=string
listen (param)listen
site * {
    maintenance when=(param)switch retry-after=\"90s\"
    respond 200
}
";
    let switch = kiln_tests::kiln::scratch("maintenance").join("on");
    let proxy = Proxy::of_text("maintenance", site, &[("switch", switch.to_str().expect("text"))]);
    let get = || get(proxy.address("listen"), "a.test", "/");
    let becomes = |status: u16| {
        let until = std::time::Instant::now() + kiln_tests::proxy::PATIENCE;
        while get().status != status {
            assert!(std::time::Instant::now() < until, "the status is never {status}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    assert_eq!(get().status, 200);
    std::fs::write(&switch, "").expect("written");
    becomes(503);
    assert_eq!(get().header("retry-after"), Some("90"));
    std::fs::remove_file(&switch).expect("removed");
    becomes(200);
}

/// An invalid list prevents the start, and the message contains no secret.
#[test]
fn invalid_lists() {
    let site = "\
param listen type=addr
param users type=secret
param blocked type=file
lint allow password-on-plain
listen (param)listen
site * {
    deny (param)blocked
    auth basic (param)users
    respond 200
}
";
    let folder = kiln_tests::kiln::scratch("lists");
    let (users, blocked) = (folder.join("users"), folder.join("blocked"));
    std::fs::write(&users, "# staff\nann:hunter2\n").expect("written");
    std::fs::write(&blocked, "10.0.0.0/8\n10.0.0.0/80\n").expect("written");
    let binary = kiln_tests::proxy::build_text("lists", site);
    let output = std::process::Command::new(binary)
        .arg(format!("--users={}", users.display()))
        .arg(format!("--blocked={}", blocked.display()))
        .arg("--listen=127.0.0.1:1")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("blocked`: line 2 is not a network"), "{said}");
    assert!(said.contains("line 2 has no hash of argon2") && !said.contains("hunter2"), "{said}");
}
