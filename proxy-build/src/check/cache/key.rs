//! Checks the `key` of a `cache`, and finds dependencies of responses that it lacks.

use proxy_runtime::cache::device;
use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::{self, Device, Key, Query};

use super::super::scope::Phase;
use super::super::{Check, list};
use crate::ast::{DeviceGroup, InCache, Item, KeyDevice, KeyQuery, What};
use crate::model::{HeaderOp, PathStep, RequestFilter, Route};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// The most patterns of a `device`: each request is compared with them.
const MOST_PATTERNS: usize = 256;

impl Check<'_> {
    pub(super) fn cache_key(&mut self, items: &[Item], key: &mut Key, route: &Route) {
        for Item { span, what, .. } in items {
            match what {
                What::InCache(InCache::KeyQuery(query)) => {
                    key.query = self.key_query(*span, query);
                    key.send_keyed = query.send_keyed.as_ref().is_some_and(|send| send.value);
                    if key.query != Query::Whole {
                        self.server_sees(*span, query.send_keyed.as_ref(), &key.query, route);
                    }
                }
                What::InCache(InCache::KeyDevice(written)) => key.device = self.device(*span, written, route),
                What::InCache(InCache::KeyHeader(names)) => key.headers = list(self.once(names, "field")),
                What::InCache(InCache::KeyCookie(names)) => key.cookies = list(self.once(names, "cookie")),
                _ => {}
            }
        }
    }

    fn device(&mut self, span: Span, written: &KeyDevice, route: &Route) -> Option<Device> {
        let KeyDevice { header, default, items } = written;
        let groups: Vec<&DeviceGroup> = items
            .iter()
            .filter_map(|item| match &item.what {
                What::InCache(InCache::DeviceGroup(group)) => Some(group),
                _ => None,
            })
            .collect();
        if groups.is_empty() {
            if items.iter().all(|item| !item.broken) {
                self.report.add(
                    Diagnostic::error("no-effect", "without a `group`, all clients are in the same one", span)
                        .help("name groups in its braces, as in: group mobile \"iPhone\" \"Android*Mobile\""),
                );
            }
            return None;
        }
        let patterns: Vec<_> = groups.iter().flat_map(|group| &group.patterns).collect();
        if let Some(pattern) = patterns.get(MOST_PATTERNS) {
            let message = format!("groups have at most {MOST_PATTERNS} patterns");
            self.error("too-many-patterns", message, pattern.span);
        }
        for (index, pattern) in patterns.iter().take(MOST_PATTERNS).enumerate() {
            // Any text may be between the pieces: here it is one that no pattern contains.
            let least = pattern.value.replace('*', "\n");
            let wider = patterns[..index].iter().find(|wider| device::matches(&wider.value, least.as_bytes()));
            if let Some(wider) = wider {
                let message = "an earlier pattern matches everything that this one does";
                self.report
                    .add(Diagnostic::error("no-effect", message, pattern.span).also(wider.span, "the earlier one"));
            }
        }
        for (index, group) in groups.iter().enumerate() {
            if let Some(first) = groups[..index].iter().find(|first| first.name.value == group.name.value) {
                let message = format!("the group `{}` is declared twice", group.name);
                self.report
                    .add(Diagnostic::error("duplicate", message, group.name.span).also(first.name.span, "the first"));
            }
            let hint = |group: &DeviceGroup| group.mobile.as_ref().map(|mobile| mobile.value);
            let earlier = groups[..index].iter().find(|first| hint(first).is_some() && hint(first) == hint(group));
            if let (Some(mobile), Some(earlier)) = (&group.mobile, earlier) {
                let message = "clients with this hint are in an earlier group";
                self.report.add(
                    Diagnostic::error("no-effect", message, mobile.span).also(earlier.name.span, "the earlier one"),
                );
            }
        }
        if let Some(header) = header {
            self.may_change(header, Phase::Request, false);
            let changed = route.request.iter().any(|filter| match filter {
                RequestFilter::Headers(ops) => ops.iter().any(|op| op.name() == header.value),
                RequestFilter::Rewrite(_) => false,
            });
            if changed {
                let message = format!("`request-headers` changes `{header}`, too");
                self.report.add(
                    Diagnostic::error("contradiction", message, header.span)
                        .label("this sends the group of the device to the server")
                        .help("leave out one of them"),
                );
            }
        }
        Some(Device {
            header: header.as_ref().map(|header| header.value.clone().into()),
            default: default.as_ref().map_or("desktop".into(), |default| default.value.clone().into()),
            groups: list(groups.into_iter().map(group).collect()),
        })
    }

    fn key_query(&mut self, span: Span, KeyQuery { names, sort, items, .. }: &KeyQuery) -> Query {
        let except = items.iter().find_map(|item| match &item.what {
            What::InCache(InCache::KeyExcept(except)) => Some((item.span, except)),
            _ => None,
        });
        let sorted = sort.as_ref().is_some_and(|sort| sort.value);
        if let Some(names) = names {
            if let Some((at, _)) = except {
                self.report.add(
                    Diagnostic::error("contradiction", "all parameters but the listed ones are left out already", at)
                        .also(span, "here")
                        .help("`except` is for a `query` without names"),
                );
            }
            if let Some(sort) = sort {
                self.report.add(
                    Diagnostic::error(
                        "no-effect",
                        "listed parameters are in the key in the order of the list",
                        sort.span,
                    )
                    .help("leave it out"),
                );
            }
            return Query::Only(list(self.once(names, "parameter")));
        }
        let broken = items.iter().any(|item| item.broken);
        if except.is_none() && !sorted && !broken {
            self.report.add(
                Diagnostic::error("no-effect", "this has no effect: the key has the whole query in any case", span)
                    .help("list the parameters of the key, as in: query page lang send=keyed")
                    .help("or the parameters to exclude, as in: query send=keyed { except \"utm_*\"; }"),
            );
            return Query::Whole;
        }
        let names = except.map_or(&[][..], |(_, names)| names);
        for name in names {
            let narrower = |other: &&Spanned<String>| {
                other.value != name.value
                    && other.value.strip_suffix('*').is_some_and(|prefix| name.value.starts_with(prefix))
            };
            if let Some(wider) = names.iter().find(narrower) {
                let message = format!("`{}` includes this parameter", wider.value);
                self.report.add(Diagnostic::error("no-effect", message, name.span).also(wider.span, "here"));
            }
        }
        Query::Except { names: list(self.once(names, "parameter")), sorted }
    }

    /// Checks that the server does not receive query parameters that the key omits.
    fn server_sees(&mut self, span: Span, send_keyed: Option<&Spanned<bool>>, query: &Query, route: &Route) {
        let raw = route.request.iter().any(|filter| matches!(filter, RequestFilter::Rewrite(rewrite) if rewrite.raw));
        let order_alone = matches!(query, Query::Except { names, .. } if names.is_empty());
        match send_keyed {
            None if order_alone => self.report.add(
                Diagnostic::lint(
                    "unkeyed-query",
                    "the server receives the parameters in an order that the key does not have",
                    span,
                )
                .label("one response is used for all orders")
                .help("`send=keyed` sends them in the order of their names")
                .help("if their order makes no difference to it, write: send=all"),
            ),
            None => self.report.add(
                Diagnostic::lint("unkeyed-query", "the server receives parameters that the key does not have", span)
                    .label("one response is used for all values of the others")
                    .help("`send=keyed` removes them from the request to the server")
                    .help("if it does not use them, write: send=all"),
            ),
            Some(send) if send.value && raw => self.report.add(
                Diagnostic::error("contradiction", "`rewrite raw` sends the query as it arrived", send.span)
                    .label("and this sends only the keyed parameters")
                    .help("leave out one of them"),
            ),
            Some(_) => {}
        }
    }

    /// Checks that the key contains everything that the site itself makes responses depend on.
    pub(super) fn key_is_whole(&mut self, span: Span, cache: &site::Cache, route: &Route) {
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
                .label("one client's response may be served to another")
                .help("put it into `key`, or turn the cache off in this route")
                .help(self.allowed("if the server does not use it, or names it in `Vary`", "cache-key")),
            );
        }
    }
}

/// Returns whether `No-Vary-Search` can be applied: the whole query is in the key, and the server receives it nowhere
/// else.
pub(super) fn may_follow_search(key: &Key, route: &Route) -> bool {
    let is_query = |piece: &Piece| matches!(piece, Piece::QueryValue(_) | Piece::Query | Piece::PathAndQuery);
    let mut pieces = templates(route, &[]).into_iter().flat_map(|(template, _)| template.pieces.iter());
    key.query == Query::Whole && route.functions.request.is_empty() && !pieces.any(is_query)
}

fn group(group: &DeviceGroup) -> site::DeviceGroup {
    site::DeviceGroup {
        name: group.name.value.clone().into(),
        patterns: list(group.patterns.iter().map(|pattern| pattern.value.clone().into()).collect()),
        mobile: group.mobile.as_ref().map(|mobile| mobile.value),
    }
}

/// Returns the templates in the request to the server, or in its choice; except those of fields in the key, which count as the server
/// receives them.
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

/// Fields by which proxies identify the client and the request to servers, for their logs. Not `X-Forwarded-Host` and the like,
/// which servers use for links.
fn tells_who(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["x-forwarded-for", "x-real-ip", "x-client-ip", "true-client-ip", "x-request-id", "x-correlation-id"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Returns the value that a placeholder inserts, if the key lacks it.
fn lacks(cache: &site::Cache, piece: &Piece) -> Option<String> {
    let has = |names: &[site::Text], name: &str| names.iter().any(|one| one.eq_ignore_ascii_case(name));
    match piece {
        Piece::Header(name) => (!has(&cache.key.headers, name)).then(|| format!("`{{header.{name}}}`")),
        Piece::Cookie(name) => (!has(&cache.key.cookies, name)).then(|| format!("`{{cookie.{name}}}`")),
        Piece::QueryValue(name) => (!cache.key.query.has(name)).then(|| format!("`{{query.{name}}}`")),
        Piece::Query | Piece::PathAndQuery => (cache.key.query != Query::Whole).then(|| "`{query}`".to_owned()),
        Piece::ClientIp => Some("`{client.ip}`".to_owned()),
        Piece::ClientCertSubject => Some("`{client.cert.subject}`".to_owned()),
        Piece::ClientCertFingerprint => Some("`{client.cert.fingerprint}`".to_owned()),
        _ => None,
    }
}
