//! `limits`: sizes and counts.

use proxy_runtime::site::{self, NormalForm, ParamKind};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, Place, Prop, ROOT_POLICY};
use crate::model::LIMITS as DEFAULTS;
use crate::model::Site;
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;
use crate::value;
use crate::wording;

const ROOT: &[Place] = &[Place::Root];
const ROOT_OR_SITE: &[Place] = &[Place::Root, Place::Site];

pub(crate) static LIMITS: Directive = Directive {
    name: "limits",
    places: ROOT_POLICY,
    args: "",
    props: &[
        Prop::new(
            "headers",
            "SIZE",
            "The size of the request's head: request line and header fields. Larger: 431. Default `\"16KiB\"`.",
        ),
        Prop::new("uri", "SIZE", "The length of the request's target. Longer: 414. Default `\"8KiB\"`."),
        Prop::new("body", "SIZE|unlimited", "The size of the request's body. Larger: 413. Default `\"16MiB\"`."),
        Prop {
            name: "connections",
            value: "N",
            docs: "Concurrent client connections of the whole process; fewer if there are too few file \
                   descriptors, see below. Beyond: 503. Default 10000.",
            places: ROOT,
        },
        Prop {
            name: "per-client",
            value: "N",
            docs: "Concurrent client connections from one address. Beyond: 503. Default: as `connections`.",
            places: ROOT,
        },
        Prop {
            name: "handshakes",
            value: "N",
            docs: "Concurrent TLS handshakes of the whole process. Beyond: the connection is closed. Default \
                   1000.",
            places: ROOT,
        },
        Prop {
            name: "memory",
            value: "SIZE",
            docs: "The memory for clients that do not read, and for buffered bodies, in the whole process; see \
                   below. Default `\"10MiB\"`.",
            places: ROOT,
        },
        Prop::new(
            "min-rate",
            "SIZE/s|off",
            "The minimum rate at which a client sends its body, and reads the response's, over ten seconds in \
             which the proxy waits for it, as in `\"1KiB/s\"`. Slower: 408, or the connection (HTTP/2: the \
             stream) is closed. Default `off`.",
        ),
        Prop::new(
            "half-close",
            "BOOL",
            "A client that closes its sending side (FIN) is still served. Default `#false`: it counts as \
             disconnected, and its exchange with a server is cancelled.",
        ),
        Prop::new(
            "encoded-slash",
            "BOOL",
            "Lets `%2F` and `%5C` through in paths, still encoded. Default `#false`: 400, in the route that \
             matches the path.",
        ),
        Prop {
            name: "merge-slashes",
            value: "BOOL",
            docs: "Merges doubled slashes in paths. Default `#true`.",
            places: ROOT_OR_SITE,
        },
        Prop {
            name: "path-parameters",
            value: "pass|refuse",
            docs: "Whether paths may have parameters (`/a;v=1/b`). Default `pass`; `refuse`: 400.",
            places: ROOT_OR_SITE,
        },
        Prop {
            name: "underscores",
            value: "BOOL",
            docs: "Lets header fields and trailers with `_` in their names through. Default `#false`: they are \
                   dropped.",
            places: ROOT_OR_SITE,
        },
    ],
    body: None,
    repeats: false,
    summary: "Limits sizes and counts.",
    details: "\
At the top level these are the defaults of all sites; a site or route overrides single values. Heads are read
before the site is known, so the read buffer is as large as the largest `headers` of all. A request
has at most 100 header fields; beyond: 431. `headers` and `uri` are at most 1 MiB.

`memory` limits the memory that clients can make the process hold by not reading (HTTP/2, RFC 9113 section 10.5). An HTTP/2 exchange
counts as 16 KiB; an exchange that waits for its client also counts the data that it holds of its response. A connection may always hold 64 KiB;
everything beyond that, and buffered request bodies (`retry`, `mirror`, `block`), come out of `memory`, and up to half of
it is lent to bodies of requests that servers don't read. When it is used up, connections that hold more than their 64 KiB
accept no more requests until memory is released, for up to ten seconds; after that, requests are refused so that they may be
sent again (`REFUSED_STREAM`). Responses with buffered data whose client does not read end, with the reason `memory-full`
in the log. A body is not buffered, so its request is sent once, or refused with 503 if `block` has to see it.

For example, a hundred connections with a hundred requests each for large responses, of which none reads, take less than 40 MB in all,
whatever windows they announce: `memory`, and for each connection 64 KiB, another 64 KiB that wait to be written, and 40 KiB for
itself. When they have closed, the memory is returned to the system within seconds. A server with many idle gRPC streams needs 16 KiB
for each: `memory=\"256MiB\"` has room for 16,000.

File descriptors (`ulimit -n`) are divided at start, after the proxy has raised the soft limit to the hard one: some for the process itself,
an eighth of the rest, up to 1024, for files (static files that are being sent, cached responses on disk), and at least as many for
connections to servers as for client connections. If that allows fewer client connections than `connections`, a notice at start says how
many, and which limit would be enough; if it allows none, the start fails. A request for which no descriptor is left gets 503
(`no-descriptors`). When accepting finds none, idle connections to servers are closed, and accepting continues after a pause of 10
milliseconds to a second.

Paths and queries have one canonical form, in which they are matched, compared, cached, purged, opened as files and forwarded (but see
`rewrite raw`). In a path: escapes of bytes that need no escape (letters, digits and `-._~!$&'()*+,;=:@`) are decoded, every other
byte is escaped (`%C3%BC`, `%7C`), escapes are in upper case, dot segments are resolved and doubled slashes merged. Refused
with 400: an encoded slash or backslash, a raw backslash, control bytes and blanks (raw or, but for the blank, encoded), `#`, `%` without two
hexadecimal digits, `..` above the root, and dot segments in disguise: `..;x`, and `..%2F` where `encoded-slash` lets that through.
In a query: escapes of letters, digits and `-._~` are decoded, bytes that no query may have are escaped, and control bytes, blanks
and `#` are refused; names of parameters are compared decoded, so `p%61ge` is `page`.

Servlet containers and some other servers remove parameters before they look up a path: `/admin;x` is `/admin` to them, but not to a route
that protects `/admin`. In front of such servers use `path-parameters=refuse`.

Servers that pass fields on as variables (CGI, WSGI, PHP, Rack) read `Remote_User` and `Remote.User` as `Remote-User`, so a client could forge
a field that only the proxy may set. Names with `_` are therefore dropped, as in nginx, before the request is processed (gRPC metadata
included); `underscores=#true` lets them through. Names with `_` or `.` that a server may read as one that the route sets, copies, changes,
removes or reads (`block`, `auth api-key`), or that the proxy or a function of `filter` manages, are always dropped, in
trailers too; other names with `.` pass.

A client that closes its sending side while it waits for a response has usually given up: the exchange with the server
is cancelled, as in nginx, and logged as `client-disconnected`. Pipelined requests that it sent before get their responses in order; the
last is cancelled only if the proxy has to wait for a server. `half-close=#true` is for clients that close early and still read
(old `nc`, HTTP/1.0 scripts). Requests whose body is cut off get a 400 in both cases (`request-truncated`).

`min-rate` counts only time in which the proxy waits for the client, not for the server. A client that sends or reads a lot at once has at
most ten seconds for the rest; data in buffers counts as read, with an allowance of 16 KiB, in HTTP/2 32 KiB. The reason in the log is
`client-too-slow`. `timeouts idle` applies as well, to complete silence.",
    example: r#"
limits headers="32KiB" connections=20000 per-client=100

site example.com {
    limits body="1MiB"
    route "/upload" {
        limits body=unlimited min-rate="1KiB/s"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        r.some_property();
        Some(What::policy(Limits {
            headers: r.prop("headers", value::size_within(1, value::MAX_HEADERS)),
            uri: r.prop("uri", value::size_within(1, value::MAX_URI)),
            body: r.prop("body", value::setting(value::size_or_unlimited)),
            connections: r.prop("connections", value::number(1, 1 << 24)),
            per_client: r.prop("per-client", value::number(1, 1 << 24)),
            handshakes: r.prop("handshakes", value::number(1, 1 << 24)),
            memory: r.prop("memory", value::size_within(1 << 20, value::MAX_MEMORY)),
            min_rate: r.prop("min-rate", value::byte_rate),
            half_close: r.prop("half-close", value::boolean),
            encoded_slash: r.prop("encoded-slash", value::boolean),
            merge_slashes: r.prop("merge-slashes", value::boolean),
            refuse_parameters: r.prop("path-parameters", value::word(&[("pass", false), ("refuse", true)])),
            underscores: r.prop("underscores", value::boolean),
        }))
    },
};

/// `limits`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    headers: Option<Spanned<ast::Setting<u64>>>,
    uri: Option<Spanned<ast::Setting<u64>>>,
    body: Option<Spanned<ast::Setting<u64>>>,
    connections: Option<Spanned<ast::Setting<u64>>>,
    per_client: Option<Spanned<ast::Setting<u64>>>,
    handshakes: Option<Spanned<ast::Setting<u64>>>,
    /// `memory=`.
    memory: Option<Spanned<ast::Setting<u64>>>,
    min_rate: Option<Spanned<u64>>,
    half_close: Option<Spanned<bool>>,
    encoded_slash: Option<Spanned<bool>>,
    merge_slashes: Option<Spanned<bool>>,
    /// `path-parameters=`: whether they are rejected.
    refuse_parameters: Option<Spanned<bool>>,
    underscores: Option<Spanned<bool>>,
}

impl Policy for Limits {
    const NAME: &'static str = "limits";
    const MERGE: Merge<Self> = Merge::Values(Limits::within);

    fn check_root(check: &mut Check<'_>, layer: &Layer, listeners: &[site::Listener]) {
        let written = layer.one::<Limits>().and_then(|limits| limits.value.handshakes.as_ref());
        if let Some(written) = written.filter(|_| !listeners.iter().any(|listener| listener.speaks.tls)) {
            check.error("no-effect", "`handshakes` has no effect: no listener has TLS", written.span);
        }
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(limits) = layer.one::<Limits>() {
            policy.limits = limits.value.made(check);
        }
        policy.fields.underscores = underscores(layer);
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let (limits, fields) = (&of.route.policy.limits, &of.route.policy.fields);
        let size = |setting| wording::setting(of.site, setting, |&bytes| wording::size(bytes));
        let mut text =
            format!("headers={} uri={} body={}", size(&limits.headers), size(&limits.uri), size(&limits.body));
        if limits.min_rate > 0 {
            text += &format!(" min-rate={}/s", wording::size(limits.min_rate));
        }
        let flags = [
            (limits.half_close, " half-close"),
            (limits.encoded_slash, " encoded-slash"),
            (fields.underscores, " underscores"),
        ];
        text.extend(flags.into_iter().filter(|(is, _)| *is).map(|(_, name)| name));
        of.lines(ExplainStep::Intake, Self::NAME, [text])
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        let limits = &policy.limits;
        let size = |setting| wording::setting(site, setting, |&bytes| wording::size(bytes));
        let number = |setting| wording::setting(site, setting, |&number| wording::number(number));
        let min_rate = match limits.min_rate {
            0 => "off".to_owned(),
            rate => format!("{}/s", wording::size(rate)),
        };
        let words = [
            ("headers", size(&limits.headers)),
            ("uri", size(&limits.uri)),
            ("body", size(&limits.body)),
            ("memory", size(&limits.memory)),
            ("connections", number(&limits.connections)),
            ("per-client", number(&limits.per_client)),
            ("handshakes", number(&limits.handshakes)),
            ("min-rate", min_rate),
            ("half-close", format!("#{}", limits.half_close)),
        ];
        PolicyDescription::words("limits", words.map(|(name, text)| (format!("limits {name}"), text)).into())
    }
}

/// Returns the options of the canonical form of paths.
pub(crate) fn normal_form(layer: &Layer) -> NormalForm {
    let limits = layer.one::<Limits>().map(|limits| &limits.value);
    let said = |value: fn(&Limits) -> &Option<Spanned<bool>>| Some(value(limits?).as_ref()?.value);
    NormalForm {
        encoded_slash: said(|limits| &limits.encoded_slash).unwrap_or(false),
        merge_slashes: said(|limits| &limits.merge_slashes).unwrap_or(true),
        refuse_parameters: said(|limits| &limits.refuse_parameters).unwrap_or(false),
    }
}

/// Returns whether field names may contain `_`.
pub(crate) fn underscores(layer: &Layer) -> bool {
    layer.one::<Limits>().and_then(|limits| limits.value.underscores.as_ref()).is_some_and(|value| value.value)
}

impl Limits {
    /// Returns the inner limits, with missing ones from the outer ones.
    fn within(outer: &Limits, inner: &Limits) -> Limits {
        let (outer, inner) = (outer.clone(), inner.clone());
        Limits {
            headers: inner.headers.or(outer.headers),
            uri: inner.uri.or(outer.uri),
            body: inner.body.or(outer.body),
            connections: inner.connections.or(outer.connections),
            per_client: inner.per_client.or(outer.per_client),
            handshakes: inner.handshakes.or(outer.handshakes),
            memory: inner.memory.or(outer.memory),
            min_rate: inner.min_rate.or(outer.min_rate),
            half_close: inner.half_close.or(outer.half_close),
            encoded_slash: inner.encoded_slash.or(outer.encoded_slash),
            merge_slashes: inner.merge_slashes.or(outer.merge_slashes),
            refuse_parameters: inner.refuse_parameters.or(outer.refuse_parameters),
            underscores: inner.underscores.or(outer.underscores),
        }
    }

    fn made(&self, check: &mut Check<'_>) -> site::Limits {
        if let Some(Spanned { value: ast::Setting::Fixed(u64::MAX), span }) = &self.body {
            check.report.add(
                Diagnostic::lint("unbounded-body", "request bodies may be of any size here", *span)
                    .help("set a maximum, as in body=\"1GiB\""),
            );
        }
        if let (Some(uri), Some(headers)) = (&self.uri, &self.headers)
            && let (ast::Setting::Fixed(longest), ast::Setting::Fixed(head)) = (&uri.value, &headers.value)
            && longest > head
        {
            let message = "`uri` has no effect: it is larger than `headers`, which include the target";
            let found = Diagnostic::error("contradiction", message, uri.span).also(headers.span, "all of the head");
            let slice = check.sources.slice(headers.span).to_owned();
            check.report.add(found.help(Help::write(uri.span, slice)));
        }
        let mut number = |setting: &Option<Spanned<ast::Setting<u64>>>, kind, default| match setting {
            Some(setting) => check.setting(setting, kind).unwrap_or(default),
            None => default,
        };
        site::Limits {
            headers: number(&self.headers, ParamKind::Size, DEFAULTS.headers),
            uri: number(&self.uri, ParamKind::Size, DEFAULTS.uri),
            body: number(&self.body, ParamKind::Size, DEFAULTS.body),
            connections: number(&self.connections, ParamKind::Number, DEFAULTS.connections),
            per_client: number(&self.per_client, ParamKind::Number, DEFAULTS.per_client),
            handshakes: number(&self.handshakes, ParamKind::Number, DEFAULTS.handshakes),
            memory: number(&self.memory, ParamKind::Size, DEFAULTS.memory),
            min_rate: self.min_rate.as_ref().map_or(DEFAULTS.min_rate, |rate| rate.value),
            half_close: self.half_close.as_ref().map_or(DEFAULTS.half_close, |value| value.value),
            encoded_slash: self.encoded_slash.as_ref().is_some_and(|value| value.value),
        }
    }
}
