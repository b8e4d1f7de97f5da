//! Every reason for an error response of the proxy's own. There is one word per reason, the same in this enum, the
//! log and the tests. Pure.

use http::StatusCode;

use crate::protocol::target::TargetError;
use crate::router::route::MethodSet;

/// Declares the reasons: each with its word in logs, and the status of its error response, if one can still be sent.
macro_rules! failures {
    ($($(#[$about:meta])* $name:ident $(($with:ident: $type:ty))? = $reason:literal, $status:expr;)*) => {
        /// Why an exchange has failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Failure {
            $($(#[$about])* $name $(($type))?,)*
        }

        /// The reasons by index.
        #[derive(Clone, Copy)]
        enum Number {
            $($name,)*
        }

        impl Failure {
            /// The words of all reasons.
            pub(crate) const REASONS: &[&str] = &[$($reason),*];

            /// Returns the index of its word in [`Failure::REASONS`].
            pub(crate) fn index(self) -> usize {
                match self {
                    $(Failure::$name { .. } => Number::$name as usize,)*
                }
            }

            /// Returns the word in logs.
            pub(crate) fn reason(self) -> &'static str {
                match self {
                    $(Failure::$name { .. } => $reason,)*
                }
            }

            /// Returns the status of its error response, if one can still be sent.
            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Failure::$name $(($with))? => $status,)*
                }
            }
        }
    };
}

failures! {
    /// The head is malformed (RFC 9112 section 2.2).
    BadRequest = "bad-request", StatusCode::BAD_REQUEST;
    /// The host is missing or invalid (RFC 9112 section 3.2).
    BadHost = "bad-host", StatusCode::BAD_REQUEST;
    /// The path is forbidden.
    BadPath = "bad-path", StatusCode::BAD_REQUEST;
    /// The body's framing is invalid (RFC 9112 section 6.1): both lengths, several lengths, malformed chunks.
    BadFraming = "bad-framing", StatusCode::BAD_REQUEST;
    /// The client violates HTTP/2, which ends the connection (RFC 9113 section 5.4.1).
    Http2Protocol = "http2-protocol", StatusCode::BAD_REQUEST;
    /// The client violates HTTP/3 or QUIC, which ends the connection (RFC 9114 section 8).
    #[cfg_attr(not(feature = "h3"), allow(dead_code, reason = "made by `h3` alone"))]
    Http3Protocol = "http3-protocol", StatusCode::BAD_REQUEST;
    /// The client sends an excessive number of useless HTTP/2 frames (RFC 9113 section 10.5).
    FrameFlood = "frame-flood", StatusCode::BAD_REQUEST;
    /// A major version of HTTP other than 1, in HTTP/1.1's format (RFC 9110 section 15.6.6).
    UnsupportedVersion = "unsupported-version", StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    /// `rewrite` has produced a path above the root.
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
    /// The request was not received in time.
    RequestTimeout = "request-timeout", StatusCode::REQUEST_TIMEOUT;
    /// `Expect` is not `100-continue` (RFC 9110 section 10.1.1).
    ExpectationFailed = "expectation-failed", StatusCode::EXPECTATION_FAILED;
    /// An extended CONNECT has another `:protocol` than `websocket` (RFC 9220 section 3).
    UnsupportedProtocol = "unsupported-protocol", StatusCode::NOT_IMPLEMENTED;
    /// The connection's handshake was for another site, and does not meet the requirements of this site's `tls` (client
    /// certificates, version, groups); or an `https` URL was requested on a plain connection.
    MisdirectedRequest = "misdirected-request", StatusCode::MISDIRECTED_REQUEST;
    /// A plain HTTP request on a TLS port.
    PlainHttp = "plain-http", StatusCode::BAD_REQUEST;
    /// The TLS handshake failed, for this reason.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "made by `tls` alone"))]
    Handshake(_detail: &'static str) = "tls-handshake", StatusCode::BAD_REQUEST;
    /// The connection was an authority's validation of a host (RFC 8737).
    #[cfg_attr(not(feature = "acme"), allow(dead_code, reason = "made by `acme` alone"))]
    AcmeChallenge = "acme-challenge", StatusCode::BAD_REQUEST;
    /// The phase before the first request took too long.
    HandshakeTimeout = "handshake-timeout", StatusCode::BAD_REQUEST;
    /// More concurrent TLS handshakes than `limits handshakes`.
    TooManyHandshakes = "too-many-handshakes", StatusCode::SERVICE_UNAVAILABLE;
    /// The server name in the client's handshake belongs to no site.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "made by `tls` alone"))]
    UnknownServerName = "unknown-server-name", StatusCode::BAD_REQUEST;
    /// The connection does not begin with a PROXY header, or the peer may not send one.
    ProxyProtocol = "proxy-protocol", StatusCode::BAD_REQUEST;
    /// More client connections than `limits connections`.
    TooManyConnections = "too-many-connections", StatusCode::SERVICE_UNAVAILABLE;
    /// More connections from one client than `limits per-client`.
    ClientConnectionLimit = "client-connection-limit", StatusCode::SERVICE_UNAVAILABLE;
    /// No server of the upstream has an address.
    NameUnresolved = "dns-failure", StatusCode::SERVICE_UNAVAILABLE;
    /// No server of the upstream is healthy, or all were tried.
    NoHealthyUpstream = "no-healthy-upstream", StatusCode::SERVICE_UNAVAILABLE;
    /// All servers are full, and so is the queue of waiting requests.
    UpstreamOverloaded = "upstream-overloaded", StatusCode::SERVICE_UNAVAILABLE;
    /// All servers were full for too long.
    PendingTimeout = "pending-timeout", StatusCode::SERVICE_UNAVAILABLE;
    /// No server could be connected to.
    ConnectFailed = "connect-failed", StatusCode::BAD_GATEWAY;
    /// No server could be connected to in time.
    ConnectTimeout = "connect-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The process has no file descriptor left, or none for this use.
    NoDescriptors = "no-descriptors", StatusCode::SERVICE_UNAVAILABLE;
    /// The TLS handshake with the server has failed, or its certificate is invalid.
    UpstreamTls = "upstream-tls", StatusCode::BAD_GATEWAY;
    /// The server closed or reset the connection before its response.
    UpstreamReset = "upstream-reset", StatusCode::BAD_GATEWAY;
    /// The server's response is malformed.
    UpstreamInvalid = "upstream-invalid", StatusCode::BAD_GATEWAY;
    /// The head of the server's response, or its trailers, are larger than 64 KiB.
    UpstreamHeadTooLarge = "upstream-head-too-large", StatusCode::BAD_GATEWAY;
    /// The server does not upgrade to the protocol of the client's extended CONNECT (RFC 8441).
    NotUpgraded = "not-upgraded", StatusCode::BAD_GATEWAY;
    /// The upstream has failed repeatedly for the requests for this response, one of which this is.
    UpstreamFailing = "upstream-failing", StatusCode::SERVICE_UNAVAILABLE;
    /// The server did not respond in time.
    ResponseTimeout = "response-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The exchange took longer than `timeouts total`.
    TotalTimeout = "total-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The response's body made no progress.
    BodyIdleTimeout = "body-idle-timeout", StatusCode::GATEWAY_TIMEOUT;
    /// The server closed the connection within the response's body.
    UpstreamTruncated = "upstream-truncated", StatusCode::BAD_GATEWAY;
    /// The server has another version than that of the parts that were already sent.
    UpstreamChanged = "upstream-changed", StatusCode::BAD_GATEWAY;
    /// The client has disconnected within its request's body.
    RequestTruncated = "request-truncated", StatusCode::BAD_REQUEST;
    /// The client sends or reads a body more slowly than `limits min-rate`.
    ClientTooSlow = "client-too-slow", StatusCode::REQUEST_TIMEOUT;
    /// The client disconnected before the response.
    ClientDisconnected = "client-disconnected", StatusCode::INTERNAL_SERVER_ERROR;
    /// The client reads nothing, and there is no memory for more such clients (`limits memory`).
    MemoryFull = "memory-full", StatusCode::SERVICE_UNAVAILABLE;
    /// The process uses more memory than `memory-limit`.
    MemoryLimit = "memory-limit", StatusCode::SERVICE_UNAVAILABLE;
    /// No usable response is cached, and the client accepts only that (RFC 9111 section 5.2.1.7).
    NotCached = "not-cached", StatusCode::GATEWAY_TIMEOUT;
    /// A cached response on disk can't be read, or is damaged.
    StoreUnreadable = "store-unreadable", StatusCode::INTERNAL_SERVER_ERROR;
    /// The client may not purge.
    PurgeRefused = "purge-refused", StatusCode::FORBIDDEN;
    /// A purge has an invalid pattern or group.
    PurgeMalformed = "purge-malformed", StatusCode::BAD_REQUEST;
    /// A purge could not be written to disk, or is not in effect in another process with the folder: it is in effect in this
    /// process, and is lost with a restart.
    PurgeNotDurable = "purge-not-durable", StatusCode::SERVICE_UNAVAILABLE;
    /// The file of `maintenance` exists; with the value of `Retry-After` in seconds.
    Maintenance(_wait: Option<u32>) = "maintenance", StatusCode::SERVICE_UNAVAILABLE;
    /// The client's address is denied, or not allowed.
    AddressDenied = "address-denied", StatusCode::FORBIDDEN;
    /// The client exceeds `rate-limit`.
    RateLimited(limited: RateLimited) = "rate-limited", limited.status;
    /// The client exceeds `concurrency-limit`.
    TooManyInFlight(status: StatusCode) = "too-many-in-flight", status;
    /// A CORS preflight from an origin that is not allowed.
    CorsRefused = "cors-refused", StatusCode::FORBIDDEN;
    /// There are no credentials, or malformed ones.
    Unauthenticated = "unauthenticated", StatusCode::UNAUTHORIZED;
    /// The credentials are wrong.
    WrongCredentials = "wrong-credentials", StatusCode::UNAUTHORIZED;
    /// Too many passwords are being verified.
    #[cfg_attr(not(feature = "auth"), allow(dead_code, reason = "made by `auth` alone"))]
    AuthBusy = "auth-busy", StatusCode::SERVICE_UNAVAILABLE;
    /// The token is malformed, or its signature matches no configured key.
    InvalidToken = "invalid-token", StatusCode::UNAUTHORIZED;
    /// The token names an unknown key.
    #[cfg_attr(not(feature = "jwt"), allow(dead_code, reason = "made by `jwt` alone"))]
    UnknownKey = "unknown-key", StatusCode::UNAUTHORIZED;
    /// The token has expired, or is not valid yet.
    ExpiredToken = "expired-token", StatusCode::UNAUTHORIZED;
    /// The token lacks a required claim.
    InsufficientToken = "insufficient-token", StatusCode::FORBIDDEN;
    /// There are no keys to verify the token with, or they are too old.
    KeysUnavailable = "keys-unavailable", StatusCode::SERVICE_UNAVAILABLE;
    /// The authorization service has refused the request.
    AuthRefused = "auth-refused", StatusCode::FORBIDDEN;
    /// The authorization service does not respond, or fails.
    AuthUnreachable = "auth-unreachable", StatusCode::SERVICE_UNAVAILABLE;
    /// The client has no certificate.
    NoCertificate = "no-certificate", StatusCode::FORBIDDEN;
    /// The client's certificate is not allowed.
    CertificateDenied = "certificate-denied", StatusCode::FORBIDDEN;
    /// The media type of the body is not allowed.
    UnsupportedMediaType = "unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE;
    /// A `block` rule matches.
    Blocked(status: StatusCode) = "blocked", status;
    /// A function of the user (`filter`) has panicked.
    FilterPanicked = "filter-panicked", StatusCode::INTERNAL_SERVER_ERROR;
    /// No file has this name, or it may not be served.
    NoFile = "no-file", StatusCode::NOT_FOUND;
    /// A server has named a file that it may not send, for this reason.
    SendFileRefused(_detail: &'static str) = "send-file-refused", StatusCode::BAD_GATEWAY;
    /// The file exists and can't be read.
    FileUnreadable = "file-unreadable", StatusCode::INTERNAL_SERVER_ERROR;
    /// The disk with the files does not respond.
    DiskUnavailable = "disk-unavailable", StatusCode::SERVICE_UNAVAILABLE;
    /// `If-Match` or `If-Unmodified-Since` is false (RFC 9110 section 13.1).
    PreconditionFailed = "precondition-failed", StatusCode::PRECONDITION_FAILED;
    /// Injected by `fault`.
    Fault(status: StatusCode) = "fault", status;
    /// An internal error.
    Internal = "internal", StatusCode::INTERNAL_SERVER_ERROR;
}

/// The response data for a client over its rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimited {
    pub(crate) status: StatusCode,
    /// When it may retry, in seconds.
    pub(crate) wait: u32,
    /// The limit: this many requests in the window, which is in seconds.
    pub(crate) quota: u32,
    pub(crate) window: u32,
}

impl Failure {
    /// Details beyond the reason, as text; empty for most.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Failure::Handshake(detail) | Failure::SendFileRefused(detail) => detail,
            _ => "",
        }
    }

    /// Returns whether the upstream has failed, independently of the request: a failure that the request itself has caused says
    /// nothing about others.
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

    /// Returns whether the connection must be closed, because the following data can't be separated from the rejected
    /// request.
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
