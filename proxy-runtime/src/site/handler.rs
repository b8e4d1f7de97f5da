//! The part of the contract for handlers: `proxy`, `respond`, `redirect`, `files` and others.

use http::Method;

use crate::context::param::Setting;
use crate::context::template::Template;
use crate::protocol::methods::Methods;
use crate::value::{Bytes, List, Text};

/// A handler of requests.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Handler {
    /// Forwards the request to an upstream.
    Proxy(Proxy),
    /// Responds with a constant, or a template.
    Respond(Respond),
    /// Redirects to another URL.
    Redirect(Redirect),
    /// Serves a file.
    Files(Files),
    /// Returns the request itself, as JSON.
    Echo,
    /// Whether the proxy is ready.
    Health(Readiness),
    /// Closes the connection without a response.
    Abort,
}

impl Handler {
    /// Returns the handler for requests that this one does not respond to.
    pub fn otherwise(&self) -> Option<&Handler> {
        match self {
            Handler::Files(files) => files.or_else.first(),
            _ => None,
        }
    }

    /// Returns the upstreams of this handler, or of the one that it falls back to.
    pub fn proxy(&self) -> Option<&Proxy> {
        match self {
            Handler::Proxy(proxy) => Some(proxy),
            _ => self.otherwise()?.proxy(),
        }
    }

    /// Returns whether it responds to requests with a method.
    pub fn takes(&self, method: &Method) -> bool {
        match self {
            Handler::Files(_) => Methods::GET_AND_HEAD.contains(method),
            _ => true,
        }
    }

    /// Returns the handler that responds to requests with a method.
    pub fn for_method(&self, method: &Method) -> &Handler {
        match self.otherwise() {
            Some(next) if !self.takes(method) => next.for_method(method),
            _ => self,
        }
    }

    /// Returns whether it sends a response at all.
    pub fn responds(&self) -> bool {
        !matches!(self, Handler::Abort)
    }

    /// Returns the status of its response, if it is the same for all requests.
    pub fn status(&self) -> Option<u16> {
        match self {
            Handler::Respond(respond) => Some(respond.code),
            Handler::Echo => Some(200),
            // As long as nothing is known to be wrong.
            Handler::Health(_) => Some(200),
            _ => None,
        }
    }

    /// Returns the name of its directive.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Proxy(proxy) => proxy.name(),
            Handler::Respond(_) => "respond",
            Handler::Redirect(_) => "redirect",
            Handler::Files(_) => "files",
            Handler::Echo => "echo",
            Handler::Health(_) => "health",
            Handler::Abort => "abort",
        }
    }
}

/// `respond`: a constant response.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Respond {
    /// The status.
    pub code: u16,
    /// The body; without placeholders it is a single piece.
    pub body: RespondBody,
    /// `Content-Type`; empty omits it.
    pub content_type: Text,
}

/// The body of [`Respond`].
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RespondBody {
    /// Known when the site is built, or a file that is read at start.
    Bytes(Bytes),
    /// A template with placeholders.
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
    /// The target gets the request's query, if it has none of its own.
    pub keep_query: bool,
    /// The request's hosts that may be used in the target; empty if the site's own hosts are the limit.
    pub allow_hosts: List<Text>,
}

/// `health`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Readiness {
    /// The upstreams that must have a healthy server.
    pub upstreams: List<u16>,
}

/// `proxy`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// The upstreams with their shares; a single one, unless it is a `split`.
    pub shares: List<Share>,
    /// The key that determines the share of a request; `None` for a random choice.
    pub by: Option<Template>,
    /// The cookie that keeps a client with its first share.
    pub cookie: Option<Text>,
    /// The `Host` that the server receives.
    pub host: HostField,
    /// `Forwarded` (RFC 7239) is sent beside `X-Forwarded-*`.
    pub forwarded: bool,
    /// `X-Forwarded-Port` is sent.
    pub forwarded_port: bool,
    /// `X-Real-IP` is sent.
    pub real_ip: bool,
    /// The server decides whether a client that waits (`Expect: 100-continue`) shall send its body.
    pub asks_server: bool,
}

impl Proxy {
    /// Returns the name of its directive.
    pub fn name(&self) -> &'static str {
        if self.shares.len() > 1 { "split" } else { "proxy" }
    }
}

/// `files`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Files {
    /// The folder; if it is embedded, its name in the site file.
    pub folder: Setting<Text>,
    /// The index of an embedded folder in the site's bundle.
    pub bundled: Option<u16>,
    /// The capture of the pattern that is the path in the folder; `None` for the whole path.
    pub rest: Option<u8>,
    /// The name of a folder's index file.
    pub index: Text,
    /// The file that is served if there is no other.
    pub fallback: Option<Text>,
    /// Folders without an index are listed.
    pub listing: bool,
    /// Names that begin with a dot are served.
    pub dotfiles: bool,
    /// Symbolic links are followed, if they stay in the folder.
    pub symlinks: bool,
    /// Compressed variants beside a file are served; embedded files are compressed during the build.
    pub precompressed: bool,
    /// Files with a content hash in their name are `immutable`.
    pub immutable: bool,
    /// The `else` handler, for requests without a file, and for all methods but GET and HEAD: at most one.
    pub or_else: List<Handler>,
}

/// `send-file` of an upstream: a folder with files that its servers may name.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFile {
    /// The prefix of paths in `X-Accel-Redirect`; `None` for `X-Sendfile`, which names files by their paths on this machine.
    pub prefix: Option<Text>,
    /// The folder.
    pub files: Files,
}

/// `to`: an upstream's share of a [`Proxy`]'s requests.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Share {
    /// The index of the upstream.
    pub upstream: u16,
    /// Its weight, relative to the others'.
    pub weight: u64,
}

/// The `Host` that a server receives.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostField {
    /// The client's.
    Client,
    /// The server's own address.
    Upstream,
    /// A fixed one.
    Fixed(Text),
}
