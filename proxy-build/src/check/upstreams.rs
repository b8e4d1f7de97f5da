//! `upstream` and `retry`: defaults, and settings that contradict each other.

use std::fmt::Write as _;
use std::time::Duration;

use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::{
    BalancePolicy, CircuitBreaker, Discover, DiscoverFrom, HealthCheck, Outlier, ParamKind, Pool, Server, Setting,
    Sticky, Upstream,
};

use super::scope::{Phase, Scope};
use super::{Check, list};
use crate::ast::{self, HttpVersion, InHealthCheck, InUpstream, Item, Probe, What};
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// The most servers of an upstream.
const MAX_SERVERS: usize = 10_000;

impl Check<'_> {
    pub(crate) fn declare_upstreams(&mut self, upstreams: Vec<(Span, ast::Upstream)>) {
        for (span, upstream) in upstreams {
            let mut value = Upstream::new(upstream.name.value.clone().into(), Vec::new(), self.place(span));
            let (mut servers, mut unread): (Vec<Server>, bool) = (Vec::new(), false);
            for Item { span, what, .. } in &upstream.items {
                match what {
                    What::InUpstream(InUpstream::Server(server)) => {
                        servers.extend(self.server(server, *span, &servers));
                    }
                    What::InUpstream(item) => self.in_upstream(item, &mut value),
                    What::Unread => unread = true,
                    _ => unreachable!("the reader lets nothing else stand in an upstream"),
                }
            }
            if let (Some(tls), Some(Discover { from: DiscoverFrom::Dns(name, _), .. })) =
                (&mut value.tls, &value.discover)
            {
                // What is found are addresses; their certificates are for the name.
                tls.sni.get_or_insert_with(|| name.clone());
            }
            self.are_servers(&servers, &upstream, unread);
            if !unread {
                self.have_effect(&servers, &upstream, &value);
                self.speak_alike(&upstream, &value);
            }
            value.servers = list(servers);
            self.upstreams.declare("upstream", &upstream.name, value, self.report);
        }
    }

    fn are_servers(&mut self, servers: &[Server], upstream: &ast::Upstream, unread: bool) {
        let name = &upstream.name;
        let written = |what: &What| matches!(what, What::InUpstream(InUpstream::Server(_) | InUpstream::Discover(_)));
        let of = |wanted: fn(&InUpstream) -> bool| {
            let found = |item: &&Item| matches!(&item.what, What::InUpstream(what) if wanted(what));
            upstream.items.iter().find(found).map(|item| item.span)
        };
        let discovers = of(|what| matches!(what, InUpstream::Discover(_)));
        if let (Some(discovers), Some(server)) = (discovers, of(|what| matches!(what, InUpstream::Server(_)))) {
            self.report.add(
                Diagnostic::error("two-sources", "servers are either written or found", discovers)
                    .also(server, "here is one written")
                    .help("make two upstreams of them"),
            );
        }
        if !unread && !upstream.items.iter().any(|item| written(&item.what)) {
            self.report.add(
                Diagnostic::error("no-server", format!("`{name}` has no server"), name.span)
                    .help(self.inside(name.span, "server \"10.0.0.1:8080\"")),
            );
        } else if !servers.is_empty() && servers.iter().all(|server| server.weight == Setting::Fixed(0)) {
            let message = format!("the weights of `{name}` sum to 0: no server would ever be asked");
            self.error("no-weight", message, name.span);
        } else if !servers.is_empty() && servers.iter().all(|server| server.backup) {
            self.report.add(
                Diagnostic::error("only-backups", format!("all servers of `{name}` are backups"), name.span)
                    .help("leave out `backup` at those that are to be asked first"),
            );
        }
        if servers.len() > MAX_SERVERS {
            self.error("too-many-servers", format!("`{name}` has more than {MAX_SERVERS} servers"), name.span);
        }
    }

    /// What is written for a case that can't occur.
    fn have_effect(&mut self, servers: &[Server], upstream: &ast::Upstream, value: &Upstream) {
        let never_away = value.health_check.is_none() && value.outlier.is_none();
        let full = |limit: &Setting<u64>| *limit != Setting::Fixed(u64::MAX);
        let never_full = !full(&value.circuit_breaker.max_connections)
            && !servers.iter().any(|server| full(&server.max_connections));
        for Item { span, what, broken } in &upstream.items {
            let (name, without, help) = match what {
                What::InUpstream(InUpstream::SlowStart(_)) if never_away => {
                    ("slow-start", "no server ever comes back", "a `health-check` or `outlier` would find some")
                }
                What::InUpstream(InUpstream::PanicThreshold(_)) if never_away => (
                    "panic-threshold",
                    "no server is ever found unhealthy",
                    "a `health-check` or `outlier` would find some",
                ),
                What::InUpstream(InUpstream::CircuitBreaker(_)) if never_full && !broken => (
                    "circuit-breaker",
                    "nothing is ever full",
                    "`max-connections` here or at the servers would be a limit",
                ),
                _ => continue,
            };
            let message = format!("`{name}` has no effect: {without}");
            self.report.add(Diagnostic::error("no-effect", message, *span).help(help));
        }
    }

    /// What can't be done in the version of HTTP that the servers speak.
    fn speak_alike(&mut self, upstream: &ast::Upstream, value: &Upstream) {
        for Item { span, what, .. } in &upstream.items {
            match what {
                What::InUpstream(InUpstream::ProxyProtocol(_)) if value.http2 => self.report.add(
                    Diagnostic::error(
                        "contradiction",
                        "a connection that many share can't be announced as one client's",
                        *span,
                    )
                    .help("leave out `http h2`, or this"),
                ),
                What::InUpstream(InUpstream::HealthCheck(check)) if check.probe == Probe::Grpc && !value.http2 => {
                    self.report.add(
                        Diagnostic::error("contradiction", "gRPC is spoken in HTTP/2 alone", *span)
                            .help(self.inside(upstream.name.span, "http h2")),
                    );
                }
                _ => {}
            }
        }
    }

    fn server(&mut self, server: &ast::Server, span: Span, others: &[Server]) -> Option<Server> {
        let address = self.address(&server.address)?;
        if others.iter().any(|other| other.address == address) {
            self.report.add(
                Diagnostic::error("duplicate-server", "this server is there already", server.address.span)
                    .help("one line is enough; a larger share is given by `weight`"),
            );
        }
        Some(Server {
            address,
            weight: self.or(server.weight.as_ref(), ParamKind::Number, Setting::Fixed(1)),
            backup: server.backup.as_ref().is_some_and(|backup| backup.value),
            max_connections: self.or(server.max_connections.as_ref(), ParamKind::Number, Setting::Fixed(u64::MAX)),
            place: self.place(span),
        })
    }

    /// What was written, or the default.
    pub(crate) fn or<T: Copy>(
        &mut self,
        written: Option<&Spanned<ast::Setting<T>>>,
        kind: ParamKind,
        default: Setting<T>,
    ) -> Setting<T> {
        written.and_then(|written| self.setting(written, kind)).unwrap_or(default)
    }

    fn in_upstream(&mut self, item: &InUpstream, value: &mut Upstream) {
        match item {
            InUpstream::Server(_) => {}
            InUpstream::Balance { policy, key } => {
                value.balance = policy.value;
                value.key = self.key(policy, key.as_ref());
            }
            InUpstream::SlowStart(duration) => {
                value.slow_start = self.or(Some(duration), ParamKind::Duration, value.slow_start);
            }
            InUpstream::PanicThreshold(percent) => value.panic_threshold = *percent,
            InUpstream::CircuitBreaker(breaker) => {
                let default = &value.circuit_breaker;
                let (connections, pending) = (default.max_connections, default.max_pending);
                value.circuit_breaker = CircuitBreaker {
                    pending_timeout: self.or(
                        breaker.pending_timeout.as_ref(),
                        ParamKind::Duration,
                        default.pending_timeout,
                    ),
                    max_connections: self.or(breaker.max_connections.as_ref(), ParamKind::Number, connections),
                    max_pending: self.or(breaker.max_pending.as_ref(), ParamKind::Number, pending),
                };
            }
            InUpstream::Pool(pool) => {
                let default = value.pool.clone();
                value.pool = Pool {
                    max_idle: self.or(pool.max_idle.as_ref(), ParamKind::Number, default.max_idle),
                    idle_timeout: self.or(pool.idle_timeout.as_ref(), ParamKind::Duration, default.idle_timeout),
                    max_age: self.or(pool.max_age.as_ref(), ParamKind::Duration, default.max_age),
                    tcp_keepalive: self.or(pool.tcp_keepalive.as_ref(), ParamKind::Duration, default.tcp_keepalive),
                };
            }
            InUpstream::HealthCheck(check) => value.health_check = Some(self.health_check(check)),
            InUpstream::Outlier(outlier) => {
                value.outlier = Some(Outlier {
                    consecutive_5xx: outlier.consecutive_5xx.as_ref().map_or(5, |count| count.value),
                    eject: self.or(
                        outlier.eject.as_ref(),
                        ParamKind::Duration,
                        Setting::Fixed(Duration::from_secs(30)),
                    ),
                    max_ejected_percent: outlier.max_ejected_percent.as_ref().map_or(50, |percent| percent.value),
                });
            }
            InUpstream::Sticky(sticky) => value.sticky = self.sticky(sticky),
            InUpstream::Discover(discover) => {
                let mut resolvers = Vec::new();
                for Item { span, what, .. } in &discover.items {
                    let What::Resolvers(written) = what else { continue };
                    resolvers.extend(written.iter().map(|resolver| resolver.value.clone().into()));
                    if matches!(discover.from.value, DiscoverFrom::File(_)) {
                        self.error("no-effect", "`resolvers` has no effect: nobody is asked about a file", *span);
                    }
                }
                value.discover = Some(Discover {
                    from: discover.from.value.clone(),
                    refresh: discover.refresh.as_ref().and_then(|refresh| self.setting(refresh, ParamKind::Duration)),
                    resolvers: list(resolvers),
                    max: discover.max.as_ref().map_or(64, |max| max.value),
                    place: self.place(discover.span),
                });
            }
            InUpstream::Tls(tls) => value.tls = self.upstream_tls(tls),
            InUpstream::SendFile(folder) => self.send_file(folder, value),
            InUpstream::Http(version) => value.http2 = version.value == HttpVersion::H2,
            InUpstream::ProxyProtocol(version) => {
                value.proxy_protocol = Some(*version);
            }
        }
    }

    fn key(&mut self, policy: &Spanned<BalancePolicy>, key: Option<&Spanned<ast::Template>>) -> Option<Template> {
        let by_key = matches!(policy.value, BalancePolicy::Hash | BalancePolicy::Maglev);
        match key {
            None if by_key => {
                self.report.add(
                    Diagnostic::error("no-key", "this policy goes by a key, and there is none", policy.span)
                        .help(Help::beside(policy.span, "key=\"{client.ip}\"")),
                );
                None
            }
            Some(key) if !by_key => {
                self.report.add(
                    Diagnostic::error("no-effect", "`key` has no effect: this policy does not go by one", key.span)
                        .also(policy.span, "the policy")
                        .help("`hash` and `maglev` go by a key"),
                );
                None
            }
            None => None,
            Some(key) => self.varying(key, &Scope { upstream: true, ..Scope::no_route() }),
        }
    }

    /// A text that decides about a request: it must not be the same for all.
    pub(crate) fn varying(&mut self, key: &Spanned<ast::Template>, scope: &Scope) -> Option<Template> {
        self.spoofable(&key.value);
        let found = self.template(&key.value, scope, Phase::Request)?;
        if found.literal().is_some() {
            self.report.add(
                Diagnostic::error("constant-key", "this key is the same for all requests", key.span)
                    .help("put a placeholder in, as in \"{client.ip}\""),
            );
        }
        Some(found)
    }

    fn health_check(&mut self, check: &ast::HealthCheck) -> HealthCheck {
        let seconds = |seconds| Setting::Fixed(Duration::from_secs(seconds));
        let interval = self.or(check.interval.as_ref(), ParamKind::Duration, seconds(5));
        let default = match interval {
            Setting::Fixed(interval) => Setting::Fixed(interval.min(Duration::from_secs(1))),
            Setting::Param(_) => seconds(1),
        };
        let timeout = self.or(check.timeout.as_ref(), ParamKind::Duration, default);
        if let (Setting::Fixed(interval), Setting::Fixed(limit), Some(written)) = (interval, timeout, &check.timeout)
            && limit > interval
        {
            let mut wrong = Diagnostic::error(
                "contradicting-timeouts",
                "a check may take longer than it is to the next one",
                written.span,
            );
            if let Some(interval) = &check.interval {
                wrong = wrong.also(interval.span, "the next check begins after this");
            }
            self.report.add(wrong);
        }
        let (mut statuses, mut body) = (vec![(200, 399)], None);
        for Item { span, what, .. } in &check.items {
            let What::InHealthCheck(item) = what else { continue };
            match check.probe {
                Probe::Path(_) => {}
                Probe::Tcp => self.error("no-effect", "this has no effect: a `tcp` check asks for nothing", *span),
                Probe::Grpc => self.error("no-effect", "this has no effect: gRPC has its own answer", *span),
            }
            match item {
                InHealthCheck::Statuses(written) => statuses = written.iter().map(|range| range.value).collect(),
                InHealthCheck::Body(text) => body = Some(text.value.clone().into()),
            }
        }
        if let (Some(service), false) = (&check.service, check.probe == Probe::Grpc) {
            self.error("no-effect", "`service` has no effect: only a `grpc` check asks about one", service.span);
        }
        if let (Probe::Tcp, Some(host)) = (&check.probe, &check.host) {
            self.error("no-effect", "`host` has no effect: a `tcp` check asks for nothing", host.span);
        }
        HealthCheck {
            path: match &check.probe {
                Probe::Path(path) => Some(path.clone().into()),
                Probe::Tcp | Probe::Grpc => None,
            },
            grpc: (check.probe == Probe::Grpc)
                .then(|| check.service.as_ref().map_or_else(String::new, |service| service.value.clone()).into()),
            host: check.host.as_ref().map(|host| host.value.clone().into()),
            port: check.port.as_ref().map(|port| port.value),
            interval,
            timeout,
            rise: check.rise.as_ref().map_or(2, |count| count.value),
            fall: check.fall.as_ref().map_or(3, |count| count.value),
            statuses: list(statuses),
            body,
        }
    }

    fn sticky(&mut self, sticky: &ast::Sticky) -> Option<Sticky> {
        let secret = match &sticky.secret {
            None => None,
            Some(secret) => {
                let found = self.template(&secret.value, &Scope::no_route(), Phase::Request)?;
                let fixed = |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Param(_) | Piece::File(_));
                if !found.pieces.iter().all(fixed) {
                    self.error("placeholder-scope", "the secret is the same for all requests", secret.span);
                }
                if found.literal().is_some() {
                    self.report.add(
                        Diagnostic::lint("secret-in-file", "a secret is not written into the site", secret.span)
                            .help(self.as_secret(secret.span)),
                    );
                }
                Some(found)
            }
        };
        let mut attributes = format!("; Path={}", sticky.path.as_ref().map_or("/", |path| path.value.as_str()));
        let mut add = |text: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = attributes.write_fmt(text);
        };
        if let Some(age) = &sticky.max_age {
            add(format_args!("; Max-Age={}", age.value.as_secs()));
        }
        if let Some(domain) = &sticky.domain {
            add(format_args!("; Domain={}", domain.value));
        }
        let secure = sticky.secure.as_ref().is_some_and(|secure| secure.value);
        let same_site = sticky.same_site.as_ref().map_or("Lax", |same_site| same_site.value);
        add(format_args!("; SameSite={same_site}"));
        if secure {
            add(format_args!("; Secure"));
        }
        if sticky.http_only.as_ref().is_none_or(|http_only| http_only.value) {
            add(format_args!("; HttpOnly"));
        }
        if let Some(same_site) = sticky.same_site.as_ref().filter(|same_site| same_site.value == "None" && !secure) {
            self.report.add(
                Diagnostic::error(
                    "bad-cookie",
                    "browsers drop a cookie with SameSite=None that is not secure",
                    same_site.span,
                )
                .help(Help::beside(same_site.span, "secure=#true")),
            );
        }
        Some(Sticky { cookie: sticky.cookie.value.clone().into(), secret, attributes: attributes.into() })
    }
}
