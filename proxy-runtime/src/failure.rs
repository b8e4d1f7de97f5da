//! Every "no": why the proxy answers itself because something is wrong. One word per reason, the same in this enum, the
//! log and the tests. Pure.

use http::StatusCode;

use crate::protocol::target::Refusal;
use crate::router::route::MethodSet;

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The head is not one (RFC 9112 section 2.2).
    BadRequest,
    /// The host is missing or is none (RFC 9112 section 3.2).
    BadHost,
    /// The path is one that must not be matched.
    BadPath,
    /// The body's framing is not one (RFC 9112 section 6.1): both lengths, several lengths, bad chunks.
    BadFraming,
    /// The client breaks the rules of HTTP/2, and the connection with it (RFC 9113 section 5.4.1).
    Http2Protocol,
    /// The client sends frames of HTTP/2 without end that ask for nothing (RFC 9113 section 10.5).
    FrameFlood,
    /// Another major version of HTTP than 1, in HTTP/1.1's form (RFC 9110 section 15.6.6).
    UnsupportedVersion,
    /// What `rewrite` made of the path would leave the root.
    BadRewrite,
    /// No site has the host.
    UnknownHost,
    /// The site has no route for the path.
    NoRoute,
    /// The path has routes, but not for this method.
    MethodNotAllowed(MethodSet),
    /// The head is larger than `limits headers`.
    HeadersTooLarge,
    /// The target is longer than `limits uri`.
    UriTooLong,
    /// The body is larger than `limits body`.
    BodyTooLarge,
    /// The request did not arrive in time.
    RequestTimeout,
    /// An `Expect` that is not `100-continue` (RFC 9110 section 10.1.1).
    ExpectationFailed,
    /// The site is reached by a connection that was made for another, and that its own `tls` would not have let come about
    /// (client certificates, version, groups); or an `https` URL by one that is not encrypted.
    MisdirectedRequest,
    /// A plain request where TLS is spoken.
    PlainHttp,
    /// The TLS handshake failed, for this reason.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "made by `tls` alone"))]
    Handshake(&'static str),
    /// It was no client, but an authority's look at a host (RFC 8737).
    #[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "made by `acme` alone"))]
    AcmeChallenge,
    /// What comes before the first request took too long.
    HandshakeTimeout,
    /// More TLS handshakes at once than `limits handshakes`.
    TooManyHandshakes,
    /// The client names a host in its handshake that no site has.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "made by `tls` alone"))]
    UnknownServerName,
    /// The connection does not begin with a PROXY header from somebody who may send one.
    ProxyProtocol,
    /// More client connections than `limits connections`.
    TooManyConnections,
    /// More of one client's connections than `limits per-client`.
    ClientConnectionLimit,
    /// No server of the upstream has an address.
    NameUnresolved,
    /// No server of the upstream is healthy, or all were tried.
    NoHealthyUpstream,
    /// All servers are full, and enough requests wait for that to change.
    UpstreamOverloaded,
    /// All servers were full for too long.
    PendingTimeout,
    /// No server could be connected to.
    ConnectFailed,
    /// No server could be connected to in time.
    ConnectTimeout,
    /// The process has no file descriptor for it, or none that this use may have.
    NoDescriptors,
    /// No handshake with the server: it is not the one that is meant, or can't be talked to.
    UpstreamTls,
    /// The server closed or reset before it answered.
    UpstreamReset,
    /// What the server sent is no answer.
    UpstreamInvalid,
    /// The head of the server's answer, or its trailers, are larger than 64 KiB.
    UpstreamHeadTooLarge,
    /// The server does not change to the protocol that the client has asked for by extended CONNECT (RFC 8441).
    NotUpgraded,
    /// The upstream fails each time it is asked on behalf of the requests for the same, of which this is one.
    UpstreamFailing,
    /// The server did not answer in time.
    ResponseTimeout,
    /// The exchange took longer than `timeouts total`.
    TotalTimeout,
    /// The answer's body stopped moving.
    BodyIdleTimeout,
    /// The server closed in the middle of the answer's body.
    UpstreamTruncated,
    /// The server has another version of what the first parts were sent of.
    UpstreamChanged,
    /// The client has cut off its request's body.
    RequestTruncated,
    /// The client sends or takes a body more slowly than `limits min-rate`.
    ClientTooSlow,
    /// The client was gone before the answer was.
    ClientDisconnected,
    /// The client takes nothing, and there is no memory for more of those (`limits memory`).
    MemoryFull,
    /// What is kept does not do, and the client wants nothing else (RFC 9111 section 5.2.1.7).
    NotCached,
    /// What is kept on disk can't be read, or is not what was written.
    StoreUnreadable,
    /// A PURGE from somebody who may not.
    PurgeRefused,
    /// A PURGE whose pattern or groups can't be read.
    PurgeMalformed,
    /// A purge could not be written to disk, or does not hold in another process with the folder: it holds in this process, and is
    /// forgotten with a restart.
    PurgeNotDurable,
    /// The file of `maintenance` is there; when clients may come again, in seconds.
    Maintenance(Option<u32>),
    /// `deny`, or not `allow`ed.
    AddressDenied,
    /// More often than `rate-limit`.
    RateLimited(Limited),
    /// More at once than `concurrency-limit`.
    TooManyInFlight(StatusCode),
    /// A browser asks for pages that may not.
    CorsRefused,
    /// No credentials, or none of the right form.
    Unauthenticated,
    /// Credentials, but nobody's.
    WrongCredentials,
    /// Too many passwords are looked up already.
    #[cfg_attr(not(feature = "auth"), allow(dead_code, reason = "made by `auth` alone"))]
    AuthBusy,
    /// A token that is none, or signed by nobody who may.
    InvalidToken,
    /// A token that names a key that is not there.
    #[cfg_attr(not(feature = "jwt"), allow(dead_code, reason = "made by `jwt` alone"))]
    UnknownKey,
    /// A token that has ended, or not begun.
    ExpiredToken,
    /// A token that does not say what it has to.
    InsufficientToken,
    /// There are no keys to verify a token by, or they are too old.
    KeysUnavailable,
    /// Who is asked by `auth forward` has refused.
    AuthRefused,
    /// Who is asked by `auth forward` does not answer, or fails.
    AuthUnreachable,
    /// The client has shown no certificate.
    NoCertificate,
    /// The client's certificate is another's.
    CertificateDenied,
    /// A body of a type that is not taken.
    UnsupportedMediaType,
    /// A `block` has found something.
    Blocked(StatusCode),
    /// A function of the user's (`filter`) has panicked.
    FilterPanicked,
    /// No file has this name, or none that may be served.
    NoFile,
    /// A server has named a file to be sent that it may not have sent, for this reason.
    SendFileRefused(&'static str),
    /// A file is there and can't be read.
    FileUnreadable,
    /// The disk with the files does not respond.
    DiskUnavailable,
    /// `If-Match` or `If-Unmodified-Since` does not hold (RFC 9110 section 13.1).
    PreconditionFailed,
    /// `fault` has it so.
    Fault(StatusCode),
    /// The proxy is at fault.
    Internal,
}

/// What is said to who comes too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) status: StatusCode,
    /// When it may come again, in seconds.
    pub(crate) wait: u32,
    /// So many requests in so many seconds.
    pub(crate) quota: u32,
    pub(crate) window: u32,
}

impl Failure {
    /// The word in logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Failure::BadRequest => "bad-request",
            Failure::BadHost => "bad-host",
            Failure::BadPath => "bad-path",
            Failure::BadFraming => "bad-framing",
            Failure::Http2Protocol => "http2-protocol",
            Failure::FrameFlood => "frame-flood",
            Failure::UnsupportedVersion => "unsupported-version",
            Failure::BadRewrite => "bad-rewrite",
            Failure::UnknownHost => "unknown-host",
            Failure::NoRoute => "no-route",
            Failure::MethodNotAllowed(_) => "method-not-allowed",
            Failure::HeadersTooLarge => "headers-too-large",
            Failure::UriTooLong => "uri-too-long",
            Failure::BodyTooLarge => "body-too-large",
            Failure::RequestTimeout => "request-timeout",
            Failure::ExpectationFailed => "expectation-failed",
            Failure::MisdirectedRequest => "misdirected-request",
            Failure::PlainHttp => "plain-http",
            Failure::Handshake(_) => "tls-handshake",
            Failure::AcmeChallenge => "acme-challenge",
            Failure::HandshakeTimeout => "handshake-timeout",
            Failure::TooManyHandshakes => "too-many-handshakes",
            Failure::UnknownServerName => "unknown-server-name",
            Failure::ProxyProtocol => "proxy-protocol",
            Failure::TooManyConnections => "too-many-connections",
            Failure::ClientConnectionLimit => "client-connection-limit",
            Failure::NameUnresolved => "dns-failure",
            Failure::NoHealthyUpstream => "no-healthy-upstream",
            Failure::UpstreamOverloaded => "upstream-overloaded",
            Failure::PendingTimeout => "pending-timeout",
            Failure::ConnectFailed => "connect-failed",
            Failure::ConnectTimeout => "connect-timeout",
            Failure::NoDescriptors => "no-descriptors",
            Failure::UpstreamTls => "upstream-tls",
            Failure::UpstreamReset => "upstream-reset",
            Failure::UpstreamInvalid => "upstream-invalid",
            Failure::UpstreamHeadTooLarge => "upstream-head-too-large",
            Failure::NotUpgraded => "not-upgraded",
            Failure::UpstreamFailing => "upstream-failing",
            Failure::ResponseTimeout => "response-timeout",
            Failure::TotalTimeout => "total-timeout",
            Failure::BodyIdleTimeout => "body-idle-timeout",
            Failure::UpstreamTruncated => "upstream-truncated",
            Failure::UpstreamChanged => "upstream-changed",
            Failure::RequestTruncated => "request-truncated",
            Failure::ClientTooSlow => "client-too-slow",
            Failure::ClientDisconnected => "client-disconnected",
            Failure::MemoryFull => "memory-full",
            Failure::NotCached => "not-cached",
            Failure::StoreUnreadable => "store-unreadable",
            Failure::PurgeRefused => "purge-refused",
            Failure::PurgeMalformed => "purge-malformed",
            Failure::PurgeNotDurable => "purge-not-durable",
            Failure::Maintenance(_) => "maintenance",
            Failure::AddressDenied => "address-denied",
            Failure::RateLimited(_) => "rate-limited",
            Failure::TooManyInFlight(_) => "too-many-in-flight",
            Failure::CorsRefused => "cors-refused",
            Failure::Unauthenticated => "unauthenticated",
            Failure::WrongCredentials => "wrong-credentials",
            Failure::AuthBusy => "auth-busy",
            Failure::InvalidToken => "invalid-token",
            Failure::UnknownKey => "unknown-key",
            Failure::ExpiredToken => "expired-token",
            Failure::InsufficientToken => "insufficient-token",
            Failure::KeysUnavailable => "keys-unavailable",
            Failure::AuthRefused => "auth-refused",
            Failure::AuthUnreachable => "auth-unreachable",
            Failure::NoCertificate => "no-certificate",
            Failure::CertificateDenied => "certificate-denied",
            Failure::UnsupportedMediaType => "unsupported-media-type",
            Failure::Blocked(_) => "blocked",
            Failure::FilterPanicked => "filter-panicked",
            Failure::NoFile => "no-file",
            Failure::SendFileRefused(_) => "send-file-refused",
            Failure::FileUnreadable => "file-unreadable",
            Failure::DiskUnavailable => "disk-unavailable",
            Failure::PreconditionFailed => "precondition-failed",
            Failure::Fault(_) => "fault",
            Failure::Internal => "internal",
        }
    }

    /// What there is to say beyond the reason, for people; empty for most.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Failure::Handshake(detail) | Failure::SendFileRefused(detail) => detail,
            _ => "",
        }
    }

    /// The status it is answered with, where there still is an answer to give.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Failure::BadRequest
            | Failure::BadHost
            | Failure::BadPath
            | Failure::BadFraming
            | Failure::Http2Protocol
            | Failure::FrameFlood
            | Failure::BadRewrite
            | Failure::RequestTruncated
            | Failure::PurgeMalformed
            | Failure::PlainHttp
            | Failure::Handshake(_)
            | Failure::AcmeChallenge
            | Failure::HandshakeTimeout
            | Failure::UnknownServerName
            | Failure::ProxyProtocol => StatusCode::BAD_REQUEST,
            Failure::Fault(status) | Failure::TooManyInFlight(status) | Failure::Blocked(status) => status,
            Failure::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Failure::RateLimited(limited) => limited.status,
            Failure::PurgeRefused
            | Failure::AddressDenied
            | Failure::CorsRefused
            | Failure::InsufficientToken
            | Failure::AuthRefused
            | Failure::NoCertificate
            | Failure::CertificateDenied => StatusCode::FORBIDDEN,
            Failure::Unauthenticated
            | Failure::WrongCredentials
            | Failure::InvalidToken
            | Failure::UnknownKey
            | Failure::ExpiredToken => StatusCode::UNAUTHORIZED,
            Failure::UnknownHost | Failure::MisdirectedRequest => StatusCode::MISDIRECTED_REQUEST,
            Failure::NoRoute | Failure::NoFile => StatusCode::NOT_FOUND,
            Failure::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Failure::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Failure::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Failure::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Failure::UriTooLong => StatusCode::URI_TOO_LONG,
            Failure::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::RequestTimeout | Failure::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
            Failure::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Failure::TooManyConnections
            | Failure::ClientConnectionLimit
            | Failure::TooManyHandshakes
            | Failure::NameUnresolved
            | Failure::NoHealthyUpstream
            | Failure::UpstreamOverloaded
            | Failure::UpstreamFailing
            | Failure::AuthBusy
            | Failure::KeysUnavailable
            | Failure::MemoryFull
            | Failure::AuthUnreachable
            | Failure::PurgeNotDurable
            | Failure::DiskUnavailable
            | Failure::NoDescriptors
            | Failure::Maintenance(_)
            | Failure::PendingTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Failure::ConnectFailed
            | Failure::UpstreamTls
            | Failure::UpstreamReset
            | Failure::UpstreamInvalid
            | Failure::UpstreamHeadTooLarge
            | Failure::NotUpgraded
            | Failure::UpstreamTruncated
            | Failure::UpstreamChanged
            | Failure::SendFileRefused(_) => StatusCode::BAD_GATEWAY,
            Failure::ConnectTimeout
            | Failure::ResponseTimeout
            | Failure::TotalTimeout
            | Failure::BodyIdleTimeout
            | Failure::NotCached => StatusCode::GATEWAY_TIMEOUT,
            Failure::ClientDisconnected
            | Failure::StoreUnreadable
            | Failure::FilterPanicked
            | Failure::FileUnreadable
            | Failure::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether it is the upstream's, and would be whoever asks: one that the request itself is the cause of tells nothing about others.
    pub(crate) fn is_upstreams(self) -> bool {
        matches!(
            self,
            Failure::NameUnresolved
                | Failure::NoHealthyUpstream
                | Failure::UpstreamOverloaded
                | Failure::PendingTimeout
                | Failure::ConnectFailed
                | Failure::ConnectTimeout
                | Failure::UpstreamTls
                | Failure::UpstreamReset
                | Failure::UpstreamInvalid
                | Failure::ResponseTimeout
        )
    }

    /// Whether the connection is of no more use: what follows on it can't be told apart from what was refused.
    pub(crate) fn closes(self) -> bool {
        matches!(
            self,
            Failure::BadFraming
                | Failure::BodyTooLarge
                | Failure::RequestTimeout
                | Failure::RequestTruncated
                | Failure::ClientTooSlow
                | Failure::HeadersTooLarge
        )
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::HostMissing | Refusal::HostInvalid => Failure::BadHost,
            Refusal::TargetForm
            | Refusal::Scheme
            | Refusal::PathForbidden
            | Refusal::PathEncoding
            | Refusal::PathEscapes => Failure::BadPath,
        }
    }
}
