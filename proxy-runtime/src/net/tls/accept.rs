//! A client's handshake: the requested site, the certificate, the client's certificate.

use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Poll, ready};

use rustls::pki_types::UnixTime;
use rustls::server::Acceptor;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CommonState, HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;

use super::acme;
use super::engine::Engine;
use super::explain::{NO_CIPHER_SUITE, NO_GROUP, explain, of_library};
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
        let (config, verifier) = {
            let served = self.served[usize::from(tls)].load();
            (served.config(speaks), served.verifier())
        };
        let Some(config) = config else {
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
        let session: &CommonState = stream.get_ref().1;
        if let Err(error) = still_verified(verifier.as_deref(), session, UnixTime::now()) {
            return Err((Failure::Handshake(of_library(&error)), None));
        }
        let secured = secured(session, tls, name);
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

/// Verifies the client's certificate again if the client has resumed a session: the library only did so when the session began, since when
/// the certificate may have expired. Sessions are resumed again and again, each time with a new ticket, and so would never end.
///
/// # Errors
/// The certificate is no longer valid at `now`.
pub(super) fn still_verified(
    verifier: Option<&dyn ClientCertVerifier>,
    session: &CommonState,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    match (verifier, session.peer_certificates(), session.handshake_kind()) {
        (Some(verifier), Some([own, others @ ..]), Some(HandshakeKind::Resumed)) => {
            verifier.verify_client_cert(own, others, now).map(|_| ())
        }
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    use rustls::time_provider::TimeProvider;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;
    use crate::net::tls::provider::provider;

    /// 2024-01-01, when all certificates are valid.
    #[derive(Debug)]
    struct Then;

    const THEN: u64 = 1_704_067_200;
    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    impl TimeProvider for Then {
        fn current_time(&self) -> Option<UnixTime> {
            Some(at(THEN))
        }
    }

    fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(key.serialize_der().into())
    }

    /// Completes a handshake, and takes in the tickets.
    fn shake(client: &mut ClientConnection, server: &mut ServerConnection) {
        for _ in 0..8 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("written");
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                server.read_tls(&mut sent).expect("read");
                server.process_new_packets().expect("accepted");
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("written");
            }
            let mut sent = wire.as_slice();
            while !sent.is_empty() {
                client.read_tls(&mut sent).expect("read");
                client.process_new_packets().expect("accepted");
            }
        }
        assert!(!server.is_handshaking() && !client.is_handshaking());
    }

    /// A session does not outlive the client's certificate, nor is it resumed before.
    #[test]
    fn resumed_sessions_need_a_valid_certificate() {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
        let authority_key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&authority_key).expect("signed");
        let issuer = Issuer::new(params, authority_key);
        let issue = |host: &str, usage| {
            let (mut params, key) =
                (CertificateParams::new(vec![host.to_owned()]).expect("a name"), KeyPair::generate().expect("a key"));
            (params.not_before, params.not_after) = (date_time_ymd(2023, 12, 31), date_time_ymd(2024, 1, 8));
            params.extended_key_usages = vec![usage];
            (vec![params.signed_by(&key, &issuer).expect("signed").der().clone()], key_of(&key))
        };
        let (own, own_key) = issue("a.test", ExtendedKeyUsagePurpose::ServerAuth);
        let (shown, shown_key) = issue("client.test", ExtendedKeyUsagePurpose::ClientAuth);
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("an authority");
        let (roots, provider) = (Arc::new(roots), provider(&[]));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let verifier = verifier.build().expect("a verifier");
        let server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Then));
        let server = server.with_safe_default_protocol_versions().expect("versions");
        let server = server.with_client_cert_verifier(Arc::clone(&verifier));
        let mut server = server.with_single_cert(own, own_key).expect("a certificate");
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("keys");
        let client = ClientConfig::builder_with_details(provider, Arc::new(Then));
        let client = client.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
        let client = client.with_client_auth_cert(shown, shown_key).expect("a certificate");
        let (server, client) = (Arc::new(server), Arc::new(client));

        for (kind, expected) in [(HandshakeKind::Full, true), (HandshakeKind::Resumed, false)] {
            let mut client =
                ClientConnection::new(Arc::clone(&client), "a.test".try_into().expect("a name")).expect("a client");
            let mut server = ServerConnection::new(Arc::clone(&server)).expect("a server");
            shake(&mut client, &mut server);
            assert!(server.handshake_kind() == Some(kind) && server.peer_certificates().is_some());
            let check = |now: u64, expected: bool| {
                assert_eq!(still_verified(Some(&*verifier), &server, at(now)).is_ok(), expected, "{kind:?} {now}");
            };
            check(THEN, true);
            check(THEN + 6 * DAY, true);
            // The handshake has verified the certificate itself, with its own clock.
            check(THEN + 8 * DAY, expected);
            check(THEN - 2 * DAY, expected);
            assert!(still_verified(None, &server, at(THEN + 8 * DAY)).is_ok());
        }
    }
}
