//! `discover`: servers that are discovered while the proxy runs.

use std::net::IpAddr;
use std::time::Duration;

use proxy_runtime::site::{self, DiscoverFrom, ParamKind, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::model::{Site, list};
use crate::source::Spanned;
use crate::syntax::{Leaf, quoted};
use crate::value::{self, Advice, Parsed, problem, server_address, text};

const BRACES: Place = Place::Within("in `discover`");

static DISCOVER: Directive = Directive {
    name: "discover",
    places: &[Place::Upstream],
    args: "dns|srv|file TARGET",
    props: &[
        Prop::new(
            "refresh",
            "DURATION",
            "How often the source is queried again. Default: for `dns` and `srv` the TTL of the records (1 second \
             to an hour), for `file` every second.",
        ),
        Prop::new("max", "N", "The maximum number of servers, 1 to 1000. Default 64."),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Discovers the servers of an upstream while the proxy runs.",
    details: "\
- `dns \"HOST:PORT\"`: every address of the name (A and AAAA) is a server.
- `srv \"_SERVICE._PROTO.NAME\"`: the servers of a service (RFC 2782), with their ports and weights. Servers of the first priority
  are primary, all others are backups.
- `file \"PATH\"`: a line for each server, `ADDRESS:PORT`, optionally followed by `weight=N` and `backup`; `#` begins a comment.
  Replace the file with `mv`, so that the proxy never reads an incomplete one. The path is relative to the folder where the proxy was started.

The proxy asks the system's name servers, with the search list of `/etc/resolv.conf`, or `resolvers`. Changes drop no
request: a removed server finishes its exchanges, and a new one is used at once. A result that can't be read, is
empty, or has more than `max` servers changes nothing and causes a notice on standard error, as does every change. Until the first result
there is no server, and requests get a 503.

In a crate of your own, `dns` and `srv` need the feature `dns` of `proxy-runtime`; `kiln build` and `kiln run` enable it.",
    example: r#"
upstream app {
    discover dns "app.internal:8080" {
        resolvers "10.0.0.2" "10.0.0.3:5353"
    }
}
upstream api {
    discover srv "_http._tcp.api.internal" refresh="30s"
}
upstream jobs {
    discover file "/run/jobs/servers" max=200
}
site example.com {
    route "/api/*" {
        proxy api
    }
    route "/jobs/*" {
        proxy jobs
    }
    route "/*" {
        proxy app
    }
}
"#,
    read: |r| {
        let kind = r.arg("`dns`, `srv` or `file`", value::word(KINDS))?;
        Some(What::in_upstream(Discover {
            from: r.arg("a TARGET", target(kind.value))?,
            refresh: r.prop("refresh", value::setting(value::wait("30s"))),
            max: r.prop("max", value::integer(1, 1000)),
            items: r.body(),
        }))
    },
};

static RESOLVERS: Directive = Directive {
    name: "resolvers",
    places: &[BRACES],
    args: "ADDR...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the name servers.",
    details: "IP addresses, with a port if it is not 53. The proxy asks the fastest first, and the others if it does not respond.",
    example: r#"
upstream app {
    discover dns "app.internal:8080" {
        resolvers "127.0.0.1:5353"
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::line(Resolvers(r.some("an ADDR", value::name_server)))),
};

/// `discover`.
#[derive(Debug)]
pub(super) struct Discover {
    from: Spanned<DiscoverFrom>,
    refresh: Option<Spanned<ast::Setting<Duration>>>,
    max: Option<Spanned<u64>>,
    items: Vec<Item>,
}

/// `resolvers`.
#[derive(Debug)]
struct Resolvers(Vec<Spanned<String>>);

impl UpstreamOption for Discover {
    const DIRECTIVES: &'static [&'static Directive] = &[&DISCOVER, &RESOLVERS];
    const MEMBER: &'static str = "discover";

    fn check(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        let mut resolvers = Vec::new();
        for item in &self.items {
            let Some(Resolvers(written)) = item.line() else { continue };
            resolvers.extend(written.iter().map(|resolver| resolver.value.clone().into()));
            if matches!(self.from.value, DiscoverFrom::File(_)) {
                check.error("no-effect", "`resolvers` has no effect: a file needs no DNS", item.span);
            }
        }
        upstream.discover = Some(site::Discover {
            from: self.from.value.clone(),
            refresh: self.refresh.as_ref().and_then(|refresh| check.setting(refresh, ParamKind::Duration)),
            resolvers: list(resolvers),
            max: self.max.as_ref().map_or(64, |max| max.value),
            place: check.place(at.option),
        });
    }

    fn servers(_: &Site, upstream: &Upstream) -> Vec<String> {
        let found = upstream.discover.iter().map(|discover| match &discover.from {
            DiscoverFrom::File(path) => format!("(found in {path})"),
            DiscoverFrom::Dns(host, port) => format!("(found by {host}:{port})"),
            DiscoverFrom::Srv(service) => format!("(found by {service})"),
        });
        found.collect()
    }
}

/// The kind of a `discover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiscoverMethod {
    /// Addresses of a name.
    Dns,
    /// Servers of a service.
    Srv,
    /// A file.
    File,
}

/// Their names.
const KINDS: &[(&str, DiscoverMethod)] =
    &[("dns", DiscoverMethod::Dns), ("srv", DiscoverMethod::Srv), ("file", DiscoverMethod::File)];

/// Parses the target of a kind.
fn target(kind: DiscoverMethod) -> impl Fn(&Leaf) -> Parsed<DiscoverFrom> {
    move |leaf| {
        let found = text(leaf)?;
        match kind {
            DiscoverMethod::File if found.is_empty() => {
                Err(problem("bad-path", "the path of a file must not be empty"))
            }
            DiscoverMethod::File => Ok(DiscoverFrom::File(found.into())),
            DiscoverMethod::Srv => {
                let labels: Vec<&str> = found.trim_end_matches('.').split('.').collect();
                let is_service =
                    labels.len() > 2 && labels[..2].iter().all(|label| label.len() > 1 && label.starts_with('_'));
                if is_service && labels.iter().all(|label| is_label(label)) {
                    return Ok(DiscoverFrom::Srv(found.into()));
                }
                Err(problem("bad-address", format!("`{found}` is not the name of a service"))
                    .help("a service is named as in \"_http._tcp.example.com\""))
            }
            DiscoverMethod::Dns => {
                let found = server_address(leaf)?;
                let Some((host, port)) =
                    found.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
                else {
                    return Err(problem("bad-address", "a name and a port are expected here")
                        .help("a name with a port is written as in \"app.internal:8080\""));
                };
                if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
                    return Err(problem("bad-address", format!("`{host}` is an address already"))
                        .help(Advice::Node(format!("server {}", quoted(&found)))));
                }
                Ok(DiscoverFrom::Dns(host.to_owned().into(), port))
            }
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
