//! Pass 4, `check`: the site as written becomes the site as meant, or diagnostics.
//!
//! After this pass **no user error at all** can come up. It looks names up, fills defaults, merges presets and outer
//! policies, resolves placeholders, and proves what can be proved about routes. It adds everything it finds to the
//! report and goes on; the model is given only where nothing was wrong.

mod acme;
mod auth;
mod block;
mod cache;
mod compress;
mod door;
mod effects;
mod fields;
mod files;
mod foreign;
mod handlers;
mod layer;
pub(crate) mod listeners;
pub mod matchers;
pub mod overlap;
mod params;
mod policies;
mod process;
pub mod regex;
mod replace;
pub(crate) mod scope;
mod site_tests;
mod streams;
mod text;
mod tls;
mod traffic;
mod upstreams;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proxy_runtime::media;
use proxy_runtime::site::{self, FilePath, FileRef, ParamKind, Place, TrustedHeader};
use proxy_runtime::site::{Bytes, ErrorPage};

use crate::ast::{self, FileSource, HostPattern, Item, What};
use crate::expression::Made;
use crate::model::{self, Host, list};
use crate::nearest::nearest;
use crate::report::{Diagnostic, Edit, Help, Report};
use crate::source::{Sources, Span, Spanned};
use layer::Layer;

/// The most routes of one site file; ids are 32 bits, and memory is what bounds it before.
pub const MAX_ROUTES: usize = 1 << 20;

/// How each kind of private key begins in PEM (RFC 7468), but for its kind.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// Checks a file's items.
pub fn check(sources: &mut Sources, items: Vec<Item>, report: &mut Report) -> Option<model::Site> {
    let errors_before = report.has_errors();
    let root = Root::sort(items);
    let mut check = Check {
        sources,
        report,
        params: Names::default(),
        upstreams: Names::default(),
        tls: Names::default(),
        stores: Names::default(),
        zones: 0,
        listed: Vec::new(),
        limiters: HashMap::new(),
        maintained: HashMap::new(),
        in_flight: HashMap::new(),
        expiring: tls::DAYS,
        blocks: Vec::new(),
        replacements: Vec::new(),
        key_sources: Vec::new(),
        bundle: Vec::new(),
        site_tls: None,
        acme_hosts: Vec::new(),
        trusted_header: TrustedHeader::XForwardedFor,
        underscores: false,
        http2_spoken: false,
        presets: Names::default(),
        files: Vec::new(),
        expressions: HashMap::new(),
        made: Rc::default(),
        unsound: HashSet::new(),
        effects: effects::Effects::default(),
    };
    check.lint_levels(root.lints);
    if root.sites.is_empty() && root.streams.is_empty() && !check.report.has_errors() {
        let wrong = Diagnostic::error(
            "no-site",
            "there is no site in this file: nobody would be answered",
            check.sources.start(),
        );
        let help = check.at_top("site example.com { respond 200 \"hello\\n\"; }");
        check.report.add(wrong.help(help));
    }
    check.declare_params(root.params);
    for (span, preset) in root.presets {
        check.presets.declare("preset", &preset.name.clone(), (span, preset.items), check.report);
    }
    check.declare_upstreams(root.upstreams);
    check.declare_stores(root.stores);
    check.declare_tls(root.tls);
    let secured = check.sites_tls(&root.sites);
    let listeners = check.listeners(&root.listens, &root.sites, &secured, (&root.streams, root.admin.as_ref()));
    check.http2_spoken = listeners.list.iter().any(|listener| listener.speaks.http2);
    let defaults = check.layer(&root.policies, &Layer::default());
    check.handshakes_happen(&defaults, &listeners.list);
    let process = check.process(&root.process);
    let trusted = check.trusted(root.trusted);
    check.trusted_header = trusted.header.clone();
    check.underscores = defaults.underscores();
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
    let acme = check.acme(root.acme.as_ref(), &hosts, &listeners.list);
    check.unused(&listeners);
    let Check { params, upstreams, stores, listed, key_sources, files, bundle, .. } = check;
    let mut site = model::Site {
        params: params.into_values(),
        files,
        process,
        listeners: listeners.list,
        tls,
        acme,
        streams,
        trusted,
        root: root_policy,
        joined,
        hosts,
        upstreams: upstreams.into_values(),
        stores: stores.into_values(),
        listed,
        key_sources,
        bundle,
        tests,
    };
    site.place_tests();
    (!errors_before && !report.has_errors()).then_some(site)
}

/// The items of the top level, sorted by what they are.
#[derive(Default)]
struct Root {
    listens: Vec<Listen>,
    tls: Vec<(Span, ast::Tls)>,
    acme: Option<ast::Acme>,
    admin: Option<Spanned<ast::Setting<String>>>,
    streams: Vec<(Span, ast::Stream)>,
    sites: Vec<(Span, ast::Site)>,
    upstreams: Vec<(Span, ast::Upstream)>,
    stores: Vec<(Span, ast::CacheStore)>,
    params: Vec<(Span, ast::Param)>,
    presets: Vec<(Span, ast::Preset)>,
    trusted: Option<(Span, ast::TrustedProxies)>,
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
                // It is in the report already.
                What::Unread => {}
                What::Listen(listen) => root.listens.push(Listen { span, listen, broken }),
                What::Tls(tls) => root.tls.push((span, tls)),
                What::Acme(acme) => root.acme = Some(acme),
                What::Stream(stream) => root.streams.push((span, stream)),
                What::Site(site) => root.sites.push((span, site)),
                What::Upstream(upstream) => root.upstreams.push((span, upstream)),
                What::Admin(address) => root.admin = Some(address),
                What::CacheStore(store) => root.stores.push((span, store)),
                What::Param(param) => root.params.push((span, param)),
                What::Preset(preset) => root.presets.push((span, preset)),
                What::TrustedProxies(trusted) => root.trusted = Some((span, trusted)),
                What::Process(items) => root.process.extend(items),
                What::Http2(items) => root.process.extend(items),
                What::Policy(policy) => root.policies.push(Item { span, what: What::Policy(policy), broken }),
                What::Lint(lint) => root.lints.push(lint),
                What::Test(test) => root.tests.push((span, test)),
                What::Route(_)
                | What::InListen(_)
                | What::InTls(_)
                | What::Dns(_)
                | What::InStream(_)
                | What::InUpstream(_)
                | What::InHealthCheck(_)
                | What::InRetry(_)
                | What::InCache(_)
                | What::InCors(_)
                | What::InAuth(_)
                | What::InBlock(..)
                | What::Replacement(..)
                | What::InClientCertificate(_)
                | What::Types(_)
                | What::DiskStore(_)
                | What::To(_)
                | What::Resolvers(_)
                | What::Use(_)
                | What::Workers(_)
                | What::Drain(_)
                | What::MaxStreams(_)
                | What::Request(_)
                | What::RequestField(..)
                | What::RequestCookie(..)
                | What::RequestBody(_)
                | What::RequestProtocol(_)
                | What::ExpectField(_)
                | What::From(_)
                | What::Expect(_)
                | What::Matcher(_)
                | What::Handler(_)
                | What::Else(_)
                | What::HeaderOp(_)
                | What::HeaderRemove(_)
                | What::HeaderPass(_)
                | What::QuerySet(..)
                | What::QueryRemove(_)
                | What::AllowHost(_)
                | What::Fields(_) => {
                    unreachable!("the reader lets no such directive stand at the top level")
                }
            }
        }
        root
    }
}

/// Which site has a host on a listener.
type Claims = HashMap<(HostPattern, usize), Span>;

/// A `listen` of the top level.
struct Listen {
    span: Span,
    listen: ast::Listen,
    broken: bool,
}

/// The pass at work.
struct Check<'a> {
    sources: &'a mut Sources,
    report: &'a mut Report,
    params: Names<site::Param>,
    upstreams: Names<site::Upstream>,
    tls: Names<tls::Declared>,
    stores: Names<site::Store>,
    /// Routes whose answers are told apart by the route.
    zones: u32,
    /// Networks of which some are in files.
    listed: Vec<site::Listed>,
    /// Where each `rate-limit` is written.
    limiters: HashMap<Span, u32>,
    /// Where each `maintenance` is written.
    maintained: HashMap<Span, u32>,
    /// Where each `in-flight` is written.
    in_flight: HashMap<Span, u32>,
    /// The sets of `block`s that hold together, each once.
    blocks: Vec<Vec<site::Block>>,
    /// What `body-replace` replaces, each set once.
    replacements: Vec<Vec<(site::Text, site::Text)>>,
    /// Where the keys of tokens come from.
    key_sources: Vec<site::KeySource>,
    /// Folders that are compiled in.
    bundle: Vec<model::Folder>,
    /// So many days before its end a certificate is found by `cert-expiry`.
    expiring: u64,
    /// The hosts that an authority is asked about, and where that is said.
    acme_hosts: Vec<(Spanned<HostPattern>, Span)>,
    /// The `tls` of the site that is looked at.
    site_tls: Option<usize>,
    /// The field that `trusted-proxies` goes by.
    trusted_header: TrustedHeader,
    /// Names of fields may have `_`, where the check is.
    underscores: bool,
    /// Some listener speaks HTTP/2.
    http2_spoken: bool,
    presets: Names<(Span, Vec<Item>)>,
    files: Vec<FileRef>,
    made: Rc<Made>,
    /// Where each expression on paths is written, the first time.
    expressions: HashMap<String, Span>,
    /// Routes about which something is in the report already.
    unsound: HashSet<Span>,
    /// What may have no effect.
    effects: effects::Effects,
}

/// Things with names: declared once, looked up, and missed where nobody does.
struct Names<T> {
    index: HashMap<String, usize>,
    entries: Vec<Named<T>>,
}

struct Named<T> {
    span: Span,
    used: bool,
    value: T,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names { index: HashMap::new(), entries: Vec::new() }
    }
}

impl<T> Names<T> {
    fn declare(&mut self, kind: &str, name: &Spanned<String>, value: T, report: &mut Report) {
        if let Some(&first) = self.index.get(&name.value) {
            let first = self.entries[first].span;
            let message = format!("there are two of the {kind} `{name}`");
            report.add(Diagnostic::error("duplicate-name", message, name.span).also(first, "the first"));
            return;
        }
        self.index.insert(name.value.clone(), self.entries.len());
        self.entries.push(Named { span: name.span, used: false, value });
    }

    /// Adds something that has no name to be looked up by.
    fn anonymous(&mut self, span: Span, value: T) -> usize {
        self.entries.push(Named { span, used: true, value });
        self.entries.len() - 1
    }

    fn look_up(&mut self, kind: &'static str, name: &Spanned<String>, report: &mut Report) -> Option<usize> {
        if let Some(&index) = self.index.get(&name.value) {
            self.entries[index].used = true;
            return Some(index);
        }
        if report.is_lost(&name.value) {
            return None;
        }
        let diagnostic = Diagnostic::error("unknown-name", format!("there is no {kind} `{name}`"), name.span);
        report.add(match nearest(&name.value, self.index.keys().map(String::as_str)) {
            // The span of a parameter has the type before its name.
            Some(near) if kind == "param" => diagnostic.meant(near).meant_by(format!("(param){near}")),
            Some(near) => diagnostic.meant(near),
            None => diagnostic,
        });
        None
    }

    fn into_values(self) -> Vec<T> {
        self.entries.into_iter().map(|entry| entry.value).collect()
    }
}

impl Check<'_> {
    /// A directive inside of the one whose name, or one of whose arguments, is at a place.
    fn inside(&self, directive: Span, node: &str) -> Help {
        let edit = match self.sources.inside(directive) {
            Some(at) => Edit { at, text: format!(" {node};") },
            None => Edit { at: self.sources.end_of_directive(directive), text: format!(" {{ {node}; }}") },
        };
        Help::told(format!("write in it: {node}"), vec![edit])
    }

    /// A directive at the top level.
    fn at_top(&self, node: &str) -> Help {
        let edit = Edit { at: self.sources.start(), text: format!("{node}\n") };
        Help::told(format!("write at the top level: {node}"), vec![edit])
    }

    /// What says that a lint's finding is meant.
    fn allowed(&self, when: &str, lint: &str) -> Help {
        let edit = Edit { at: self.sources.start(), text: format!("lint allow {lint}\n") };
        Help::told(format!("{when}, write at the top level: lint allow {lint}"), vec![edit])
    }

    /// A value that is given at start, and shown nowhere.
    fn as_secret(&self, value: Span) -> Help {
        let name = (1..).map(|n| if n == 1 { "secret".to_owned() } else { format!("secret{n}") });
        let name = name.into_iter().find(|name| !self.params.index.contains_key(name)).unwrap_or_default();
        let declared = Edit { at: self.sources.start(), text: format!("param {name} type=secret\n") };
        Help::told(
            format!("write (param){name}, and at the top level: param {name} type=secret"),
            vec![declared, Edit { at: value, text: format!("(param){name}") }],
        )
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, at: Span) {
        self.report.add(Diagnostic::error(code, message, at));
    }

    fn place(&self, span: Span) -> Place {
        self.sources.place(span)
    }

    /// The index of a file that is read at start.
    fn file_at_start(&mut self, path: FilePath, secret: bool, span: Span) -> u16 {
        if let Some(index) = self.files.iter().position(|file| file.path == path) {
            return index as u16;
        }
        let place = self.place(span);
        self.files.push(FileRef { path, secret, place });
        if self.files.len() > usize::from(u16::MAX) {
            self.error("too-many-files", "more than 65535 files are read at start", span);
        }
        (self.files.len() - 1) as u16
    }

    fn file_param(&mut self, name: &Spanned<String>) -> Option<u16> {
        let index = self.param(name, &[ParamKind::File, ParamKind::Secret])?;
        let secret = self.params.entries[usize::from(index)].value.kind == ParamKind::Secret;
        Some(self.file_at_start(FilePath::Param(index), secret, name.span))
    }

    /// The bytes a `file=` or a page stands for, and the name its type goes by.
    fn bytes(&mut self, file: &Spanned<FileSource>) -> Option<(Bytes, String)> {
        match &file.value {
            FileSource::Embedded(path) => match self.sources.asset(file.span.file, path) {
                Ok(bytes) => {
                    if bytes.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY) {
                        let message = format!("there is a private key in `{path}`, and the file is compiled in");
                        let found = Diagnostic::lint("secret-in-file", message, file.span);
                        self.report.add(found.help(self.allowed("if everybody may have it", "secret-in-file")));
                    }
                    Some((Bytes::Fixed(bytes.into()), path.clone()))
                }
                Err(reason) => {
                    let diagnostic =
                        Diagnostic::error("unreadable-file", format!("can't read `{path}`: {reason}"), file.span);
                    self.report.add(
                        diagnostic.help("a file is compiled in; to read it when the proxy starts, write (file)\"...\""),
                    );
                    None
                }
            },
            FileSource::AtStart(path) => {
                let index = self.file_at_start(FilePath::Fixed(path.clone().into()), false, file.span);
                Some((Bytes::File(index), path.clone()))
            }
            FileSource::Param(name) => self.file_param(name).map(|index| (Bytes::File(index), String::new())),
        }
    }

    fn error_page(&mut self, page: &ast::ErrorPage) -> Option<ErrorPage> {
        let (body, name) = self.bytes(&page.file)?;
        let is = |written: &Option<Spanned<bool>>| written.as_ref().is_some_and(|value| value.value);
        let placeholders = is(&page.placeholders);
        if let (Bytes::Fixed(bytes), Some(written), true, false) =
            (&body, &page.placeholders, placeholders, self.sources.compares())
            && !ErrorPage::PLACEHOLDERS.iter().any(|known| String::from_utf8_lossy(bytes).contains(known))
        {
            self.report.add(
                Diagnostic::error("no-effect", "nothing in this page stands for anything", written.span)
                    .help(format!("these do: {}", ErrorPage::PLACEHOLDERS.join(" "))),
            );
        }
        Some(ErrorPage {
            placeholders,
            upstream: is(&page.upstream),
            codes: list(page.codes.iter().map(|code| code.value).collect()),
            body,
            content_type: media::of(&name).into(),
        })
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
            self.underscores = layer.underscores();
            let served_on = listeners.of_site[index].clone();
            self.claimed_twice(&mut claims, span, &site.hosts, &served_on);
            // What it says of who clients are has no value where no route is found, and is then empty.
            let mut policy = self.policy(&layer, &scope::Scope::behind(layer.auth.as_ref().map(|(_, auth)| auth)));
            let scope_hosts: Vec<HostPattern> = site.hosts.iter().map(|host| host.value.clone()).collect();
            let name = scope_hosts.first().map(ToString::to_string).unwrap_or_default();
            let found = self.routes(span, &site, &layer, &scope_hosts);
            routes += found.len();
            policy.fields.pass = list(fields::passed_by_some(found.iter().map(|route| &route.policy)));
            if !site.items.iter().any(|item| matches!(item.what, What::Route(_) | What::Handler(_) | What::Unread)) {
                self.report.add(
                    Diagnostic::error("no-route", format!("the site `{name}` answers nothing"), span)
                        .help(self.inside(span, "proxy \"http://127.0.0.1:3000\"")),
                );
            }
            let mut normal_form = layer.normal_form();
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
        // The key has no port: where one host may be two sites, by the listener, they are told apart.
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

    /// A host may belong to one site per listener. `claims` are those of the sites before.
    fn claimed_twice(&mut self, claims: &mut Claims, site: Span, hosts: &[Spanned<HostPattern>], listeners: &[usize]) {
        for (index, host) in hosts.iter().enumerate() {
            if let Some(first) = hosts[..index].iter().find(|earlier| earlier.value == host.value) {
                self.report.add(
                    Diagnostic::error("duplicate-host", format!("the host `{host}` is there twice"), host.span)
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

    /// What the site says about lints.
    fn lint_levels(&mut self, lints: Vec<ast::Lint>) {
        let mut seen: Vec<Spanned<&str>> = Vec::new();
        for lint in lints {
            for code in lint.codes {
                if let Some(first) = seen.iter().find(|first| first.value == code.value) {
                    let message = format!("the level of `{code}` is given twice");
                    let diagnostic = Diagnostic::error("duplicate-lint", message, code.span);
                    self.report.add(diagnostic.also(first.span, "the first"));
                    continue;
                }
                if let Some(days) = &lint.days {
                    if code.value == "cert-expiry" {
                        self.expiring = days.value;
                    } else {
                        self.error("no-effect", "`days` has no effect: it belongs to `cert-expiry`", days.span);
                    }
                }
                self.report.set_level(code.value, lint.level);
                seen.push(code);
            }
        }
    }

    fn unused(&mut self, listeners: &listeners::Listeners) {
        // Whatever is wrong already may be the reason why something is not used.
        if self.report.has_errors() {
            return;
        }
        fn collect<T>(found: &mut Vec<(&'static str, Span)>, kind: &'static str, names: &Names<T>) {
            found.extend(names.entries.iter().filter(|entry| !entry.used).map(|entry| (kind, entry.span)));
        }
        let mut found = Vec::new();
        collect(&mut found, "param", &self.params);
        collect(&mut found, "upstream", &self.upstreams);
        collect(&mut found, "preset", &self.presets);
        collect(&mut found, "tls", &self.tls);
        collect(&mut found, "cache-store", &self.stores);
        found.extend(listeners.unused.iter().map(|span| ("listener", *span)));
        for (kind, span) in found {
            let message = format!("nothing uses this {kind}");
            self.report.add(Diagnostic::lint("unused", message, span).help("remove it, or use it"));
        }
    }
}
