//! Servers with several addresses, discovered servers that replace others, and health checks.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::time::{Duration, Instant};

use kiln_tests::client::get;
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FAILED: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";

fn named(name: &str) -> Origin {
    Origin::always(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, path).expect("renamed");
}

fn status(proxy: &Proxy, path: &str) -> u16 {
    get(proxy.address("listen"), "site.test", path).status
}

/// A listener with a full backlog: connecting to it never completes.
struct Hanging {
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

impl Hanging {
    fn on(address: &str) -> Hanging {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let (listener, address) = (socket(), address.parse::<SocketAddr>().expect("an address"));
        listener.bind(&address.into()).expect("an address");
        listener.listen(0).expect("a queue");
        let queued = (0..8).map(|_| {
            let queued = socket();
            queued.set_nonblocking(true).expect("a socket");
            // Once one connection is queued, the handshakes of the others do not complete.
            let _ = queued.connect(&address.into());
            queued
        });
        Hanging { _queued: queued.collect(), _listener: listener }
    }
}

const MANY: &str = r#"
param listen type=addr
process {
    workers 1
}
log access format=json
upstream v4 {
    server "dual.test:7101"
    pool max-idle=0
}
upstream refused {
    server "refused.test:7102"
    pool max-idle=0
}
upstream hanging {
    server "hanging.test:7103"
    pool max-idle=0
}
upstream impatient {
    server "hanging.test:7103"
    pool max-idle=0
}
upstream nobody {
    server "nobody.test:7104"
}
upstream checked {
    server "dual.test:7101"
    health-check "/health" interval="20ms" fall=1
}
site site.test {
    listen (param)listen
    route "/v4" {
        proxy v4
    }
    route "/refused" {
        proxy refused
    }
    route "/hanging" {
        timeouts connect="10s"
        proxy hanging
    }
    route "/nobody" {
        proxy nobody
    }
    route "/impatient" {
        timeouts connect="240ms"
        proxy impatient
    }
    route "/checked" {
        proxy checked
    }
    route "/authorized" {
        auth forward "http://dual.test:7101/auth"
        respond 200 "in"
    }
    route "/copied" {
        mirror refused
        proxy v4
    }
}
"#;

/// A proxy with `hosts` as its `/etc/hosts`, in its own mount namespace. `None` if that is not permitted.
fn with_hosts(name: &str, site: &str, hosts: &str) -> Option<Proxy> {
    let file = scratch(&format!("hosts-{name}")).join("hosts");
    std::fs::write(&file, hosts).expect("written");
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", file.display());
    let within = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh", program]);
        command
    };
    let allowed = within("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("no mount namespace here: names with several addresses are not tested");
        return None;
    }
    let listen = address();
    let mut command = within(build_text(name, site).to_str().expect("a path"));
    command.arg(format!("--listen={listen}"));
    Some(Proxy::spawn(command, [("listen".to_owned(), listen)].into()))
}

/// RFC 8305: any reachable address of a name is used, whatever happens to the others.
#[test]
fn all_addresses_of_a_name_are_tried() {
    let hosts = "::1 dual.test\n127.0.0.1 dual.test\n\
        127.201.0.2 refused.test\n127.201.0.3 refused.test\n::1 refused.test\n127.201.0.4 refused.test\n\
        127.201.0.5 hanging.test\n127.201.0.6 hanging.test\n\
        127.201.0.7 nobody.test\n::1 nobody.test\n";
    let on = |address: &str| {
        Origin::on(address, |mut connection, _| {
            while connection.request().is_some() {
                connection.send(OK);
            }
        })
    };
    let (_v4, refused) = (on("127.0.0.1:7101"), on("127.201.0.4:7102"));
    let (_hanging, _last) = (Hanging::on("127.201.0.5:7103"), on("127.201.0.6:7103"));
    let Some(proxy) = with_hosts("addresses", MANY, hosts) else { return };
    // Often enough for each address to be the first in turn.
    for path in ["/v4", "/refused", "/checked", "/authorized"] {
        // A server is unavailable until its name is resolved.
        let until = Instant::now() + PATIENCE;
        while status(&proxy, path) == 503 {
            assert!(Instant::now() < until, "{path}: the name does not resolve");
            std::thread::sleep(Duration::from_millis(5));
        }
        for turn in 0..8 {
            assert_eq!(status(&proxy, path), 200, "{path} {turn}");
        }
    }
    let before = refused.connections();
    assert_eq!(status(&proxy, "/copied"), 200);
    let until = Instant::now() + PATIENCE;
    while refused.connections() == before {
        assert!(Instant::now() < until, "the mirrored request does not arrive");
        std::thread::sleep(Duration::from_millis(5));
    }
    // An address that hangs delays the first connections a little, and later ones no more.
    let began = Instant::now();
    for turn in 0..20 {
        assert_eq!(status(&proxy, "/hanging"), 200, "{turn}");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // All addresses are tried within the time-out, however short it is.
    assert_eq!((status(&proxy, "/impatient"), status(&proxy, "/impatient")), (200, 200));
    assert_eq!(status(&proxy, "/nobody"), 502);
    proxy.log("\"reason\":\"connect-failed\"");
    assert!(!proxy.noticed().iter().any(|line| line.contains("is unhealthy")), "{:?}", proxy.noticed());
}

const FOUND: &str = r#"
param listen type=addr
process {
    workers 1
}
log access format=json
upstream ejecting {
    discover file "FOLDER/ejecting" refresh="20ms" max=20
    outlier consecutive-5xx=1 max-ejected-percent=50 eject="1h"
}
upstream panicking {
    discover file "FOLDER/panicking" refresh="20ms" max=20
    health-check "/health" interval="20ms" fall=1 rise=1
    panic-threshold 50
}
upstream one {
    discover file "FOLDER/one" refresh="20ms" max=1
    outlier consecutive-5xx=1 eject="1h"
    panic-threshold 0
}
upstream checked {
    discover file "FOLDER/checked" refresh="20ms" max=1
    health-check "/health" interval="200ms" fall=1 rise=100
    panic-threshold 0
}
upstream other {
    discover file "FOLDER/other" refresh="20ms" max=1
}
site site.test {
    listen (param)listen
    route "/ejecting" {
        proxy ejecting
    }
    route "/panicking" {
        proxy panicking
    }
    route "/one/*" {
        proxy one
    }
    route "/checked" {
        proxy checked
    }
    route "/other" {
        proxy other
    }
}
"#;

/// One proxy for all of these; each has its own upstream.
#[test]
fn servers_that_are_discovered() {
    let folder = scratch("discovered");
    for upstream in ["ejecting", "panicking", "one", "checked", "other"] {
        replace(&folder.join(upstream), "127.0.0.1:9");
    }
    let proxy = Proxy::of_text("discovered", &FOUND.replace("FOLDER", folder.to_str().expect("text")), &[]);
    the_share_of_ejected_servers_is_limited(&proxy, &folder);
    all_servers_get_requests_if_few_are_healthy(&proxy, &folder);
    a_new_server_is_not_ejected(&proxy, &folder);
    a_new_server_is_not_unhealthy(&proxy, &folder);
    repeated_failures_are_reported_once(&proxy, &folder);
}

/// Half of three rounds down to one, even though the maximum percentage would allow more.
fn the_share_of_ejected_servers_is_limited(proxy: &Proxy, folder: &Path) {
    let failing = [Origin::always(FAILED), Origin::always(FAILED), Origin::always(FAILED)];
    let lines: Vec<_> = failing.iter().map(|origin| origin.address.clone()).collect();
    replace(&folder.join("ejecting"), &lines.join("\n"));
    proxy.notice("upstream `ejecting`: 3 servers: ");
    for _ in 0..12 {
        assert_eq!(status(proxy, "/ejecting"), 500);
    }
    let ejected = |line: &&String| line.contains("upstream `ejecting`: server ") && line.contains(" is ejected for ");
    proxy.notices("upstream `ejecting`: server ", 1);
    assert_eq!(proxy.noticed().iter().filter(ejected).count(), 1, "{:?}", proxy.noticed());
    // Two out of four.
    let fourth = Origin::always(FAILED);
    replace(&folder.join("ejecting"), &format!("{}\n{}", lines.join("\n"), fourth.address));
    proxy.notice("upstream `ejecting`: 4 servers: ");
    for _ in 0..12 {
        assert_eq!(status(proxy, "/ejecting"), 500);
    }
    proxy.notices("upstream `ejecting`: server ", 2);
    assert_eq!(proxy.noticed().iter().filter(ejected).count(), 2, "{:?}", proxy.noticed());
}

/// One of three is healthy: less than half, so all servers get requests.
fn all_servers_get_requests_if_few_are_healthy(proxy: &Proxy, folder: &Path) {
    let servers = [FAILED, FAILED, OK].map(|health| {
        Origin::new(move |mut connection, _| {
            while let Some(request) = connection.request() {
                connection.send(if request.starts_with("GET /health") { health } else { OK });
            }
        })
    });
    let lines: Vec<_> = servers.iter().map(|origin| origin.address.clone()).collect();
    replace(&folder.join("panicking"), &lines.join("\n"));
    for failing in &lines[..2] {
        proxy.notice(&format!("upstream `panicking`: server {failing} is unhealthy"));
    }
    // The proxy checks the share upon requests, and periodically.
    let until = Instant::now() + PATIENCE;
    while !proxy
        .noticed()
        .iter()
        .any(|line| line.contains("upstream `panicking`: 1 of 3 servers are healthy: all are asked"))
    {
        assert!(Instant::now() < until, "{:?}", proxy.noticed());
        assert_eq!(status(proxy, "/panicking"), 200);
    }
}

/// A server that replaces an ejected one is not ejected, and late results of the old server's exchanges do not count for
/// it.
fn a_new_server_is_not_ejected(proxy: &Proxy, folder: &Path) {
    static TURN: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));
    let failing = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /one/slow") {
                TURN.wait();
                TURN.wait();
            }
            connection.send(FAILED);
        }
    });
    let next = named("next");
    replace(&folder.join("one"), &failing.address);
    proxy.notice(&format!("upstream `one`: 1 servers: +{}", failing.address));
    let listen = proxy.address("listen").to_owned();
    let slow = std::thread::spawn(move || get(&listen, "site.test", "/one/slow").status);
    TURN.wait();
    assert_eq!(status(proxy, "/one/"), 500);
    proxy.notice(&format!("upstream `one`: server {} is ejected", failing.address));
    assert_eq!(status(proxy, "/one/"), 503);
    replace(&folder.join("one"), &next.address);
    proxy.notice(&format!("upstream `one`: 1 servers: +{} -{}", next.address, failing.address));
    assert_eq!(status(proxy, "/one/"), 200);
    TURN.wait();
    assert_eq!(slow.join().expect("an answer"), 500);
    for _ in 0..4 {
        assert_eq!(status(proxy, "/one/"), 200);
    }
    assert!(!proxy.noticed().iter().any(|line| line.contains(&format!("server {} is ejected", next.address))));
}

/// The same for a server that failed its health checks, and would need to pass a hundred to be healthy again.
fn a_new_server_is_not_unhealthy(proxy: &Proxy, folder: &Path) {
    let (failing, next) = (Origin::always(FAILED), named("next"));
    replace(&folder.join("checked"), &failing.address);
    proxy.notice(&format!("upstream `checked`: server {} is unhealthy", failing.address));
    assert_eq!(status(proxy, "/checked"), 503);
    replace(&folder.join("checked"), &next.address);
    proxy.notice(&format!("upstream `checked`: 1 servers: +{} -{}", next.address, failing.address));
    assert_eq!(status(proxy, "/checked"), 200);
}

/// An invalid file is read again once a second. The messages about `other` in each round come after a read of
/// the file of `one`, which was invalid before.
fn repeated_failures_are_reported_once(proxy: &Proxy, folder: &Path) {
    let server = named("server");
    let said = |upstream: &str| {
        let noticed = proxy.noticed();
        let about = noticed.iter().filter_map(|line| line.split_once(&format!("upstream `{upstream}`: its servers ")));
        about.map(|(_, said)| said.split([',', ':']).next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    for (wrong, round) in ["# nobody\n", "nonsense", ""].into_iter().zip(1..) {
        replace(&folder.join("one"), wrong);
        proxy.notices("upstream `one`: its servers can't be discovered", round);
        replace(&folder.join("other"), "nonsense");
        proxy.notices("upstream `other`: its servers can't be discovered", round);
        replace(&folder.join("other"), &server.address);
        proxy.notices("upstream `other`: its servers are discovered again", round);
        assert_eq!(said("one").len(), 2 * round - 1, "{:?}", proxy.noticed());
        replace(&folder.join("one"), &server.address);
        proxy.notices("upstream `one`: its servers are discovered again", round);
    }
    assert_eq!(said("one"), ["can't be discovered", "are discovered again"].repeat(3));
    // A file that was missing, and comes back unchanged.
    std::fs::rename(folder.join("one"), folder.join("away")).expect("renamed");
    proxy.notices("upstream `one`: its servers can't be discovered", 4);
    std::fs::rename(folder.join("away"), folder.join("one")).expect("renamed");
    proxy.notices("upstream `one`: its servers are discovered again", 4);
}

/// HAProxy's proxy-protocol.txt, section 2.2: health checks are the proxy's own connections (LOCAL), without a client.
#[test]
fn checks_are_local_connections() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let origin = Origin::new(move |mut connection, _| {
        let mut all = connection.bytes();
        while !all.ends_with(b"\r\n\r\n") || all.len() < 20 {
            let more = connection.bytes();
            if more.is_empty() {
                return;
            }
            all.extend(more);
        }
        kept.lock().expect("heads").push(all);
        connection.send(OK);
        connection.bytes();
    });
    let site = r#"
param listen type=addr
param server type=addr
lint allow keys-on-plain
upstream app {
    server (param)server
    proxy-protocol v2
    health-check "/health" interval="20ms"
}
site site.test {
    listen (param)listen
    route "/token" {
        auth jwt "/keys" upstream=app {
            algorithms ES256
        }
        respond 200 ""
    }
    route "/*" {
        proxy app
    }
}
"#;
    let proxy = Proxy::of_text("local-checks", site, &[("server", origin.address.as_str())]);
    assert_eq!(status(&proxy, "/asked"), 200);
    let until = Instant::now() + PATIENCE;
    let own = &b"\x20\0\0\0"[..];
    for (command, path) in
        [(own, &b"GET /health "[..]), (own, b"GET /keys "), (b"\x21\x11\0\x0c\x7f\0\0\x01", b"GET /asked ")]
    {
        let start = [b"\r\n\r\n\0\r\nQUIT\n", command].concat();
        let has = |head: &Vec<u8>| head.windows(path.len()).any(|window| window == path);
        while !heads.lock().expect("heads").iter().any(has) {
            assert!(Instant::now() < until, "no request of {}", path.escape_ascii());
            std::thread::sleep(Duration::from_millis(5));
        }
        for head in heads.lock().expect("heads").iter().filter(|head| has(head)) {
            assert!(head.starts_with(&start), "{}", head.escape_ascii());
        }
    }
}
