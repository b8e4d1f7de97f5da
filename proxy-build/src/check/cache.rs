//! `cache-store` and `cache`: stores by their names, settings that contradict each other, and what answers depend on that the
//! key does not have.

use std::time::Duration;

use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::{self, AuthScheme, DiskStore, Jwt, Key, Mark, ParamKind, Place, Setting, Store};

use super::{Check, list};
use crate::ast::{self, InCache, Item, KeyQuery, What};
use crate::model::{HeaderOp, Matcher, PathStep, RequestFilter, ResponseFilter, Route};
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// The memory of a store of which nothing is said.
const MEMORY: u64 = 64 << 20;

/// How long a request waits for another one's answer.
const LOCK: Duration = Duration::from_secs(5);

/// What is fresh for longer than a year is fresh for a year.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Check<'_> {
    pub(crate) fn declare_stores(&mut self, stores: Vec<(Span, ast::CacheStore)>) {
        for (span, written) in stores {
            let memory = self.or(written.memory.as_ref(), ParamKind::Size, Setting::Fixed(MEMORY));
            let max_object = written.max_object.as_ref().and_then(|size| self.setting(size, ParamKind::Size));
            if let (Some(size), Setting::Fixed(..Store::LEAST)) = (&written.memory, memory) {
                let message = "a store takes 1 MiB at least";
                self.report.add(
                    Diagnostic::error("store-too-small", message, size.span).help(Help::write(size.span, "\"64MiB\"")),
                );
            }
            if let (Some(size), Some(Setting::Fixed(largest)), Setting::Fixed(memory)) =
                (&written.max_object, max_object, memory)
                && largest > memory / 4
            {
                self.report.add(
                    Diagnostic::error("contradiction", "an answer may take a quarter of the store at most", size.span)
                        .help(Help::write(size.span, format!("\"{}KiB\"", memory / 4 / 1024)))
                        .help("or give the store more `memory`"),
                );
            }
            let disk = self.disk(&written.items);
            let name = written.name.value.clone().into();
            let store = Store { name, memory, max_object, disk, place: self.place(span) };
            self.stores.declare("cache-store", &written.name, store, self.report);
        }
    }

    fn disk(&mut self, items: &[Item]) -> Option<DiskStore> {
        let disk = items.iter().find_map(|item| match &item.what {
            What::DiskStore(disk) => Some(disk),
            _ => None,
        })?;
        let folder = match &disk.folder.value {
            ast::Setting::Fixed(folder) => Setting::Fixed(folder.clone().into()),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                Setting::Param(self.param(name, &[ParamKind::String])?)
            }
        };
        let size = self.setting(&disk.size, ParamKind::Size)?;
        if let Setting::Fixed(..DiskStore::LEAST) = size {
            let message = "a folder takes 16 MiB at least";
            self.report.add(
                Diagnostic::error("store-too-small", message, disk.size.span)
                    .help(Help::write(disk.size.span, "\"1GiB\"")),
            );
        }
        let same = |store: &Store| store.disk.as_ref().is_some_and(|other| other.folder == folder);
        if let Some(other) = self.stores.entries.iter().find(|entry| same(&entry.value)) {
            self.report.add(
                Diagnostic::error("shared-folder", "another store has this folder", disk.folder.span)
                    .also(other.span, "here")
                    .help("give each a folder of its own"),
            );
        }
        let max_files = self.or(disk.max_files.as_ref(), ParamKind::Number, Setting::Fixed(u64::MAX));
        let min_free = self.or(disk.min_free.as_ref(), ParamKind::Size, Setting::Fixed(0));
        Some(DiskStore { folder, size, max_files, min_free })
    }

    /// The store of a `cache`: the one it names, or the only one, or one that is there for the asking.
    fn store(&mut self, cache: &ast::Cache, span: Span) -> Option<u16> {
        let index = match (&cache.store, self.stores.entries.len()) {
            (Some(name), _) => self.stores.look_up("cache-store", name, self.report)?,
            (None, 0) => {
                let place = Place { line: 0, ..self.place(span) };
                let memory = Setting::Fixed(MEMORY);
                self.stores
                    .anonymous(span, Store { name: "default".into(), memory, max_object: None, disk: None, place })
            }
            (None, 1) => {
                self.stores.entries[0].used = true;
                0
            }
            (None, _) => {
                let names: Vec<_> = self.stores.entries.iter().map(|store| store.value.name.to_string()).collect();
                self.report.add(
                    Diagnostic::error("which-store", "there are several stores: which of them?", span)
                        .help(format!("there are: {}", names.join(" "))),
                );
                return None;
            }
        };
        u16::try_from(index).ok()
    }

    /// The `cache` of a route, which `route` has all else of.
    pub(crate) fn cache(&mut self, span: Span, cache: &ast::Cache, route: &Route) -> Option<site::Cache> {
        let fixed = |duration| Setting::Fixed(duration);
        let mut value = site::Cache {
            store: self.store(cache, span)?,
            ttl: site::Ttl {
                default: None,
                min: fixed(Duration::ZERO),
                max: fixed(YEAR),
                heuristic: 0,
                refresh_ahead: None,
            },
            stale: site::Stale { while_revalidate: fixed(Duration::ZERO), if_error: fixed(Duration::ZERO) },
            key: Key {
                query: None,
                send_keyed: false,
                headers: list(Vec::new()),
                cookies: list(Vec::new()),
                zone: 0,
                site: 0,
            },
            vary: None,
            tags: None,
            bypass: list(Vec::new()),
            head: true,
            negative: list(Vec::new()),
            lock: self.or(cache.lock.as_ref(), ParamKind::Duration, fixed(LOCK)),
            purge: list(Vec::new()),
            refresh: list(Vec::new()),
            ignores_requests: false,
            control_fields: list(Vec::new()),
            overrides: list(Vec::new()),
            strips_set_cookie: cache.strips_set_cookie,
            strips_cookies: cache.strips_cookies.as_ref().is_some_and(|strips| strips.value),
            languages: list(Vec::new()),
        };
        if route.matchers.iter().any(|matcher| !matches!(matcher, Matcher::PathRegex(..))) {
            self.zones += 1;
            value.key.zone = self.zones;
        }
        let mut negative: Vec<(u16, Duration)> = Vec::new();
        let (mut overrides, mut for_all, mut failures) = (Vec::new(), None, Vec::new());
        for Item { span, what, .. } in cache.items.iter().filter(|item| !item.broken) {
            let What::InCache(what) = what else { continue };
            match what {
                InCache::Ttl(ttl) => match for_all.replace(*span) {
                    None => self.ttl(ttl, &mut value.ttl, *span),
                    Some(first) => self.report.add(
                        Diagnostic::error("duplicate-node", "`ttl` without `override` stands here twice", *span)
                            .also(first, "the first"),
                    ),
                },
                InCache::Override(rule) => overrides.extend(self.overriding(rule).map(|rule| (*span, rule))),
                InCache::Ignore(_) => value.ignores_requests = true,
                InCache::ControlFields(fields) => value.control_fields = list(self.control_fields(fields)),
                InCache::Languages(names) => value.languages = list(self.once(names, "language")),
                InCache::Refresh(items) => value.refresh = list(marks(items)),
                InCache::Stale(stale) => self.stale(stale, &mut value.stale, *span),
                InCache::Key(items) => self.cache_key(items, &mut value.key, route),
                InCache::Vary(names) => value.vary = Some(list(self.once(names, "field"))),
                InCache::Tags(field) => value.tags = Some(field.value.clone().into()),
                InCache::Methods(methods) => value.head = self.methods_kept(methods),
                InCache::Negative { statuses, ttl } => {
                    self.negative(statuses, ttl.value, &mut negative);
                    failures.extend(statuses.iter().cloned());
                }
                InCache::Bypass(items) => value.bypass = list(marks(items)),
                InCache::Purge(networks) => {
                    value.purge = list(networks.iter().map(|network| network.value).collect());
                    for network in networks.iter().filter(|network| network.value.prefix_len() == 0) {
                        self.report.add(
                            Diagnostic::lint("open-purge", "anybody may purge here", network.span)
                                .help("name the networks of those who deploy"),
                        );
                    }
                }
                InCache::KeyQuery(_) | InCache::KeyHeader(_) | InCache::KeyCookie(_) | InCache::Mark { .. } => {
                    unreachable!("the reader lets these stand in `key` and `bypass` alone")
                }
            }
        }
        value.negative = list(negative);
        self.overrides_act(&overrides, &failures, for_all.map(|span| (span, &value.ttl)));
        value.overrides = list(overrides.into_iter().map(|(_, rule)| rule).collect());
        self.key_is_whole(span, &value, route);
        self.is_for_all(span, route, &value.key);
        self.can_be_asked_about(span, route);
        Some(value)
    }

    fn ttl(&mut self, written: &ast::Ttl, ttl: &mut site::Ttl, span: Span) {
        ttl.default = written.default.as_ref().and_then(|default| self.setting(default, ParamKind::Duration));
        ttl.min = self.or(written.min.as_ref(), ParamKind::Duration, ttl.min);
        ttl.max = self.or(written.max.as_ref(), ParamKind::Duration, ttl.max);
        ttl.heuristic = written.heuristic.as_ref().map_or(0, |percent| percent.value as u8);
        ttl.refresh_ahead = written.refresh_ahead.as_ref().and_then(|ahead| self.setting(ahead, ParamKind::Duration));
        let nothing = written.default.is_none() && written.min.is_none() && written.max.is_none();
        if nothing && written.heuristic.is_none() && written.refresh_ahead.is_none() {
            self.error("no-effect", "this says nothing", span);
        }
        let (Setting::Fixed(min), Setting::Fixed(max)) = (ttl.min, ttl.max) else { return };
        if min > max {
            let at = written.min.as_ref().or(written.max.as_ref()).map_or(span, |at| at.span);
            let diagnostic = Diagnostic::error("contradiction", "`min` is longer than `max`", at);
            let other = written.max.as_ref().map(|max| max.span).filter(|max| *max != at);
            self.report.add(match other {
                Some(other) => diagnostic.also(other, "`max`"),
                None => diagnostic,
            });
            return;
        }
        if let (Some(written), Some(Setting::Fixed(default))) = (&written.default, ttl.default)
            && !(min..=max).contains(&default)
        {
            self.report.add(
                Diagnostic::error("contradiction", "`default` is not between `min` and `max`", written.span)
                    .help("no answer would be fresh for so long: `min` and `max` hold for it, too"),
            );
        }
    }

    fn overriding(&mut self, written: &ast::Override) -> Option<site::Override> {
        let ttl = self.setting(&written.ttl, ParamKind::Duration)?;
        if ttl == Setting::Fixed(Duration::ZERO) {
            self.report.add(
                Diagnostic::error("no-effect", "responses that are fresh for no time are not cached", written.ttl.span)
                    .help("a route without `cache`, or `bypass`, says that"),
            );
        }
        for (index, status) in written.statuses.iter().enumerate() {
            if matches!(status.value, ..200 | 206 | 304) {
                self.report.add(
                    Diagnostic::error("not-kept", format!("responses with {status} are not cached"), status.span)
                        .help("all other statuses from 200 on may be"),
                );
            } else if written.statuses[..index].iter().any(|other| other.value == status.value) {
                self.error("duplicate", format!("the status {status} is there twice"), status.span);
            }
        }
        let statuses = list(written.statuses.iter().map(|status| status.value).collect());
        let media_type = written.media_type.as_ref().map(|media_type| media_type.value.clone().into());
        Some(site::Override { statuses, media_type, ttl })
    }

    /// Whether each line with `override` is the first for some response, and leaves something to what says how long others are fresh.
    fn overrides_act(
        &mut self,
        overrides: &[(Span, site::Override)],
        negative: &[Spanned<u16>],
        ttl: Option<(Span, &site::Ttl)>,
    ) {
        for (index, (span, rule)) in overrides.iter().enumerate() {
            if let Some((earlier, _)) = overrides[..index].iter().find(|(_, earlier)| earlier.covers(rule)) {
                self.report.add(
                    Diagnostic::error("no-effect", "an earlier line is for all of these responses", *span)
                        .also(*earlier, "the earlier line")
                        .help("the first that matches counts: put the narrower one first"),
                );
            }
        }
        let for_all_with = |status: u16| {
            let all = site::Override { statuses: list(vec![status]), media_type: None, ttl: Setting::Fixed(YEAR) };
            overrides.iter().find(|(_, rule)| rule.covers(&all)).map(|(span, _)| *span)
        };
        for status in negative {
            if let Some(rule) = for_all_with(status.value) {
                let message = format!("how long responses with {status} are fresh is overridden");
                self.report.add(Diagnostic::error("no-effect", message, status.span).also(rule, "here"));
            }
        }
        let by_default: Option<Vec<Span>> =
            site::Override::BY_DEFAULT.iter().map(|status| for_all_with(*status)).collect();
        if let (Some(rules), Some((span, ttl))) = (by_default, ttl)
            && (ttl.default.is_some() || ttl.heuristic > 0)
        {
            self.report.add(
                Diagnostic::error("no-effect", "`default` and `heuristic` are overridden for all responses", span)
                    .also(rules[0], "here"),
            );
        }
    }

    fn control_fields(&mut self, fields: &[Spanned<site::ControlField>]) -> Vec<site::ControlField> {
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|other| other.value == field.value) {
                self.error("duplicate", "this field is there twice", field.span);
            }
        }
        fields.iter().map(|field| field.value).collect()
    }

    fn stale(&mut self, written: &ast::Stale, stale: &mut site::Stale, span: Span) {
        stale.while_revalidate =
            self.or(written.while_revalidate.as_ref(), ParamKind::Duration, stale.while_revalidate);
        stale.if_error = self.or(written.if_error.as_ref(), ParamKind::Duration, stale.if_error);
        match (&written.while_revalidate, &written.if_error, stale.while_revalidate, stale.if_error) {
            (None, None, ..) => self.error("no-effect", "this says nothing", span),
            (Some(revalidate), Some(error), Setting::Fixed(longer), Setting::Fixed(shorter)) if shorter < longer => {
                self.report.add(
                    Diagnostic::lint(
                        "stale-windows",
                        "`if-error` ends before `while-revalidate`, which covers errors as well",
                        error.span,
                    )
                    .also(revalidate.span, "until then a stale answer is used, whatever the server says")
                    .help("leave out `if-error`, or make it the longer one"),
                );
            }
            _ => {}
        }
    }

    fn cache_key(&mut self, items: &[Item], key: &mut Key, route: &Route) {
        for Item { span, what, .. } in items {
            match what {
                What::InCache(InCache::KeyQuery(KeyQuery { names, send_keyed })) => {
                    key.query = Some(list(self.once(names, "parameter")));
                    key.send_keyed = send_keyed.as_ref().is_some_and(|send| send.value);
                    self.server_sees(*span, send_keyed.as_ref(), route);
                }
                What::InCache(InCache::KeyHeader(names)) => key.headers = list(self.once(names, "field")),
                What::InCache(InCache::KeyCookie(names)) => key.cookies = list(self.once(names, "cookie")),
                _ => {}
            }
        }
    }

    /// Whether the server sees what the key leaves out of the query.
    fn server_sees(&mut self, span: Span, send_keyed: Option<&Spanned<bool>>, route: &Route) {
        let raw = route.request.iter().any(|filter| matches!(filter, RequestFilter::Rewrite(rewrite) if rewrite.raw));
        match send_keyed {
            None => self.report.add(
                Diagnostic::lint("unkeyed-query", "the server is sent parameters that the key does not have", span)
                    .label("one response is used for all values of the others")
                    .help("`send=keyed` leaves them out of what the server is sent")
                    .help("if it does not look at them, write: send=all"),
            ),
            Some(send) if send.value && raw => self.report.add(
                Diagnostic::error("contradiction", "`rewrite raw` sends the query as it arrived", send.span)
                    .label("and this what the key has of it")
                    .help("leave out one of them"),
            ),
            Some(_) => {}
        }
    }

    /// Names of which none is there twice. Those of fields are in lower case by now.
    fn once(&mut self, names: &[Spanned<String>], kind: &str) -> Vec<site::Text> {
        for (index, name) in names.iter().enumerate() {
            if let Some(first) = names[..index].iter().find(|first| first.value == name.value) {
                let message = format!("the {kind} `{name}` is there twice");
                self.report.add(Diagnostic::error("duplicate", message, name.span).also(first.span, "the first"));
            }
        }
        names.iter().map(|name| name.value.clone().into()).collect()
    }

    /// Whether HEAD is among them.
    fn methods_kept(&mut self, methods: &[Spanned<String>]) -> bool {
        for method in methods.iter().filter(|method| !["GET", "HEAD"].contains(&method.value.as_str())) {
            self.report.add(
                Diagnostic::error("not-kept", format!("answers to {method} are not kept"), method.span)
                    .help("a cache answers GET and HEAD; all other methods pass"),
            );
        }
        let known = methods.iter().all(|method| method.value == "HEAD");
        if let Some(method) = methods.first().filter(|_| known) {
            self.error("not-kept", "without GET nothing is kept that could be an answer", method.span);
        }
        methods.iter().any(|method| method.value == "HEAD")
    }

    fn negative(&mut self, statuses: &[Spanned<u16>], ttl: Duration, negative: &mut Vec<(u16, Duration)>) {
        for status in statuses {
            if status.value < 302 || matches!(status.value, 304 | 308) {
                self.report.add(
                    Diagnostic::error("not-negative", format!("{status} is no failure"), status.span)
                        .help("`ttl default` is for 200, 203, 204, 300, 301 and 308"),
                );
            } else if negative.iter().any(|(other, _)| *other == status.value) {
                self.error("duplicate", format!("the status {status} is there twice"), status.span);
            }
            negative.push((status.value, ttl));
        }
    }

    /// Whether the key has what the site itself makes answers depend on.
    fn key_is_whole(&mut self, span: Span, cache: &site::Cache, route: &Route) {
        let mut missing: Vec<(String, String)> = Vec::new();
        let mut note = |what: String, how: &str| {
            let found = (what, how.to_owned());
            if !missing.contains(&found) {
                missing.push(found);
            }
        };
        for (template, how) in templates(route, &cache.key.headers) {
            for piece in template.pieces.iter() {
                if let Some(what) = lacks(cache, piece) {
                    note(what, how);
                }
            }
        }
        if let Some(proxy) = route.handler.proxy()
            && proxy.shares.len() > 1
            && proxy.by.is_none()
        {
            note("chance".to_owned(), "`split` chooses the upstream by");
        }
        for (what, how) in missing {
            self.report.add(
                Diagnostic::lint(
                    "cache-key",
                    format!("{how} {what}, and the key of this cache does not have it"),
                    span,
                )
                .label("one client's answer may be used for another")
                .help("`key` can have it, or the route is left out of the cache")
                .help(self.allowed("if the server does not look at it, or says so in `Vary`", "cache-key")),
            );
        }
    }

    /// Whether clients are told apart before they get here.
    fn is_for_all(&mut self, span: Span, route: &Route, key: &Key) {
        // Answers to requests with Authorization are kept only if the server says so (RFC 9111 section 3.5); a field of one's own
        // says nothing to anybody.
        let auth = route.policy.door.as_ref().and_then(|door| door.auth.as_ref());
        let told_apart = match auth.map(|auth| &auth.scheme) {
            Some(AuthScheme::ApiKey(_, header)) if !key.headers.contains(header) => Some(format!("`{header}` tells")),
            Some(AuthScheme::Jwt(Jwt { cookie: Some(cookie), .. })) if !key.cookies.contains(cookie) => {
                Some(format!("the cookie `{cookie}` tells"))
            }
            Some(AuthScheme::Forward(_)) => Some("another server tells".to_owned()),
            _ => None,
        };
        if let Some(told_apart) = told_apart {
            self.report.add(
                Diagnostic::lint("cache-behind-auth", "what one client may see is kept for all who get in here", span)
                    .label(format!("and {told_apart} them apart"))
                    .help(self.allowed("if all of them may see the same", "cache-behind-auth"))
                    .help("else add to `key` what tells them apart"),
            );
        }
        let Some(asks) = self.site_tls.and_then(|tls| self.tls.entries.get(tls)).filter(|tls| tls.value.asks_clients())
        else {
            return;
        };
        self.report.add(
            Diagnostic::lint("cache-behind-auth", "what one client may see is kept for all who get in here", span)
                .also(asks.span, "clients show certificates")
                .help(self.allowed("if all of them may see the same", "cache-behind-auth")),
        );
    }

    /// Whether clients can ask if what they have is still right.
    fn can_be_asked_about(&mut self, span: Span, route: &Route) {
        let ops = route.response.iter().flat_map(|ResponseFilter::Headers(ops)| ops);
        let removed: Vec<&str> = ops
            .filter_map(|op| match op {
                HeaderOp::Remove(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if removed.contains(&"etag") && removed.contains(&"last-modified") {
            self.report.add(
                Diagnostic::lint(
                    "no-validator",
                    "answers are kept here, and leave without ETag and Last-Modified",
                    span,
                )
                .label("clients can't ask whether theirs are still right")
                .help("remove one of them at most"),
            );
        }
    }
}

/// What a request says that goes into the request to the server, or chooses it; but for fields that the key has, which count as the server
/// is sent them.
fn templates<'r>(route: &'r Route, keyed: &[site::Text]) -> Vec<(&'r Template, &'static str)> {
    let mut all = Vec::new();
    for filter in &route.request {
        match filter {
            RequestFilter::Rewrite(rewrite) => {
                let paths = rewrite.path.iter().filter_map(|step| match step {
                    PathStep::Path(template) => Some(template),
                    PathStep::StripPrefix(_)
                    | PathStep::StripPrefixAnyCase(_)
                    | PathStep::Replace(..)
                    | PathStep::AddPrefix(_) => None,
                });
                let templates = paths.chain(rewrite.query_set.iter().map(|(_, template)| template));
                all.extend(templates.map(|template| (template, "`rewrite` puts in")));
            }
            RequestFilter::Headers(ops) => {
                let templates = ops.iter().filter_map(|op| match op {
                    HeaderOp::Set(name, template)
                    | HeaderOp::Add(name, template)
                    | HeaderOp::Default(name, template) => (!tells_who(name)
                        && !keyed.iter().any(|keyed| keyed.eq_ignore_ascii_case(name)))
                    .then_some(template),
                    HeaderOp::Remove(_) | HeaderOp::Replace(..) => None,
                });
                all.extend(templates.map(|template| (template, "`request-headers` puts in")));
            }
        }
    }
    if let Some(proxy) = route.handler.proxy() {
        all.extend(proxy.by.iter().map(|template| (template, "`split` chooses the upstream by")));
    }
    all
}

/// Fields by which proxies tell servers, for their logs, which client and which request it was. Not `X-Forwarded-Host` and the like:
/// servers make links of those.
fn tells_who(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["x-forwarded-for", "x-real-ip", "x-client-ip", "true-client-ip", "x-request-id", "x-correlation-id"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What a placeholder stands for, if the key lacks it.
fn lacks(cache: &site::Cache, piece: &Piece) -> Option<String> {
    let has = |names: &[site::Text], name: &str| names.iter().any(|one| one.eq_ignore_ascii_case(name));
    let query = |name: &str| cache.key.query.as_ref().is_none_or(|names| has(names, name));
    match piece {
        Piece::Header(name) => (!has(&cache.key.headers, name)).then(|| format!("`{{header.{name}}}`")),
        Piece::Cookie(name) => (!has(&cache.key.cookies, name)).then(|| format!("`{{cookie.{name}}}`")),
        Piece::QueryValue(name) => (!query(name)).then(|| format!("`{{query.{name}}}`")),
        Piece::Query | Piece::PathAndQuery => cache.key.query.is_some().then(|| "`{query}`".to_owned()),
        Piece::ClientIp => Some("`{client.ip}`".to_owned()),
        Piece::ClientCertSubject => Some("`{client.cert.subject}`".to_owned()),
        Piece::ClientCertFingerprint => Some("`{client.cert.fingerprint}`".to_owned()),
        _ => None,
    }
}

fn marks(items: &[Item]) -> Vec<Mark> {
    let marks = items.iter().filter_map(|item| match &item.what {
        What::InCache(InCache::Mark { part, name, value }) => Some(Mark {
            part: *part,
            name: name.value.clone().into(),
            value: value.as_ref().map(|value| value.value.clone().into()),
        }),
        _ => None,
    });
    marks.collect()
}
