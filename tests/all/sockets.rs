//! Listening on Unix sockets: permissions, from the first moment on.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{Proxy, address, build_text};

const SITE: &str = "\
param plain type=addr
param strict type=addr
param owned type=addr
listen (param)plain
listen strict (param)strict mode=\"0660\"
site * {
    respond 200 \"here\"
}
site a.test {
    listen (param)owned mode=\"0622\" owner=\"OWNER\"
    listen strict
    respond 200 \"a\"
}
";

fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// Any user can set their own group; root can set any owner.
#[test]
fn permissions_and_owners() {
    let dir = scratch("sockets");
    let own = dir.metadata().expect("a folder");
    let wanted = if own.uid() == 0 { (12_345, 12_346) } else { (own.uid(), own.gid()) };
    let site = SITE.replace("OWNER", &format!("{}:{}", wanted.0, wanted.1));
    let path = |name: &str| dir.join(name);
    let flags = ["plain", "strict", "owned"].map(|name| (name, format!("unix:{}", path(name).display())));
    let flags: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let binary = build_text("sockets", &site);
    // The first proxy leaves its files behind, the second replaces them.
    for _ in 0..2 {
        let _proxy = Proxy::start(&binary, &site, &flags);
        let about = |name: &str| path(name).metadata().expect("a socket");
        for (name, mode) in [("strict", 0o660), ("owned", 0o622)] {
            assert_eq!(about(name).permissions().mode() & 0o777, mode, "{name}");
            assert!(ask(&path(name)).ends_with("\r\na"), "{name}");
        }
        assert!(ask(&path("plain")).ends_with("here"));
        assert_eq!((about("owned").uid(), about("owned").gid()), wanted);
        assert_eq!((about("strict").uid(), about("strict").gid()), (about("plain").uid(), about("plain").gid()));
        std::fs::set_permissions(path("strict"), std::fs::Permissions::from_mode(0o777)).expect("set");
    }
}

/// The proxy does not start if it can't set the owner or mode.
#[test]
fn invalid_owners_and_modes() {
    let site = "param listen type=addr\nlisten (param)listen mode=\"0600\" owner=\"nobody-of-that-name:0\"\nsite * {\n respond 200\n}\n";
    let binary = build_text("sockets-owner", site);
    let start = |listen: &str| -> Output {
        Command::new(&binary).arg(format!("--listen={listen}")).output().expect("it runs, and ends by itself")
    };
    let check = |listen: &str, said: &str| {
        let output = start(listen);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{error}");
    };
    let socket = scratch("sockets-owner").join("a.sock");
    check(&format!("unix:{}", socket.display()), "the user `nobody-of-that-name`: there is none in /etc/passwd");
    assert!(!socket.exists());
    check(&address(), "`mode` and `owner` are for unix sockets");
}
