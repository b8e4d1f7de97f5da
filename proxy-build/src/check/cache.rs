//! Checks `cache-store` and `cache`: names of stores, and contradictory settings.

mod key;

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::site::{self, AuthScheme, DiskStore, Jwt, Key, Mark, ParamKind, Place, Query, Setting, Store};

use super::{Check, list};
use crate::ast::{self, Ignored, InCache, Item, What};
use crate::model::{HeaderOp, Matcher, ResponseFilter, Route, Warmed};
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// The default memory of a store.
const MEMORY: u64 = 64 << 20;

/// The default interval between requests of `warm`.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a request waits for another one's fetch.
const LOCK: Duration = Duration::from_secs(5);

/// The longest lifetime.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// State that several lines of a `cache` contribute to, checked at the end.
#[derive(Default)]
struct Lines {
    /// Statuses with their own lifetime.
    negative: Vec<(u16, Duration)>,
    overrides: Vec<(Span, site::Override)>,
    /// The span of the `ttl` for all responses.
    for_all: Option<Span>,
    /// The spans of the statuses in `negative`.
    failures: Vec<Spanned<u16>>,
    /// The span of the line that ignores `No-Vary-Search`.
    ignores_search: Option<Span>,
}

/// Returns a `cache` with default settings.
fn nothing_said(store: u16) -> site::Cache {
    let fixed = |duration| Setting::Fixed(duration);
    site::Cache {
        store,
        ttl: site::Ttl {
            default: None,
            min: fixed(Duration::ZERO),
            max: fixed(YEAR),
            heuristic: 0,
            refresh_ahead: None,
        },
        stale: site::Stale { while_revalidate: fixed(Duration::ZERO), if_error: fixed(Duration::ZERO) },
        key: Key {
            query: Query::Whole,
            send_keyed: false,
            follows_search: false,
            headers: list(Vec::new()),
            cookies: list(Vec::new()),
            device: None,
            zone: 0,
            site: 0,
        },
        vary: None,
        tags: None,
        bypass: list(Vec::new()),
        head: true,
        negative: list(Vec::new()),
        lock: fixed(LOCK),
        purge: list(Vec::new()),
        refresh: list(Vec::new()),
        ignores_requests: false,
        control_fields: list(Vec::new()),
        overrides: list(Vec::new()),
        strips_set_cookie: false,
        strips_cookies: false,
        languages: list(Vec::new()),
        slice: None,
    }
}

impl Check<'_> {
    pub(crate) fn declare_stores(&mut self, stores: Vec<(Span, ast::CacheStore)>) {
        for (span, written) in stores {
            let memory = self.or(written.memory.as_ref(), ParamKind::Size, Setting::Fixed(MEMORY));
            let max_object = written.max_object.as_ref().and_then(|size| self.setting(size, ParamKind::Size));
            if let (Some(size), Setting::Fixed(..Store::LEAST)) = (&written.memory, memory) {
                let message = "a store has at least 1 MiB";
                self.report.add(
                    Diagnostic::error("store-too-small", message, size.span).help(Help::write(size.span, "\"64MiB\"")),
                );
            }
            if let (Some(size), Some(Setting::Fixed(largest)), Setting::Fixed(memory)) =
                (&written.max_object, max_object, memory)
                && largest > memory / 4
            {
                self.report.add(
                    Diagnostic::error("contradiction", "a response may take at most a quarter of the store", size.span)
                        .help(Help::write(size.span, format!("\"{}KiB\"", memory / 4 / 1024)))
                        .help("or give the store more `memory`"),
                );
            }
            let name = written.name.value.clone().into();
            let warm = self.warm(&written.items);
            let disks = Vec::new().into();
            let mut store = Store { name, memory, max_object, disks, warm, place: self.place(span) };
            for item in &written.items {
                if let What::DiskStore(disk) = &item.what
                    && let Some(disk) = self.disk(disk, &store)
                {
                    store.disks.to_mut().push(disk);
                }
            }
            self.stores.declare("cache-store", &written.name, store, self.report);
        }
    }

    /// Checks a `disk` of `store`, which already has the previous ones.
    fn disk(&mut self, disk: &ast::DiskStore, store: &Store) -> Option<DiskStore> {
        let folder = match &disk.folder.value {
            ast::Setting::Fixed(folder) => Setting::Fixed(folder.clone().into()),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                Setting::Param(self.param(name, &[ParamKind::String])?)
            }
        };
        let size = self.setting(&disk.size, ParamKind::Size)?;
        if let Setting::Fixed(..DiskStore::LEAST) = size {
            let message = "a folder has at least 16 MiB";
            self.report.add(
                Diagnostic::error("store-too-small", message, disk.size.span)
                    .help(Help::write(disk.size.span, "\"1GiB\"")),
            );
        }
        let same = |store: &Store| store.disks.iter().any(|other| other.folder == folder);
        if same(store) {
            self.report.add(
                Diagnostic::error("shared-folder", "another `disk` of this store has this folder", disk.folder.span)
                    .help("give each a folder of its own, on a disk of its own"),
            );
        }
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

    fn warm(&mut self, items: &[Item]) -> Option<site::Warm> {
        let written = items.iter().find_map(|item| match &item.what {
            What::InCache(InCache::Warm(warm)) => Some(warm),
            _ => None,
        })?;
        let (mut sources, mut seen) = (Vec::new(), HashMap::new());
        for Spanned { value: source, span } in &written.sources {
            match source {
                ast::WarmSource::Url(url) => {
                    if let Some(first) = seen.insert(url, *span) {
                        self.report.add(
                            Diagnostic::error("duplicate", "this URL is listed twice", *span).also(first, "the first"),
                        );
                    }
                    self.warmed.push(Warmed { url: url.clone(), store: self.stores.entries.len(), span: *span });
                    sources.push(site::WarmSource::Url(url.clone().into()));
                }
                ast::WarmSource::File(file) => {
                    sources.push(site::WarmSource::File(self.own_file(file, *span, false)?));
                }
            }
        }
        let pause = match &written.rate {
            None => PAUSE,
            Some(Spanned { value: Some(rate), .. }) => rate.per / rate.count,
            Some(off) => {
                self.error("no-effect", "a rate of 0 fetches nothing", off.span);
                PAUSE
            }
        };
        let most = written.concurrency.as_ref().map_or(4, |most| most.value as u16);
        Some(site::Warm { sources: list(sources), pause, most })
    }

    /// Returns the store of a `cache`: the one that it names, the only one, or an implicit one.
    fn store(&mut self, cache: &ast::Cache, span: Span) -> Option<u16> {
        let index = match (&cache.store, self.stores.entries.len()) {
            (Some(name), _) => self.stores.look_up("cache-store", name, self.report)?,
            (None, 0) => {
                let place = Place { line: 0, ..self.place(span) };
                let memory = Setting::Fixed(MEMORY);
                let disks = Vec::new().into();
                self.stores.anonymous(
                    span,
                    Store { name: "default".into(), memory, max_object: None, disks, warm: None, place },
                )
            }
            (None, 1) => {
                self.stores.entries[0].used = true;
                0
            }
            (None, _) => {
                let names: Vec<_> = self.stores.entries.iter().map(|store| store.value.name.to_string()).collect();
                self.report.add(
                    Diagnostic::error("which-store", "there are several stores: name one", span)
                        .help(format!("there are: {}", names.join(" "))),
                );
                return None;
            }
        };
        u16::try_from(index).ok()
    }

    /// Checks the `cache` of a route; `route` has everything else.
    pub(crate) fn cache(&mut self, span: Span, cache: &ast::Cache, route: &Route) -> Option<site::Cache> {
        let mut value = nothing_said(self.store(cache, span)?);
        value.lock = self.or(cache.lock.as_ref(), ParamKind::Duration, value.lock);
        value.strips_set_cookie = cache.strips_set_cookie;
        value.strips_cookies = cache.strips_cookies.as_ref().is_some_and(|strips| strips.value);
        if route.matchers.iter().any(|matcher| !matches!(matcher, Matcher::PathRegex(..))) {
            self.zones += 1;
            value.key.zone = self.zones;
        }
        let mut lines = Lines::default();
        for Item { span, what, .. } in cache.items.iter().filter(|item| !item.broken) {
            let What::InCache(what) = what else { continue };
            self.cache_line(*span, what, &mut value, &mut lines, route);
        }
        value.negative = list(lines.negative);
        self.overrides_act(&lines.overrides, &lines.failures, lines.for_all.map(|span| (span, &value.ttl)));
        value.overrides = list(lines.overrides.into_iter().map(|(_, rule)| rule).collect());
        value.key.follows_search = lines.ignores_search.is_none() && key::may_follow_search(&value.key, route);
        if let Some(at) = lines.ignores_search.filter(|_| !key::may_follow_search(&value.key, route)) {
            self.report.add(Diagnostic::error("no-effect", "No-Vary-Search has no effect here anyway", at).help(
                "the site selects the parameters of the key, or uses parts of the query elsewhere: leave this out",
            ));
        }
        self.key_is_whole(span, &value, route);
        self.is_for_all(span, route, &value.key);
        self.can_be_asked_about(span, route);
        Some(value)
    }

    /// Checks a line of a route's `cache`.
    fn cache_line(&mut self, span: Span, what: &InCache, value: &mut site::Cache, lines: &mut Lines, route: &Route) {
        match what {
            InCache::Ttl(ttl) => match lines.for_all.replace(span) {
                None => self.ttl(ttl, &mut value.ttl, span),
                Some(first) => self.report.add(
                    Diagnostic::error("duplicate-node", "`ttl` without `override` is written twice", span)
                        .also(first, "the first"),
                ),
            },
            InCache::Override(rule) => lines.overrides.extend(self.overriding(rule).map(|rule| (span, rule))),
            InCache::Ignore(words) => {
                self.no_word_twice(words);
                let named = |word| words.iter().find(|named| named.value == word);
                value.ignores_requests = named(Ignored::RequestCacheControl).is_some();
                lines.ignores_search = named(Ignored::NoVarySearch).map(|word| word.span);
            }
            InCache::ControlFields(fields) => value.control_fields = list(self.control_fields(fields)),
            InCache::Languages(names) => value.languages = list(self.once(names, "language")),
            InCache::Slice(size) => value.slice = self.slice(size, value.store, route),
            InCache::Refresh(items) => value.refresh = list(marks(items)),
            InCache::Stale(stale) => self.stale(stale, &mut value.stale, span),
            InCache::Key(items) => self.cache_key(items, &mut value.key, route),
            InCache::Vary(names) => value.vary = Some(list(self.once(names, "field"))),
            InCache::Tags(field) => value.tags = Some(field.value.clone().into()),
            InCache::Methods(methods) => value.head = self.methods_kept(methods),
            InCache::Negative { statuses, ttl } => {
                self.negative(statuses, ttl.value, &mut lines.negative);
                lines.failures.extend(statuses.iter().cloned());
            }
            InCache::Bypass(items) => value.bypass = list(marks(items)),
            InCache::Purge(networks) => value.purge = list(self.purgers(networks)),
            InCache::Warm(_)
            | InCache::KeyQuery(_)
            | InCache::KeyExcept(_)
            | InCache::KeyDevice(_)
            | InCache::DeviceGroup(_)
            | InCache::KeyHeader(_)
            | InCache::KeyCookie(_)
            | InCache::Mark { .. } => {
                unreachable!("the reader lets these stand in `cache-store`, `key` and `bypass` alone")
            }
        }
    }

    fn purgers(&mut self, networks: &[Spanned<IpNet>]) -> Vec<IpNet> {
        for network in networks.iter().filter(|network| network.value.prefix_len() == 0) {
            self.report.add(
                Diagnostic::lint("open-purge", "every client may purge here", network.span)
                    .help("name the networks from which you deploy"),
            );
        }
        networks.iter().map(|network| network.value).collect()
    }

    fn ttl(&mut self, written: &ast::Ttl, ttl: &mut site::Ttl, span: Span) {
        ttl.default = written.default.as_ref().and_then(|default| self.setting(default, ParamKind::Duration));
        ttl.min = self.or(written.min.as_ref(), ParamKind::Duration, ttl.min);
        ttl.max = self.or(written.max.as_ref(), ParamKind::Duration, ttl.max);
        ttl.heuristic = written.heuristic.as_ref().map_or(0, |percent| percent.value as u8);
        ttl.refresh_ahead = written.refresh_ahead.as_ref().and_then(|ahead| self.setting(ahead, ParamKind::Duration));
        let nothing = written.default.is_none() && written.min.is_none() && written.max.is_none();
        if nothing && written.heuristic.is_none() && written.refresh_ahead.is_none() {
            self.error("no-effect", "this has no effect", span);
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
                    .help("no response has this lifetime: `min` and `max` apply to it, too"),
            );
        }
    }

    fn overriding(&mut self, written: &ast::Override) -> Option<site::Override> {
        let ttl = self.setting(&written.ttl, ParamKind::Duration)?;
        if ttl == Setting::Fixed(Duration::ZERO) {
            self.report.add(
                Diagnostic::error("no-effect", "responses with a lifetime of 0 are not cached", written.ttl.span)
                    .help("for that, use a route without `cache`, or `bypass`"),
            );
        }
        for (index, status) in written.statuses.iter().enumerate() {
            if matches!(status.value, ..200 | 206 | 304) {
                self.report.add(
                    Diagnostic::error("not-kept", format!("responses with {status} are not cached"), status.span)
                        .help("all other statuses from 200 on can be cached"),
                );
            } else if written.statuses[..index].iter().any(|other| other.value == status.value) {
                self.error("duplicate", format!("the status {status} is listed twice"), status.span);
            }
        }
        let statuses = list(written.statuses.iter().map(|status| status.value).collect());
        let media_type = written.media_type.as_ref().map(|media_type| media_type.value.clone().into());
        Some(site::Override { statuses, media_type, ttl })
    }

    /// Checks that each line with `override` is the first match for some response, and that other lifetimes still apply to some.
    fn overrides_act(
        &mut self,
        overrides: &[(Span, site::Override)],
        negative: &[Spanned<u16>],
        ttl: Option<(Span, &site::Ttl)>,
    ) {
        for (index, (span, rule)) in overrides.iter().enumerate() {
            if let Some((earlier, _)) = overrides[..index].iter().find(|(_, earlier)| earlier.covers(rule)) {
                self.report.add(
                    Diagnostic::error("no-effect", "an earlier line matches all of these responses", *span)
                        .also(*earlier, "the earlier line")
                        .help("the first matching line is used: put the narrower one first"),
                );
            }
        }
        let for_all_with = |status: u16| {
            let all = site::Override { statuses: list(vec![status]), media_type: None, ttl: Setting::Fixed(YEAR) };
            overrides.iter().find(|(_, rule)| rule.covers(&all)).map(|(span, _)| *span)
        };
        for status in negative {
            if let Some(rule) = for_all_with(status.value) {
                let message = format!("the lifetime of responses with {status} is overridden");
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

    fn no_word_twice<W: PartialEq>(&mut self, words: &[Spanned<W>]) {
        for (index, word) in words.iter().enumerate() {
            if words[..index].iter().any(|other| other.value == word.value) {
                self.error("duplicate", "this is there twice", word.span);
            }
        }
    }

    fn control_fields(&mut self, fields: &[Spanned<site::ControlField>]) -> Vec<site::ControlField> {
        self.no_word_twice(fields);
        fields.iter().map(|field| field.value).collect()
    }

    fn stale(&mut self, written: &ast::Stale, stale: &mut site::Stale, span: Span) {
        stale.while_revalidate =
            self.or(written.while_revalidate.as_ref(), ParamKind::Duration, stale.while_revalidate);
        stale.if_error = self.or(written.if_error.as_ref(), ParamKind::Duration, stale.if_error);
        match (&written.while_revalidate, &written.if_error, stale.while_revalidate, stale.if_error) {
            (None, None, ..) => self.error("no-effect", "this has no effect", span),
            (Some(revalidate), Some(error), Setting::Fixed(longer), Setting::Fixed(shorter)) if shorter < longer => {
                self.report.add(
                    Diagnostic::lint(
                        "stale-windows",
                        "`if-error` ends before `while-revalidate`, which covers errors as well",
                        error.span,
                    )
                    .also(revalidate.span, "until then the stale response is used, whatever the server responds")
                    .help("leave out `if-error`, or make it the longer one"),
                );
            }
            _ => {}
        }
    }

    /// Names without duplicates. Field names are in lower case already.
    fn once(&mut self, names: &[Spanned<String>], kind: &str) -> Vec<site::Text> {
        for (index, name) in names.iter().enumerate() {
            if let Some(first) = names[..index].iter().find(|first| first.value == name.value) {
                let message = format!("the {kind} `{name}` is listed twice");
                self.report.add(Diagnostic::error("duplicate", message, name.span).also(first.span, "the first"));
            }
        }
        names.iter().map(|name| name.value.clone().into()).collect()
    }

    /// Returns whether HEAD is among the methods.
    fn methods_kept(&mut self, methods: &[Spanned<String>]) -> bool {
        for method in methods.iter().filter(|method| !["GET", "HEAD"].contains(&method.value.as_str())) {
            self.report.add(
                Diagnostic::error("not-kept", format!("responses to {method} are not cached"), method.span)
                    .help("a cache serves GET and HEAD; all other methods bypass it"),
            );
        }
        let known = methods.iter().all(|method| method.value == "HEAD");
        if let Some(method) = methods.first().filter(|_| known) {
            self.error("not-kept", "without GET nothing is cached", method.span);
        }
        methods.iter().any(|method| method.value == "HEAD")
    }

    fn negative(&mut self, statuses: &[Spanned<u16>], ttl: Duration, negative: &mut Vec<(u16, Duration)>) {
        for status in statuses {
            if status.value < 302 || matches!(status.value, 304 | 308) {
                self.report.add(
                    Diagnostic::error("not-negative", format!("{status} is not an error"), status.span)
                        .help("`ttl default` is for 200, 203, 204, 300, 301 and 308"),
                );
            } else if negative.iter().any(|(other, _)| *other == status.value) {
                self.error("duplicate", format!("the status {status} is listed twice"), status.span);
            }
            negative.push((status.value, ttl));
        }
    }

    /// Checks that responses do not depend on a client's identity that the key lacks.
    fn is_for_all(&mut self, span: Span, route: &Route, key: &Key) {
        // Responses to requests with `Authorization` are stored only if the server allows it (RFC 9111 section 3.5); a field of the
        // site's own has no such rule.
        let auth = route.policy.access.as_ref().and_then(|access| access.auth.as_ref());
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
                Diagnostic::lint("cache-behind-auth", "a response for one client is cached for all clients here", span)
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
            Diagnostic::lint("cache-behind-auth", "a response for one client is cached for all clients here", span)
                .also(asks.span, "clients present certificates")
                .help(self.allowed("if all of them may see the same", "cache-behind-auth")),
        );
    }

    /// Checks that clients can revalidate responses.
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
                Diagnostic::lint("no-validator", "cached responses are sent without ETag and Last-Modified", span)
                    .label("clients can't revalidate their copies")
                    .help("remove one of them at most"),
            );
        }
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
