//! The client of `admin` ([`AdminClient`]): its address, its credentials, and one connection for each request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use data_encoding::BASE64;
use http::{HeaderValue, Method};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::PATIENCE;
use super::arguments::Ctl;
use crate::body::own::OwnResponse;
use crate::context::settings::{self, Address, variable};
use crate::net::stream::{BufferedStream, Buffers, SocketStream};
use crate::net::tls::{self, ClientFiles};
use crate::site::{Setting, Site};
use crate::worker::MIN_BUFFER;

/// The time-out for connecting, with the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// A request to an `admin` endpoint. Its parts were validated as arguments: none has a line end.
pub(super) struct AdminRequest<'r> {
    pub(super) method: &'r Method,
    /// The path and query.
    pub(super) path: &'r str,
    pub(super) host: &'r str,
    pub(super) fields: &'r [(&'static str, &'r str)],
    /// The body, in the form `a=b&c=d`.
    pub(super) form: &'r str,
}

/// A client of an `admin` endpoint.
pub(super) struct AdminClient {
    address: String,
    /// The name to verify in the endpoint's certificate, if the endpoint has TLS.
    tls: Option<String>,
    files: ClientFiles,
    authorization: Option<String>,
    buffers: &'static Buffers,
}

impl AdminClient {
    /// Creates a client for the `admin` of a site.
    ///
    /// # Errors
    /// Fails if the site has no `admin`, its address is not known, or an option is not valid.
    pub(super) fn new(site: &Site, ctl: &Ctl) -> Result<AdminClient, String> {
        let admin = site.admin.ok_or("the site of this proxy has no `admin`, and nothing listens to `ctl`")?;
        let listener = site.listeners.get(usize::from(admin.listener)).ok_or("`admin` has no address")?;
        let address = match &listener.address {
            Setting::Fixed(address) => address.to_string(),
            Setting::Param(index) => {
                let param = site.params.get(usize::from(*index)).ok_or("`admin` has no address")?;
                let given = ctl.params.get(&*param.name).cloned();
                let given = given.or_else(|| std::env::var(variable(&param.name)).ok());
                given.or_else(|| param.default.as_deref().map(str::to_owned)).ok_or_else(|| {
                    format!(
                        "the address of `admin` is a parameter: give --{0} or set {1}",
                        param.name,
                        variable(&param.name)
                    )
                })?
            }
        };
        settings::address(&address).map_err(|why| format!("`{address}`: {why}"))?;
        let named = |tls: u16| site.tls.get(usize::from(tls)).and_then(|tls| tls.hosts.first());
        let tls =
            listener.speaks.tls.then(|| match (ctl.options.get("name"), listener.speaks.default.and_then(named)) {
                (Some(name), _) => name.clone(),
                (None, Some(host)) => host.to_string(),
                (None, None) => host_of(&address),
            });
        let read = |option: &str| ctl.options.get(option).map(|path| read(path)).transpose();
        Ok(AdminClient {
            authorization: authorization(ctl)?,
            tls,
            files: ClientFiles { ca: read("ca")?, certificate: read("cert")?, key: read("key")? },
            buffers: Box::leak(Box::new(Buffers::new(MIN_BUFFER))),
            address,
        })
    }

    /// Sends a request, and returns the response with a body that is not read yet.
    ///
    /// # Errors
    /// Fails if the endpoint can't be reached, or does not respond in time.
    pub(super) async fn send(&self, request: &AdminRequest<'_>) -> Result<OwnResponse, String> {
        let failed = |why: String| format!("{}: {why}", self.address);
        let link = timeout(CONNECT, self.connect()).await;
        let mut link = link.map_err(|_| failed("it can't be connected to in time".to_owned()))?.map_err(failed)?;
        let written = self.written(request);
        let response = async {
            link.write_all(&written).await.map_err(|error| error.to_string())?;
            link.flush().await.map_err(|error| error.to_string())?;
            Ok(OwnResponse::receive(link, request.method).await?)
        };
        let response = timeout(PATIENCE, response).await;
        response.map_err(|_| failed(format!("no response within {PATIENCE:?}")))?.map_err(failed)
    }

    /// Returns the bytes of a request.
    fn written(&self, request: &AdminRequest<'_>) -> Vec<u8> {
        let AdminRequest { method, path, host, fields, form } = *request;
        let length = form.len().to_string();
        let authorization = self.authorization.as_ref().map(|value| ("authorization", value.as_str()));
        let content = (*method == Method::POST).then_some(("content-length", &*length));
        let fields = [("host", host), ("connection", "close")].into_iter().chain(fields.iter().copied());
        let mut written = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in fields.chain(authorization).chain(content) {
            written.extend([name, ": ", value, "\r\n"]);
        }
        written.extend(["\r\n", form]);
        written.into_bytes()
    }

    async fn connect(&self) -> Result<BufferedStream, String> {
        let stream = match settings::address(&self.address)? {
            Address::Unix(path) => UnixStream::connect(path).await.map(SocketStream::Unix),
            Address::Tcp(host, port) => TcpStream::connect(&*addresses(host, port)).await.map(SocketStream::Tcp),
        };
        let link = BufferedStream::new(stream.map_err(|error| error.to_string())?, self.buffers);
        let Some(name) = &self.tls else { return Ok(link) };
        let stream = tls::connect_verified(&self.files, name, link).await?;
        Ok(BufferedStream::new(stream, self.buffers))
    }
}

/// Returns the addresses that reach a listener: one on all addresses is reached on this machine's own.
fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let all = match host.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => vec![ip],
        // A listener's address has an IP address, `localhost`, or no host.
        Ok(_) | Err(_) => local.to_vec(),
    };
    all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn host_of(address: &str) -> String {
    match settings::address(address) {
        Ok(Address::Tcp(host, port)) => addresses(host, port).first().map(|first| first.ip().to_string()),
        Ok(Address::Unix(_)) | Err(_) => None,
    }
    .unwrap_or_else(|| "localhost".to_owned())
}

/// Returns the credentials, if some are given. Secrets come from files and variables: all users of a machine can read arguments.
fn authorization(ctl: &Ctl) -> Result<Option<String>, String> {
    let secret = |option: &str, variable: &str| match ctl.options.get(option) {
        Some(path) => {
            let text = String::from_utf8(read(path)?).map_err(|_| format!("`{path}` is not text"))?;
            Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
        }
        None => Ok::<_, String>(std::env::var(variable).ok()),
    };
    let user = ctl.options.get("user").cloned().or_else(|| std::env::var("KILN_CTL_USER").ok());
    let password = secret("password-file", "KILN_CTL_PASSWORD")?;
    let value = match (user, password, secret("token-file", "KILN_CTL_TOKEN")?) {
        (Some(user), Some(password), _) => format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes())),
        (Some(user), None, _) => return Err(format!("the password of `{user}` is missing: give --password-file")),
        (None, Some(_), _) => return Err("whose password it is, is missing: give --user".to_owned()),
        (None, None, Some(token)) => format!("Bearer {token}"),
        (None, None, None) => return Ok(None),
    };
    match HeaderValue::from_str(&value) {
        Ok(_) => Ok(Some(value)),
        Err(_) => Err("the key has characters that no field can have".to_owned()),
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("`{path}`: {error}"))
}
