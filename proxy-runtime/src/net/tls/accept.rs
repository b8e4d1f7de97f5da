//! A client's handshake: the requested site, the certificate, the client's certificate.

use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Poll, ready};

use rustls::server::Acceptor;
use rustls::{CommonState, NamedGroup, ProtocolVersion};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;

use super::acme;
use super::engine::Engine;
use super::explain::{NO_CIPHER_SUITE, NO_GROUP, explain};
use crate::context::facts::ClientCertificate;
use crate::failure::Failure;
use crate::net::certificate::Chain;
use crate::net::secured::Secured;
use crate::net::stream::{BufferedStream, SocketStream};
use crate::site::{KeyExchangeGroup, Site, TlsVersion};

/// Records of fatal alerts (RFC 8446 section 6): `unrecognized_name` (RFC 6066 section 3), `internal_error`.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

impl Engine {
    /// Performs the handshake. The caller enforces a time-out.
    ///
    /// # Errors
    /// [`Failure::Handshake`], or [`Failure::UnknownServerName`]: the alert has been sent. The connection, if it is still open, can only be
    /// closed.
    pub(crate) async fn accept(
        &self,
        site: &Site,
        listener: u32,
        link: BufferedStream,
    ) -> Result<(SocketStream, Secured), (Failure, Option<BufferedStream>)> {
        let speaks = &site.listeners[listener as usize].speaks;
        let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), link);
        let mut begun = match (&mut acceptor).await {
            Ok(begun) => begun,
            Err(error) => {
                return Err((Failure::Handshake(explain(&error)), acceptor.take_io()));
            }
        };
        let name = begun.client_hello().server_name().map(str::to_ascii_lowercase);
        if self.challenges.any() {
            let asks = begun.client_hello().alpn().is_some_and(|mut alpn| alpn.any(|one| one == acme::PROTOCOL));
            if let Some(config) = name.as_deref().filter(|_| asks).and_then(|name| self.challenges.config(name)) {
                // The authority only needs the handshake (RFC 8737 section 3).
                if let Ok(mut stream) = begun.into_stream(config).await {
                    let _ = stream.shutdown().await;
                }
                return Err((Failure::AcmeChallenge, None));
            }
        }
        // Only queried if it is needed, as it is a system call.
        let own = if name.is_none() { begun.io.stream.addresses().1.map(|own| own.ip()) } else { None };
        let Some(tls) = self.chosen(site, listener, name.as_deref(), own) else {
            // If this fails, the client has disconnected.
            let _ = begun.io.write_all(&UNRECOGNIZED_NAME).await;
            return Err((Failure::UnknownServerName, Some(begun.io)));
        };
        let Some(config) = self.served[usize::from(tls)].load().config(speaks) else {
            let _ = begun.io.write_all(&INTERNAL_ERROR).await;
            return Err((Failure::Handshake("the authority has not issued a certificate yet"), Some(begun.io)));
        };
        let hello = begun.client_hello();
        let suites = &config.crypto_provider().cipher_suites;
        let in_common = suites.iter().any(|suite| hello.cipher_suites().contains(&suite.suite()));
        let stream = begun.into_stream(config).into_fallible().await;
        let stream = stream.map_err(|(error, link)| {
            let why = match explain(&error) {
                // A client offers no groups if none of its cipher suites needs one.
                NO_GROUP if !in_common => NO_CIPHER_SUITE,
                why => why,
            };
            (Failure::Handshake(why), Some(link))
        })?;
        let secured = secured(stream.get_ref().1, tls, name);
        Ok((SocketStream::Tls(Box::new(stream.into())), secured))
    }

    /// Returns the server name in a client's handshake, of which nothing is consumed; `None` if there is none, or the
    /// client uses another protocol.
    pub(crate) async fn server_name(&self, link: &mut BufferedStream) -> Option<String> {
        let (mut acceptor, mut fed) = (Acceptor::default(), 0);
        std::future::poll_fn(|cx| {
            loop {
                while fed < link.bytes().len() {
                    let Ok(read @ 1..) = acceptor.read_tls(&mut &link.bytes()[fed..]) else { return Poll::Ready(None) };
                    fed += read;
                    match acceptor.accept() {
                        Ok(None) => {}
                        Ok(Some(accepted)) => {
                            let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                            return Poll::Ready(name);
                        }
                        Err(_) => return Poll::Ready(None),
                    }
                }
                match ready!(link.poll_fill(cx)) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Poll::Ready(None),
                }
            }
        })
        .await
    }

    /// Returns the index of the `tls` for a name. A client without a server name (which connects to an address) gets that of
    /// the site whose host is the local address `own`, the default, or the only one.
    pub(super) fn chosen(&self, site: &Site, listener: u32, name: Option<&str>, own: Option<IpAddr>) -> Option<u16> {
        let speaks = &site.listeners[listener as usize].speaks;
        let of_site = |host: &str| {
            let root = site.tables.site(listener, host)?;
            site.sites[root.id() as usize].tls
        };
        let only = || (self.served.len() == 1).then_some(0);
        match name {
            Some(name) => of_site(name).or(speaks.default),
            None => {
                // A site with this address as its host, or one for all hosts.
                let host = own.map(|own| match own.to_canonical() {
                    IpAddr::V4(own) => own.to_string(),
                    IpAddr::V6(own) => format!("[{own}]"),
                });
                of_site(&host.unwrap_or_default()).or(speaks.default).or_else(only)
            }
        }
    }
}

/// Returns the result of a handshake for `name`, by the rules of the `tls` with this index.
pub(super) fn secured(session: &CommonState, tls: u16, name: Option<String>) -> Secured {
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(|der| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        Rc::new(ClientCertificate {
            subject: Chain::of_der(der).map(|chain| chain.subject()).unwrap_or_default(),
            fingerprint: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    });
    Secured {
        tls,
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V13,
            _ => TlsVersion::V12,
        },
        cipher: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default(),
        name: name.map(String::into_boxed_str),
        group: session.negotiated_key_exchange_group().and_then(|group| match group.name() {
            NamedGroup::X25519MLKEM768 => Some(KeyExchangeGroup::X25519MlKem768),
            NamedGroup::X25519 => Some(KeyExchangeGroup::X25519),
            NamedGroup::secp256r1 => Some(KeyExchangeGroup::Secp256r1),
            NamedGroup::secp384r1 => Some(KeyExchangeGroup::Secp384r1),
            _ => None,
        }),
        http2: session.alpn_protocol() == Some(b"h2"),
        certificate,
    }
}
