//! `admin`: the endpoint for operators, its directives and their checks.

mod access;

mod tap;
use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::metrics::MAX_BUCKETS;
use proxy_runtime::site::{self, Speaks};

use crate::ast::{self, Item, ListenWord, Top, What};
use crate::check::Check;
use crate::check::listeners::{DeclaredListener, Listeners};
use crate::declaration::{Directive, Place, Prop};
use crate::model::{self, list};
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

/// The directives of `admin`, in the order of the manual.
pub(crate) const DIRECTIVES: &[&Directive] = &[
    &ADMIN,
    &METRICS,
    &BUCKETS,
    &STATUS,
    &tap::TAP,
    &tap::MASK,
    &PURGE,
    &SERVERS,
    &DRAIN,
    &LOG_LEVEL,
    &ALLOW,
    &access::AUTH,
    &access::TLS,
    &access::HOST,
    &READY,
];

/// The place of the lines of `admin`.
const BRACES: Place = Place::Within("in `admin`");

/// A line of `admin`.
#[derive(Debug)]
enum AdminLine {
    /// `metrics`, with the lines in its braces.
    Metrics(Vec<Item>),
    /// `status`.
    Status,
    /// `tap`, with the lines in its braces.
    Tap(Vec<Item>),
    /// `purge`.
    Purge,
    /// `servers`.
    Servers,
    /// `drain`.
    Drain,
    /// `log-level`.
    LogLevel,
    /// `allow`.
    Allow(Vec<Spanned<IpNet>>),
    /// `ready`.
    Ready(Vec<Spanned<String>>),
}

/// `buckets`.
#[derive(Debug)]
struct Buckets(Vec<Spanned<Duration>>);

static ADMIN: Directive = Directive {
    name: "admin",
    places: &[Place::Root],
    args: "ADDR|unix:PATH",
    props: &[
        Prop::new("mode", "MODE", "The permissions of a unix socket's file, as of [`listen`](#listen)."),
        Prop::new("owner", "USER:GROUP", "Whose file it is, as of [`listen`](#listen)."),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "The address for operators: health, metrics, status page, tap, caches.",
    details: "\
It speaks HTTP/1.1, in a thread of its own: no worker waits for it, and it goes on answering while the process drains. No site is served
there. 32 connections are served at once, each for up to a minute.

- `GET /healthz`: 200 while the process runs.
- `GET /readyz`: 200 while it accepts requests; 503 once it drains, while an upstream of `ready` has no healthy server, and while
  [`memory-limit`](#memory-limit) refuses requests.
- `GET /metrics`, with `metrics`.
- `GET /status`, a page, and `GET /status.json`, `GET /stores` and `GET /entry`, with `status`.
- `GET /tap`, with `tap`.
- `PURGE`, with `purge`.
- `GET /servers` and `POST /servers/UPSTREAM/SERVER`, with `servers`.
- `POST /drain`, with `drain`.
- `POST /log-level`, with `log-level`.

The proxy's own binary is the command line for all of it: `PROXY ctl --help`.

A part without its line in the braces is answered with 403. An address that others can reach needs `allow`, `auth`, or a `tls` that requires client
certificates: without these, it is found by the lint `open-admin`, and by `purge`, `servers`, `drain` and `log-level` it is an error.",
    example: r#"
admin "unix:/run/site/admin.sock" mode="0660" owner=":ops" {
    metrics
    status
    purge
    ready app
}
cache-store main memory="256MiB"
upstream app {
    server "127.0.0.1:3000"
    health-check "/healthz"
}
site example.com {
    cache main
    proxy app
}
"#,
    read: |r| {
        Some(What::Top(Top::Admin(ast::Admin {
            address: r.arg("an ADDR", value::setting(address))?,
            mode: r.prop("mode", value::socket::mode),
            owner: r.prop("owner", value::socket::owner),
            items: r.body(),
        })))
    },
};

static METRICS: Directive = Directive {
    name: "metrics",
    places: &[BRACES],
    args: "",
    props: &[],
    body: Some(Place::Metrics),
    repeats: false,
    summary: "Metrics for Prometheus.",
    details: "\
`GET /metrics` has them as text, or in OpenMetrics where the client accepts that: by route, upstream, server and store, with the names that the
site gives them. They are listed under [Metrics](observability.md#metrics). Workers count without locks; where there is neither `metrics` nor `status`, nothing is
counted. Routes of a site with the same pattern are one series, and series of which nothing was counted are left out.",
    example: METRICS_EXAMPLE,
    read: |r| Some(What::line(AdminLine::Metrics(r.body()))),
};

static BUCKETS: Directive = Directive {
    name: "buckets",
    places: &[Place::Metrics],
    args: "DURATION...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The upper bounds of histograms' buckets.",
    details: "\
1 to 32, each longer than the one before it. Default: 1, 2.5, 5, 10, 25, 50, 100, 250 and 500 ms, 1, 2.5, 5 and 10 s. Each bucket is a series for each route and
upstream.",
    example: METRICS_EXAMPLE,
    read: |r| Some(What::line(Buckets(r.some("a DURATION", value::duration)))),
};

static STATUS: Directive = Directive {
    name: "status",
    places: &[BRACES],
    args: "",
    props: &[],
    body: None,
    repeats: false,
    summary: "A status page, and the same as JSON.",
    details: "\
- `GET /status`: a page for browsers, which is live: sites, routes, upstreams and their servers, reasons of errors, caches, certificates, and the
  last notices. It needs nothing but itself and `GET /status/events`; 8 listen to that or to `tap` at once.
- `GET /status.json`: the same as JSON, with a [schema](observability.md#the-schema-of-statusjson). Workers count for it as for `metrics`.
- `GET /stores`: what is in the stores: `name`, `entries`, `bytes` and `capacity` of what is in memory, `files` and
  `disk-bytes` of what is on disk, and of each `folder` in `disks` whether it `works`; `fetching`: fetches that are under way; and what has been since the process began: `requests` by the words of the log
  (`hit`, `stale`, `revalidated`, `joined`, `miss`, `pass`), responses that were `stored`, `evicted` from memory and `disk-evicted`.
- `GET /entry?url=URL`: what is cached under a URL. All behind `url=` is the URL, as in
  `curl --unix-socket /run/proxy/site.sock 'http://admin/entry?url=http://example.com/x?y=1'`; it is taken for whichever scheme and port, as `PURGE` does. `responses` has up to 64, with
  `url` as it is keyed, `on` (`memory` or `disk`), `status`, `bytes`, `age`, `ttl`, `stale-while-revalidate` and `stale-if-error` in seconds,
  `purged-softly`, the names in `vary`, `tags`, `groups` (128 of both; `more-tags` says whether there are more), and some of their `fields`. Of a URL with variants those are shown that are in memory.",
    example: STATUS_EXAMPLE,
    read: |_| Some(What::line(AdminLine::Status)),
};

static PURGE: Directive = Directive {
    name: "purge",
    places: &[BRACES],
    args: "",
    props: &[],
    body: None,
    repeats: false,
    summary: "Responses may be purged here.",
    details: "\
`PURGE` of any site's URL, as in `curl --unix-socket /run/proxy/site.sock -X PURGE http://example.com/x`: as [`purge` in `cache`](#purge)
describes it, whatever that says; `Purge-Tags`, `Purge-Groups`, `Purge-Pattern` and `Purge-Mode: all` are about all stores. A request with
`Origin`, as pages in browsers send it, is answered with 403.",
    example: STATUS_EXAMPLE,
    read: |_| Some(What::line(AdminLine::Purge)),
};

static SERVERS: Directive = Directive {
    name: "servers",
    places: &[BRACES],
    args: "",
    props: &[],
    body: None,
    repeats: false,
    summary: "The servers of upstreams: their states as JSON, and changes.",
    details: "\
- `GET /servers`: a list of all servers. Each has `upstream` and `server`, their names as the site or discovery has them; `addresses`; whether it is a `backup`
  and was `discovered`; `weight`; `state`, which operators set: `enabled`, `draining` while exchanges are left, `drained`; `health`, as checks and `outlier`
  find it: `healthy`, `unhealthy`, `ejected`, or `unresolved` where its name has no address; `active`, its exchanges now; and `max-connections`, where there is a limit.
- `POST /servers/UPSTREAM/SERVER` changes one, by parameters in the query or in a body as of a form, up to 4 KiB: `state=drain`, `state=enabled`,
  `weight=N` (0 to 1000). The response has the server as it is now. A slash in a name may be written as `%2F`. For a server that does not exist, it is 404 with the
  names that are near. A request with `Origin`, as pages in browsers send it, is answered with 403.

A server that is drained gets no new exchanges: `sticky` and balancing by a key choose another one, backups step in, and where all servers are drained,
requests are answered as where none is healthy, with `no-healthy-upstream`. Exchanges that it has go on. Enabled again, it warms up by `slow-start`. A change acts
on all workers at once, is a line of the error log with who made it, and holds until the process ends; for a discovered server, as long as discovery names it.",
    example: SERVERS_EXAMPLE,
    read: |_| Some(What::line(AdminLine::Servers)),
};

static DRAIN: Directive = Directive {
    name: "drain",
    places: &[BRACES],
    args: "",
    props: &[],
    body: None,
    repeats: false,
    summary: "The process may be ended here.",
    details: "\
`POST /drain` is answered with 202, and then the process ends as it does on SIGTERM: it accepts no more connections, and running exchanges have the time
of [`drain` in `process`](#drain-in-process). A request with `Origin`, as pages in browsers send it, is answered with 403.",
    example: SERVERS_EXAMPLE,
    read: |_| Some(What::line(AdminLine::Drain)),
};

static LOG_LEVEL: Directive = Directive {
    name: "log-level",
    places: &[BRACES],
    args: "",
    props: &[],
    body: None,
    repeats: false,
    summary: "The level of the error log may be changed here.",
    details: "\
`POST /log-level?level=error`, `warn` or `info`: the error log has lines of that level and of those above it until the process ends, whatever [`log errors`](#log)
says. A request with `Origin`, as pages in browsers send it, is answered with 403.",
    example: SERVERS_EXAMPLE,
    read: |_| Some(What::line(AdminLine::LogLevel)),
};

static ALLOW: Directive = Directive {
    name: "allow",
    places: &[BRACES],
    args: "CIDR...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The networks whose requests are answered.",
    details: "\
Connections of all others are closed at once. Default: anybody who can reach the address. Who connects to a unix socket is
`127.0.0.1`.",
    example: r#"
admin ":9000" {
    metrics
    allow "10.0.0.0/8"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(AdminLine::Allow(r.some("a CIDR", value::network)))),
};

static READY: Directive = Directive {
    name: "ready",
    places: &[BRACES],
    args: "UPSTREAM...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The upstreams without which the proxy is not ready.",
    details: "`GET /readyz` is 503 while one of them has no healthy server, by `health-check` and `outlier`. Default: none.",
    example: r#"
admin "127.0.0.1:9000" {
    ready app
}
upstream app {
    server "127.0.0.1:3000"
    health-check "/healthz"
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::line(AdminLine::Ready(r.some("an UPSTREAM", value::name)))),
};

const METRICS_EXAMPLE: &str = r#"
admin "127.0.0.1:9000" {
    metrics {
        buckets "5ms" "25ms" "100ms" "1s"
    }
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#;

const SERVERS_EXAMPLE: &str = r#"
admin "unix:/run/proxy/site.sock" {
    servers
    drain
    log-level
}
upstream app {
    server "10.0.0.1:3000"
    server "10.0.0.2:3000"
}
site example.com {
    proxy app
}
"#;

const STATUS_EXAMPLE: &str = r#"
admin "unix:/run/proxy/site.sock" {
    status
    purge
}
site example.com {
    cache
    proxy "http://127.0.0.1:3000"
}
"#;

fn address(leaf: &Leaf) -> Parsed<String> {
    match &leaf.value {
        Scalar::Integer(port @ 1..=65535, _) => Err(value::problem("bad-address", "a port alone is not an address")
            .write_text(&format!("127.0.0.1:{port}"))
            .write_text("unix:/run/site/admin.sock")),
        _ => value::listen_address(leaf),
    }
}

impl Check<'_> {
    /// Declares the listener of `admin`.
    pub(crate) fn admin_listen(&mut self, admin: &ast::Admin, declared: &mut Vec<DeclaredListener>) -> Option<usize> {
        let address = &admin.address;
        let words = vec![Spanned { value: ListenWord::Address(address.value.clone()), span: address.span }];
        let (mode, owner) = (admin.mode, admin.owner.clone());
        let file = self.socket_file(&ast::Listen { words, mode, owner, items: Vec::new() });
        let tls = self.admin_tls(admin);
        let speaks = Speaks { admin: true, tls: tls.is_some(), default: tls, ..model::PLAIN };
        self.add_listener(address, None, (false, &speaks, &file), declared)
    }

    /// Checks `admin`, and returns the runtime's form of it.
    pub(crate) fn admin(&mut self, written: Option<&ast::Admin>, listeners: &Listeners) -> Option<site::Admin> {
        let written = written?;
        let listener = listeners.list.iter().position(|listener| listener.speaks.admin)?;
        let mut admin = site::Admin {
            listener: listener as u16,
            metrics: false,
            status: false,
            tap: false,
            masked: list(Vec::new()),
            purge: false,
            servers: false,
            drain: false,
            log_level: false,
            allow: list(Vec::new()),
            auth: None,
            hosts: list(Vec::new()),
            buckets: list(Vec::new()),
            ready: list(Vec::new()),
        };
        for item in &written.items {
            match item.line() {
                Some(AdminLine::Metrics(items)) => {
                    admin.metrics = true;
                    let buckets = items.iter().find_map(Item::line::<Buckets>);
                    admin.buckets = list(buckets.map(|buckets| self.buckets(buckets)).unwrap_or_default());
                }
                Some(AdminLine::Status) => admin.status = true,
                Some(AdminLine::Tap(items)) => {
                    admin.tap = true;
                    admin.masked = list(self.masked(items));
                }
                Some(AdminLine::Purge) => admin.purge = true,
                Some(AdminLine::Servers) => {
                    admin.servers = true;
                    self.has_upstreams(item);
                }
                Some(AdminLine::Drain) => admin.drain = true,
                Some(AdminLine::LogLevel) => admin.log_level = true,
                Some(AdminLine::Allow(networks)) => {
                    admin.allow = list(networks.iter().map(|network| network.value).collect());
                }
                Some(AdminLine::Ready(names)) => admin.ready = list(self.upstreams_named(names)),
                None => {}
            }
            self.has_stores(item);
        }
        self.admin_access(written, listeners.list[listener].speaks.default, &mut admin);
        Some(admin)
    }

    /// Checks that `purge` has a cache to act on.
    fn has_stores(&mut self, item: &Item) {
        if matches!(item.line(), Some(AdminLine::Purge)) && self.stores.entries.is_empty() && !self.report.has_errors()
        {
            self.error("no-effect", "`purge` has no effect: there is no cache", item.span);
        }
    }

    /// Checks that `servers` has an upstream to act on.
    fn has_upstreams(&mut self, item: &Item) {
        if self.upstreams.entries.is_empty() && !self.report.has_errors() {
            self.error("no-effect", "`servers` has no effect: there is no upstream", item.span);
        }
    }

    fn buckets(&mut self, Buckets(written): &Buckets) -> Vec<u64> {
        for pair in written.windows(2).filter(|pair| pair[1].value <= pair[0].value) {
            self.report.add(
                Diagnostic::error(
                    "contradiction",
                    "this bucket has no room: it ends where one before it does",
                    pair[1].span,
                )
                .also(pair[0].span, "the one before it")
                .help("write them in order, each longer than the one before it"),
            );
        }
        if let Some(first) = written.get(MAX_BUCKETS) {
            self.error("out-of-range", format!("there may be {MAX_BUCKETS} buckets"), first.span);
        }
        if let Some(none) = written.iter().find(|bucket| bucket.value.is_zero()) {
            self.error("out-of-range", "nothing takes no time", none.span);
        }
        written.iter().map(|bucket| u64::try_from(bucket.value.as_micros()).unwrap_or(u64::MAX)).collect()
    }

    /// Looks up upstreams by name, each once.
    pub(crate) fn upstreams_named(&mut self, names: &[Spanned<String>]) -> Vec<u16> {
        let mut found: Vec<u16> = Vec::new();
        for name in names {
            let Some(index) = self.upstreams.look_up("upstream", name, self.report) else { continue };
            let upstream = &self.upstreams.entries[index].value;
            if upstream.health_check.is_none() && upstream.outlier.is_none() {
                let message = format!("`{name}` is always ready: nothing finds out that a server is unhealthy");
                self.report.add(
                    Diagnostic::error("no-effect", message, name.span)
                        .also(self.upstreams.entries[index].span, "this upstream")
                        .help("give the upstream a `health-check` or `outlier`, or leave it out here"),
                );
            }
            let index = self.upstream_index(index, name.span);
            if found.contains(&index) {
                self.error("duplicate", format!("`{name}` is there already"), name.span);
            } else {
                found.push(index);
            }
        }
        found
    }
}
