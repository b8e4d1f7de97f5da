//! Who answers a request.

use http::Method;

use super::{Bytes, Files, List, Methods, Proxy, Text};
use crate::template::Template;

/// Who answers a request.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Handler {
    /// An upstream.
    Proxy(Proxy),
    /// A constant, or a template.
    Respond(Respond),
    /// Another URL.
    Redirect(Redirect),
    /// A file.
    Files(Files),
    /// The request itself, as JSON.
    Echo,
    /// Nobody: the connection is closed.
    Abort,
}

impl Handler {
    /// The upstreams that may be asked: by this handler, or by the one that answers where it has no file.
    pub fn proxy(&self) -> Option<&Proxy> {
        match self {
            Handler::Proxy(proxy) => Some(proxy),
            Handler::Files(files) => files.or_else.first()?.proxy(),
            _ => None,
        }
    }

    /// Who answers a method: of folders the one that is asked instead, where it is not for files.
    pub fn for_method(&self, method: &Method) -> &Handler {
        match self {
            Handler::Files(files) if !Methods::GET_AND_HEAD.contains(method) => {
                files.or_else.first().map_or(self, |next| next.for_method(method))
            }
            _ => self,
        }
    }

    /// The name of its directive.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Proxy(proxy) if proxy.shares.len() > 1 => "split",
            Handler::Proxy(_) => "proxy",
            Handler::Respond(_) => "respond",
            Handler::Redirect(_) => "redirect",
            Handler::Files(_) => "files",
            Handler::Echo => "echo",
            Handler::Abort => "abort",
        }
    }
}

/// `respond`: a constant answer.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Respond {
    /// The status.
    pub code: u16,
    /// The body; one without placeholders is a single piece.
    pub body: RespondBody,
    /// `Content-Type`; empty for none.
    pub content_type: Text,
}

/// The body of [`Respond`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RespondBody {
    /// Known at build, or a file read at start.
    Bytes(Bytes),
    /// With placeholders.
    Template(Template),
}

/// `redirect`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
    /// `Location`.
    pub to: Template,
    /// The request's query is the target's, where that has none of its own.
    pub keep_query: bool,
    /// The request's hosts that may appear in the target; empty where the site's own hosts are the limit.
    pub allow_hosts: List<Text>,
}
