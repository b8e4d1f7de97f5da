//! `cache`: which responses are cached, and for how long. Its directives are in `directive::cache`, its checks in `check::cache`.

use proxy_runtime::site::{self, Handler};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription, RouteHandler};
use crate::ast::Cache;
use crate::check::Check;
use crate::model::Route;
use crate::model::Site;
use crate::report::Diagnostic;
use crate::source::Span;
use crate::wording;

impl Policy for Cache {
    const NAME: &'static str = "cache";
    const NEEDS_UPSTREAM: bool = true;

    fn idle(&self, at: Span, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        if answer.handler.forwarding().is_none() {
            return vec![answer.idle("`cache`", "this route forwards nothing", at)];
        }
        // Only GET and HEAD are cached (`methods` in `cache`).
        if answer.methods.is_some_and(|methods| methods & 0b11 == 0) {
            let message = "`cache` has no effect: this route takes neither GET nor HEAD";
            let found = Diagnostic::error("no-effect", message, at);
            return vec![found.help("a cache serves GET and HEAD; all other methods bypass it")];
        }
        Vec::new()
    }

    fn finish(check: &mut Check<'_>, layer: &Layer, route: &mut Route) {
        let Some(cache) = layer.one::<Cache>().filter(|_| route.handler.proxy().is_some()) else { return };
        keeps_no_named_files(check, cache.span, &route.handler);
        route.policy.cache = check.cache(cache.span, &cache.value, route);
        let device = route.policy.cache.as_ref().and_then(|cache| cache.key.device.as_ref());
        if let Some(header) = device.and_then(|device| device.header.clone()) {
            crate::check::fields::own_also(&mut route.policy, header);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let Some(cache) = &of.route.policy.cache else { return Vec::new() };
        let store = &of.site.stores[usize::from(cache.store)].name;
        let what = match (of.outcome.cache, &of.outcome.cache_key) {
            (Some((_, reason)), None) => format!("passes ({reason})"),
            (_, key) => format!("looked up as {}", key.as_deref().unwrap_or_default()),
        };
        let mut lines = of.lines(ExplainStep::Forward, Self::NAME, [format!("{store}, {what}")]);
        let said = wording::cache(of.site, cache);
        let said =
            said.iter().filter_map(|(subject, text)| Some(format!("{} {text}", subject.strip_prefix("cache ")?)));
        lines.push(ExplainLine::new(ExplainStep::Forward, "", said.collect::<Vec<_>>().join(", ")));
        lines
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        let said = policy.cache.iter().flat_map(|cache| wording::cache(site, cache));
        PolicyDescription::words("cache", said.map(|(subject, text)| (subject.to_owned(), text)).collect())
    }
}

/// Warns about a cache beside `send-file`, because the cached response would not be what the client receives.
fn keeps_no_named_files(check: &mut Check<'_>, cache: Span, handler: &Handler) {
    let shares = handler.proxy().map(|proxy| proxy.shares.iter()).into_iter().flatten();
    for share in shares {
        let entry = &check.upstreams.entries[usize::from(share.upstream)];
        if !entry.value.send_files.is_empty() {
            let message = "`cache` would store responses without the files of `send-file`";
            let found = Diagnostic::error("contradiction", message, cache).also(entry.span, "forwarded to here");
            let help = "an upstream without `send-file` may be cached: declare one for these paths";
            check.report.add(found.help(help));
            return;
        }
    }
}
