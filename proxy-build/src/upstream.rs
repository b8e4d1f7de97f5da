//! Upstreams: groups of servers, and their options. Each option has a file with all of its code in the compiler: its directive and its
//! reader, its checks, its value for the runtime, and its descriptions.
//!
//! [`ALL`] lists them in the order of the manual. A new option needs a file, and a line there.

mod balance;
mod circuit_breaker;
mod discover;
mod health_check;
mod http;
mod outlier;
mod panic_threshold;
mod pool;
mod proxy_protocol;
mod send_file;
mod server;
mod slow_start;
mod sticky;
mod tls;

use std::fmt::Debug;
use std::marker::PhantomData;

use proxy_runtime::site;

use crate::ast::{self, Item, Top, What};
use crate::check::Check;
use crate::declaration::{Directive, Place};
use crate::model::Site;
use crate::policy::PolicyDescription;
use crate::report::Diagnostic;
use crate::source::Span;
use crate::value;

/// All options, in the order of the manual.
pub(crate) static ALL: &[&dyn AnyOption] = &[
    &of::<server::Server>(),
    &of::<send_file::SendFile>(),
    &of::<discover::Discover>(),
    &of::<balance::Balance>(),
    &of::<sticky::Sticky>(),
    &of::<health_check::HealthCheck>(),
    &of::<outlier::Outlier>(),
    &of::<panic_threshold::PanicThreshold>(),
    &of::<slow_start::SlowStart>(),
    &of::<circuit_breaker::CircuitBreaker>(),
    &of::<pool::Pool>(),
    &of::<proxy_protocol::ProxyProtocol>(),
    &of::<tls::TlsOption>(),
    &of::<http::Http>(),
];

/// An option of an upstream, as written.
trait UpstreamOption: Debug + 'static {
    /// Its directive, and those of its lines.
    const DIRECTIVES: &'static [&'static Directive];

    /// The member of the runtime's upstream that it fills in.
    const MEMBER: &'static str;

    /// Whether [`finish`](Self::finish) is skipped for an option with an error, because a missing part may be the cause.
    const NEEDS_ALL: bool = false;

    /// Checks it by itself, and fills in the runtime's upstream.
    fn check(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut site::Upstream);

    /// Checks what depends on the rest of the upstream, and completes it.
    fn finish(&self, _: &mut Check<'_>, _: OptionSpans, _: &mut site::Upstream) {}

    /// For `explain`: the servers that it lists, or the source of discovered ones.
    fn servers(_: &Site, _: &site::Upstream) -> Vec<String> {
        Vec::new()
    }

    /// For `explain`: its part in the choice of a server, in a few words.
    fn explain(_: &Site, _: &site::Upstream) -> Vec<String> {
        Vec::new()
    }

    /// For `diff`: its settings, for comparison.
    fn diff(_: &Site, _: &site::Upstream) -> Vec<PolicyDescription> {
        vec![PolicyDescription::values(Self::MEMBER, Self::MEMBER)]
    }
}

/// The spans of an option.
#[derive(Clone, Copy)]
struct OptionSpans {
    /// The name of its directive.
    option: Span,
    /// The name of the upstream.
    upstream: Span,
}

impl OptionSpans {
    /// Returns the diagnostic for an option without effect.
    fn idle(self, name: &str, why: &str) -> Diagnostic {
        Diagnostic::error("no-effect", format!("`{name}` has no effect: {why}"), self.option)
    }
}

/// Returns whether servers of an upstream can become unhealthy.
fn is_ever_unhealthy(upstream: &site::Upstream) -> bool {
    upstream.health_check.is_some() || upstream.outlier.is_some()
}

/// The object-safe form of [`UpstreamOption`].
pub(crate) trait AnyOption: Sync {
    /// Returns its directive, and those of its lines.
    fn directives(&self) -> &'static [&'static Directive];
    /// Returns whether an item is of this option.
    fn is(&self, item: &Item) -> bool;
    /// Checks an item by itself, if it is of this option, and fills in the upstream.
    fn check(&self, item: &Item, check: &mut Check<'_>, name: Span, upstream: &mut site::Upstream);
    /// Checks what depends on the rest of the upstream, if an item is of this option, and completes it.
    fn finish(&self, item: &Item, check: &mut Check<'_>, name: Span, upstream: &mut site::Upstream);
    /// For `explain`: the servers that it lists, or the source of discovered ones.
    fn servers(&self, site: &Site, upstream: &site::Upstream) -> Vec<String>;
    /// For `explain`: its part in the choice of a server, in a few words.
    fn explain(&self, site: &Site, upstream: &site::Upstream) -> Vec<String>;
    /// For `diff`: its settings, for comparison.
    fn diff(&self, site: &Site, upstream: &site::Upstream) -> Vec<PolicyDescription>;
}

/// Adapts an option to [`AnyOption`].
struct OptionOf<O>(PhantomData<fn() -> O>);

const fn of<O>() -> OptionOf<O> {
    OptionOf(PhantomData)
}

impl<O: UpstreamOption> AnyOption for OptionOf<O> {
    fn directives(&self) -> &'static [&'static Directive] {
        O::DIRECTIVES
    }

    fn is(&self, item: &Item) -> bool {
        item.in_upstream::<O>().is_some()
    }

    fn check(&self, item: &Item, check: &mut Check<'_>, name: Span, upstream: &mut site::Upstream) {
        if let Some(option) = item.in_upstream::<O>() {
            option.check(check, OptionSpans { option: item.span, upstream: name }, upstream);
        }
    }

    fn finish(&self, item: &Item, check: &mut Check<'_>, name: Span, upstream: &mut site::Upstream) {
        if let Some(option) = item.in_upstream::<O>().filter(|_| !(item.broken && O::NEEDS_ALL)) {
            option.finish(check, OptionSpans { option: item.span, upstream: name }, upstream);
        }
    }

    fn servers(&self, site: &Site, upstream: &site::Upstream) -> Vec<String> {
        O::servers(site, upstream)
    }

    fn explain(&self, site: &Site, upstream: &site::Upstream) -> Vec<String> {
        O::explain(site, upstream)
    }

    fn diff(&self, site: &Site, upstream: &site::Upstream) -> Vec<PolicyDescription> {
        O::diff(site, upstream)
    }
}

/// Checks the declared upstreams.
pub(crate) fn declare(check: &mut Check<'_>, upstreams: Vec<(Span, ast::Upstream)>) {
    for (span, written) in upstreams {
        let (name, items) = (&written.name, &written.items);
        let mut upstream = site::Upstream::new(name.value.clone().into(), Vec::new(), check.place(span));
        for item in items {
            // Every example of the manual passes here in tests.
            debug_assert!(matches!(item.what, What::Unread) || ALL.iter().any(|kind| kind.is(item)), "not in `ALL`");
            ALL.iter().for_each(|kind| kind.check(item, check, name.span, &mut upstream));
        }
        server::are_there(check, &written, &upstream.servers);
        // An option that could not be read may be one that others need.
        if !items.iter().any(|item| matches!(item.what, What::Unread)) {
            for item in items {
                ALL.iter().for_each(|kind| kind.finish(item, check, name.span, &mut upstream));
            }
        }
        check.upstreams.declare("upstream", name, upstream, check.report);
    }
}

pub(crate) static UPSTREAM: Directive = Directive {
    name: "upstream",
    places: &[Place::Root],
    args: "NAME",
    props: &[],
    body: Some(Place::Upstream),
    repeats: true,
    summary: "Names a group of servers.",
    details: "\
The proxy opens no connections at start, and a server name that does not resolve never stops the start: the server gets no requests
until it resolves. Names are resolved again every 30 seconds, and every second while there is no result.

A name with several addresses is one server, and the proxy tries all of them within `timeouts connect` (RFC 8305, \"Happy Eyeballs\"): IPv4 and
IPv6 alternate, the next attempt begins when one fails or has taken 250 ms, and the first that connects is used. Connections begin with
the addresses in turn; an address that failed to connect is tried last for up to 30 seconds.

A server that can't be connected to is skipped for the next one, with or without `retry`, because the request has not been sent. After
it has been sent, [`retry`](#retry) decides; but requests that an HTTP/2 server reports as not processed are always sent
again, as described there.

An ambiguous response is not passed on: the client gets a 502. Bare LFs as line ends are accepted if all line ends are bare LFs,
or if none stands before a field that frames the message or at the end of the head; blanks after chunk sizes are accepted, too.
Versions 1.2 to 1.9 are read as 1.1. HTTP/1.1 clients receive the server's reason phrase unchanged, except for responses from a
cache, which have the usual one. A 101 must be for a protocol that the client has asked for, and over HTTP/2 have the right
`Sec-WebSocket-Accept`. The body of a 205 is dropped. `TE` is not forwarded.",
    example: r#"
upstream api {
    server "10.0.0.11:8080" weight=2
    server "10.0.0.12:8080"
    balance least-conn
}
site example.com {
    proxy api
}
"#,
    read: |r| Some(What::Top(Top::Upstream(ast::Upstream { name: r.arg("a NAME", value::name)?, items: r.body() }))),
};
