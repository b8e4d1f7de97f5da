//! TLS with independent clients: curl and `openssl s_client`. Covers the selection of certificates,
//! rejected handshakes, changes while the proxy runs, and TLS towards servers.
//!
//! Long but flat: one test after the other, with shared certificates.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::client::{Client, get};
use kiln_tests::kiln::{scratch, stdout, workspace};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, build_text};

/// A proxy for a site; every parameter of type addr gets an address.
fn proxy(name: &str, site: &str, given: &[(&str, &str)]) -> Proxy {
    Proxy::start(&build_text(name, site), site, given)
}

/// Returns curl's output for a URL at an address, with `-w` as given.
fn curl(address: &str, url: &str, more: &[&str]) -> String {
    let (ip, port) = address.split_once(':').expect("a port");
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("a host");
    let (scheme, path) = (url.split(':').next().expect("a scheme"), url.split(host).nth(1).unwrap_or_default());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--resolve", &format!("{host}:{port}:{ip}")])
        .args(more)
        .arg(format!("{scheme}://{host}:{port}{path}"))
        .output()
        .expect("curl runs");
    stdout(&output) + &String::from_utf8_lossy(&output.stderr)
}

/// Returns the output of `openssl s_client`.
fn openssl(address: &str, more: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", address])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // Sends a request: in TLS 1.3, tickets and the result of client authentication come after the handshake.
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let _ = child.stdin.take().expect("piped").write_all(request);
    let output = child.wait_with_output().expect("an end");
    stdout(&output) + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn which_certificate_is_shown() {
    let dir = scratch("tls-names");
    let ca = Authority::new(&dir);
    ca.sign("ecdsa", "a-ecdsa", &["a.test"]);
    ca.sign_rsa("rsa", "a-rsa", &["a.test"]);
    ca.sign("wild", "wild", &["*.b.test"]);
    ca.sign("default", "default", &["default.test"]);
    std::fs::write(dir.join("ocsp.der"), b"as if from an authority").expect("written");
    let file = |name: &str| ca.path(name);
    let site = format!(
        "param listen type=addr\nparam other type=addr\n\
         tls fallback {{\n certificate \"{}\" key=\"{}\"\n}}\n\
         listen strict (param)listen {{\n tls\n}}\nlisten lenient (param)other {{\n tls fallback\n}}\n\
         site a.test {{\n tls {{\n certificate \"{}\" key=\"{}\" ocsp=\"{}\"\n certificate \"{}\" key=\"{}\"\n }}\n respond 200 \"a\"\n}}\n\
         site *.b.test {{\n tls {{\n certificate \"{}\" key=\"{}\"\n }}\n respond 200 \"b {{host}} {{scheme}} {{tls.version}}\"\n}}\n\
         site c.test {{\n listen lenient\n respond 200 \"c\"\n}}\n",
        file("default.pem"),
        file("default.key"),
        file("rsa.pem"),
        file("rsa.key"),
        file("ocsp.der"),
        file("ecdsa.pem"),
        file("ecdsa.key"),
        file("wild.pem"),
        file("wild.key"),
    );
    let proxy = proxy("tls-names", &site, &[]);
    let (strict, lenient) = (proxy.address("listen"), proxy.address("other"));
    let ca = ca.ca();
    let shown = |address: &str, more: &[&str]| {
        let said = openssl(address, more);
        let subject = said.lines().find_map(|line| line.strip_prefix("subject=CN = "));
        subject.map_or_else(|| said.clone(), str::to_owned)
    };
    assert_eq!(shown(strict, &["-servername", "a.test"]), "a-ecdsa");
    assert_eq!(shown(strict, &["-servername", "A.TEST"]), "a-ecdsa");
    assert_eq!(shown(strict, &["-servername", "a.test", "-sigalgs", "RSA-PSS+SHA256"]), "a-rsa");
    assert_eq!(shown(strict, &["-servername", "x.b.test"]), "wild");
    assert_eq!(shown(lenient, &["-servername", "nobody.test"]), "default");
    assert_eq!(shown(lenient, &["-noservername"]), "default");
    let refused = shown(strict, &["-servername", "nobody.test"]);
    assert!(refused.contains("unrecognized name"), "{refused}");
    let stapled = openssl(strict, &["-servername", "a.test", "-sigalgs", "RSA-PSS+SHA256", "-status"]);
    assert!(stapled.contains("OCSP response"), "{stapled}");
    assert_eq!(curl(strict, "https://x.b.test/", &["--cacert", &ca]), "b x.b.test https TLSv1.3");
    assert_eq!(curl(strict, "https://x.b.test/", &["--cacert", &ca, "--tls-max", "1.2"]), "b x.b.test https TLSv1.2");
    // A site without its own certificates uses those of the listener, which are for other hosts.
    assert!(curl(lenient, "https://c.test/", &["--cacert", &ca]).contains("SSL"), "curl rejects the certificate");
    assert_eq!(curl(lenient, "https://c.test/", &["--insecure"]), "c");
    // Host and server name may differ, as long as no site requires client certificates.
    assert_eq!(curl(strict, "https://x.b.test/", &["--cacert", &ca, "-H", "Host: a.test"]), "a");
}

#[test]
fn versions_groups_and_tickets() {
    let dir = scratch("tls-settings");
    let ca = Authority::new(&dir);
    ca.sign("a", "a", &["a.test", "b.test"]);
    let certificate = format!("certificate \"{}\" key=\"{}\"", ca.path("a.pem"), ca.path("a.key"));
    let site = format!(
        "param listen type=addr\nlisten (param)listen {{\n tls\n http h1\n}}\n\
         site a.test {{\n tls {{\n {certificate}\n min-version \"1.3\"\n groups secp256r1\n session-tickets rotate=\"1h\"\n }}\n respond 200\n}}\n\
         site b.test {{\n tls {{\n {certificate}\n session-tickets off\n }}\n respond 200\n}}\n"
    );
    let proxy = proxy("tls-settings", &site, &[]);
    let address = proxy.address("listen");
    let said = |more: &[&str]| openssl(address, more);
    let (a, b) = (["-servername", "a.test"], ["-servername", "b.test"]);
    assert!(said(&a).contains("New, TLSv1.3"));
    assert!(said(&a).contains("Server Temp Key: ECDH, prime256v1"), "{}", said(&a));
    assert!(said(&[&a[..], &["-groups", "X25519"]].concat()).contains("handshake failure"));
    assert!(said(&[&a[..], &["-tls1_2"]].concat()).contains("protocol version"));
    assert!(said(&[&b[..], &["-tls1_2"]].concat()).contains("New, TLSv1.2"));
    assert!(said(&[&b[..], &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]].concat()).contains("alert"));
    // The second connection resumes with the first one's ticket.
    let session = dir.join("session");
    let session = session.to_str().expect("text");
    assert!(said(&[&a[..], &["-sess_out", session]].concat()).contains("New Session Ticket"));
    assert!(said(&[&a[..], &["-sess_in", session]].concat()).contains("Reused, TLSv1.3"));
    // Another site rejects it.
    assert!(!said(&[&b[..], &["-sess_in", session]].concat()).contains("Reused"));
    assert!(!said(&b).contains("New Session Ticket"));
    // The listener supports HTTP/1.1 only.
    assert!(said(&[&a[..], &["-alpn", "h2,http/1.1"]].concat()).contains("ALPN protocol: http/1.1"));
    assert!(said(&[&a[..], &["-alpn", "h2"]].concat()).contains("no application protocol"));
}

/// A handshake with one site can't bypass the client authentication of another (RFC 9110 section 15.5.20).
#[test]
fn requests_to_stricter_sites_are_misdirected() {
    let dir = scratch("tls-reused");
    let ca = Authority::new(&dir);
    ca.sign("all", "all", &["old.test", "new.test", "p384.test", "several.test"]);
    let certificate = format!("certificate \"{}\" key=\"{}\"", ca.path("all.pem"), ca.path("all.key"));
    let with = |host: &str, more: &str| {
        format!("site {host} {{\n tls {{\n {certificate}\n {more}\n }}\n respond 200 \"{host} {{tls.version}}\"\n}}\n")
    };
    let site = format!(
        "param listen type=addr\nlog access format=json\nlisten (param)listen {{\n tls\n}}\n{}{}{}{}",
        with("old.test", ""),
        with("new.test", "min-version \"1.3\""),
        with("p384.test", "groups secp384r1"),
        with("several.test", "groups x25519 secp384r1"),
    );
    let proxy = proxy("tls-reused", &site, &[]);
    let address = proxy.address("listen");
    let authority = ca.ca();
    let check = |name: &str, host: &str, more: &[&str], expected: &str| {
        let url = format!("https://{name}/");
        let host_field = format!("Host: {host}");
        let flags = [&["--cacert", &authority, "-H", &host_field, "-w", " %{http_code}"], more].concat();
        for http in ["--http1.1", "--http2"] {
            let said = curl(address, &url, &[&flags[..], &[http]].concat());
            assert!(said.ends_with(expected), "{name} for {host} {more:?}: {said}");
        }
    };
    let (old, new) = (&["--tls-max", "1.2"], &["--tlsv1.3"]);
    check("old.test", "old.test", old, "old.test TLSv1.2 200");
    check("old.test", "new.test", old, " 421");
    check("old.test", "new.test", new, "new.test TLSv1.3 200");
    check("new.test", "old.test", new, "old.test TLSv1.3 200");
    check("old.test", "p384.test", &["--curves", "X25519"], " 421");
    check("old.test", "p384.test", &["--curves", "P-384"], "p384.test TLSv1.3 200");
    check("p384.test", "several.test", &[], "several.test TLSv1.3 200");
    check("old.test", "several.test", &["--curves", "P-256", "--tls-max", "1.2"], " 421");
    check("old.test", "several.test", &["--curves", "X25519:P-256", "--tls-max", "1.2"], "several.test TLSv1.2 200");
    proxy.log("\"reason\":\"misdirected-request\"");
}

/// A client that has no parameters in common with a site gets an alert with the reason (RFC 8446 section 6.2), and the
/// reason is logged.
#[test]
fn reasons_of_failed_handshakes() {
    let dir = scratch("tls-why");
    let ca = Authority::new(&dir);
    ca.sign("a", "a", &["a.test", "c.test"]);
    ca.sign_rsa("rsa", "rsa", &["r.test"]);
    let certificate = |name: &str| {
        format!("certificate \"{}\" key=\"{}\"", ca.path(&format!("{name}.pem")), ca.path(&format!("{name}.key")))
    };
    let (ecdsa, rsa) = (certificate("a"), certificate("rsa"));
    let site = format!(
        "param listen type=addr\nlog access format=json\nlisten (param)listen {{\n tls\n}}\n\
         site a.test {{\n tls {{\n {ecdsa}\n groups secp256r1\n }}\n respond 200\n}}\n\
         site c.test {{\n tls {{\n {ecdsa}\n client-ca \"{}\"\n min-version \"1.3\"\n }}\n respond 200\n}}\n\
         site r.test {{\n tls {{\n {rsa}\n }}\n respond 200\n}}\n",
        ca.ca()
    );
    let proxy = proxy("tls-why", &site, &[]);
    let address = proxy.address("listen");
    let check = |name: &str, more: &[&str], alert: &str, detail: &str| {
        let said = openssl(address, &[&["-servername", name], more].concat());
        assert!(said.contains(alert), "{name} {more:?}: {said}");
        proxy.log(&format!("\"reason\":\"tls-handshake\",\"detail\":\"{detail}"));
    };
    let (signature, cipher) = ("no signature algorithm in common", "no cipher suite in common");
    check("a.test", &["-sigalgs", "RSA-PSS+SHA256"], "handshake failure", signature);
    check("r.test", &["-sigalgs", "ECDSA+SHA256"], "handshake failure", signature);
    check("r.test", &["-tls1_2", "-sigalgs", "ECDSA+SHA256"], "handshake failure", "");
    check("a.test", &["-tls1_2", "-cipher", "AES128-SHA"], "handshake failure", cipher);
    check("a.test", &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "handshake failure", "");
    check("r.test", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "handshake failure", "");
    check("a.test", &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"], "handshake failure", cipher);
    check("a.test", &["-groups", "X25519"], "handshake failure", "no key exchange group in common");
    check("c.test", &["-tls1_2"], "protocol version", "no protocol version in common");
    check("a.test", &["-alpn", "spdy/1"], "no application protocol", "no application protocol in common (ALPN)");
    check("c.test", &[], "certificate required", "the client sent no certificate");
    assert!(curl(address, "https://r.test/", &[]).contains("SSL certificate problem"), "curl believes it");
    proxy.log("\"detail\":\"the client sent the alert unknown_ca");
    // Client certificates.
    let other = scratch("tls-why-other");
    let (this, other) = (&ca, &Authority::named(&other, "Another authority"));
    for (signer, name, years, alert, detail) in [
        (this, "expired", (2001, 2002), "certificate expired", "the client's certificate has expired"),
        (this, "early", (2101, 2102), "certificate", "the client's certificate is not valid yet"),
        (other, "stranger", (2001, 2101), "unknown ca", "the client's certificate is not signed by `client-ca`"),
    ] {
        signer.sign_for_years(name, name, years);
        let (certificate, key) = (signer.path(&format!("{name}.pem")), signer.path(&format!("{name}.key")));
        check("c.test", &["-cert", &certificate, "-key", &key], alert, detail);
    }
    assert!(openssl(address, &["-servername", "nobody.test"]).contains("unrecognized name"));
    proxy.log("\"reason\":\"unknown-server-name\"");
    // Garbage and incomplete handshakes.
    let sends = |bytes: &[u8], ends: bool, detail: &str| {
        let mut client = Client::to(address);
        client.send(bytes);
        if ends {
            client.half_close();
        }
        proxy.log(&format!("\"reason\":\"tls-handshake\",\"detail\":\"{detail}"));
    };
    sends(&[22, 3, 1, 255, 255, 1], false, "not TLS");
    sends(&[22, 3, 1, 0, 200, 1, 0], true, "the client closed the connection");
    // An alert in place of a ClientHello.
    sends(&[21, 3, 1, 0, 2, 2, 40], true, "the client breaks the protocol");
}

/// A rejected client that stays connected is logged with the reason of its rejection, not for staying.
#[test]
fn rejected_clients_that_stay() {
    let site = "param listen type=addr\nprocess {\n workers 1\n}\ntimeouts handshake=\"300ms\"\nlimits handshakes=1\n\
        log access format=json\nlisten (param)listen {\n tls\n}\n\
        site a.test {\n tls internal\n respond 200 \"fine\"\n}\n";
    let proxy = proxy("tls-stays", site, &[]);
    let mut stays: Vec<Client> = (0..3).map(|_| Client::to(proxy.address("listen"))).collect();
    for client in &mut stays {
        client.send([22, 3, 1, 255, 255, 1]);
        // An alert: the handshake has ended, and no longer counts as one.
        assert_eq!(client.exactly(1), [21]);
    }
    stays[0].rest();
    let until = Instant::now() + PATIENCE;
    while proxy.logged().len() < 3 {
        assert!(Instant::now() < until, "{:?}", proxy.logged());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(proxy.logged().iter().all(|line| line.contains("\"detail\":\"not TLS\"")), "{:?}", proxy.logged());
}

#[test]
fn plain_requests() {
    let site = "param listen type=addr\nparam other type=addr\n\
        listen plain (param)other {\n redirect-https\n}\nlisten secure (param)listen {\n tls\n}\n\
        site a.test {\n tls internal\n log access format=json\n respond 200 \"{scheme} {protocol}\"\n}\n\
        site b.test {\n listen plain\n respond 200 \"plain\"\n}\nlog access format=json\n";
    let proxy = proxy("tls-plain", site, &[]);
    let (secure, plain) = (proxy.address("listen"), proxy.address("other"));
    let port = secure.split(':').nth(1).expect("a port");
    let answer = get(secure, "a.test", "/x");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this port speaks HTTPS"), "{}", answer.text());
    proxy.log("\"reason\":\"plain-http\"");
    let answer = get(plain, "a.test", "/x/../y?z=1");
    assert_eq!((answer.status, answer.header("location")), (308, Some(&*format!("https://a.test:{port}/y?z=1"))));
    assert_eq!(get(plain, "b.test", "/").text(), "plain");
    assert_eq!(curl(secure, "https://a.test/", &["--insecure"]), "https HTTP/2.0");
    assert_eq!(curl(secure, "https://a.test/", &["--insecure", "--http1.1"]), "https HTTP/1.1");
    assert_eq!(curl(plain, "http://a.test/", &["-o", "/dev/null", "-w", "%{http_code}"]), "308");
    // Absolute-form targets: with TLS, any scheme is served; without, `https` is refused, and not redirected to itself.
    let as_url = |address: &str, url: &str, target: &str| {
        let more = ["--insecure", "--http1.1", "--request-target", target, "-o", "/dev/null", "-w", "%{http_code}"];
        curl(address, url, &more)
    };
    assert_eq!(as_url(secure, "https://a.test/", "https://a.test/"), "200");
    assert_eq!(as_url(secure, "https://a.test/", "http://a.test/"), "200");
    assert_eq!(as_url(secure, "https://a.test/", "ftp://a.test/"), "400");
    assert_eq!(as_url(plain, "http://a.test/", "http://a.test/"), "308");
    assert_eq!(as_url(plain, "http://a.test/", "https://a.test/"), "421");
}

#[test]
fn garbage_is_rejected() {
    let site = "param listen type=addr\ntimeouts handshake=\"300ms\"\nlimits handshakes=1\nlog access format=json\n\
        listen (param)listen {\n tls\n}\nsite a.test {\n tls internal\n respond 200 \"fine\"\n}\n";
    let proxy = proxy("tls-garbage", site, &[]);
    let address = proxy.address("listen");
    // An oversized record, one with an unknown version, and an incomplete ClientHello.
    for bytes in [&[22_u8, 3, 1, 255, 255, 1][..], &[22, 3, 1, 0, 5, 1, 2, 3, 4, 5], &[128, 0, 1, 2]] {
        let mut client = Client::to(address);
        client.send(bytes);
        let rest = client.half_close().rest();
        // An alert, or nothing.
        assert!(rest.is_empty() || rest[0] == 21, "{rest:?}");
    }
    proxy.log("\"reason\":\"tls-handshake\"");
    // A client that stalls in the handshake is cut off, and until then occupies the only slot for handshakes.
    let mut slow = Client::to(address);
    slow.send([22, 3, 1, 0, 200, 1, 0]);
    let began = Instant::now();
    while proxy.logged().iter().all(|line| !line.contains("too-many-handshakes")) {
        assert!(began.elapsed() < PATIENCE, "the limit has no effect");
        let _ = Client::to(address).send([22, 3, 1]).closed();
    }
    assert!(slow.closed());
    proxy.log("\"reason\":\"handshake-timeout\"");
    assert_eq!(curl(address, "https://a.test/", &["--insecure"]), "fine");
}

#[test]
fn certificates_change_while_it_runs() {
    let dir = scratch("tls-reload");
    let ca = Authority::new(&dir);
    ca.sign("a", "first", &["a.test"]);
    let site = format!(
        "param listen type=addr\nlint warn cert-expiry days=30\nparam key type=secret\nlisten (param)listen {{\n tls\n}}\n\
         site a.test {{\n tls {{\n certificate \"{}\" key=(param)key\n }}\n echo\n}}\n",
        ca.path("a.pem")
    );
    let proxy = proxy("tls-reload", &site, &[("key", &ca.path("a.key"))]);
    let address = proxy.address("listen");
    let subject = || {
        let said = openssl(address, &["-servername", "a.test"]);
        said.lines().find_map(|line| line.strip_prefix("subject=CN = ").map(str::to_owned)).unwrap_or(said)
    };
    assert_eq!(subject(), "first");
    // A connection that stays open.
    let mut old = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", address, "-servername", "a.test"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut into = old.stdin.take().expect("piped");
    into.write_all(b"GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("sent");
    // The proxy notices that the files have changed.
    ca.sign("a", "second", &["a.test"]);
    let until = Instant::now() + PATIENCE;
    while subject() != "second" {
        assert!(Instant::now() < until, "the change is not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    // An invalid certificate changes nothing.
    std::fs::write(dir.join("a.pem"), "junk").expect("written");
    proxy.notice("there is no certificate that can be read");
    assert_eq!(subject(), "second");
    ca.sign("a", "third", &["a.test"]);
    proxy.signal("HUP");
    proxy.notice("files were reloaded");
    let until = Instant::now() + PATIENCE;
    while subject() != "third" {
        assert!(Instant::now() < until, "the signal is not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    into.write_all(b"GET /two HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").expect("sent");
    let said = stdout(&old.wait_with_output().expect("an end"));
    assert!(said.contains("\"path\":\"/one\"") && said.contains("\"path\":\"/two\""), "{said}");
}

/// The binary checks what the compiler can't see: with `--check`, problems are errors; at start, only those that prevent
/// serving are.
#[test]
fn certificates_are_checked_at_start() {
    let dir = scratch("tls-checked");
    let ca = Authority::new(&dir);
    ca.sign("good", "good", &["a.test"]);
    ca.sign("other", "other", &["other.test"]);
    ca.sign_for_client("client", "client", &["a.test"]);
    let site = "param listen type=addr\nparam cert type=file\nparam key type=secret\nlisten (param)listen {\n tls\n}\n\
        site a.test {\n tls {\n certificate (param)cert key=(param)key\n }\n respond 200 \"a\"\n}\n";
    let binary = build_text("tls-checked", site);
    let listen = kiln_tests::proxy::address();
    let check = |cert: &str, key: &str| {
        let output = Command::new(&binary)
            .args(["--check", &format!("--listen={listen}"), &format!("--cert={cert}"), &format!("--key={key}")])
            .output()
            .expect("it runs");
        (output.status.success(), stdout(&output) + &String::from_utf8_lossy(&output.stderr))
    };
    let expired = workspace().join("tests/diagnostics/certificates/expired.pem");
    let expired_key = expired.with_extension("key");
    let (good, good_key, other, other_key) =
        (ca.path("good.pem"), ca.path("good.key"), ca.path("other.pem"), ca.path("other.key"));
    assert!(check(&good, &good_key).0, "{}", check(&good, &good_key).1);
    // A unit of systemd has this check before the start.
    ca.sign_until("soon", &["a.test"], Duration::from_secs(3 * 24 * 3600));
    let (fine, said) = check(&ca.path("soon.pem"), &ca.path("soon.key"));
    assert!(fine && said.contains("warning: ") && said.contains("expires soon"), "{said}");
    for (cert, key, expected) in [
        (&*other, &*other_key, "no certificate is for `a.test`"),
        (&*ca.path("client.pem"), &*ca.path("client.key"), "no serverAuth in its extended key usage"),
        (&*good, &*other_key, "the key does not belong to the certificate"),
        (&*good_key, &*good_key, "there is no certificate that can be read"),
        (&*good, &*good, "there is no key that can be read"),
        (expired.to_str().expect("text"), expired_key.to_str().expect("text"), "the certificate has expired"),
    ] {
        let (fine, said) = check(cert, key);
        assert!(!fine && said.contains(expected) && said.contains("site.kdl:"), "{expected}: {said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
    let proxy = Proxy::start(&binary, "", &[("listen", &listen), ("cert", &other), ("key", &other_key)]);
    proxy.notice("no certificate is for `a.test`");
    assert_eq!(curl(&listen, "https://a.test/", &["--insecure"]), "a");
}

#[test]
fn client_certificates() {
    let dir = scratch("tls-clients");
    let (ca, others) = (Authority::new(&dir), Authority::new(&scratch("tls-clients-others")));
    ca.sign("server", "server", &["must.test", "may.test", "open.test"]);
    ca.sign("alice", "alice", &["alice.test"]);
    ca.sign("proxy", "proxy", &["proxy.test"]);
    others.sign("eve", "eve", &["eve.test"]);
    let certificate = format!("certificate \"{}\" key=\"{}\"", ca.path("server.pem"), ca.path("server.key"));
    let site = format!(
        "param listen type=addr\nparam other type=addr\nlog access format=json\nlisten first (param)listen {{\n tls\n}}\n\
         tls strict {{\n {certificate}\n client-ca \"{0}\"\n}}\nlisten second (param)other {{\n tls strict\n}}\n\
         site bare.test {{\n listen second\n respond 200 \"bare\"\n}}\n\
         site must.test {{\n tls {{\n {certificate}\n client-ca \"{0}\"\n }}\n respond 200 \"must {{client.cert.subject}} {{client.cert.fingerprint}}\"\n}}\n\
         site may.test {{\n tls {{\n {certificate}\n client-ca \"{0}\" required=#false\n }}\n route \"/alice\" {{\n client-certificate required {{\n subject \"CN=alice\" \"CN=bob\"\n }}\n respond 200 \"alice\"\n }}\n \
         route \"/one\" {{\n client-certificate required {{\n fingerprint \"{1}\"\n }}\n respond 200 \"one\"\n }}\n \
         route \"/any\" {{\n client-certificate required\n respond 200 \"any\"\n }}\n \
         respond 200 \"may {{client.cert.subject}}\"\n}}\n\
         site open.test {{\n tls {{\n {certificate}\n }}\n respond 200 \"open\"\n}}\n",
        ca.ca(),
        fingerprint(&ca, "alice").to_uppercase()
    );
    let proxy = proxy("tls-clients", &site, &[]);
    let address = proxy.address("listen");
    let root = ca.ca();
    let with = |of: &Authority, name: &str| {
        vec!["--cert".to_owned(), of.path(&format!("{name}.pem")), "--key".to_owned(), of.path(&format!("{name}.key"))]
    };
    let ask = |url: &str, more: &[String]| {
        let more: Vec<&str> = ["--cacert", &root].into_iter().chain(more.iter().map(String::as_str)).collect();
        curl(address, url, &more)
    };
    let alice = with(&ca, "alice");
    let digest = fingerprint(&ca, "alice").replace(':', "").to_lowercase();
    assert_eq!(ask("https://must.test/", &alice), format!("must CN=alice {digest}"));
    assert_eq!(ask("https://may.test/", &alice), "may CN=alice");
    assert_eq!(ask("https://may.test/", &[]), "may ");
    // Routes that require a certificate, or a certain one.
    for path in ["alice", "one", "any"] {
        assert_eq!(ask(&format!("https://may.test/{path}"), &alice), path);
        assert_eq!(ask(&format!("https://may.test/{path}"), &[]), "403 Forbidden\n");
    }
    proxy.log("\"reason\":\"no-certificate\"");
    assert_eq!(ask("https://may.test/any", &with(&ca, "proxy")), "any");
    for path in ["alice", "one"] {
        assert_eq!(ask(&format!("https://may.test/{path}"), &with(&ca, "proxy")), "403 Forbidden\n");
    }
    proxy.log("\"reason\":\"certificate-denied\"");
    assert!(ask("https://must.test/", &[]).contains("alert certificate required"));
    assert!(ask("https://must.test/", &with(&others, "eve")).contains("alert"));
    assert!(ask("https://may.test/", &with(&others, "eve")).contains("alert"));
    // Requests for a site over a handshake with another: the other site has different rules. The same if the listener
    // has its own.
    let lenient = "https://open.test/";
    assert!(
        curl(proxy.address("other"), lenient, &["--cacert", &root, "-H", "Host: bare.test", "-w", " %{http_code}"])
            .ends_with(" 421")
    );
    let host = |host: &str| vec!["-H".to_owned(), format!("Host: {host}"), "-w".to_owned(), " %{http_code}".to_owned()];
    assert!(ask("https://open.test/", &host("must.test")).ends_with(" 421"));
    assert!(ask("https://may.test/", &host("must.test")).ends_with(" 421"));
    proxy.log("\"reason\":\"misdirected-request\"");
    assert_eq!(ask("https://open.test/", &host("open.test")), "open 200");
}

/// The SHA-256 of a certificate, as printed by openssl.
fn fingerprint(of: &Authority, name: &str) -> String {
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &of.path(&format!("{name}.pem"))])
        .output()
        .expect("openssl runs");
    stdout(&output).trim().split('=').nth(1).expect("a digest").to_owned()
}

#[test]
fn proxy_protocol() {
    let site = "param listen type=addr\nparam other type=addr\nparam strange type=addr\nlog access format=json\nlimits per-client=1\n\
        listen text (param)listen {\n proxy-protocol v1 from=\"127.0.0.0/8\"\n}\n\
        listen both (param)other {\n tls\n proxy-protocol v1 from=\"10.0.0.0/8\"\n proxy-protocol v2 from=\"127.0.0.0/8\"\n}\n\
        listen strange (param)strange {\n proxy-protocol v1 v2 from=\"10.0.0.0/8\"\n}\n\
        site a.test {\n listen text strange\n respond 200 \"{client.ip}\"\n}\n\
        site b.test {\n listen both\n tls internal\n respond 200 \"{client.ip}\"\n}\n";
    let proxy = proxy("tls-proxies", site, &[]);
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let ask = |header: &str| Client::to(proxy.address("listen")).send(format!("{header}{request}")).answer().text();
    assert_eq!(ask("PROXY TCP4 192.0.2.9 192.0.2.1 4711 80\r\n"), "192.0.2.9");
    assert_eq!(ask("PROXY TCP6 2001:db8::9 2001:db8::1 4711 80\r\n"), "2001:db8::9");
    assert_eq!(ask("PROXY UNKNOWN\r\n"), "127.0.0.1");
    // In pieces.
    let mut client = Client::to(proxy.address("listen"));
    for piece in ["PROXY TCP4 192.0", ".2.9 192.0.2.1 4711 80\r", "\n", request] {
        client.send(piece);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.answer().text(), "192.0.2.9");
    // The limit counts clients, not the proxies in between.
    let introduce = |client: &str| {
        let mut connection = Client::to(proxy.address("listen"));
        connection.send(format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        connection
    };
    let (mut one, mut two) = (introduce("192.0.2.7"), introduce("192.0.2.8"));
    assert_eq!((one.answer().text(), two.answer().text()), ("192.0.2.7".to_owned(), "192.0.2.8".to_owned()));
    assert!(introduce("192.0.2.7").closed());
    proxy.log("\"reason\":\"client-connection-limit\"");
    // A connection without the header, and one from a peer that may not send it.
    assert!(Client::to(proxy.address("listen")).send(request).closed());
    assert!(Client::to(proxy.address("strange")).send(format!("PROXY UNKNOWN\r\n{request}")).closed());
    proxy.log("\"reason\":\"proxy-protocol\"");
    // curl sends the text form before the handshake.
    let haproxy = ["--insecure", "--haproxy-protocol"];
    assert_eq!(curl(proxy.address("other"), "https://b.test/", &haproxy), "127.0.0.1");
}

#[test]
fn servers_are_verified() {
    let dir = scratch("tls-servers");
    let (ca, others) = (Authority::new(&dir), Authority::new(&scratch("tls-servers-others")));
    ca.sign("server", "server", &["server.test", "127.0.0.1"]);
    ca.sign("proxy", "proxy", &["proxy.test"]);
    let origin = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    // The server is a proxy, too.
    let behind = format!(
        "param listen type=addr\nparam origin type=addr\nlisten (param)listen {{\n tls\n}}\n\
         site server.test {{\n tls {{\n certificate \"{}\" key=\"{}\"\n client-ca \"{}\" required=#false\n }}\n\
         route \"/who\" {{\n respond 200 \"{{client.cert.subject}}|{{host}}\"\n }}\n route \"/*\" {{\n proxy \"http://origin.test\" \n }}\n}}\n",
        ca.path("server.pem"), ca.path("server.key"), ca.ca()
    )
    .replace("proxy \"http://origin.test\"", "proxy (param)origin");
    let server = proxy("tls-servers-behind", &behind, &[("origin", &origin.address)]);
    let upstream = |name: &str, tls: &str| format!("upstream {name} {{\n server (param)server\n {tls}\n}}\n");
    let site = format!(
        "lint allow unverified-upstream\nparam listen type=addr\nparam server type=addr\nlog access format=json\n{}{}{}{}{}\
         site site.test {{\n listen (param)listen\n",
        upstream(
            "good",
            &format!(
                "\n tls ca=\"{}\" sni=\"server.test\" certificate=\"{}\" key=\"{}\"\n health-check \"/who\" interval=\"200ms\" {{\n expect-status 421 200\n }}",
                ca.ca(),
                ca.path("proxy.pem"),
                ca.path("proxy.key")
            )
        ),
        upstream("unknown", &format!("\n tls ca=\"{}\" sni=\"server.test\"", others.ca())),
        upstream("misnamed", &format!("\n tls ca=\"{}\" sni=\"other.test\"", ca.ca())),
        upstream("trusting", "\n tls sni=\"server.test\" verify=#false"),
        upstream(
            "second",
            &format!(
                "\n tls ca=\"{}\" sni=\"server.test\"\n http h2\n health-check \"/who\" host=\"server.test\" interval=\"200ms\" fall=1 {{\n expect-body \"nobody\"\n }}",
                ca.ca()
            )
        ),
    );
    let routes: String = ["good", "unknown", "misnamed", "trusting", "second"]
        .iter()
        .map(|name| {
            format!(" route \"/{name}/*\" {{\n rewrite strip-prefix=\"/{name}\"\n proxy {name} host=server.test\n }}\n")
        })
        .collect();
    let proxy = proxy("tls-servers", &format!("{site}{routes}}}\n"), &[("server", server.address("listen"))]);
    let ask = |path: &str| get(proxy.address("listen"), "site.test", path);
    assert_eq!(ask("/good/who").text(), "CN=proxy|server.test");
    assert_eq!(ask("/good/x").text(), "ok");
    assert_eq!(ask("/trusting/who").text(), "|server.test");
    assert_eq!(ask("/second/who").text(), "|server.test");
    assert_eq!(ask("/second/x").text(), "ok");
    for wrong in ["unknown", "misnamed"] {
        assert_eq!(ask(&format!("/{wrong}/x")).status, 502);
    }
    proxy.log("\"reason\":\"upstream-tls\"");
    proxy.notice("upstream `second`: server");
    proxy.notice("is unhealthy: `nobody` is not in its response");
    proxy.notice("upstream `unknown`: no handshake with server");
    proxy.notice("upstream `misnamed`: no handshake with server");
}

#[test]
fn streams_are_passed_through() {
    let dir = scratch("tls-streams");
    let ca = Authority::new(&dir);
    ca.sign("server", "server", &["a.test", "b.test", "x.sub.test"]);
    let certificate = format!("certificate \"{}\" key=\"{}\"", ca.path("server.pem"), ca.path("server.key"));
    let behind = |name: &str| {
        let site = format!(
            "param listen type=addr\nlisten (param)listen {{\n tls\n proxy-protocol v2 from=\"127.0.0.0/8\"\n}}\n\
             site * {{\n tls {{\n {certificate}\n }}\n respond 200 \"{name} {{host}} {{client.ip}}\"\n}}\n"
        );
        proxy(&format!("tls-stream-{name}"), &site, &[])
    };
    let (one, two) = (behind("one"), behind("two"));
    let echo = Origin::new(|mut connection, _| {
        loop {
            match connection.bytes() {
                bytes if bytes.is_empty() => return,
                bytes => connection.send(bytes),
            }
        }
    });
    let site = "param listen type=addr\nparam other type=addr\nparam one type=addr\nparam two type=addr\nparam echo type=addr\nparam nobody type=addr\n\
        log access format=json\ntimeouts idle=\"1s\"\n\
        upstream one {\n server (param)one\n proxy-protocol v2\n}\nupstream two {\n server (param)two\n proxy-protocol v2\n}\n\
        upstream echo {\n server (param)nobody\n server (param)echo\n balance first\n}\n\
        stream names {\n listen (param)listen\n route sni=\"a.test\" {\n tunnel one\n }\n route sni=\"*.sub.test\" {\n tunnel two\n }\n}\n\
        stream bytes {\n listen (param)other\n tunnel echo\n}\nsite site.test {\n respond 200\n}\n"
        .replace("site site.test {", "param plain type=addr\nsite site.test {\n listen (param)plain");
    let given = [("one", one.address("listen")), ("two", two.address("listen")), ("echo", &*echo.address)];
    let proxy = proxy("tls-streams", &site, &given);
    let (names, bytes) = (proxy.address("listen"), proxy.address("other"));
    let root = ca.ca();
    assert_eq!(curl(names, "https://a.test/", &["--cacert", &root]), "one a.test 127.0.0.1");
    assert_eq!(curl(names, "https://x.sub.test/", &["--cacert", &root, "--http1.1"]), "two x.sub.test 127.0.0.1");
    // An unknown host, and a connection without TLS: both are rejected.
    assert!(curl(names, "https://b.test/", &["--cacert", &root]).contains("SSL"));
    proxy.log("\"reason\":\"unknown-server-name\"");
    assert!(Client::to(names).send("GET / HTTP/1.1\r\n\r\n").closed());
    // The first server can't be reached.
    let mut client = Client::to(bytes);
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    client.half_close();
    assert!(client.closed());
    let line = proxy.log("\"bytes\":5");
    assert!(line.contains("\"upstream\":\"echo\"") && line.contains(&echo.address), "{line}");
    // An idle connection is closed.
    let mut client = Client::to(bytes);
    client.send("x");
    assert_eq!(client.exactly(1), b"x");
    assert!(client.closed());
}

/// A WebSocket server and client in Python.
const WEBSOCKET: &str = include_str!("websocket.py");

fn has_websockets() -> bool {
    let has = Command::new("python3").args(["-c", "import websockets"]).output();
    let has = has.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("SKIPPED: Python's websockets is not installed");
    }
    has
}

#[test]
fn websockets_end_when_the_proxy_stops() {
    if !has_websockets() {
        return;
    }
    let server = kiln_tests::proxy::address();
    let site = "param listen type=addr\nparam server type=addr\nprocess {\n drain timeout=\"6s\"\n}\nlisten (param)listen\n\
        site * {\n proxy (param)server\n}\n";
    let mut proxy = proxy("going-away", site, &[("server", &server)]);
    let (address, pid) = (proxy.address("listen"), proxy.pid().to_string());
    let output =
        Command::new("python3").args(["-c", GOING_AWAY, &server, address, &pid]).output().expect("python runs");
    let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.ends_with("all went away\n"), "{said}");
    assert!(proxy.wait().success());
}

const GOING_AWAY: &str = include_str!("going_away.py");

#[test]
fn websockets() {
    if !has_websockets() {
        return;
    }
    let dir = scratch("tls-websockets");
    let ca = Authority::new(&dir);
    ca.sign("server", "server", &["a.test"]);
    let server = kiln_tests::proxy::address();
    let site = format!(
        "param listen type=addr\nparam server type=addr\nlisten (param)listen {{\n tls\n}}\n\
         site * {{\n tls {{\n certificate \"{}\" key=\"{}\"\n }}\n proxy (param)server\n}}\n",
        ca.path("server.pem"),
        ca.path("server.key")
    );
    let proxy = proxy("tls-websockets", &site, &[("server", &server)]);
    let url = format!("wss://{}/chat", proxy.address("listen"));
    let output =
        Command::new("python3").args(["-c", WEBSOCKET, &server, &url, &ca.ca()]).output().expect("python runs");
    let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.ends_with("all is healthy\n"), "{said}");
}
