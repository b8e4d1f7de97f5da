//! What is written about who answers.

use super::{FileSource, Files, Item, Setting, Split, Template, What};
use crate::source::Spanned;

/// A handler.
#[derive(Debug, Clone)]
pub enum Handler {
    /// `proxy`.
    Proxy(Proxy),
    /// `split`.
    Split(Split),
    /// `respond`.
    Respond(Respond),
    /// `redirect`.
    Redirect(Redirect),
    /// `files`.
    Files(Files),
    /// `echo`.
    Echo,
    /// `abort`.
    Abort,
}

impl Handler {
    /// How it forwards: itself, or whoever answers where it has no file.
    pub fn forwarding(&self) -> Option<&Forwarding> {
        match self {
            Handler::Proxy(proxy) => Some(&proxy.forwarding),
            Handler::Split(split) => Some(&split.forwarding),
            Handler::Files(files) => files.or_else.iter().find_map(|item| match &item.what {
                What::Handler(handler) => handler.forwarding(),
                _ => None,
            }),
            _ => None,
        }
    }
}

/// `proxy`.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// A name, or URLs.
    pub to: ProxyTo,
    /// `host=`.
    pub host: Option<Spanned<HostChoice>>,
    /// What is said of the client.
    pub forwarding: Forwarding,
}

/// How `proxy` and `split` forward: what they say of the client beside what they say anyway, and whether the server asks for bodies.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as the properties")]
pub struct Forwarding {
    pub forwarded: Option<Spanned<bool>>,
    /// `forwarded-port=`.
    pub port: Option<Spanned<bool>>,
    pub real_ip: Option<Spanned<bool>>,
    /// `continue=`: whether it is the server's to say.
    pub asks_server: Option<Spanned<bool>>,
}

/// Where `proxy` goes.
#[derive(Debug, Clone)]
pub enum ProxyTo {
    /// An upstream declared elsewhere.
    Name(Spanned<String>),
    /// These servers, encrypted if all are `https`.
    Servers(Vec<Spanned<Setting<String>>>, bool),
}

/// `proxy host=`.
#[derive(Debug, Clone)]
pub enum HostChoice {
    /// The client's.
    Client,
    /// The server's address.
    Upstream,
    /// This one.
    Fixed(String),
}

/// `respond`.
#[derive(Debug, Clone)]
pub struct Respond {
    /// The status.
    pub code: Spanned<u16>,
    /// The body.
    pub body: Option<Spanned<Template>>,
    /// `type=`.
    pub content_type: Option<Spanned<String>>,
    /// `file=`.
    pub file: Option<Spanned<FileSource>>,
}

/// `redirect`.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// The status.
    pub code: Spanned<u16>,
    /// The target.
    pub to: Spanned<Template>,
    /// `query=drop`.
    pub drop_query: Option<Spanned<()>>,
    /// `allow-host` lines.
    pub items: Vec<Item>,
}
