//! What is written about where requests and connections are forwarded to.

use super::Setting;
use crate::source::Spanned;

/// Where `proxy` and `tunnel` go.
#[derive(Debug, Clone)]
pub enum ProxyTo {
    /// An upstream declared elsewhere.
    Name(Spanned<String>),
    /// These servers, encrypted if all are `https`.
    Servers(Vec<Spanned<Setting<String>>>, bool),
}
