//! A TLS client that measures the cost of handshakes and connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Makes connections one after the other, each for one request, and returns their number; with `resumed`, all but the
/// first resume an earlier session. `None` if the proxy does not respond.
pub(crate) fn connect_for_a_second(port: u16, resumed: bool) -> Option<usize> {
    let config = config(resumed);
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        let mut stream = connect(&config, port)?;
        ask(&mut stream, "Connection: close\r\n")?;
        // Tickets may arrive with the end of the response.
        let _ = stream.read_to_end(&mut Vec::new());
        let kind = stream.conn.handshake_kind();
        if resumed && count > 0 && kind != Some(rustls::HandshakeKind::Resumed) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// Opens this many connections, with one response on each.
pub(crate) fn keep(port: u16, count: usize) -> Option<Vec<Stream>> {
    let config = config(false);
    let all = (0..count).map(|_| {
        let mut stream = connect(&config, port)?;
        ask(&mut stream, "")?;
        Some(stream)
    });
    all.collect()
}

fn connect(config: &Arc<ClientConfig>, port: u16) -> Option<Stream> {
    let socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_nodelay(true).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    Some(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).ok()?, socket))
}

fn ask(stream: &mut Stream, more: &str) -> Option<()> {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").as_bytes()).ok()?;
    let mut head = [0; 4096];
    let len = stream.read(&mut head).ok()?;
    head[..len].starts_with(b"HTTP/1.1 200").then_some(())
}

pub(crate) fn config(resumed: bool) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    // The parameters that all of the proxies support.
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    if !resumed {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

/// Accepts any certificate: the proxies are measured, not verified.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
