//! `dns` in `acme`: records are set by a program, a service and a name server, two at once for a name and its wildcard, and removed again.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use kiln_tests::certificates::Authority;
use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{Proxy, address, build_text};

use super::pebble::{Pebble, encrypted, set_records};
use super::{ip, secret_files, shown};

const NAME: &str = "_acme-challenge.w.test.";

/// A site with a wildcard, and its provider of records.
fn site(state: &Path, pebble: &Pebble, dns: &str) -> String {
    let secret = if dns.contains("(param)secret") { "param secret type=secret\n" } else { "\n" };
    format!(
        "param listen type=addr\n{secret}\
         acme state=\"{}\" directory=\"{}\" ca=\"{}\" {{{dns}\n}}\n\
         listen (param)listen {{\n tls\n}}\n\
         site w.test *.w.test {{\n tls acme\n respond 200 \"w\"\n}}\n",
        state.display(),
        pebble.directory,
        pebble.ca
    )
}

/// A recorder of a provider's actions, in order, which it passes on to the name server.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    actions: Vec<String>,
    /// The current records of each name.
    records: HashMap<String, Vec<String>>,
}

impl Told {
    fn act(&self, management: &str, action: &str, name: &str, value: &str) {
        let mut told = self.0.lock().expect("a lock");
        told.actions.push(action.to_owned());
        let values = told.records.entry(name.to_owned()).or_default();
        match action {
            "present" => values.push(value.to_owned()),
            _ => values.retain(|one| one != value),
        }
        set_records(management, name, values);
    }

    /// Checks that two records of one name existed at once, and that none is left.
    fn was_right(&self) {
        let told = self.0.lock().expect("a lock");
        assert_eq!(told.actions, ["present", "present", "cleanup", "cleanup"]);
        assert_eq!(told.records.iter().collect::<Vec<_>>(), [(&NAME.to_owned(), &Vec::new())]);
    }
}

/// Waits for the certificate, and for the cleanup after it.
fn obtained(proxy: &Proxy, state: &Path) {
    proxy.notice("tls of `w.test`: a certificate was obtained");
    let certificate = shown(proxy.address("listen"), "x.w.test");
    for part in ["Pebble Intermediate", "DNS:w.test", "DNS:*.w.test"] {
        assert!(certificate.contains(part), "{certificate}");
    }
    assert_eq!(secret_files(state).len(), 2);
}

fn program(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("set-record");
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    path
}

#[test]
fn by_a_program() {
    let Some(pebble) = Pebble::new("exec", "127.0.0.1", 86_400) else { return };
    let dir = scratch("acme-exec");
    // `clear-txt` removes both values of a name: only the second `cleanup` calls it.
    let script = program(
        &dir,
        "#!/bin/sh\n[ $# = 5 ] || exit 9\necho \"$3 $4\" >> \"$2\"\n\
         case $3 in\n\
         present) curl -sf -d \"{\\\"host\\\":\\\"$4\\\",\\\"value\\\":\\\"$5\\\"}\" \"http://$1/set-txt\" ;;\n\
         cleanup) curl -sf -d \"{\\\"host\\\":\\\"$4\\\"}\" \"http://$1/clear-txt\" ;;\n\
         esac\n",
    );
    let (state, told) = (dir.join("state"), dir.join("told"));
    let dns = |management: &str| {
        let (script, told) = (script.display(), told.display());
        format!("\n dns exec \"{script}\" \"{management}\" \"{told}\" propagation=\"0s\"")
    };
    let binary = build_text("acme-exec", &site(&state, &pebble, &dns(&pebble.management())));
    let listen = address();
    let proxy = Proxy::start(&binary, "", &[("listen", &listen)]);
    obtained(&proxy, &state);
    let text = std::fs::read_to_string(&told).expect("told");
    let [present, cleanup] = ["present", "cleanup"].map(|action| format!("{action} {NAME}\n"));
    assert_eq!(text, format!("{present}{present}{cleanup}{cleanup}"));
    drop(proxy);

    // A program that fails, prints, and leaves a child process: its output is logged, and the record is removed.
    program(&dir, "#!/bin/sh\necho \"$3\" >> \"$2\"\nsleep 1000 &\necho \"no\nrights\" >&2\nexit 3\n");
    std::fs::remove_file(&told).expect("removed");
    std::fs::remove_dir_all(&state).expect("removed");
    let proxy = Proxy::start(&binary, "", &[("listen", &listen)]);
    let line = proxy.notice("tls of `w.test`: no certificate: ");
    let expected = format!("the TXT record of `{NAME}`, present: `{}` ends with exit status: 3: no", script.display());
    assert!(line.contains(&expected), "{line}");
    proxy.notice(&format!("acme: the TXT record of `{NAME}`, cleanup: "));
    assert_eq!(std::fs::read_to_string(&told).expect("told"), "present\ncleanup\n");
    drop(proxy);

    // A missing program prevents the start.
    std::fs::remove_file(&script).expect("removed");
    let checked = Command::new(&binary).args(["--check", &format!("--listen={listen}")]).output().expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("site.kdl:4: `dns`: `/"), "{said}");
}

#[test]
fn by_a_service() {
    let Some(pebble) = Pebble::new("webhook", "127.0.0.1", 86_400) else { return };
    let dir = scratch("acme-webhook");
    let authority = Authority::new(&dir);
    let own = address();
    authority.sign("service", "service", &[&ip(&own)]);
    let (told, management) = (Told::default(), pebble.management());
    let heard = told.clone();
    encrypted(&own, &dir, "service", move |head, body| {
        let respond = |status| format!("HTTP/1.1 {status} Done\r\ncontent-length: 0\r\n\r\n");
        let head = head.to_ascii_lowercase();
        if !head.contains("\r\nauthorization: bearer s3cret\r\n") {
            return respond(403);
        }
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let action = head.strip_prefix("post /dns/").and_then(|rest| rest.split(' ').next()).expect("a path");
        heard.act(
            &management,
            action,
            body["fqdn"].as_str().expect("a name"),
            body["value"].as_str().expect("a value"),
        );
        respond(204)
    });
    let state = dir.join("state");
    let dns = |ca: &str| {
        format!("\n dns webhook \"https://{own}/dns/\" token=(param)secret ca=\"{ca}\" zone=w.test propagation=\"0s\"")
    };
    let binary = build_text("acme-webhook", &site(&state, &pebble, &dns(&authority.ca())));
    let (listen, secret) = (address(), dir.join("secret"));
    let given = [("listen", listen.as_str()), ("secret", secret.to_str().expect("text"))];
    let refused = format!("`{NAME}`, present: `https://{own}/dns/` responds 403");
    std::fs::write(&secret, "another\n").expect("written");
    let proxy = Proxy::start(&binary, "", &given);
    proxy.notice(&refused);
    assert!(proxy.noticed().iter().all(|line| !line.contains("another\n") && !line.contains("another ")));
    drop(proxy);
    std::fs::remove_dir_all(&state).expect("removed");
    std::fs::write(&secret, "s3cret\n").expect("written");
    let proxy = Proxy::start(&binary, "", &given);
    obtained(&proxy, &state);
    told.was_right();
    drop(proxy);

    // A service whose certificate is invalid receives nothing.
    let other = scratch("acme-webhook-other");
    Authority::new(&other);
    std::fs::remove_dir_all(&state).expect("removed");
    let ca = other.join("ca.pem");
    let binary = build_text("acme-webhook-other", &site(&state, &pebble, &dns(ca.to_str().expect("text"))));
    let proxy = Proxy::start(&binary, "", &given);
    let line = proxy.notice("tls of `w.test`: no certificate: ");
    assert!(line.contains(&format!("`{own}` can't be asked: ")) && line.contains("certificate"), "{line}");
    told.was_right();
}

/// The key that is shared with a name server, and its name.
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const KEY_NAME: &[u8] = b"\x04kiln\x04test\0";

#[test]
fn by_a_name_server() {
    let Some(pebble) = Pebble::new("rfc2136", "127.0.0.1", 86_400) else { return };
    let dir = scratch("acme-rfc2136");
    let algorithms =
        [("hmac-sha256", hmac::HMAC_SHA256), ("hmac-sha384", hmac::HMAC_SHA384), ("hmac-sha512", hmac::HMAC_SHA512)];
    for (name, algorithm) in algorithms {
        let (told, management) = (Told::default(), pebble.management());
        let heard = told.clone();
        let server =
            name_server(algorithm, true, move |action, name, value| heard.act(&management, action, name, value));
        let state = dir.join(name);
        let dns = format!(
            "\n dns rfc2136 \"{server}\" zone=w.test key-name=\"kiln.test\" key=(param)secret algorithm={name} propagation=\"0s\""
        );
        let binary = build_text(&format!("acme-{name}"), &site(&state, &pebble, &dns));
        let (listen, secret) = (address(), dir.join("key"));
        let given = [("listen", listen.as_str()), ("secret", secret.to_str().expect("text"))];
        std::fs::write(&secret, data_encoding::BASE64.encode(KEY) + "\n").expect("written");
        let proxy = Proxy::start(&binary, "", &given);
        obtained(&proxy, &state);
        told.was_right();
        drop(proxy);
        if name != "hmac-sha256" {
            continue;
        }
        // A key that the name server does not know; an invalid key.
        std::fs::remove_dir_all(&state).expect("removed");
        std::fs::write(&secret, data_encoding::BASE64.encode(b"another")).expect("written");
        let proxy = Proxy::start(&binary, "", &given);
        proxy.notice(&format!(
            "no certificate: the TXT record of `{NAME}`, present: the name server `{server}` refuses, unsigned: "
        ));
        drop(proxy);
        std::fs::write(&secret, "not base64!").expect("written");
        let checked = Command::new(&binary)
            .args(given.map(|(name, value)| format!("--{name}={value}")))
            .arg("--check")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && said.contains("site.kdl:4: `dns`: the key is not base64"), "{said}");
    }
    // An impostor that always reports success.
    let server = name_server(hmac::HMAC_SHA256, false, |_, _, _| {});
    let state = dir.join("impostor");
    let dns = format!("\n dns rfc2136 \"{server}\" zone=w.test key-name=\"kiln.test\" key=(param)secret");
    let binary = build_text("acme-impostor", &site(&state, &pebble, &dns));
    let (listen, secret) = (address(), dir.join("key"));
    std::fs::write(&secret, data_encoding::BASE64.encode(KEY)).expect("written");
    let proxy = Proxy::start(&binary, "", &[("listen", &listen), ("secret", secret.to_str().expect("text"))]);
    proxy.notice(&format!("present: the response of the name server `{server}` is not signed with the key"));
}

/// A name server that accepts updates (RFC 2136) with a valid signature (RFC 8945), and signs its responses or not. Returns its
/// address.
fn name_server(algorithm: hmac::Algorithm, signs: bool, act: impl Fn(&str, &str, &str) + Send + 'static) -> String {
    let address = address();
    let listener = TcpListener::bind(&address).expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("a length");
            let mut request = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut request).expect("a message");
            let response = updated(&request, &hmac::Key::new(algorithm, KEY), signs, &act);
            let length = u16::try_from(response.len()).expect("a length").to_be_bytes();
            stream.write_all(&[&length[..], &response].concat()).expect("sent");
        }
    });
    address
}

fn updated(request: &[u8], key: &hmac::Key, signs: bool, act: &impl Fn(&str, &str, &str)) -> Vec<u8> {
    let number = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    // An update has one zone, no conditions, one change, and the signature.
    assert_eq!(request[2] >> 3, 5, "an update");
    assert_eq!([4, 6, 8, 10].map(number), [1, 0, 1, 1]);
    let (zone, at) = name(request, 12);
    assert_eq!((zone.as_str(), number(at), number(at + 2)), ("w.test.", 6, 1));
    let (owner, at) = name(request, at + 4);
    let (kind, class, ttl, size) = (number(at), number(at + 2), number(at + 6), usize::from(number(at + 8)));
    assert_eq!(kind, 16, "a TXT record");
    let value = String::from_utf8(request[at + 11..at + 10 + size].to_vec()).expect("text");
    assert_eq!(usize::from(request[at + 10]), value.len());
    let end = at + 10 + size;

    let (owner_of_key, at) = name(request, end);
    assert_eq!(owner_of_key, "kiln.test.");
    assert_eq!((number(at), number(at + 2)), (250, 255), "a TSIG record");
    let data = at + 10;
    let (_, at) = name(request, data);
    let algorithm = &request[data..at];
    let (time, size) = (&request[at..at + 8], usize::from(number(at + 8)));
    let mac = &request[at + 10..at + 10 + size];
    // Name, class and TTL; algorithm, time and fudge; no error and no other data (RFC 8945 section 4.3.3).
    let variables = [KEY_NAME, &[0, 255, 0, 0, 0, 0], algorithm, time, &[0; 4]].concat();
    let mut unsigned = request[..end].to_vec();
    unsigned[10..12].copy_from_slice(&[0, 0]);
    let right = hmac::verify(key, &[&unsigned[..], &variables].concat(), mac).is_ok();

    let code = if right { 0 } else { 9 };
    let mut response = [&request[..2], &[0x80 | 5 << 3, code], &[0; 8]].concat();
    if !right || !signs {
        return response;
    }
    match class {
        1 => act("present", &owner, &value),
        254 => {
            assert_eq!(ttl, 0);
            act("cleanup", &owner, &value);
        }
        other => panic!("class {other}"),
    }
    let length = u16::try_from(mac.len()).expect("short").to_be_bytes();
    let tag = hmac::sign(key, &[&length[..], mac, &response, &variables].concat());
    let tag = tag.as_ref();
    let size = u16::try_from(tag.len()).expect("short").to_be_bytes();
    let data = [algorithm, time, &size, tag, &request[..2], &[0; 4]].concat();
    let length = u16::try_from(data.len()).expect("short").to_be_bytes();
    response[11] = 1;
    [&response[..], KEY_NAME, &[0, 250, 0, 255, 0, 0, 0, 0], &length, &data].concat()
}

/// Parses a name, and returns its end (RFC 1035 section 4.1.4).
fn name(message: &[u8], mut at: usize) -> (String, usize) {
    let (mut text, mut end) = (String::new(), None);
    loop {
        let length = usize::from(message[at]);
        if length >= 0xc0 {
            end.get_or_insert(at + 2);
            at = (length & 0x3f) << 8 | usize::from(message[at + 1]);
        } else if length == 0 {
            return (text, end.unwrap_or(at + 1));
        } else {
            text.push_str(std::str::from_utf8(&message[at + 1..=at + length]).expect("text"));
            text.push('.');
            at += 1 + length;
        }
    }
}
