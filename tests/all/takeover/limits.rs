//! A takeover gives no client a new burst: the new process goes on with the rate limits of the old one.

use std::process::Command;

use kiln_tests::client::Client;
use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{Proxy, address, build_text};

const SITE: &str = r#"
param listen type=addr
param takeover type=string
process {
    workers 1
    takeover (param)takeover canary="50ms"
}
listen (param)listen
site a.test {
    route "/login" {
        rate-limit "5/h" by="{header.X-User}"
        respond 200 ""
    }
    route "/same" {
        rate-limit "5/h" by="{header.X-User}"
        respond 200 ""
    }
    route "/changed" {
        rate-limit "CHANGED/h" by="{header.X-User}"
        respond 200 ""
    }
}
"#;

#[test]
fn rate_limits_go_on() {
    let dir = scratch("takeover-limits");
    let build = |rate: &str| build_text(&format!("takeover-limits-{rate}"), &SITE.replace("CHANGED", rate));
    let versions = [build("3"), build("4")];
    let listen = address();
    let takeover = format!("--takeover={}", dir.join("takeover.sock").display());
    let start = |version: usize| {
        let mut command = Command::new(&versions[version]);
        command.args([&format!("--listen={listen}"), &takeover, "--upgrade"]);
        Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into())
    };
    // Sends requests until one is refused; returns how many were not.
    let burst = |path: &str, user: usize| {
        let mut client = Client::to(&listen);
        (0..10).position(|_| {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nX-User: {user}\r\n\r\n"));
            client.answer().status == 429
        })
    };
    let mut old = start(0);
    for user in 0..700 {
        assert_eq!(burst("/login", user), Some(5));
    }
    assert_eq!(burst("/changed", 0), Some(3));
    for version in [0, 1] {
        let new = start(version);
        new.notice("takeover: complete: ");
        assert_eq!(old.wait().code(), Some(0), "{:?}", old.noticed());
        old = new;
        for user in 0..700 {
            assert_eq!(burst("/login", user), Some(0), "{user}");
        }
        // Others have all of theirs, and limits of the same form are kept apart.
        assert_eq!((burst("/login", 700 + version), burst("/same", version)), (Some(5), Some(5)));
    }
    // Another limit than before begins anew.
    assert_eq!(burst("/changed", 0), Some(4));
    old.signal("TERM");
    old.wait();
    // A process that starts by itself has nothing to go on with.
    let _new = start(0);
    assert_eq!(burst("/login", 0), Some(5));
}
