//! The fields of `log access`: their declarations ([`LogField::ALL`]), which the table in the documentation is generated from,
//! too.

use crate::value::Text;

/// A member of a JSON line.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogMember {
    /// The field that the member shows.
    pub field: LogField,
    /// The name of the member in the line.
    pub name: Text,
    /// The name of the header field in lower case, if the member is a header field.
    pub header: Text,
}

/// The declaration of a field, for the documentation and for lines.
#[derive(Debug)]
pub struct LogFieldDeclaration {
    /// The field.
    pub field: LogField,
    /// The name in `fields`, and in the line unless the site renames it.
    pub name: &'static str,
    /// The name in the Elastic Common Schema, or one of our own below `kiln`.
    pub ecs: &'static str,
    /// Whether it is written if a site has no `fields`.
    pub usual: bool,
    /// The description.
    pub help: &'static str,
}

macro_rules! fields {
    ($($id:ident $name:literal $ecs:literal $usual:literal $help:literal;)*) => {
        /// A field of `log access`.
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum LogField {
            $(#[doc = $help] $id,)*
        }

        impl LogField {
            /// All fields, in the order in which they are written if a site has no `fields`.
            pub const ALL: &'static [LogFieldDeclaration] = &[$(
                LogFieldDeclaration { field: LogField::$id, name: $name, ecs: $ecs, usual: $usual, help: $help },
            )*];
        }
    };
}

fields! {
    Time "time" "@timestamp" true "When the exchange was over: RFC 3339, UTC.";
    Client "client" "client.ip" true "The client's address, as far as `trusted-proxies` knows it.";
    Method "method" "http.request.method" true "The method.";
    Scheme "scheme" "url.scheme" false "`http` or `https`.";
    Host "host" "url.domain" true "The host, in lower case and without a port.";
    Path "path" "url.path" true "The path in normal form.";
    Query "query" "url.query" false "The query, without `?`.";
    Protocol "protocol" "http.version" true "`HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0` or `HTTP/3.0`; in ECS without `HTTP/`.";
    Status "status" "http.response.status_code" true "The status that was sent; none where nothing was.";
    Bytes "bytes" "http.response.body.bytes" true "Bytes of the response's body that were sent.";
    RequestBytes "request-bytes" "http.request.body.bytes" false "Bytes of the request's body that were received.";
    Duration "duration" "event.duration" true "Seconds from the request's first byte to the response's last; in ECS nanoseconds.";
    FirstByte "first-byte" "kiln.first_byte" false "Seconds from the request's first byte to the response's head.";
    Route "route" "kiln.route" true "The pattern of the route.";
    Upstream "upstream" "kiln.upstream" true "The upstream, by its name.";
    Server "server" "destination.address" true "The address of the server that was asked last.";
    ServerConnections "server-connections" "kiln.server_connections" false "Exchanges at the server when the request was sent, this one included.";
    ServerDuration "server-duration" "kiln.server_duration" false "Seconds from the last attempt's beginning to the head of the server's response, connecting included.";
    Attempts "attempts" "kiln.attempts" false "How many servers were tried.";
    Reason "reason" "event.reason" true "Why the proxy responded itself, or cut the exchange off: see [Reasons](reasons.md#reasons-in-the-log).";
    Detail "detail" "error.message" true "More about the reason, such as why a TLS handshake failed.";
    Rule "rule" "rule.name" true "The rule of `block`, or the function of `filter`, that refused the request.";
    Cache "cache" "kiln.cache" true "What the cache did; see [`cache`](reference.md#cache).";
    CacheReason "cache-reason" "kiln.cache_reason" true "Why it did so.";
    RequestId "request-id" "http.request.id" false "The number of the exchange, as `{request.id}` has it.";
    TraceId "trace-id" "trace.id" false "The id of the trace; only with [`trace`](reference.md#trace).";
    Referer "referer" "http.request.referrer" false "The request field `Referer`.";
    UserAgent "user-agent" "user_agent.original" false "The request field `User-Agent`.";
    User "user" "user.name" false "Who the client has shown to be, by `auth`.";
    TlsVersion "tls-version" "tls.version" false "`TLSv1.2` or `TLSv1.3`; in ECS without `TLSv`.";
    TlsCipher "tls-cipher" "tls.cipher" false "The cipher suite of the client's connection.";
    TlsServerName "tls-server-name" "tls.client.server_name" false "The host that the client named in its handshake.";
    CertificateSubject "client-cert-subject" "tls.client.subject" false "The subject of the client's certificate.";
    CertificateFingerprint "client-cert-fingerprint" "tls.client.hash.sha256" false "SHA-256 of the client's certificate.";
    Header "header.NAME" "http.request.headers.NAME" false "A field of the request, as it arrived: the first of its name.";
    ResponseHeader "response-header.NAME" "http.response.headers.NAME" false "A field of the response, as it was sent: the first of its name.";
}

impl LogField {
    /// Returns the declaration of the field.
    pub fn declaration(self) -> &'static LogFieldDeclaration {
        // `ALL` has the order of the variants.
        &LogField::ALL[self as usize]
    }
}

/// Header fields that are never written, because they contain credentials.
pub const SECRET_FIELDS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, declared) in LogField::ALL.iter().enumerate() {
            assert_eq!(declared.field as usize, index);
            assert!(declared.help.ends_with(['.', ')']), "{}: a sentence", declared.name);
            let before = &LogField::ALL[..index];
            assert!(
                before.iter().all(|other| other.name != declared.name && other.ecs != declared.ecs),
                "{}",
                declared.name
            );
        }
    }
}
