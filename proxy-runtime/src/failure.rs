//! Every reason for an error response of the proxy's own. There is one word per reason, the same in this enum, the
//! log and the tests. Pure.

use http::StatusCode;

use crate::protocol::target::TargetError;
use crate::router::route::MethodSet;

/// Declares the reasons: each with its word in logs, and the status it is answered with, where there still is an answer to give.
macro_rules! failures {
    ($($(#[$about:meta])* $name:ident $(($with:ident: $type:ty))? = $reason:literal, $status:expr;)*) => {
        /// Why an exchange failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Failure {
            $($(#[$about])* $name $(($type))?,)*
        }

        /// The reasons by number.
        #[derive(Clone, Copy)]
        enum Number {
            $($name,)*
        }

        impl Failure {
            /// The words of all reasons.
            pub(crate) const REASONS: &[&str] = &[$($reason),*];

            /// Where its word stands in [`Failure::REASONS`].
            pub(crate) fn index(self) -> usize {
                match self {
                    $(Failure::$name { .. } => Number::$name as usize,)*
                }
            }

            /// The word in logs.
            pub(crate) fn reason(self) -> &'static str {
                match self {
                    $(Failure::$name { .. } => $reason,)*
                }
            }

            /// The status it is answered with, where there still is a response to give.
            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Failure::$name $(($with))? => $status,)*
                }
            }
        }
    };
}

failures! {
    /// The head is not one (RFC 9112 section 2.2).
    BadRequest = "bad-request", StatusCode::BAD_REQUEST;
    /// The host is missing or is none (RFC 9112 section 3.2).
    BadHost = "bad-host", StatusCode::BAD_REQUEST;
    /// The path is one that must not be matched.
    BadPath = "bad-path", StatusCode::BAD_REQUEST;
    /// The body's framing is not one (RFC 9112 section 6.1): both lengths, several lengths, bad chunks.
    BadFraming = "bad-framing", StatusCode::BAD_REQUEST;
    /// The client breaks the rules of HTTP/2, and the connection with it (RFC 9113 section 5.4.1).
    Http2Protocol = "http2-protocol", StatusCode::BAD_REQUEST;
    /// The client sends frames of HTTP/2 without end that ask for nothing (RFC 9113 section 10.5).
    FrameFlood = "frame-flood", StatusCode::BAD_REQUEST;
    /// Another major version of HTTP than 1, in HTTP/1.1's form (RFC 9110 section 15.6.6).
    UnsupportedVersion = "unsupported-version", StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    /// What `rewrite` made of the path would leave the root.
    BadRewrite = "bad-rewrite", StatusCode::BAD_REQUEST;
    /// No site has the host.
    UnknownHost = "unknown-host", StatusCode::MISDIRECTED_REQUEST;
    /// The site has no route for the path.
    NoRoute = "no-route", StatusCode::NOT_FOUND;
    /// The path has routes, but not for this method.
    MethodNotAllowed(_methods: MethodSet) = "method-not-allowed", StatusCode::METHOD_NOT_ALLOWED;
    /// The head is larger than `limits headers`.
    HeadersTooLarge = "headers-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// The target is longer than `limits uri`.
    UriTooLong = "uri-too-long", StatusCode::URI_TOO_LONG;
    /// The body is larger than `limits body`.
    BodyTooLarge = "body-too-large", StatusCode::PAYLOAD_TOO_LARGE;
    /// The request did not arrive in time.
    RequestTimeout = "request-timeout", StatusCode::REQUEST_TIMEOUT;
    /// An `Expect` that is not `100-continue` (RFC 9110 section 10.1.1).
    ExpectationFailed = "expectation-failed", StatusCode::EXPECTATION_FAILED;
    /// The site is reached by a connection that was made for another, and that its own `tls` would not have let come about
    /// (client certificates, version, groups); or an `https` URL by one that is not encrypted.
    MisdirectedRequest = "misdirected-request", StatusCode::MISDIRECTED_REQUEST;
    /// A plain request where TLS is spoken.
    PlainHttp = "plain-http", StatusCode::BAD_REQUEST;
    /// The TLS handshake failed, for this reason.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "made by `tls` alone"))]
    Handshake(_detail: &'static str) = "tls-handshake", StatusCode::BAD_REQUEST;
    /// It was no client, but an authority's look at a host (RFC 8737).
    #[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "made by `acme` alone"))]
    AcmeChallenge = "acme-challenge", StatusCode::BAD_REQUEST;
    /// What comes before the first request took too long.
    HandshakeTimeout = "handshake-timeout", StatusCode::BAD_REQUEST;
    /// More TLS handshakes at once than `limits handshakes`.
    TooManyHandshakes = "too-many-handshakes", StatusCode::SERVICE_UNAVAILABLE;
    /// The client names a host in its handshake that no site has.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "made by `tls` alone"))]
    UnknownServerName = "unknown-server-name", StatusCode::BAD_REQUEST;
    /// The connection does not begin with a PROXY header from somebody who may send one.
    ProxyProtocol = "proxy-protocol", StatusCode::BAD_REQUEST;
    /// More client connections than `limits connections`.
    TooManyConnections = "too-many-connections", StatusCode::SERVICE_UNAVAILABLE;
    /// More of one client's connections than `limits per-client`.
    ClientConnectionLimit = "client-connection-limit", StatusCode::SERVICE_UNAVAILABLE;
    /// No server of the upstream has an address.
    NameUnresolved = "dns-failure", StatusCode::SERVICE_UNAVAILABLE;
    /// No server of the upstream is healthy, or all were tried.
    NoHealthyUpstream = "no-healthy-upstream", StatusCode::SERVICE_UNAVAILABLE;
    /// All servers are full, and enough requests wait for that to change.
    UpstreamOverloaded = "upstream-overloaded", StatusCode::SERVICE_UNAVAILABLE;
    /// All servers were full for too long.
    PendingTimeout = "pending-timeout", StatusCode::SERVICE_UNAVAILABLE;
    /// No server could be connected to.
    ConnectFailed = "connect-failed", StatusCode::BAD_GATEWAY;
    /// No server could be connected to in time.
    ConnectTimeout = "connect-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The process has no file descriptor for it, or none that this use may have.
    NoDescriptors = "no-descriptors", StatusCode::SERVICE_UNAVAILABLE;
    /// No handshake with the server: it is not the one that is meant, or can't be talked to.
    UpstreamTls = "upstream-tls", StatusCode::BAD_GATEWAY;
    /// The server closed or reset before it answered.
    UpstreamReset = "upstream-reset", StatusCode::BAD_GATEWAY;
    /// What the server sent is no response.
    UpstreamInvalid = "upstream-invalid", StatusCode::BAD_GATEWAY;
    /// The head of the server's response, or its trailers, are larger than 64 KiB.
    UpstreamHeadTooLarge = "upstream-head-too-large", StatusCode::BAD_GATEWAY;
    /// The server does not change to the protocol that the client has asked for by extended CONNECT (RFC 8441).
    NotUpgraded = "not-upgraded", StatusCode::BAD_GATEWAY;
    /// The upstream fails each time it is asked on behalf of the requests for the same, of which this is one.
    UpstreamFailing = "upstream-failing", StatusCode::SERVICE_UNAVAILABLE;
    /// The server did not answer in time.
    ResponseTimeout = "response-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The exchange took longer than `timeouts total`.
    TotalTimeout = "total-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The response's body stopped moving.
    BodyIdleTimeout = "body-idle-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The server closed in the middle of the response's body.
    UpstreamTruncated = "upstream-truncated", StatusCode::BAD_GATEWAY;
    /// The server has another version of what the first parts were sent of.
    UpstreamChanged = "upstream-changed", StatusCode::BAD_GATEWAY;
    /// The client has cut off its request's body.
    RequestTruncated = "request-truncated", StatusCode::BAD_REQUEST;
    /// The client sends or takes a body more slowly than `limits min-rate`.
    ClientTooSlow = "client-too-slow", StatusCode::REQUEST_TIMEOUT;
    /// The client was gone before the response was.
    ClientDisconnected = "client-disconnected", StatusCode::INTERNAL_SERVER_ERROR;
    /// The client takes nothing, and there is no memory for more of those (`limits memory`).
    MemoryFull = "memory-full", StatusCode::SERVICE_UNAVAILABLE;
    /// What is kept does not do, and the client wants nothing else (RFC 9111 section 5.2.1.7).
    NotCached = "not-cached", StatusCode::GATEWAY_TIMEOUT;
    /// What is kept on disk can't be read, or is not what was written.
    StoreUnreadable = "store-unreadable", StatusCode::INTERNAL_SERVER_ERROR;
    /// A PURGE from somebody who may not.
    PurgeRefused = "purge-refused", StatusCode::FORBIDDEN;
    /// A PURGE whose pattern or groups can't be read.
    PurgeMalformed = "purge-malformed", StatusCode::BAD_REQUEST;
    /// A purge could not be written to disk, or does not hold in another process with the folder: it holds in this process, and is
    /// forgotten with a restart.
    PurgeNotDurable = "purge-not-durable", StatusCode::SERVICE_UNAVAILABLE;
    /// The file of `maintenance` is there; when clients may come again, in seconds.
    Maintenance(_wait: Option<u32>) = "maintenance", StatusCode::SERVICE_UNAVAILABLE;
    /// `deny`, or not `allow`ed.
    AddressDenied = "address-denied", StatusCode::FORBIDDEN;
    /// More often than `rate-limit`.
    RateLimited(limited: RateLimited) = "rate-limited", limited.status;
    /// More at once than `concurrency-limit`.
    TooManyInFlight(status: StatusCode) = "too-many-in-flight", status;
    /// A browser asks for pages that may not.
    CorsRefused = "cors-refused", StatusCode::FORBIDDEN;
    /// No credentials, or none of the right form.
    Unauthenticated = "unauthenticated", StatusCode::UNAUTHORIZED;
    /// Credentials, but nobody's.
    WrongCredentials = "wrong-credentials", StatusCode::UNAUTHORIZED;
    /// Too many passwords are looked up already.
    #[cfg_attr(not(feature = "auth"), allow(dead_code, reason = "made by `auth` alone"))]
    AuthBusy = "auth-busy", StatusCode::SERVICE_UNAVAILABLE;
    /// A token that is none, or signed by nobody who may.
    InvalidToken = "invalid-token", StatusCode::UNAUTHORIZED;
    /// A token that names a key that is not there.
    #[cfg_attr(not(feature = "jwt"), allow(dead_code, reason = "made by `jwt` alone"))]
    UnknownKey = "unknown-key", StatusCode::UNAUTHORIZED;
    /// A token that has ended, or not begun.
    ExpiredToken = "expired-token", StatusCode::UNAUTHORIZED;
    /// A token that does not say what it has to.
    InsufficientToken = "insufficient-token", StatusCode::FORBIDDEN;
    /// There are no keys to verify a token by, or they are too old.
    KeysUnavailable = "keys-unavailable", StatusCode::SERVICE_UNAVAILABLE;
    /// Who is asked by `auth forward` has refused.
    AuthRefused = "auth-refused", StatusCode::FORBIDDEN;
    /// Who is asked by `auth forward` does not answer, or fails.
    AuthUnreachable = "auth-unreachable", StatusCode::SERVICE_UNAVAILABLE;
    /// The client has shown no certificate.
    NoCertificate = "no-certificate", StatusCode::FORBIDDEN;
    /// The client's certificate is another's.
    CertificateDenied = "certificate-denied", StatusCode::FORBIDDEN;
    /// A body of a type that is not taken.
    UnsupportedMediaType = "unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE;
    /// A `block` has found something.
    Blocked(status: StatusCode) = "blocked", status;
    /// A function of the user's (`filter`) has panicked.
    FilterPanicked = "filter-panicked", StatusCode::INTERNAL_SERVER_ERROR;
    /// No file has this name, or none that may be served.
    NoFile = "no-file", StatusCode::NOT_FOUND;
    /// A server has named a file to be sent that it may not have sent, for this reason.
    SendFileRefused(_detail: &'static str) = "send-file-refused", StatusCode::BAD_GATEWAY;
    /// A file is there and can't be read.
    FileUnreadable = "file-unreadable", StatusCode::INTERNAL_SERVER_ERROR;
    /// The disk with the files does not respond.
    DiskUnavailable = "disk-unavailable", StatusCode::SERVICE_UNAVAILABLE;
    /// `If-Match` or `If-Unmodified-Since` does not hold (RFC 9110 section 13.1).
    PreconditionFailed = "precondition-failed", StatusCode::PRECONDITION_FAILED;
    /// `fault` has it so.
    Fault(status: StatusCode) = "fault", status;
    /// The proxy is at fault.
    Internal = "internal", StatusCode::INTERNAL_SERVER_ERROR;
}

/// The response data for a client over its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimited {
    pub(crate) status: StatusCode,
    /// When it may come again, in seconds.
    pub(crate) wait: u32,
    /// So many requests in so many seconds.
    pub(crate) quota: u32,
    pub(crate) window: u32,
}

impl Failure {
    /// What there is to say beyond the reason, for people; empty for most.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Failure::Handshake(detail) | Failure::SendFileRefused(detail) => detail,
            _ => "",
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

impl From<TargetError> for Failure {
    fn from(refusal: TargetError) -> Failure {
        match refusal {
            TargetError::HostMissing | TargetError::HostInvalid => Failure::BadHost,
            TargetError::TargetForm
            | TargetError::Scheme
            | TargetError::PathForbidden
            | TargetError::PathEncoding
            | TargetError::PathEscapes => Failure::BadPath,
        }
    }
}
