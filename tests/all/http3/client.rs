//! A client of HTTP/3 that sends what a test says, on quinn.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::table::FIELDS;

pub(super) const DATA: u64 = 0;
pub(super) const HEADERS: u64 = 1;

/// A connection, whose control stream stays open.
pub(super) struct H3 {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    control: RefCell<Option<SendStream>>,
}

/// A response.
#[derive(Debug, Default)]
pub(super) struct H3Answer {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    /// The statuses of interim responses.
    pub(super) interim: Vec<u16>,
}

impl H3Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Writes an integer of QUIC.
pub(super) fn integer(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// Reads an integer of QUIC.
fn read_integer(bytes: &mut &[u8]) -> Option<u64> {
    let length = 1 << (bytes.first()? >> 6);
    let (mine, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(mine[1..].iter().fold(u64::from(mine[0] & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
}

pub(super) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [integer(kind), integer(payload.len() as u64), payload.to_vec()].concat()
}

/// An integer with a prefix (RFC 7541 section 5.1).
fn prefixed(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return vec![first | value as u8];
    }
    let (mut out, mut left) = (vec![first | mask as u8], value - mask);
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out
}

fn read_prefixed(bytes: &mut &[u8], prefix: u32) -> usize {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(bytes[0]) & mask;
    *bytes = &bytes[1..];
    let mut shift = 0;
    if value == mask {
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    value
}

/// A field section of literals alone.
pub(super) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        out.extend(prefixed(0x20, 3, name.len()));
        out.extend_from_slice(name.as_bytes());
        out.extend(prefixed(0, 7, value.len()));
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// Decodes a section without Huffman codes.
fn decoded(mut section: &[u8]) -> Vec<(String, String)> {
    assert_eq!(&section[..2], [0, 0], "no dynamic table");
    section = &section[2..];
    let mut fields = Vec::new();
    fn text(bytes: &mut &[u8], prefix: u32) -> String {
        assert_eq!(bytes[0] & (1 << prefix), 0, "no Huffman codes");
        let length = read_prefixed(bytes, prefix);
        let (mine, rest) = bytes.split_at(length);
        *bytes = rest;
        String::from_utf8_lossy(mine).into_owned()
    }
    while let Some(first) = section.first() {
        let (name, value) = match first {
            0xc0.. => {
                let (name, value) = FIELDS[read_prefixed(&mut section, 6)];
                (name.to_owned(), value.to_owned())
            }
            0x50..0x60 => {
                let name = FIELDS[read_prefixed(&mut section, 4)].0.to_owned();
                (name, text(&mut section, 7))
            }
            _ => {
                let name = text(&mut section, 3);
                (name, text(&mut section, 7))
            }
        };
        fields.push((name, value));
    }
    fields
}

/// The configuration of a client that trusts an authority, with a certificate of its own if it has one.
pub(super) fn config(ca: &str, own: Option<(&str, &str)>) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut tls = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = vec![CertificateDer::from_pem_file(chain).expect("a certificate")];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).expect("a key")).expect("they match")
        }
    };
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.enable_early_data = true;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a configuration")));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(Duration::from_secs(30).try_into().expect("a time")));
    transport.stream_receive_window(VarInt::from_u32(1 << 20));
    config.transport_config(Arc::new(transport));
    config
}

pub(super) fn endpoint() -> Endpoint {
    Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("an endpoint")
}

impl H3 {
    /// Connects, and opens a control stream.
    pub(super) async fn to(address: &str, name: &str, config: ClientConfig) -> Result<H3, ConnectionError> {
        let endpoint = endpoint();
        let address = address.parse().expect("an address");
        let connection = endpoint.connect_with(config, address, name).expect("a connection").await?;
        Ok(H3::of(endpoint, connection).await)
    }

    /// Opens a control stream on a connection.
    pub(super) async fn of(endpoint: Endpoint, connection: Connection) -> H3 {
        let h3 = H3 { endpoint, connection, control: RefCell::default() };
        let control = h3.uni(b"\x00\x04\x00").await.ok();
        h3.control.replace(control);
        h3
    }

    /// The same without a control stream.
    pub(super) async fn bare(address: &str, name: &str, config: ClientConfig) -> H3 {
        let endpoint = endpoint();
        let address = address.parse().expect("an address");
        let connection = endpoint.connect_with(config, address, name).expect("a connection").await;
        H3 { endpoint, connection: connection.expect("connected"), control: RefCell::default() }
    }

    /// Opens a unidirectional stream, and sends bytes.
    pub(super) async fn uni(&self, bytes: &[u8]) -> Result<SendStream, ()> {
        let mut stream = self.connection.open_uni().await.map_err(drop)?;
        stream.write_all(bytes).await.map_err(drop)?;
        Ok(stream)
    }

    /// Sends PRIORITY_UPDATE (RFC 9218 section 7.2).
    pub(super) async fn update_priority(&self, stream: u64, value: &str) {
        let mut control = self.control.take().expect("a control stream");
        let payload = [integer(stream), value.as_bytes().to_vec()].concat();
        control.write_all(&frame(0xf0700, &payload)).await.expect("sent");
        self.control.replace(Some(control));
    }

    /// Opens a request stream, and sends bytes.
    pub(super) async fn stream(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.connection.open_bi().await.expect("a stream");
        send.write_all(bytes).await.expect("sent");
        (send, receive)
    }

    /// Sends a request, and returns its response.
    pub(super) async fn ask(&self, fields: &[(&str, &str)], body: &[u8]) -> H3Answer {
        self.try_ask(fields, body).await.expect("a response")
    }

    /// The same; the error is the code that the stream was reset with.
    pub(super) async fn try_ask(&self, fields: &[(&str, &str)], body: &[u8]) -> Result<H3Answer, Option<u64>> {
        let mut bytes = frame(HEADERS, &section(fields));
        if !body.is_empty() {
            bytes.extend(frame(DATA, body));
        }
        let (mut send, receive) = self.connection.open_bi().await.map_err(|_| None)?;
        let sent = async move {
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
        };
        tokio::join!(sent, answer(receive)).1
    }

    pub(super) async fn get(&self, host: &str, path: &str) -> H3Answer {
        self.ask(&get(host, path), b"").await
    }

    /// Waits for the end of the connection, and returns its code.
    pub(super) async fn code(&self) -> u64 {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into(),
            other => panic!("closed otherwise: {other}"),
        }
    }
}

pub(super) fn get<'a>(host: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)]
}

/// Reads a response; the error is the code that the stream was reset with, if it was.
pub(super) async fn answer(mut receive: RecvStream) -> Result<H3Answer, Option<u64>> {
    let bytes = match receive.read_to_end(256 << 20).await {
        Ok(bytes) => bytes,
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => return Err(Some(code.into())),
        Err(_) => return Err(None),
    };
    let mut rest = bytes.as_slice();
    let mut found = H3Answer::default();
    while !rest.is_empty() {
        let kind = read_integer(&mut rest).expect("a frame");
        let length = read_integer(&mut rest).expect("a length") as usize;
        let (payload, after) = rest.split_at(length);
        rest = after;
        match kind {
            DATA => found.body.extend_from_slice(payload),
            HEADERS if found.status == 0 => {
                let mut fields = decoded(payload);
                assert_eq!(fields[0].0, ":status");
                let status = fields.remove(0).1.parse().expect("a status");
                if status < 200 {
                    found.interim.push(status);
                } else {
                    (found.status, found.fields) = (status, fields);
                }
            }
            HEADERS => found.trailers = decoded(payload),
            other => panic!("a frame of type {other}"),
        }
    }
    Ok(found)
}

/// Reads a stream frame by frame.
pub(super) struct Reader {
    stream: RecvStream,
    /// The rest of a DATA frame.
    data: Vec<u8>,
}

impl Reader {
    pub(super) fn new(stream: RecvStream) -> Reader {
        Reader { stream, data: Vec::new() }
    }

    /// Reads an integer.
    pub(super) async fn integer(&mut self) -> u64 {
        self.try_integer().await.expect("an integer")
    }

    pub(super) async fn try_integer(&mut self) -> Option<u64> {
        let mut bytes = vec![0];
        self.stream.read_exact(&mut bytes).await.ok()?;
        bytes.resize(1 << (bytes[0] >> 6), 0);
        self.stream.read_exact(&mut bytes[1..]).await.expect("the rest of an integer");
        read_integer(&mut bytes.as_slice())
    }

    /// Returns the next frame; `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<(u64, Vec<u8>)> {
        let kind = self.try_integer().await?;
        let mut payload = vec![0; self.integer().await as usize];
        self.stream.read_exact(&mut payload).await.expect("a payload");
        Some((kind, payload))
    }

    pub(super) async fn fields(&mut self) -> Vec<(String, String)> {
        let (kind, payload) = self.frame().await.expect("a frame");
        assert_eq!(kind, HEADERS);
        decoded(&payload)
    }

    /// Returns as many bytes of DATA frames.
    pub(super) async fn data(&mut self, size: usize) -> Vec<u8> {
        while self.data.len() < size {
            let (kind, payload) = self.frame().await.expect("a frame");
            assert_eq!(kind, DATA);
            self.data.extend(payload);
        }
        self.data.drain(..size).collect()
    }

    /// Returns the code that the stream is reset with.
    pub(super) async fn reset(&mut self) -> Option<u64> {
        loop {
            match self.stream.read_chunk(1 << 16, true).await {
                Ok(Some(_)) => {}
                Err(quinn::ReadError::Reset(code)) => return Some(code.into()),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}
