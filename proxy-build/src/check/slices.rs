//! Checks `slice` of a `cache`: the limits of its store, and other settings that request ranges from the server.

use proxy_runtime::context::settings::size_text;
use proxy_runtime::site::{self, ParamKind, Setting, Store};

use super::Check;
use crate::ast;
use crate::model::{HeaderOp, RequestFilter, Route};
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;

impl Check<'_> {
    /// Returns the slice length of a route; `route` has everything else.
    pub(super) fn slice(
        &mut self,
        written: &Spanned<ast::Setting<u64>>,
        store: u16,
        route: &Route,
    ) -> Option<Setting<u64>> {
        let slice = self.setting(written, ParamKind::Size)?;
        let store = self.stores.entries.get(usize::from(store))?;
        let span = store.span;
        if let (Setting::Fixed(slice), Some(largest)) = (slice, largest(&store.value))
            && slice > largest
        {
            let message =
                format!("a slice is larger than the largest response of the store, which is {}", size_text(largest));
            let diagnostic = Diagnostic::error("contradiction", message, written.span).also(span, "the store");
            self.report.add(if largest < site::Cache::LEAST_SLICE {
                diagnostic.help("give the store a larger `max-object`, or a `disk`")
            } else {
                diagnostic
                    .help(Help::write(written.span, format!("\"{}\"", size_text(largest))))
                    .help("or give the store a larger `max-object`, or a `disk`")
            });
        }
        let ops = route.request.iter().filter_map(|filter| match filter {
            RequestFilter::Headers(ops) => Some(ops),
            RequestFilter::Rewrite(_) => None,
        });
        let changed = |op: &HeaderOp| {
            let is = |own: &&str| op.name().eq_ignore_ascii_case(own);
            ["range", "if-range"].into_iter().find(is)
        };
        if let Some(name) = ops.flatten().find_map(changed) {
            let message = format!("`request-headers` changes `{name}`, which `slice` sets");
            self.report.add(
                Diagnostic::error("contradiction", message, written.span)
                    .label("the proxy requests these, whatever range a client asks for")
                    .help("leave out one of them"),
            );
        }
        Some(slice)
    }
}

/// Returns the longest body that a store accepts, if that is known before the start.
fn largest(store: &Store) -> Option<u64> {
    let fixed = |setting: &Setting<u64>| match setting {
        Setting::Fixed(size) => Some(*size),
        Setting::Param(_) => None,
    };
    let in_memory = match &store.max_object {
        Some(size) => fixed(size)?,
        None => fixed(&store.memory)? / 16,
    };
    let on_disk: Option<Vec<u64>> = store.disks.iter().map(|disk| Some(fixed(&disk.size)? / 8)).collect();
    let on_disk = on_disk?.into_iter().min().unwrap_or(0);
    Some(in_memory.max(on_disk))
}
