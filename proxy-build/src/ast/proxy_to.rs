//! The targets of requests and connections, as written.

use super::Setting;
use crate::source::Spanned;

/// The target of `proxy` and `tunnel`.
#[derive(Debug, Clone)]
pub enum ProxyTo {
    /// A declared upstream.
    Name(Spanned<String>),
    /// These servers, with TLS if all are `https`.
    Servers(Vec<Spanned<Setting<String>>>, bool),
}
