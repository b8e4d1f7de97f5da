//! `tls acme` against pebble, the test authority of Let's Encrypt: certificates are obtained, kept, and renewed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kiln_tests::certificates::Authority;
use kiln_tests::client::get;
use kiln_tests::kiln::{scratch, stdout};
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

/// An authority with its name server; ended when dropped.
struct Pebble {
    children: Vec<Child>,
    directory: String,
    ca: String,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Pebble {
    /// One that finds all hosts at `ip`, and whose certificates are good for so many seconds; `None` if it is not installed.
    fn new(name: &str, ip: &str, validity: u64, external: bool) -> Option<Pebble> {
        if Command::new("pebble").arg("-h").output().is_err() {
            eprintln!("SKIPPED: pebble is not installed");
            return None;
        }
        let dir = scratch(&format!("pebble-{name}"));
        let own = address().split(':').next().expect("an address").to_owned();
        let ca = Authority::new(&dir);
        ca.sign("pebble", "pebble", &[&own]);
        let config = format!(
            r#"{{"pebble":{{"listenAddress":"{own}:14000","managementListenAddress":"{own}:15000","certificate":"{}","privateKey":"{}",
            "httpPort":7000,"tlsPort":7000,"ocspResponderURL":"","certificateValidityPeriod":{validity},
            "externalAccountBindingRequired":{external},"externalAccountMACKeys":{{"kid-1":"zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}}}}}}"#,
            ca.path("pebble.pem"),
            ca.path("pebble.key")
        );
        std::fs::write(dir.join("config.json"), config).expect("written");
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
        };
        let names = quiet(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", ip, "-defaultIPv6", "", "-dns01", &format!("{own}:8053")])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", &format!("{own}:8055")]),
        );
        let authority = quiet(
            Command::new("pebble")
                .args([
                    "-config",
                    dir.join("config.json").to_str().expect("text"),
                    "-dnsserver",
                    &format!("{own}:8053"),
                ])
                // It would wait at random, and refuse a twentieth of all that is right.
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "5"),
        );
        let pebble =
            Pebble { children: vec![names, authority], directory: format!("https://{own}:14000/dir"), ca: ca.ca() };
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(format!("{own}:14000")).is_err()
            || std::net::TcpStream::connect(format!("{own}:8055")).is_err()
        {
            assert!(Instant::now() < until, "pebble does not start");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Some(pebble)
    }
}

/// A site with `tls acme`, one without, and the plain listener that an authority asks at.
fn site(acme: &str) -> String {
    format!(
        "param listen type=addr\nparam other type=addr\nparam directory type=string{acme}\n\
         listen (param)other {{\n redirect-https\n}}\nlisten (param)listen {{\n tls\n}}\n\
         site a.test www.a.test {{\n tls acme\n respond 200 \"a\"\n}}\n\
         site b.test {{\n tls internal\n respond 200 \"b\"\n}}\n"
    )
}

fn kept(state: &Path, ca: &str) -> String {
    format!("\nacme state=\"{}\" email=\"ops@a.test\" directory=(param)directory ca=\"{ca}\"", state.display())
}

fn start(binary: &Path, pebble: &str, listen: &str, other: &str, more: &[(&str, &str)]) -> Proxy {
    let given = [&[("listen", listen), ("other", other), ("directory", pebble)][..], more].concat();
    Proxy::start(binary, "", &given)
}

/// Issuer, serial and hosts of the certificate that is shown for a host.
fn shown(address: &str, host: &str) -> String {
    let asked = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", host])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("openssl runs");
    let mut child = Command::new("openssl")
        .args(["x509", "-noout", "-issuer", "-serial", "-ext", "subjectAltName"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), &asked.stdout);
    stdout(&child.wait_with_output().expect("an end"))
}

fn secret_files(state: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [state.to_owned(), state.join("certificates")]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found
}

#[test]
fn obtained_and_kept() {
    let (listen, other) = (address(), address());
    let Some(pebble) = Pebble::new("kept", other.split(':').next().expect("an ip"), 86_400, false) else { return };
    let state = scratch("acme-kept").join("state");
    let binary = build_text("acme-kept", &site(&kept(&state, &pebble.ca)));
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: a certificate was obtained, good until");
    let first = shown(&listen, "a.test");
    for part in ["Pebble Intermediate", "DNS:a.test", "DNS:www.a.test"] {
        assert!(first.contains(part), "{first}");
    }
    assert_eq!(shown(&listen, "www.a.test"), first);
    assert!(!shown(&listen, "b.test").contains("Pebble"));
    // Who asks for a challenge that is over is a client like any other.
    let answer = get(&other, "a.test", "/.well-known/acme-challenge/x");
    assert_eq!(answer.status, 308);
    for path in secret_files(&state) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o77, 0, "{} is for others to read", path.display());
    }
    assert_eq!(secret_files(&state).len(), 2);
    // A new start does without the authority.
    let directory = pebble.directory.clone();
    drop((proxy, pebble));
    let proxy = start(&binary, &directory, &listen, &other, &[]);
    assert_eq!(shown(&listen, "a.test"), first);
    drop(proxy);
    // A folder that can't be had stops it.
    std::fs::remove_dir_all(&state).expect("removed");
    std::fs::write(&state, "a file").expect("written");
    let checked = Command::new(&binary)
        .args(["--check", &format!("--listen={listen}"), &format!("--other={other}"), "--directory=https://x.test/"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("site.kdl:4: can't keep certificates in"), "{said}");
}

#[test]
fn renewed_and_by_handshake() {
    let (listen, other) = (address(), address());
    // By tls-alpn-01, on behalf of an account elsewhere; renewed when two thirds of nine seconds are over.
    let Some(pebble) = Pebble::new("renewed", listen.split(':').next().expect("an ip"), 9, true) else { return };
    let dir = scratch("acme-renewed");
    std::fs::write(dir.join("eab.key"), "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
        .expect("written");
    let acme = format!(
        "\nparam key type=secret\nacme challenge=tls-alpn-01 eab-id=kid-1 eab-key=(param)key directory=(param)directory state=\"{}\" ca=\"{}\"",
        dir.join("state").display(),
        pebble.ca
    );
    let binary = build_text("acme-renewed", &site(&acme));
    let key = dir.join("eab.key");
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[("key", key.to_str().expect("text"))]);
    proxy.notice("a certificate was obtained");
    let first = shown(&listen, "a.test");
    assert!(first.contains("Pebble Intermediate"), "{first}");
    proxy.notices("a certificate was obtained", 2);
    let second = shown(&listen, "a.test");
    assert!(second.contains("Pebble Intermediate") && second != first, "{second}");
}

#[test]
fn without_the_authority_others_are_served() {
    let (listen, other) = (address(), address());
    let dir = scratch("acme-alone");
    Authority::new(&dir);
    let ca = dir.join("ca.pem");
    let binary = build_text("acme-alone", &site(&kept(&dir.join("state"), ca.to_str().expect("text"))));
    let nobody = format!("https://{}/dir", address());
    let proxy = start(&binary, &nobody, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: no certificate: ");
    assert!(shown(&listen, "b.test").contains("DNS:b.test"));
    assert_eq!(shown(&listen, "a.test"), "");
    assert_eq!(get(&other, "b.test", "/").status, 308);
}
