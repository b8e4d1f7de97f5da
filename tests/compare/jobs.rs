//! The jobs of the benchmark: the configuration of the proxies, and the load.

/// A job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// One route, small responses.
    Plain,
    /// The same with an access log.
    Logged,
    /// The same with a rate limit that no client reaches.
    Limited,
    /// The same with a token in each request (JWT, ES256).
    Token,
    /// Many routes by prefix.
    Prefixes(usize),
    /// Many routes by regular expression.
    Expressions(usize),
    /// Many hosts.
    Hosts(usize),
    /// Responses of [`LARGE`] bytes.
    Download,
    /// Requests of [`LARGE`] bytes.
    Upload,
    /// Like `Plain`, with TLS.
    Tls,
    /// The same over HTTP/2, with 16 streams on each of four connections.
    Http2,
    /// HTTP/3: a constant response, and a file of [`LARGE`] bytes at `/large`. Measured by `http3`, not with the others.
    Http3,
    /// A TLS connection for each request.
    Handshakes,
    /// The same with resumed sessions.
    Resumed,
    /// Like `Download`, with TLS.
    TlsDownload,
    /// Like `Plain`, from the cache.
    Cached,
    /// A file of 10 KiB, or of 1 MiB.
    File(usize),
    /// A file of 10 KiB that is compiled in (peers read it from disk), with or without compression.
    Embedded { compressed: bool },
    /// The same response by a program that does nothing else.
    Bare,
    /// Responses of [`TEXT`] bytes of text, compressed with a coding at a level; on the fly, or from a cache.
    Compressed { coding: &'static str, level: u8, cached: bool },
}

/// Compressible text: 64 KiB.
pub(crate) const TEXT: usize = 64 << 10;

/// A large body: 10 MiB.
pub(crate) const LARGE: usize = 10 << 20;

pub(crate) const JOBS: &[Job] = &[
    Job::Plain,
    Job::Logged,
    Job::Prefixes(10),
    Job::Prefixes(1_000),
    Job::Prefixes(10_000),
    Job::Prefixes(100_000),
    Job::Expressions(10),
    Job::Expressions(1_000),
    Job::Expressions(10_000),
    Job::Expressions(100_000),
    Job::Hosts(1_000),
    Job::Download,
    Job::Upload,
    Job::Tls,
    Job::Http2,
    Job::Handshakes,
    Job::Resumed,
    Job::TlsDownload,
    Job::Cached,
    Job::File(10 << 10),
    Job::File(1 << 20),
    Job::Embedded { compressed: false },
    Job::Embedded { compressed: true },
    Job::Compressed { coding: "gzip", level: 5, cached: false },
    Job::Compressed { coding: "br", level: 4, cached: false },
    Job::Compressed { coding: "zstd", level: 3, cached: false },
    Job::Compressed { coding: "gzip", level: 5, cached: true },
];

impl Job {
    pub(crate) fn name(self) -> String {
        match self {
            Job::Plain => "plain".to_owned(),
            Job::Logged => "access log".to_owned(),
            Job::Limited => "rate limit".to_owned(),
            Job::Token => "token (JWT)".to_owned(),
            Job::Prefixes(n) => format!("{n} prefixes"),
            Job::Expressions(n) => format!("{n} expressions"),
            Job::Hosts(n) => format!("{n} hosts"),
            Job::Download => "10 MiB down".to_owned(),
            Job::Upload => "10 MiB up".to_owned(),
            Job::Tls => "TLS, kept connections".to_owned(),
            Job::Http2 => "HTTP/2 over TLS, 16 streams".to_owned(),
            Job::Http3 => "HTTP/3".to_owned(),
            Job::Handshakes => "new TLS 1.3 connections".to_owned(),
            Job::Resumed => "resumed TLS 1.3 connections".to_owned(),
            Job::TlsDownload => "10 MiB down over TLS".to_owned(),
            Job::Cached => "cache hits".to_owned(),
            Job::File(size) => format!("a file of {} KiB", size >> 10),
            Job::Embedded { compressed: false } => "a file of 10 KiB, compiled in".to_owned(),
            Job::Embedded { .. } => "the same, compressed before".to_owned(),
            Job::Bare => "one read, one write, and nothing else".to_owned(),
            Job::Compressed { coding, level, cached } => {
                format!("64 KiB of text, {coding} {level}{}", if cached { ", out of the cache" } else { "" })
            }
        }
    }

    /// Returns whether it is among the wanted ones: a comma-separated list of parts of names; all, if there is none.
    pub(crate) fn is_among(self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|parts| parts.split(',').any(|part| self.name().contains(part.trim())))
    }

    /// The job to compare with: the same with fewer routes, or without the log.
    pub(crate) fn without(self) -> Option<Job> {
        match self {
            Job::Logged => Some(Job::Plain),
            Job::Prefixes(11..) => Some(Job::Prefixes(10)),
            Job::Expressions(11..) => Some(Job::Expressions(10)),
            Job::Hosts(11..) => Some(Job::Hosts(10)),
            Job::Embedded { compressed: false } => Some(Job::Bare),
            _ => None,
        }
    }

    /// The number of concurrent clients.
    pub(crate) fn clients(self) -> usize {
        match self {
            Job::Download | Job::Upload | Job::TlsDownload | Job::Http2 | Job::File(100_000..) => 4,
            _ => 64,
        }
    }

    /// Returns whether connections use TLS.
    pub(crate) fn tls(self) -> bool {
        matches!(self, Job::Tls | Job::Http2 | Job::Http3 | Job::Handshakes | Job::Resumed | Job::TlsDownload)
    }

    /// A path that the job is about.
    pub(crate) fn path(self) -> String {
        match self {
            Job::Prefixes(n) | Job::Expressions(n) => format!("/section{}/12345", n / 2),
            Job::Cached => "/cached".to_owned(),
            Job::Embedded { .. } => "/10240.txt".to_owned(),
            Job::File(size) => format!("/{size}.txt"),
            _ => "/".to_owned(),
        }
    }

    /// The script for wrk.
    pub(crate) fn script(self) -> String {
        match self {
            Job::Plain
            | Job::Logged
            | Job::Limited
            | Job::Token
            | Job::Tls
            | Job::Http2
            | Job::Http3
            | Job::Handshakes
            | Job::Resumed => "request = function() return wrk.format('GET', '/') end".to_owned(),
            // The same thousand requests in a loop, whatever the number of routes.
            Job::Prefixes(n) | Job::Expressions(n) => format!(
                "local i = 0\nrequest = function() i = (i + 7919) % 1000\n\
                 return wrk.format('GET', '/section' .. math.floor(i * {n} / 1000) .. '/12345') end"
            ),
            Job::Hosts(n) => format!(
                "local i = 0\nrequest = function() i = (i + 7919) % {n}\n\
                 return wrk.format('GET', '/', {{['Host'] = 'host' .. i .. '.example.com'}}) end"
            ),
            Job::Download | Job::TlsDownload => {
                "request = function() return wrk.format('GET', '/large') end".to_owned()
            }
            Job::File(size) => format!("request = function() return wrk.format('GET', '/{size}.txt') end"),
            Job::Embedded { compressed: false } | Job::Bare => {
                "request = function() return wrk.format('GET', '/10240.txt') end".to_owned()
            }
            Job::Embedded { .. } => {
                "request = function() return wrk.format('GET', '/10240.txt', {['Accept-Encoding'] = 'gzip'}) end"
                    .to_owned()
            }
            Job::Compressed { coding, .. } => {
                format!(
                    "request = function() return wrk.format('GET', '/text', {{['Accept-Encoding'] = '{coding}'}}) end"
                )
            }
            Job::Cached => "request = function() return wrk.format('GET', '/cached') end".to_owned(),
            Job::Upload => format!(
                "local body = string.rep('x', {LARGE})\nrequest = function() return wrk.format('POST', '/', nil, body) end"
            ),
        }
    }
}
