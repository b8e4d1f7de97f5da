//! The exported spans ([`SPANS`]) and their attributes ([`ATTRIBUTES`]), with the names of OpenTelemetry's semantic conventions if these
//! have one. The documentation lists them from here, and the encoder uses these names. Pure.

/// A kind of span.
#[derive(Debug, PartialEq, Eq)]
pub struct DeclaredSpan {
    /// The name, or the form of it.
    pub name: &'static str,
    /// The value of `SpanKind`.
    pub kind: SpanKind,
    /// The description.
    pub help: &'static str,
}

/// OpenTelemetry's `SpanKind`, by its numbers in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A part of an exchange.
    Internal = 1,
    /// An exchange with a client.
    Server = 2,
    /// A request to a server.
    Client = 3,
}

/// An attribute.
#[derive(Debug, PartialEq, Eq)]
pub struct DeclaredAttribute {
    /// The name.
    pub name: &'static str,
    /// The spans that can have it.
    pub spans: &'static [&'static DeclaredSpan],
    /// The description.
    pub help: &'static str,
}

macro_rules! spans {
    ($($id:ident: $kind:ident $name:literal $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $id: &DeclaredSpan = &DeclaredSpan { name: $name, kind: SpanKind::$kind, help: $help };
        )*

        /// All spans.
        pub const SPANS: &[&DeclaredSpan] = &[$($id),*];
    };
}

macro_rules! attributes {
    ($($id:ident: $name:literal [$($span:ident),*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $id: &DeclaredAttribute =
                &DeclaredAttribute { name: $name, spans: &[$($span),*], help: $help };
        )*

        /// All attributes, in the order in which they are written.
        pub const ATTRIBUTES: &[&DeclaredAttribute] = &[$($id),*];
    };
}

spans! {
    EXCHANGE: Server "METHOD ROUTE" "An exchange with a client, from the request's first byte to the response's last.";
    AUTH: Internal "auth" "The check of credentials by `auth`.";
    CACHE: Internal "cache" "The look into the cache, and what it waits for until there is a response's head.";
    ATTEMPT: Client "METHOD" "An attempt at a server, to the head of its response. Those of `auth forward` and of the cache's own fetches are among them.";
}

attributes! {
    METHOD: "http.request.method" [EXCHANGE, ATTEMPT] "The method; `_OTHER` for one that is not usual.";
    METHOD_ORIGINAL: "http.request.method_original" [EXCHANGE, ATTEMPT] "The method, where it is not usual.";
    SCHEME: "url.scheme" [EXCHANGE] "`http` or `https`.";
    PATH: "url.path" [EXCHANGE] "The path in normal form. The query, which may have secrets in it, is never exported.";
    ROUTE: "http.route" [EXCHANGE] "The route's pattern.";
    STATUS: "http.response.status_code" [EXCHANGE, ATTEMPT] "The response's status.";
    SIZE: "http.response.body.size" [EXCHANGE] "The length of the response's body as it was sent.";
    ERROR: "error.type" [EXCHANGE, ATTEMPT] "Why it has failed: the [reason](reasons.md#reasons-in-the-log), or the status from 500 on; `abandoned` for an attempt that had no end.";
    SERVER: "server.address" [EXCHANGE, ATTEMPT] "The host of the request; of an attempt, the server.";
    PORT: "server.port" [EXCHANGE, ATTEMPT] "The port, where it is not the scheme's own; of an attempt, the server's.";
    CLIENT: "client.address" [EXCHANGE] "The client's address.";
    VERSION: "network.protocol.version" [EXCHANGE] "`1.0`, `1.1` or `2`.";
    USER_AGENT: "user_agent.original" [EXCHANGE] "The field `User-Agent`.";
    RESEND: "http.request.resend_count" [ATTEMPT] "How many attempts there were before, if any.";
    REQUEST_ID: "kiln.request.id" [EXCHANGE] "`{request.id}`.";
    UPSTREAM: "kiln.upstream" [EXCHANGE, ATTEMPT] "The upstream.";
    CACHE_RESULT: "kiln.cache.result" [EXCHANGE, CACHE] "What the cache did: the word of the log.";
    CACHE_REASON: "kiln.cache.reason" [EXCHANGE, CACHE] "Why, where there is a reason.";
}

/// The attributes of the resource, which all spans share, with their descriptions.
pub const RESOURCE: &[(&str, &str)] = &[
    ("service.name", "`service`, or the first host of the first site."),
    ("service.version", "The beginning of the site's digest, as in `kiln_build_info`."),
    ("service.instance.id", "Another one for each process."),
    ("telemetry.sdk.name", "`kiln`."),
    ("telemetry.sdk.language", "`rust`."),
    ("telemetry.sdk.version", "The version of the runtime."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        for (index, attribute) in ATTRIBUTES.iter().enumerate() {
            let name = attribute.name;
            assert!(ATTRIBUTES[..index].iter().all(|other| other.name != name), "{name} is there twice");
            assert!(!attribute.spans.is_empty() && attribute.help.ends_with('.'), "{name}");
        }
        assert!(SPANS.iter().all(|span| span.help.ends_with('.')));
    }
}
