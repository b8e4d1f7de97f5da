//! Field names that belong only to requests, or only to responses.

use super::{HeaderChange, HeaderLine, lines};
use crate::ast::Item;
use crate::check::Check;
use crate::check::scope::Phase;
use crate::report::{Diagnostic, Edit, Help};
use crate::source::Span;

/// Rejects response fields in requests, and the other way round.
pub(super) fn go_this_way(check: &mut Check<'_>, block: Span, items: &[Item], phase: Phase) {
    let (wrong, here, there) = match phase {
        Phase::Request => (OF_RESPONSES, "responses", "response-headers"),
        _ => (OF_REQUESTS, "requests", "request-headers"),
    };
    for line in lines(items) {
        let HeaderLine::Change(field, change) = line else { continue };
        // A field that a server sends is replaced, whatever its name.
        if matches!(change, HeaderChange::Replace(..)) || !wrong.contains(&field.value.as_str()) {
            continue;
        }
        let message = format!("`{field}` is a field of {here}: the other side ignores it");
        let mut found = Diagnostic::lint("field-direction", message, field.span);
        if items.len() == 1 && check.sources.slice(block).ends_with("-headers") {
            found = found.help(Help::told(format!("write {there}"), vec![Edit { at: block, text: there.to_owned() }]));
        }
        found = found.help(check.allowed("if it is meant", "field-direction"));
        check.report.add(found);
    }
}

/// Fields that only responses have (RFC 9110, RFC 9111, the Fetch standard, and browsers).
const OF_RESPONSES: &[&str] = &[
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "alt-svc",
    "clear-site-data",
    "content-security-policy",
    "content-security-policy-report-only",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "etag",
    "last-modified",
    "location",
    "permissions-policy",
    "proxy-authenticate",
    "referrer-policy",
    "retry-after",
    "server",
    "server-timing",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-powered-by",
    "x-xss-protection",
];

/// Fields that only requests have.
const OF_REQUESTS: &[&str] = &[
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cookie",
    "expect",
    "forwarded",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "range",
    "referer",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];
