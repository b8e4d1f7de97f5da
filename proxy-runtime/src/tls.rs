//! Encrypted connections, from clients and to servers: [`Engine`], [`TlsStream`].
//!
//! rustls does the protocol and aws-lc the cryptography; here it is decided which certificate a client sees and what is asked
//! of a server's. The name a client asks for (RFC 6066 section 3) leads to its site by the table that leads requests there,
//! and the site to its certificates: perfect hashing, whether there are ten or a hundred thousand. What handshakes need is
//! made at start and when files are read again, and swapped whole: connections go on with what they began with.

mod accept;
#[cfg(feature = "acme")]
pub(crate) mod acme;
#[cfg(not(feature = "acme"))]
#[path = "tls/no_acme.rs"]
pub(crate) mod acme;
mod client;
mod explain;
mod server;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::explain::explain;
use self::server::Served;
use crate::settings::{Refused, Settings};
use crate::site::Site;
use crate::stream::Link;

pub(crate) use self::server::warnings;

/// An encrypted connection.
#[derive(Debug)]
pub(crate) struct TlsStream(tokio_rustls::TlsStream<Link>);

impl TlsStream {
    /// The connection that it goes over.
    pub(crate) fn under(&self) -> &Link {
        self.0.get_ref().0
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What a site's handshakes need; shared by all workers.
pub(crate) struct Engine {
    /// For clients, as the site's list of `tls`.
    served: Vec<ArcSwap<Served>>,
    /// For servers, as the site's list of upstreams.
    asked: Vec<ArcSwapOption<ClientConfig>>,
    /// What an authority wants to see.
    pub(crate) challenges: acme::Challenges,
}

impl Engine {
    /// Makes what is needed from the files as they were read.
    ///
    /// # Errors
    /// One for each certificate or key that is none.
    pub(crate) fn new(site: &Site, settings: &Settings) -> Result<Engine, Vec<Refused>> {
        let mut refused = Vec::new();
        let mut kept = |outcome: Result<_, Vec<Refused>>| outcome.map_err(|found| refused.extend(found)).ok();
        let served =
            site.tls.iter().filter_map(|tls| kept(server::make(tls, site, settings).map(ArcSwap::from_pointee)));
        let served = served.collect();
        let mut asked = Vec::new();
        for upstream in site.upstreams {
            match client::make(upstream, settings) {
                Ok(config) => asked.push(ArcSwapOption::new(config)),
                Err(found) => refused.push(found),
            }
        }
        refused.extend(acme::refused(site, settings));
        let challenges = acme::Challenges::default();
        if refused.is_empty() { Ok(Engine { served, asked, challenges }) } else { Err(refused) }
    }

    /// Makes it all anew from files that were read again; what can't be made stays as it was. Returns what went wrong.
    pub(crate) fn reload(&self, site: &Site, settings: &Settings) -> Vec<Refused> {
        let mut refused = Vec::new();
        for (tls, served) in site.tls.iter().zip(&self.served) {
            // One that nobody but the proxy signs is as good as another, and clients may have come to know it; those of an
            // authority are seen to elsewhere.
            if !matches!(tls.certificates, crate::site::Certificates::Files(_)) {
                continue;
            }
            match server::make(tls, site, settings) {
                Ok(made) => served.store(Arc::new(made)),
                Err(found) => refused.extend(found),
            }
        }
        for (upstream, asked) in site.upstreams.iter().zip(&self.asked) {
            match client::make(upstream, settings) {
                Ok(config) => asked.store(config),
                Err(found) => refused.push(found),
            }
        }
        refused
    }
}

/// The cryptography, with these groups in place of the usual ones.
fn provider(groups: &[crate::site::Group]) -> Arc<CryptoProvider> {
    use crate::site::Group;
    let mut provider = aws_lc_rs::default_provider();
    if !groups.is_empty() {
        let group = |group: &Group| match group {
            Group::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
            Group::X25519 => aws_lc_rs::kx_group::X25519,
            Group::Secp256r1 => aws_lc_rs::kx_group::SECP256R1,
            Group::Secp384r1 => aws_lc_rs::kx_group::SECP384R1,
        };
        provider.kx_groups = groups.iter().map(group).collect();
    }
    Arc::new(provider)
}
