//! `log errors`: the error log.

use proxy_runtime::site::{self, LogLevel};

use super::conditions::{LogSample, When};
use super::members::{Fields, Rename};
use super::outputs;
use crate::ast::{self, Item};
use crate::check::Check;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::Span;

impl Check<'_> {
    /// Checks the error log, if the site has a `log errors`.
    pub(crate) fn error_log(&mut self, written: &[(Span, ast::ErrorLog)]) -> Option<site::ErrorLog> {
        let [(span, errors), others @ ..] = written else { return None };
        for (other, _) in others {
            let message = "`log errors` is written twice, and one of them would have no effect";
            let found = Diagnostic::error("duplicate-node", message, *other).label("the second");
            self.report.add(found.also(*span, "the first"));
        }
        for item in &errors.items {
            if let Some(name) = of_access(item) {
                let message = format!("`{name}` has no effect here: it is about `log access`");
                self.error("no-effect", message, item.span);
            }
        }
        if errors.level.is_none() && errors.json.is_none() && errors.items.is_empty() {
            let found = Diagnostic::error("no-effect", "`log errors` says nothing here", *span);
            self.report.add(found.help("as in: log errors level=warn"));
        }
        Some(site::ErrorLog {
            level: errors.level.as_ref().map_or(LogLevel::Info, |level| level.value),
            json: errors.json.as_ref().is_some_and(|json| json.value),
            outputs: list(outputs::of_errors(self, &errors.items, *span)),
        })
    }
}

/// Returns the name of a line that is only for the access log.
fn of_access(item: &Item) -> Option<&'static str> {
    let is = [
        ("fields", item.line::<Fields>().is_some()),
        ("rename", item.line::<Rename>().is_some()),
        ("when", item.line::<When>().is_some()),
        ("sample", item.line::<LogSample>().is_some()),
    ];
    is.into_iter().find(|(_, is)| *is).map(|(name, _)| name)
}
