//! `server`: the declared servers of an upstream, and the check that there are any.

use proxy_runtime::site::{self, ParamKind, Setting, Upstream};

use super::discover::Discover;
use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::model::Site;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;
use crate::wording;

/// The most servers of an upstream.
const MAX_SERVERS: usize = 10_000;

static SERVER: Directive = Directive {
    name: "server",
    places: &[Place::Upstream],
    args: "ADDR",
    props: &[
        Prop::new(
            "weight",
            "N",
            "The server's share of the requests, relative to the other servers, 0 to 1000. Default 1.",
        ),
        Prop::new(
            "backup",
            "BOOL",
            "The server gets requests only while no other server is available. Default `#false`.",
        ),
        Prop::new(
            "max-connections",
            "N",
            "Concurrent exchanges, over all workers; each has a connection. Default: no limit.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "A server of an upstream.",
    details: "\
`ADDR` is `host:port`, `[v6]:port`, `unix:/path` or `(param)NAME`. When all available servers have reached their
limit of exchanges, a request waits for one to end, within the limits of `circuit-breaker`.",
    example: r#"
upstream app {
    server "app-1.internal:8080" weight=3 max-connections=200
    server "unix:/run/app/app.sock"
    server "10.0.9.1:8080" backup=#true
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::in_upstream(Server {
            address: r.arg("an ADDR", value::setting(value::server_address))?,
            weight: r.prop("weight", value::number(0, 1000)),
            backup: r.prop("backup", value::boolean),
            max_connections: r.prop("max-connections", value::number(1, 1 << 24)),
        }))
    },
};

/// `server`.
#[derive(Debug)]
pub(super) struct Server {
    address: Spanned<ast::Setting<String>>,
    weight: Option<Spanned<ast::Setting<u64>>>,
    backup: Option<Spanned<bool>>,
    max_connections: Option<Spanned<ast::Setting<u64>>>,
}

impl UpstreamOption for Server {
    const DIRECTIVES: &'static [&'static Directive] = &[&SERVER];
    const MEMBER: &'static str = "servers";

    fn check(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        let Some(address) = check.address(&self.address) else { return };
        if upstream.servers.iter().any(|other| other.address == address) {
            check.report.add(
                Diagnostic::error("duplicate-server", "this server is listed already", self.address.span)
                    .help("one line is enough; for a larger share use `weight`"),
            );
        }
        let unsaid = site::Server::new(address, check.place(at.option));
        let server = site::Server {
            weight: check.or(self.weight.as_ref(), ParamKind::Number, unsaid.weight),
            backup: self.backup.as_ref().is_some_and(|backup| backup.value),
            max_connections: check.or(self.max_connections.as_ref(), ParamKind::Number, unsaid.max_connections),
            ..unsaid
        };
        upstream.servers.to_mut().push(server);
    }

    fn servers(site: &Site, upstream: &Upstream) -> Vec<String> {
        let shown = |server: &site::Server| wording::setting(site, &server.address, ToString::to_string);
        upstream.servers.iter().map(shown).collect()
    }
}

/// Checks that there are usable servers, declared or discovered.
pub(super) fn are_there(check: &mut Check<'_>, written: &ast::Upstream, servers: &[site::Server]) {
    let (name, items) = (&written.name, &written.items);
    let span = |is: fn(&Item) -> bool| items.iter().find(|item| is(item)).map(|item| item.span);
    let found = span(|item| item.in_upstream::<Discover>().is_some());
    let named = span(|item| item.in_upstream::<Server>().is_some());
    let unread = span(|item| matches!(item.what, What::Unread));
    if let (Some(found), Some(named)) = (found, named) {
        check.report.add(
            Diagnostic::error("two-sources", "an upstream has either `server` lines or `discover`", found)
                .also(named, "this is a `server` line")
                .help("make two upstreams of them"),
        );
    }
    if found.or(named).or(unread).is_none() {
        check.report.add(
            Diagnostic::error("no-server", format!("`{name}` has no server"), name.span)
                .help(check.inside(name.span, "server \"10.0.0.1:8080\"")),
        );
    } else if !servers.is_empty() && servers.iter().all(|server| server.weight == Setting::Fixed(0)) {
        let message = format!("the weights of `{name}` sum to 0: no server would get requests");
        check.error("no-weight", message, name.span);
    } else if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        check.report.add(
            Diagnostic::error("only-backups", format!("all servers of `{name}` are backups"), name.span)
                .help("remove `backup` from the primary servers"),
        );
    }
    if servers.len() > MAX_SERVERS {
        check.error("too-many-servers", format!("`{name}` has more than {MAX_SERVERS} servers"), name.span);
    }
}
