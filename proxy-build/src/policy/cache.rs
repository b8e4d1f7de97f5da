//! `cache`: which responses are kept, and how long. Its directives are in `directive::cache`, its checks in `check::cache`.

use super::{Answer, Layer, Policy};
use crate::ast::Cache;
use crate::check::Check;
use crate::model::Route;
use crate::report::Diagnostic;
use crate::source::Span;

impl Policy for Cache {
    const NAME: &'static str = "cache";
    const NEEDS_UPSTREAM: bool = true;

    fn idle(&self, at: Span, answer: &Answer<'_>) -> Vec<Diagnostic> {
        if answer.handler.forwarding().is_none() {
            return vec![answer.idle("`cache`", "this route forwards nothing", at)];
        }
        // GET and HEAD are kept alone (`methods` in `cache`).
        if answer.methods.is_some_and(|methods| methods & 0b11 == 0) {
            let message = "`cache` has no effect: this route takes neither GET nor HEAD";
            let found = Diagnostic::error("no-effect", message, at);
            return vec![found.help("a cache answers GET and HEAD; all other methods pass")];
        }
        Vec::new()
    }

    fn finish(check: &mut Check<'_>, layer: &Layer, route: &mut Route) {
        let Some(cache) = layer.one::<Cache>().filter(|_| route.handler.proxy().is_some()) else { return };
        check.keeps_no_named_files(cache.span, &route.handler);
        route.policy.cache = check.cache(cache.span, &cache.value, route);
    }
}
