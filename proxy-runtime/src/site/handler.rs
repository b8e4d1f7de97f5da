//! The part of the contract for handlers: an upstream, a file, a constant, another URL.

use http::Method;

use crate::context::param::Setting;
use crate::context::template::Template;
use crate::protocol::methods::Methods;
use crate::value::{Bytes, List, Text};

/// A handler of requests.
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
    /// The handler that answers what this one does not.
    pub fn otherwise(&self) -> Option<&Handler> {
        match self {
            Handler::Files(files) => files.or_else.first(),
            _ => None,
        }
    }

    /// The upstreams that may be asked: by this handler, or by the one that answers in its place.
    pub fn proxy(&self) -> Option<&Proxy> {
        match self {
            Handler::Proxy(proxy) => Some(proxy),
            _ => self.otherwise()?.proxy(),
        }
    }

    /// Whether it answers requests with a method.
    pub fn takes(&self, method: &Method) -> bool {
        match self {
            Handler::Files(_) => Methods::GET_AND_HEAD.contains(method),
            _ => true,
        }
    }

    /// Which handler answers requests with a method.
    pub fn for_method(&self, method: &Method) -> &Handler {
        match self.otherwise() {
            Some(next) if !self.takes(method) => next.for_method(method),
            _ => self,
        }
    }

    /// Whether there is a response at all.
    pub fn responds(&self) -> bool {
        !matches!(self, Handler::Abort)
    }

    /// The status of its response, where it is the same for all requests.
    pub fn status(&self) -> Option<u16> {
        match self {
            Handler::Respond(respond) => Some(respond.code),
            Handler::Echo => Some(200),
            _ => None,
        }
    }

    /// The name of its directive.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Proxy(proxy) => proxy.name(),
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

/// `proxy`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// The upstreams that have a share; one, unless it is a `split`.
    pub shares: List<Share>,
    /// What decides which share a request is of, where that is not chance.
    pub by: Option<Template>,
    /// The cookie that keeps a client with the share it had first.
    pub cookie: Option<Text>,
    /// The `Host` that the server sees.
    pub host: HostField,
    /// `Forwarded` (RFC 7239) is sent beside `X-Forwarded-*`.
    pub forwarded: bool,
    /// `X-Forwarded-Port` is sent.
    pub forwarded_port: bool,
    /// `X-Real-IP` is sent.
    pub real_ip: bool,
    /// The server says whether a client that waits (`Expect: 100-continue`) is to send its body.
    pub asks_server: bool,
}

impl Proxy {
    /// The name of its directive.
    pub fn name(&self) -> &'static str {
        if self.shares.len() > 1 { "split" } else { "proxy" }
    }
}

/// `files`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Files {
    /// The folder; where it is compiled in, what the site file calls it.
    pub folder: Setting<Text>,
    /// Where it is compiled in, its number in the site's bundle.
    pub bundled: Option<u16>,
    /// Which binding of the pattern is the path in it; `None` for the whole path.
    pub rest: Option<u8>,
    /// The name that stands for a folder.
    pub index: Text,
    /// The file that answers for what is not there.
    pub fallback: Option<Text>,
    /// Folders without an index are listed.
    pub listing: bool,
    /// Names that begin with a dot are served.
    pub dotfiles: bool,
    /// Symbolic links are followed, if they stay in the folder.
    pub symlinks: bool,
    /// Files beside the file that have it compressed are served; where it is compiled in, it is compressed then.
    pub precompressed: bool,
    /// Names with a hash of their content in them are never asked about again.
    pub immutable: bool,
    /// Who answers where there is no file, and all methods but GET and HEAD: one handler, or none.
    pub or_else: List<Handler>,
}

/// `send-file` of an upstream: a folder whose files its servers may have sent.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFile {
    /// What paths in `X-Accel-Redirect` begin with; `None` where it is `X-Sendfile` that names files, by their paths on this machine.
    pub prefix: Option<Text>,
    /// The folder.
    pub files: Files,
}

/// `to`: an upstream's part of a [`Proxy`]'s requests.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Share {
    /// The index of the upstream.
    pub upstream: u16,
    /// Its share, relative to the others'.
    pub weight: u64,
}

/// The `Host` that a server sees.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostField {
    /// The client's.
    Client,
    /// The server's own address.
    Upstream,
    /// This one.
    Fixed(Text),
}
