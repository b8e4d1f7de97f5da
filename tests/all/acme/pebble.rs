//! The test authority of Let's Encrypt ([`Pebble`]), and a server in front of it that records, counts and changes requests
//! ([`Front`]).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{PATIENCE, address};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// An authority with its name server; stopped on drop.
pub(super) struct Pebble {
    names: Child,
    authority: Child,
    dir: PathBuf,
    own: String,
    nonces: u32,
    /// The URL of its directory.
    pub(super) directory: String,
    /// The path of the root certificate of its server.
    pub(super) ca: String,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in [&mut self.names, &mut self.authority] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Pebble {
    /// An authority that resolves all hosts to `ip`, with certificates that are valid for `validity` seconds; `None` if it
    /// is not installed.
    pub(super) fn new(name: &str, ip: &str, validity: u64) -> Option<Pebble> {
        Pebble::with(name, ip, validity, false, 5)
    }

    /// An authority that requires an external account, or rejects this percentage of nonces.
    pub(super) fn with(name: &str, ip: &str, validity: u64, external: bool, nonces: u32) -> Option<Pebble> {
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
        let names = quiet(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", ip, "-defaultIPv6", "", "-dns01", &format!("{own}:8053")])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", &format!("{own}:8055")]),
        );
        let authority = authority(&dir, &own, nonces);
        wait_for(&format!("{own}:8055"));
        wait_for(&format!("{own}:14000"));
        let (directory, ca) = (format!("https://{own}:14000/dir"), ca.ca());
        Some(Pebble { names, authority, dir, own, nonces, directory, ca })
    }

    /// The management address of its name server.
    pub(super) fn management(&self) -> String {
        format!("{}:8055", self.own)
    }

    /// Restarts the authority, which loses its state.
    pub(super) fn restart(&mut self) {
        let _ = self.authority.kill();
        let _ = self.authority.wait();
        self.authority = authority(&self.dir, &self.own, self.nonces);
        wait_for(&format!("{}:14000", self.own));
    }
}

fn authority(dir: &std::path::Path, own: &str, nonces: u32) -> Child {
    quiet(
        Command::new("pebble")
            .args(["-config", dir.join("config.json").to_str().expect("text"), "-dnsserver", &format!("{own}:8053")])
            // Otherwise it would wait for a random time.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", nonces.to_string()),
    )
}

/// Sets the TXT records of a name on the name server.
pub(super) fn set_records(management: &str, name: &str, values: &[String]) {
    let tell = |path: &str, body: String| {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: names\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        assert_eq!(kiln_tests::client::ask(management, &request).status, 200, "{path}");
    };
    tell("/clear-txt", format!(r#"{{"host":"{name}"}}"#));
    for value in values {
        tell("/set-txt", format!(r#"{{"host":"{name}","value":"{value}"}}"#));
    }
}

fn quiet(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn wait_for(address: &str) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "pebble does not start");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A request to the authority.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    head: String,
    body: Vec<u8>,
    /// The status of the authority's response.
    pub(super) status: u16,
}

impl Asked {
    /// The signed payload (RFC 7515).
    pub(super) fn payload(&self) -> String {
        self.part("payload")
    }

    /// The requested host.
    pub(super) fn host(&self) -> &str {
        let host = self.head.lines().find_map(|line| line.strip_prefix("host: "));
        host.unwrap_or_else(|| panic!("no host in {}", self.head))
    }

    /// The account that has signed it.
    pub(super) fn key_id(&self) -> String {
        let header: serde_json::Value = serde_json::from_str(&self.part("protected")).unwrap_or_default();
        header["kid"].as_str().unwrap_or_default().to_owned()
    }

    fn part(&self, name: &str) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let part = data_encoding::BASE64URL_NOPAD.decode(body[name].as_str().unwrap_or_default().as_bytes());
        String::from_utf8(part.expect("base64")).expect("text")
    }
}

/// An error response with a problem document.
pub(super) fn respond(status: u16, fields: &str, problem: &str, detail: &str) -> String {
    let body = format!(r#"{{"type":"urn:ietf:params:acme:error:{problem}","detail":"{detail}","status":{status}}}"#);
    format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/problem+json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A server in front of an authority.
pub(super) struct Front {
    /// The URL of the authority's directory on this server.
    pub(super) directory: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Front {
    /// `before` may respond in place of the authority; `after` may change the body of its response.
    pub(super) fn new(
        pebble: &Pebble,
        before: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static,
        after: impl Fn(&Asked, String) -> String + Send + Sync + 'static,
    ) -> Front {
        let own = address();
        let ca = std::fs::read(&pebble.ca).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca).expect("PEM")).expect("a root");
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // The authority's own certificate is for another address.
        let dir = scratch(&format!("front-{}", own.replace([':', '.'], "-")));
        let authority = Authority::new(&dir);
        authority.sign("front", "front", &[own.split(':').next().expect("an ip")]);
        // Clients that trust the authority trust this server, too.
        let both = [ca, std::fs::read(dir.join("ca.pem")).expect("a certificate")].concat();
        std::fs::write(&pebble.ca, both).expect("written");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let front = Front { directory: format!("https://{own}/dir"), asked: Arc::clone(&asked) };
        let authority = pebble.own.clone();
        encrypted(&own, &dir, "front", move |head, body| {
            let mut words = head.split(' ');
            let mut next = || words.next().unwrap_or_default().to_owned();
            let mut one = Asked { method: next(), path: next(), head, body, status: 0 };
            let response = match before(&one) {
                Some(response) => response,
                None => pass_on(&client, &authority, &one, &after),
            };
            one.status = response[9..12].parse().expect("a status");
            asked.lock().expect("a lock").push(one);
            response
        });
        front
    }

    /// The number of matching requests.
    pub(super) fn count(&self, such: impl Fn(&Asked) -> bool) -> usize {
        self.asked.lock().expect("a lock").iter().filter(|asked| such(asked)).count()
    }

    /// The signed payloads of all requests with this path.
    pub(super) fn payloads(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("a lock");
        asked.iter().filter(|asked| asked.path == path && asked.status == 201).map(Asked::payload).collect()
    }

    /// The number of objects that were created at this path.
    pub(super) fn created(&self, path: &str) -> usize {
        self.count(|asked| asked.path == path && asked.status == 201)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An HTTPS server, with the certificate of this name in the folder.
pub(super) fn encrypted(
    address: &str,
    folder: &Path,
    name: &str,
    respond: impl Fn(String, Vec<u8>) -> String + Send + Sync + 'static,
) {
    let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let shared = Arc::new((Arc::new(config), respond));
    let listener = TcpListener::bind(address).expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let (config, respond) = &*shared;
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                let mut link = StreamOwned::new(ServerConnection::new(Arc::clone(config)).expect("a session"), stream);
                while let Some((head, body)) = message(&mut link) {
                    if link.write_all(respond(head, body).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn pass_on(client: &ClientConfig, authority: &str, asked: &Asked, after: &impl Fn(&Asked, String) -> String) -> String {
    let name = ServerName::try_from(authority.to_owned()).expect("an address");
    let session = ClientConnection::new(Arc::new(client.clone()), name).expect("a session");
    let stream = TcpStream::connect(format!("{authority}:14000")).expect("the authority");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut link = StreamOwned::new(session, stream);
    // Responses of HTTP/1.0 end with the connection, and are not chunked.
    let head = asked.head.replacen("HTTP/1.1", "HTTP/1.0", 1);
    link.write_all(head.as_bytes()).and_then(|()| link.write_all(&asked.body)).expect("sent");
    let mut response = Vec::new();
    // The connection may end without `close_notify`.
    let _ = link.read_to_end(&mut response);
    let response = String::from_utf8(response).expect("text");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let head = head.replacen("HTTP/1.0", "HTTP/1.1", 1);
    let body = if asked.method == "HEAD" { String::new() } else { after(asked, body.to_owned()) };
    let fields: String = head
        .lines()
        .filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("content-length:") && !line.starts_with("connection:")
        })
        .map(|line| format!("{line}\r\n"))
        .collect();
    format!("{fields}content-length: {}\r\n\r\n{body}", body.len())
}

/// Reads a request: a head with its empty line, and a body of the announced length.
fn message(link: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end + 4].to_vec()).expect("text");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("a length"))
            });
            if read.len() >= end + 4 + length.unwrap_or(0) {
                return Some((head, read.split_off(end + 4)));
            }
        }
        match link.read(&mut buffer) {
            Ok(n @ 1..) => read.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}
