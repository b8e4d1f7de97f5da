//! `tls acme` with pebble, the test authority of Let's Encrypt: certificates are obtained, stored, and renewed.

mod dns01;
mod pebble;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use kiln_tests::certificates::Authority;
use kiln_tests::client::get;
use kiln_tests::kiln::{scratch, stdout};
use kiln_tests::proxy::{Proxy, address, build_text};

use self::pebble::{Front, Pebble, respond};

/// A site with `tls acme`, one without, and the plain listener for the authority's requests.
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

fn ip(address: &str) -> String {
    address.split(':').next().expect("an ip").to_owned()
}

fn start(binary: &Path, pebble: &str, listen: &str, other: &str, more: &[(&str, &str)]) -> Proxy {
    let given = [&[("listen", listen), ("other", other), ("directory", pebble)][..], more].concat();
    Proxy::start(binary, "", &given)
}

/// Issuer, serial and hosts of the certificate for a host, or for clients without a server name.
fn shown(address: &str, host: &str) -> String {
    let asked = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .args(if host.is_empty() { vec!["-noservername"] } else { vec!["-servername", host] })
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
fn certificates_are_obtained_and_stored() {
    let (listen, other) = (address(), address());
    let Some(pebble) = Pebble::new("kept", &ip(&other), 86_400) else { return };
    let state = scratch("acme-kept").join("state");
    let binary = build_text("acme-kept", &site(&kept(&state, &pebble.ca)));
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: a certificate was obtained, valid until");
    let first = shown(&listen, "a.test");
    for part in ["Pebble Intermediate", "DNS:a.test", "DNS:www.a.test"] {
        assert!(first.contains(part), "{first}");
    }
    assert_eq!(shown(&listen, "www.a.test"), first);
    assert!(!shown(&listen, "b.test").contains("Pebble"));
    // A request for a finished challenge is like any other.
    let answer = get(&other, "a.test", "/.well-known/acme-challenge/x");
    assert_eq!(answer.status, 308);
    for path in secret_files(&state) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o77, 0, "{} is readable by others", path.display());
    }
    assert_eq!(secret_files(&state).len(), 2);
    // A restart needs no authority.
    let directory = pebble.directory.clone();
    drop((proxy, pebble));
    let proxy = start(&binary, &directory, &listen, &other, &[]);
    assert_eq!(shown(&listen, "a.test"), first);
    drop(proxy);
    // An unusable folder prevents the start.
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
fn renewals_by_tls_alpn() {
    let (listen, other) = (address(), address());
    // With tls-alpn-01, and an external account; renewed after two thirds of nine seconds.
    let Some(pebble) = Pebble::with("renewed", &ip(&listen), 9, true, 5) else { return };
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
fn other_sites_work_without_the_authority() {
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

/// Whether a request to an authority is an order.
fn is_order(asked: &pebble::Asked) -> bool {
    asked.path == "/order-plz" && asked.method == "POST"
}

#[test]
fn unwritten_certificates_are_served() {
    let (listen, other) = (address(), address());
    let Some(pebble) = Pebble::new("unwritten", &ip(&other), 86_400) else { return };
    let front = Front::new(&pebble, |_| None, |_, body| body);
    let state = scratch("acme-unwritten").join("state");
    let in_the_way = state.join("certificates/a.test.pem");
    std::fs::create_dir_all(&in_the_way).expect("a folder");
    let binary = build_text("acme-unwritten", &site(&kept(&state, &pebble.ca)));
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    proxy.notice("a.test.pem`, and is served from memory: ");
    assert!(shown(&listen, "a.test").contains("Pebble Intermediate"));
    std::fs::remove_dir(&in_the_way).expect("removed");
    proxy.notice("tls of `a.test`: the certificate has been written");
    let first = shown(&listen, "a.test");
    drop(proxy);
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    assert_eq!(shown(&listen, "a.test"), first);
    assert_eq!(front.created("/order-plz"), 1);
    drop(proxy);
}

/// Two sites with `tls acme`; `c.test` shows that time has passed.
fn two_sites(acme: &str) -> String {
    format!("{}site c.test {{\n tls acme\n respond 200 \"c\"\n}}\n", site(acme))
}

#[test]
fn a_pause_outlives_the_process() {
    // The authority's response, the log message, and the minimum pause.
    let cases = [
        (
            "limited",
            respond(429, "retry-after: 7200\r\n", "rateLimited", "too many"),
            "too many (rateLimited); the next order is in 72",
            7200,
        ),
        (
            "failing",
            respond(503, "", "serverInternal", "not now"),
            "not now (serverInternal); the next order is in ",
            40,
        ),
        (
            "broken",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\noops!".into(),
            "the authority responds 502; the next order is in ",
            40,
        ),
    ];
    for (name, answer, logged, least) in cases {
        let (listen, other) = (address(), address());
        let Some(pebble) = Pebble::new(name, &ip(&other), 86_400) else { return };
        let for_a = |asked: &pebble::Asked| is_order(asked) && asked.payload().contains("\"a.test\"");
        let refusing = AtomicBool::new(true);
        let refusing: &'static AtomicBool = Box::leak(Box::new(refusing));
        let refuses = move |asked: &pebble::Asked| (refusing.load(SeqCst) && for_a(asked)).then(|| answer.clone());
        let front = Front::new(&pebble, refuses, |_, body| body);
        let state = scratch(&format!("acme-{name}")).join("state");
        let binary = build_text(&format!("acme-{name}"), &two_sites(&kept(&state, &pebble.ca)));
        let proxy = start(&binary, &front.directory, &listen, &other, &[]);
        proxy.notice(logged);
        proxy.notice("tls of `c.test`: a certificate was obtained");
        drop(proxy);
        // A new process waits for as long; the other certificate does not.
        std::fs::remove_file(state.join("certificates/c.test.pem")).expect("removed");
        let proxy = start(&binary, &front.directory, &listen, &other, &[]);
        proxy.notice("tls of `a.test`: the next order is in ");
        proxy.notice("tls of `c.test`: a certificate was obtained");
        assert_eq!(front.count(for_a), 1, "{name}");
        drop(proxy);
        // After the pause, it is ordered again.
        let file = state.join("certificates/a.test.pause");
        let pause: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("kept")).expect("JSON");
        assert!(pause["wait"].as_u64().is_some_and(|wait| wait >= least), "{pause}");
        std::fs::write(&file, r#"{"failures":1,"until":1,"wait":60}"#).expect("written");
        refusing.store(false, SeqCst);
        let proxy = start(&binary, &front.directory, &listen, &other, &[]);
        proxy.notice("tls of `a.test`: a certificate was obtained");
        // A request with a rejected nonce is not an order.
        assert_eq!(front.count(|asked| for_a(asked) && asked.status != 400), 2, "{name}");
        assert!(!file.exists(), "the pause is over");
        drop(proxy);
    }
}

#[test]
fn unknown_accounts() {
    let (listen, other) = (address(), address());
    let Some(mut pebble) = Pebble::new("forgetful", &ip(&other), 86_400) else { return };
    let state = scratch("acme-forgetful").join("state");
    let pem = state.join("certificates/a.test.pem");
    let binary = build_text("acme-forgetful", &site(&kept(&state, &pebble.ca)));
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: a certificate was obtained");
    drop(proxy);
    // The authority has lost all accounts.
    pebble.restart();
    std::fs::remove_file(&pem).expect("removed");
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
    proxy.notice("acme: the authority does not know the account `");
    proxy.notice("tls of `a.test`: a certificate was obtained");
    drop(proxy);
    // The account was deactivated: the authority refuses all of its requests.
    let deactivated = std::sync::Mutex::new(String::new());
    let refuses = move |asked: &pebble::Asked| {
        let mut deactivated = deactivated.lock().expect("a lock");
        if is_order(asked) && deactivated.is_empty() {
            *deactivated = asked.key_id();
        }
        (!deactivated.is_empty() && asked.key_id() == *deactivated)
            .then(|| respond(403, "", "unauthorized", "the account is deactivated"))
    };
    let front = Front::new(&pebble, refuses, |_, body| body);
    std::fs::remove_file(&pem).expect("removed");
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    // An account of another authority is not used.
    proxy.notice("tls of `a.test`: a certificate was obtained");
    assert_eq!(front.created("/sign-me-up"), 2);
    drop(proxy);
    // An invalid account file counts as missing.
    for entry in std::fs::read_dir(&state).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_file() {
            std::fs::write(entry, "{").expect("written");
        }
    }
    std::fs::remove_file(&pem).expect("removed");
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
    proxy.notice("is not an account of this authority");
    proxy.notice("tls of `a.test`: a certificate was obtained");
}

#[test]
fn one_account_and_many_certificates() {
    let (listen, other) = (address(), address());
    // The authority rejects the nonces of nearly a third of valid requests.
    let Some(pebble) = Pebble::with("many", &ip(&other), 86_400, false, 30) else { return };
    let front = Front::new(&pebble, |_| None, |_, body| body);
    let state = scratch("acme-many").join("state");
    let mut text = site(&kept(&state, &pebble.ca));
    let names: Vec<String> = (0..8).map(|number| format!("m{number}.test")).collect();
    for name in &names {
        text.push_str(&format!("site {name} {{\n tls acme\n respond 200 \"\"\n}}\n"));
    }
    let binary = build_text("acme-many", &text);
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    for name in names.iter().map(String::as_str).chain(["a.test"]) {
        proxy.notice(&format!("tls of `{name}`: a certificate was obtained"));
    }
    assert!(proxy.noticed().iter().all(|line| !line.contains("no certificate")), "{:#?}", proxy.noticed());
    assert_eq!(front.created("/sign-me-up"), 1, "accounts");
    assert_eq!(front.created("/order-plz"), 9, "orders");
    assert!(front.count(|asked| asked.method == "POST") > 9 * 6, "some nonces were rejected");
}

#[test]
fn failures_are_logged() {
    let (listen, other) = (address(), address());
    // The authority connects to an address where nothing listens.
    let Some(pebble) = Pebble::new("astray", "127.0.0.1", 86_400) else { return };
    let state = scratch("acme-astray").join("state");
    let binary = build_text("acme-astray", &site(&kept(&state, &pebble.ca)));
    let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
    let line = proxy.notice("tls of `a.test`: no certificate: the authority could not verify it: ");
    assert!(line.contains("a.test: ") && line.contains("connection refused"), "{line}");
}

#[test]
fn profiles_and_renewal_information() {
    let (listen, other) = (address(), address());
    let Some(pebble) = Pebble::new("wishes", &ip(&other), 86_400) else { return };
    // The authority supports neither: the server in front of it adds both.
    let (early, replaced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_early, is_replaced) = (Arc::clone(&early), Arc::clone(&replaced));
    let before = move |asked: &pebble::Asked| {
        if asked.path.starts_with("/renewal/") {
            let year = if is_early.load(SeqCst) { 2001 } else { 2999 };
            let body = format!(
                r#"{{"suggestedWindow":{{"start":"{year}-01-01T00:00:00Z","end":"{year}-01-02T00:00:00Z"}},"explanationURL":"https://why.test/"}}"#
            );
            let length = body.len();
            return Some(format!("HTTP/1.1 200 OK\r\nretry-after: 21600\r\ncontent-length: {length}\r\n\r\n{body}"));
        }
        let refused = is_replaced.load(SeqCst) && is_order(asked) && asked.payload().contains("replaces");
        refused.then(|| respond(409, "", "alreadyReplaced", "it was replaced already"))
    };
    let after = |asked: &pebble::Asked, body: String| {
        let Ok(mut said) = serde_json::from_str::<serde_json::Value>(&body) else { return body };
        if asked.path == "/dir" {
            said["renewalInfo"] = format!("https://{}/renewal", asked.host()).into();
            said["meta"]["profiles"]["shortlived"] = "six days".into();
        } else if is_order(asked) {
            let wanted: serde_json::Value = serde_json::from_str(&asked.payload()).expect("JSON");
            said["replaces"] = wanted["replaces"].clone();
        }
        said.to_string()
    };
    let front = Front::new(&pebble, before, after);
    let state = scratch("acme-wishes").join("state");
    let with =
        |profile: &str| site(&kept(&state, &pebble.ca)).replace("\nacme ", &format!("\nacme profile={profile} "));
    let binary = build_text("acme-wishes", &with("shortlived"));
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: a certificate was obtained");
    proxy.notice("the authority says when to renew the certificate, and why: https://why.test/");
    drop(proxy);
    // The renewal is due earlier than the certificate's lifetime implies.
    early.store(true, SeqCst);
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: a certificate was obtained");
    drop(proxy);
    let orders = front.payloads("/order-plz");
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(|order| order.contains(r#""profile":"shortlived""#)), "{orders:?}");
    assert!(!orders[0].contains("replaces"), "{orders:?}");
    let replaces: serde_json::Value = serde_json::from_str(&orders[1]).expect("JSON");
    let replaces = replaces["replaces"].as_str().expect("the one before").to_owned();
    assert_eq!(front.count(|asked| asked.path == format!("/renewal/{replaces}")), 2, "{replaces}");
    // The authority says that another certificate was ordered for it.
    replaced.store(true, SeqCst);
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    proxy.notice("tls of `a.test`: a certificate was obtained");
    assert_eq!(front.payloads("/order-plz").len(), 3);
    drop(proxy);
    std::fs::remove_dir_all(&state).expect("removed");
    let binary = build_text("acme-classic", &with("classic"));
    let proxy = start(&binary, &front.directory, &listen, &other, &[]);
    proxy
        .notice("no certificate: the authority has no profile `classic`; it offers: shortlived; the next order is in ");
    assert_eq!(front.payloads("/order-plz").len(), 3);
}

#[test]
fn addresses() {
    for (challenge, plain_port, port) in [("http-01", 7000, 7001), ("tls-alpn-01", 7002, 7000)] {
        let own = ip(&address());
        let Some(pebble) = Pebble::new(&format!("address-{challenge}"), "127.0.0.1", 86_400) else { return };
        let state = scratch(&format!("acme-address-{challenge}")).join("state");
        let acme = format!("{} challenge={challenge}", kept(&state, &pebble.ca));
        let binary =
            build_text(&format!("acme-{challenge}"), &site(&acme).replace("a.test www.a.test", &format!("\"{own}\"")));
        let (listen, other) = (format!("{own}:{port}"), format!("{own}:{plain_port}"));
        let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
        proxy.notice(&format!("tls of `{own}`: a certificate was obtained"));
        let first = shown(&listen, "");
        assert!(first.contains("Pebble Intermediate") && first.contains(&format!("IP Address:{own}")), "{first}");
        assert!(!shown(&listen, "b.test").contains("Pebble"));
        // It is the certificate that a new process continues with.
        drop(proxy);
        let proxy = start(&binary, &pebble.directory, &listen, &other, &[]);
        assert_eq!(shown(&listen, ""), first);
        drop(proxy);
    }
}

#[test]
fn a_host_on_two_listeners() {
    let (listen, third) = (address(), address());
    let Some(pebble) = Pebble::new("twice", &ip(&listen), 86_400) else { return };
    let front = Front::new(&pebble, |_| None, |_, body| body);
    let state = scratch("acme-twice").join("state");
    let on = |listener: &str, hosts: &str| {
        format!("site {hosts} {{\n listen {listener}\n tls acme\n respond 200 \"{listener}\"\n}}\n")
    };
    let text = format!(
        "param listen type=addr\nparam third type=addr\nparam directory type=string{}\n\
         listen one (param)listen {{\n tls\n}}\nlisten two (param)third {{\n tls\n}}\n{}{}",
        kept(&state, &pebble.ca),
        on("one", "a.test"),
        on("two", "a.test www.a.test")
    );
    let binary = build_text("acme-twice", &text);
    let given = [("listen", listen.as_str()), ("third", &third), ("directory", &front.directory)];
    let proxy = Proxy::start(&binary, "", &given);
    proxy.notice("tls of `a.test`: a certificate was obtained");
    let first = shown(&listen, "a.test");
    assert!(first.contains("DNS:a.test") && first.contains("DNS:www.a.test"), "{first}");
    assert_eq!(shown(&third, "www.a.test"), first);
    assert_eq!(front.created("/order-plz"), 1);
}
