//! Pass 4, `check`: turns the syntax tree into the model, or reports errors.
//!
//! After this pass, **no user error at all** can occur. It looks names up, fills in defaults, merges presets and outer
//! policies, resolves placeholders, and proves what can be proved about routes. It adds all findings to the report and
//! continues; it returns the model only if there was no error.

mod presets;
mod routes;

use std::collections::HashMap;

use proxy_runtime::site;

use crate::ast::{self, HostPattern, Item, Top, What};
use crate::check::{Check, ListenItem, fields, listeners, scope};
use crate::model::{self, Host, list};
use crate::policy::{self, Layer};
use crate::report::{Diagnostic, Report};
use crate::sandbox;
use crate::source::{Sources, Span, Spanned};
use crate::{trace, upstream};

/// The most routes of one site file; ids have 32 bits, but memory is the practical limit.
pub(crate) const MAX_ROUTES: usize = 1 << 20;

/// Checks a file's items.
pub(crate) fn check(sources: &mut Sources, items: Vec<Item>, report: &mut Report) -> Option<model::Site> {
    let errors_before = report.has_errors();
    let root = Root::sort(items);
    let mut check = Check::new(sources, report);
    check.lint_levels(root.lints);
    check.trace_fields = root.trace.as_ref().map(trace::fields);
    if root.sites.is_empty() && root.streams.is_empty() && !check.report.has_errors() {
        let wrong = Diagnostic::error(
            "no-site",
            "there is no site in this file: no request would be served",
            check.sources.start(),
        );
        let help = check.at_top("site example.com { respond 200 \"hello\\n\"; }");
        check.report.add(wrong.help(help));
    }
    check.declare_params(root.params);
    for (span, preset) in root.presets {
        check.presets.declare("preset", &preset.name.clone(), (span, preset.items), check.report);
    }
    upstream::declare(&mut check, root.upstreams);
    check.declare_stores(root.stores);
    check.declare_tls(root.tls);
    check.default_http = root.http;
    let secured = check.sites_tls(&root.sites);
    let listeners = check.listeners(&root.listens, &root.sites, &secured, (&root.streams, root.admin.as_ref()));
    check.http2_spoken = listeners.list.iter().any(|listener| listener.speaks.http2);
    check.http3_spoken = listeners.list.iter().any(|listener| listener.speaks.http3);
    let defaults = check.layer(&root.policies, &Layer::default());
    policy::ALL.iter().for_each(|kind| kind.check_root(&mut check, &defaults, &listeners.list));
    let process = check.process(&root.process, listeners.privileged);
    let trusted = check.trusted(root.trusted);
    check.trusted_header = trusted.header.clone();
    check.underscores = policy::limits::underscores(&defaults);
    let root_policy = check.policy(&defaults, &scope::Scope::no_route());
    let mut hosts = check.sites(root.sites, &listeners, &secured, &defaults);
    let joined = check.join(&hosts);
    for host in &mut hosts {
        check.overlaps(host, &joined);
    }
    check.report_effects();
    let tests = check.tests(root.tests);
    let streams = check.streams(&root.streams);
    let tls = check.finish_tls(&hosts);
    let admin = check.admin(root.admin.as_ref(), &listeners);
    let errors = check.error_log(&root.error_logs);
    let trace = check.trace(root.trace.as_ref(), &hosts, &trusted);
    let acme = check.acme(root.acme.as_ref(), &hosts, &listeners.list);
    check.sandbox_fits(&root.process, acme.as_ref());
    check.keys_in_site();
    check.secrets_compiled_in();
    check.unused(&listeners);
    let Check { params, upstreams, stores, warmed, listed, key_sources, files, bundle, outputs, .. } = check;
    let mut site = model::Site {
        params: params.into_values(),
        files,
        process,
        listeners: listeners.list,
        tls,
        acme,
        admin,
        trace,
        streams,
        trusted,
        root: root_policy,
        joined,
        hosts,
        upstreams: upstreams.into_values(),
        stores: stores.into_values(),
        listed,
        key_sources,
        outputs: outputs.into_iter().map(|(output, _)| output).collect(),
        errors,
        bundle,
        tests,
        warmed,
    };
    site.process.sandbox = site.process.sandbox.take().and_then(|written| sandbox::derive(&site, written));
    site.place_tests();
    (!errors_before && !report.has_errors()).then_some(site)
}

/// The items of the top level, sorted by kind.
#[derive(Default)]
struct Root {
    listens: Vec<ListenItem>,
    tls: Vec<(Span, ast::Tls)>,
    acme: Option<ast::Acme>,
    admin: Option<ast::Admin>,
    error_logs: Vec<(Span, ast::ErrorLog)>,
    trace: Option<ast::Trace>,
    streams: Vec<(Span, ast::Stream)>,
    sites: Vec<(Span, ast::Site)>,
    upstreams: Vec<(Span, ast::Upstream)>,
    stores: Vec<(Span, ast::CacheStore)>,
    params: Vec<(Span, ast::Param)>,
    presets: Vec<(Span, ast::Preset)>,
    trusted: Option<(Span, ast::TrustedProxies)>,
    http: Option<ast::HttpLine>,
    process: Vec<Item>,
    policies: Vec<Item>,
    lints: Vec<ast::Lint>,
    tests: Vec<(Span, ast::Test)>,
}

impl Root {
    fn sort(items: Vec<Item>) -> Root {
        let mut root = Root::default();
        for Item { span, what, broken } in items {
            match what {
                // The error is in the report already.
                What::Unread => {}
                What::Policy(policy) => root.policies.push(Item { span, what: What::Policy(policy), broken }),
                What::Tls(tls) => root.tls.push((span, tls)),
                What::Top(top) => root.add(span, top, broken),
                _ => unreachable!("the reader allows nothing else at the top level"),
            }
        }
        root
    }

    fn add(&mut self, span: Span, top: Top, broken: bool) {
        match top {
            Top::Listen(listen) => self.listens.push(ListenItem { span, listen, broken }),
            Top::Acme(acme) => self.acme = Some(*acme),
            Top::Stream(stream) => self.streams.push((span, stream)),
            Top::Site(site) => self.sites.push((span, site)),
            Top::Upstream(upstream) => self.upstreams.push((span, upstream)),
            Top::Admin(admin) => self.admin = Some(admin),
            Top::ErrorLog(errors) => self.error_logs.push((span, errors)),
            Top::Trace(trace) => self.trace = Some(*trace),
            Top::CacheStore(store) => self.stores.push((span, store)),
            Top::Param(param) => self.params.push((span, param)),
            Top::Preset(preset) => self.presets.push((span, preset)),
            Top::TrustedProxies(trusted) => self.trusted = Some((span, trusted)),
            Top::Http(http) => self.http = Some(http),
            Top::Process(items) | Top::Http2(items) => self.process.extend(items),
            Top::Lint(lint) => self.lints.push(lint),
            Top::Test(test) => self.tests.push((span, test)),
        }
    }
}

/// The site of each host on a listener.
type Claims = HashMap<(HostPattern, usize), Span>;

impl Check<'_> {
    /// Returns the policy of a layer, given the available placeholders.
    fn policy(&mut self, layer: &Layer, scope: &scope::Scope) -> site::Policy {
        let mut made = policy::defaults();
        policy::ALL.iter().for_each(|kind| kind.check(self, layer, scope, &mut made));
        made
    }

    fn sites(
        &mut self,
        sites: Vec<(Span, ast::Site)>,
        listeners: &listeners::Listeners,
        secured: &[Option<usize>],
        defaults: &Layer,
    ) -> Vec<Host> {
        let mut hosts: Vec<Host> = Vec::new();
        let mut claims = Claims::new();
        let mut routes = 0;
        for (index, (span, site)) in sites.into_iter().enumerate() {
            self.site_tls = secured[index];
            let layer = self.layer(&site.items, defaults);
            self.underscores = policy::limits::underscores(&layer);
            let served_on = listeners.of_site[index].clone();
            self.claimed_twice(&mut claims, span, &site.hosts, &served_on);
            // Placeholders of authentication have no value without a route, and are then empty.
            let mut policy = self.policy(&layer, &policy::auth::scope(&layer));
            let scope_hosts: Vec<HostPattern> = site.hosts.iter().map(|host| host.value.clone()).collect();
            let name = scope_hosts.first().map(ToString::to_string).unwrap_or_default();
            let found = self.routes(&site, &layer, &scope_hosts);
            routes += found.len();
            policy.fields.pass = list(fields::passed_by_some(found.iter().map(|route| &route.policy)));
            if !site.items.iter().any(|item| matches!(item.what, What::Route(_) | What::Handler(_) | What::Unread)) {
                self.report.add(
                    Diagnostic::error("no-route", format!("the site `{name}` has no routes"), span)
                        .help(self.inside(span, "proxy \"http://127.0.0.1:3000\"")),
                );
            }
            let mut normal_form = policy::limits::normal_form(&layer);
            normal_form.encoded_slash |= found.iter().any(|route| route.policy.limits.encoded_slash);
            hosts.push(Host {
                hosts: scope_hosts,
                span,
                normal_form,
                policy,
                tls: secured[index].map(|tls| tls as u16),
                secure: listeners.secure(&served_on, secured[index]),
                listeners: served_on,
                routes: found,
            });
        }
        self.site_tls = None;
        // The cache key has no port: if a host may be two sites, by listener, the key has the site.
        if hosts.iter().any(|host| host.listeners != hosts[0].listeners) {
            for (index, host) in hosts.iter_mut().enumerate() {
                for cache in host.routes.iter_mut().filter_map(|route| route.policy.cache.as_mut()) {
                    cache.key.site = index as u16 + 1;
                }
            }
        }
        if let (true, Some(last)) = (routes > MAX_ROUTES, hosts.last()) {
            let message = format!("{routes} routes, and there is room for {MAX_ROUTES}");
            self.error("too-many-routes", message, last.span);
        }
        hosts
    }

    /// Checks that a host belongs to one site per listener. `claims` are those of earlier sites.
    fn claimed_twice(&mut self, claims: &mut Claims, site: Span, hosts: &[Spanned<HostPattern>], listeners: &[usize]) {
        for (index, host) in hosts.iter().enumerate() {
            if let Some(first) = hosts[..index].iter().find(|earlier| earlier.value == host.value) {
                self.report.add(
                    Diagnostic::error("duplicate-host", format!("the host `{host}` is listed twice"), host.span)
                        .also(first.span, "the first"),
                );
                continue;
            }
            let mut other = None;
            for &listener in listeners {
                let first = *claims.entry((host.value.clone(), listener)).or_insert(site);
                other = other.or(Some(first).filter(|first| *first != site));
            }
            if let Some(other) = other {
                self.report.add(
                    Diagnostic::error("duplicate-host", format!("two sites claim the host `{host}`"), host.span)
                        .label("the second")
                        .also(other, "the first")
                        .help("put the routes of both into one site, or give the sites listeners of their own"),
                );
            }
        }
    }
}
