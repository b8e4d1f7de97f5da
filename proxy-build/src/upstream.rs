//! Upstreams: groups of servers, and their options. Each option has a file, which is all that the compiler knows of it: its directive and how
//! that is read, how it is checked, what it becomes for the runtime, and what is said of it.
//!
//! [`ALL`] lists them in the order of the manual. A new one is its file, and its line there.

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

/// An option of an upstream, as it is written.
trait UpstreamOption: Debug + 'static {
    /// Its directive, and those of the lines in its braces.
    const DIRECTIVES: &'static [&'static Directive];

    /// The member of the runtime's upstream that it fills.
    const MEMBER: &'static str;

    /// Whether one that was not read in full is not asked to [`finish`](Self::finish): what is missing in it may be what was wrong.
    const NEEDS_ALL: bool = false;

    /// Checks what it says by itself, and adds what the runtime makes of it.
    fn check(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut site::Upstream);

    /// Checks what depends on all else of the upstream, and adds that.
    fn finish(&self, _: &mut Check<'_>, _: OptionSpans, _: &mut site::Upstream) {}

    /// For `explain`: the servers that it names, or where it finds them.
    fn servers(_: &Site, _: &site::Upstream) -> Vec<String> {
        Vec::new()
    }

    /// For `explain`: how it chooses among servers, in a few words.
    fn explain(_: &Site, _: &site::Upstream) -> Vec<String> {
        Vec::new()
    }

    /// For `diff`: what it says, to be compared.
    fn diff(_: &Site, _: &site::Upstream) -> Vec<PolicyDescription> {
        vec![PolicyDescription::values(Self::MEMBER, Self::MEMBER)]
    }
}

/// Where an option stands.
#[derive(Clone, Copy)]
struct OptionSpans {
    /// The name of its directive.
    option: Span,
    /// The name of the upstream.
    upstream: Span,
}

impl OptionSpans {
    /// That an option has no effect, and why.
    fn idle(self, name: &str, why: &str) -> Diagnostic {
        Diagnostic::error("no-effect", format!("`{name}` has no effect: {why}"), self.option)
    }
}

/// Whether servers of an upstream may be found unhealthy, and healthy again.
fn is_ever_unhealthy(upstream: &site::Upstream) -> bool {
    upstream.health_check.is_some() || upstream.outlier.is_some()
}

/// An option among all: what is asked of whichever there is.
pub(crate) trait AnyOption: Sync {
    /// Its directive, and those of the lines in its braces.
    fn directives(&self) -> &'static [&'static Directive];
    /// Whether an item is one.
    fn is(&self, item: &Item) -> bool;
    /// Checks what an item says by itself, where it is one, and adds that.
    fn check(&self, item: &Item, check: &mut Check<'_>, name: Span, upstream: &mut site::Upstream);
    /// Checks what depends on all else of the upstream, where an item is one, and adds that.
    fn finish(&self, item: &Item, check: &mut Check<'_>, name: Span, upstream: &mut site::Upstream);
    /// For `explain`: the servers that it names, or where it finds them.
    fn servers(&self, site: &Site, upstream: &site::Upstream) -> Vec<String>;
    /// For `explain`: how it chooses among servers, in a few words.
    fn explain(&self, site: &Site, upstream: &site::Upstream) -> Vec<String>;
    /// For `diff`: what it says, to be compared.
    fn diff(&self, site: &Site, upstream: &site::Upstream) -> Vec<PolicyDescription>;
}

/// The kind that an option is.
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

/// Checks the upstreams that are declared.
pub(crate) fn declare(check: &mut Check<'_>, upstreams: Vec<(Span, ast::Upstream)>) {
    for (span, written) in upstreams {
        let (name, items) = (&written.name, &written.items);
        let mut upstream = site::Upstream::new(name.value.clone().into(), Vec::new(), check.place(span));
        for item in items {
            // Every example of the manual comes by here in tests.
            debug_assert!(matches!(item.what, What::Unread) || ALL.iter().any(|kind| kind.is(item)), "not in `ALL`");
            ALL.iter().for_each(|kind| kind.check(item, check, name.span, &mut upstream));
        }
        server::are_there(check, &written, &upstream.servers);
        // What could not be read may be what the others need.
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
