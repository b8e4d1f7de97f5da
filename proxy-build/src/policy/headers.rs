//! `request-headers` and `response-headers`: changes to header fields.

mod direction;
pub(crate) mod directives;

use proxy_runtime::filter::intake::{ANNOUNCED, is_claim};
use proxy_runtime::site::{self, TrustedHeader};

use super::{ExplainStep, ExplainedRequest, Filters, Layer, Merge, Policy, PolicyDescription, RouteContext, words};
use crate::ast::{self, Item, Part, What};
use crate::check::Check;
use crate::check::fields::sorted;
use crate::check::scope::{Phase, Scope};
use crate::handler::WrittenHandler;
use crate::model::Site;
use crate::model::{HeaderOp, RequestFilter, ResponseFilter, list};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// `request-headers`.
#[derive(Debug, Clone)]
pub(crate) struct RequestHeaders(Vec<Item>);

/// `response-headers`.
#[derive(Debug, Clone)]
pub(crate) struct ResponseHeaders(Vec<Item>);

/// A line of either directive.
#[derive(Debug)]
enum HeaderLine {
    Change(Spanned<String>, HeaderChange),
    Remove(Vec<Spanned<String>>),
    Pass(Vec<Spanned<String>>),
}

/// The change of a line.
#[derive(Debug)]
enum HeaderChange {
    Set(Spanned<ast::Template>),
    Add(Spanned<ast::Template>),
    Default(Spanned<ast::Template>),
    Replace(Spanned<String>, Spanned<String>),
}

impl Policy for RequestHeaders {
    const NAME: &'static str = "request-headers";
    const MERGE: Merge<Self> = Merge::All;
    const NEEDS_UPSTREAM: bool = true;

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        let mut pass: Vec<site::Text> = Vec::new();
        for line in layer.all::<RequestHeaders>().iter().flat_map(|said| lines(&said.value.0)) {
            let HeaderLine::Pass(names) = line else { continue };
            pass.extend(names.iter().filter(|name| may_pass(check, name)).map(|name| name.value.clone().into()));
        }
        policy.fields.pass = list(sorted(pass));
    }

    fn filter(check: &mut Check<'_>, layer: &Layer, route: &RouteContext<'_>, filters: &mut Filters) {
        if route.forwards() {
            let blocks = layer.all::<RequestHeaders>().iter().map(|said| (said.span, said.value.0.as_slice()));
            filters.request_headers(changes(check, blocks, route.scope, Phase::Request));
        }
        passes_nothing_that_is_set(check, layer, route.handler);
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<words::ExplainLine> {
        let pass = &of.route.policy.fields.pass;
        let mut lines = Vec::new();
        if !pass.is_empty() {
            let text = format!("{} [{}]", pass.join(" "), of.from(Self::NAME));
            lines.push(words::ExplainLine::new(ExplainStep::Intake, "pass", text));
        }
        let changes = of.route.request.iter().filter_map(|filter| match filter {
            RequestFilter::Headers(ops) => Some(format!("{} lines", ops.len())),
            RequestFilter::Rewrite(_) => None,
        });
        lines.extend(of.lines(ExplainStep::Change, Self::NAME, changes));
        lines
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("fields", "fields")
    }
}

impl Policy for ResponseHeaders {
    const NAME: &'static str = "response-headers";
    const MERGE: Merge<Self> = Merge::All;

    fn filter(check: &mut Check<'_>, layer: &Layer, route: &RouteContext<'_>, filters: &mut Filters) {
        let blocks = layer.all::<ResponseHeaders>().iter().map(|said| (said.span, said.value.0.as_slice()));
        let changes = changes(check, blocks, route.scope, Phase::Response);
        if !changes.is_empty() {
            filters.response.push(ResponseFilter::Headers(changes));
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<words::ExplainLine> {
        of.lines(ExplainStep::Response, Self::NAME, of.route.response.first().map(|_| ""))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::default()
    }
}

/// Returns the response fields that are set or changed, with their spans.
pub(super) fn changed_in_responses(layer: &Layer) -> impl Iterator<Item = &Spanned<String>> {
    layer.all::<ResponseHeaders>().iter().flat_map(|said| lines(&said.value.0)).filter_map(|line| match line {
        HeaderLine::Change(field, _) => Some(field),
        HeaderLine::Remove(_) | HeaderLine::Pass(_) => None,
    })
}

fn lines(items: &[Item]) -> impl Iterator<Item = &HeaderLine> {
    items.iter().filter_map(Item::line)
}

/// Returns the changes of a sequence of blocks.
fn changes<'b>(
    check: &mut Check<'_>,
    blocks: impl Iterator<Item = (Span, &'b [Item])> + Clone,
    scope: &Scope,
    phase: Phase,
) -> Vec<HeaderOp> {
    let mut ops = Vec::new();
    for (block, items) in blocks.clone() {
        lines_act(check, items);
        direction::go_this_way(check, block, items, phase);
    }
    for line in blocks.flat_map(|(_, items)| lines(items)) {
        match line {
            HeaderLine::Change(field, change) => {
                check.may_change(field, phase, matches!(change, HeaderChange::Replace(..)));
                match phase {
                    Phase::Request => secret(check, field, change),
                    _ => hsts(check, field, change),
                }
                let name = field.value.clone();
                let mut template = |value: &Spanned<ast::Template>| check.template(&value.value, scope, phase);
                ops.extend(match change {
                    HeaderChange::Set(value) => template(value).map(|value| HeaderOp::Set(name, value)),
                    HeaderChange::Add(value) => template(value).map(|value| HeaderOp::Add(name, value)),
                    HeaderChange::Default(value) => template(value).map(|value| HeaderOp::Default(name, value)),
                    HeaderChange::Replace(regex, replacement) => {
                        check.replacement(regex, replacement);
                        Some(HeaderOp::Replace(name, regex.value.clone(), replacement.value.clone()))
                    }
                });
            }
            HeaderLine::Remove(names) => {
                for name in names {
                    check.may_change(name, phase, false);
                    ops.push(HeaderOp::Remove(name.value.clone()));
                }
            }
            HeaderLine::Pass(names) if phase != Phase::Request => {
                for name in names {
                    check.error("no-effect", "`pass` has no effect: it is for `request-headers`", name.span);
                }
            }
            HeaderLine::Pass(_) => {}
        }
    }
    ops
}

/// RFC 6797 section 7.2: the field must not be sent over plain HTTP.
fn hsts(check: &mut Check<'_>, field: &Spanned<String>, change: &HeaderChange) {
    if check.site_tls.is_none()
        && field.value == "strict-transport-security"
        && !matches!(change, HeaderChange::Replace(..))
    {
        check.report.add(
            Diagnostic::lint(
                "hsts-on-plain",
                "this site is served without TLS, where browsers ignore this field",
                field.span,
            )
            .help("give the site a `tls`")
            .help(check.allowed("if TLS ends at a proxy in front of this one", "hsts-on-plain")),
        );
    }
}

/// Whether a field has credentials, by its name.
pub(crate) fn is_secret(field: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"].contains(&field)
}

/// Reports a credential in the site file.
fn secret(check: &mut Check<'_>, field: &Spanned<String>, change: &HeaderChange) {
    let (HeaderChange::Set(value) | HeaderChange::Add(value) | HeaderChange::Default(value)) = change else {
        return;
    };
    let written = value.value.parts.iter().all(|part| matches!(part, Part::Text(_)));
    if written && !value.value.parts.is_empty() && is_secret(&field.value) {
        check.report.add(
            Diagnostic::lint(
                "secret-in-file",
                format!("the value of `{field}` is a secret, and would be in the binary"),
                value.span,
            )
            .help(check.as_secret(value.span)),
        );
    }
}

/// `pass` is only for proxy fields that this proxy does not write itself.
fn may_pass(check: &mut Check<'_>, name: &Spanned<String>) -> bool {
    let announced = ANNOUNCED.contains(&name.value.as_str());
    let header = matches!(&check.trusted_header, TrustedHeader::Field(header) if *header == name.value);
    if announced || header {
        let message = format!("only the proxy may set `{name}`: otherwise a client could forge it");
        let help = "to trust a proxy in front of this one, name its network: trusted-proxies \"10.0.0.0/8\"";
        check.report.add(Diagnostic::error("untouchable-header", message, name.span).help(help));
    } else if !is_claim(name.value.as_bytes()) {
        let message = format!("`pass` has no effect: `{name}` always passes");
        check.error("no-effect", message, name.span);
        return false;
    }
    !announced && !header
}

/// Rejects `pass` for fields that `proxy` is configured to set.
fn passes_nothing_that_is_set(check: &mut Check<'_>, layer: &Layer, handler: &dyn WrittenHandler) {
    let Some(options) = handler.forwarding() else { return };
    let set = [("x-forwarded-port", &options.port), ("x-real-ip", &options.real_ip)];
    for line in layer.all::<RequestHeaders>().iter().flat_map(|said| lines(&said.value.0)) {
        let HeaderLine::Pass(names) = line else { continue };
        for name in names {
            let is_set = |(set, wanted): &&(&str, &Option<Spanned<bool>>)| {
                *set == name.value && wanted.as_ref().is_some_and(|wanted| wanted.value)
            };
            if let Some((_, Some(wanted))) = set.iter().find(is_set) {
                let message = format!("the proxy sets `{name}` here: a client's value can't pass");
                check.report.add(Diagnostic::error("contradiction", message, name.span).also(wanted.span, "set here"));
            }
        }
    }
}

/// Reports lines that another line of the same block overrides.
fn lines_act(check: &mut Check<'_>, items: &[Item]) {
    let mut seen: Vec<(&str, FieldEffect, Span)> = Vec::new();
    for line in lines(items) {
        let names: Vec<(&Spanned<String>, FieldEffect)> = match line {
            HeaderLine::Change(name, change) => vec![(name, done(change))],
            HeaderLine::Remove(names) => names.iter().map(|name| (name, FieldEffect::Removed)).collect(),
            HeaderLine::Pass(_) => continue,
        };
        for (name, now) in names {
            if let Some((_, before, first)) = seen.iter().rev().find(|(seen, ..)| *seen == name.value) {
                let (idle, other, label) = match (before, now) {
                    (FieldEffect::Removed, FieldEffect::Default) => continue,
                    (FieldEffect::Removed, FieldEffect::Removed | FieldEffect::Replaced) => {
                        (name.span, *first, "it is removed here")
                    }
                    (FieldEffect::Set | FieldEffect::Added | FieldEffect::Default, FieldEffect::Default) => {
                        (name.span, *first, "it has a value here")
                    }
                    (_, FieldEffect::Set) => (*first, name.span, "it is set here"),
                    (_, FieldEffect::Removed) => (*first, name.span, "it is removed here"),
                    _ => continue,
                };
                let message = format!("this line has no effect on `{name}`: another line of this block overrides it");
                let diagnostic = Diagnostic::error("no-effect", message, idle).also(other, label);
                check.report.add(diagnostic.help("to add a second line of a field, use `add`"));
            }
            seen.push((&name.value, now, name.span));
        }
    }
}

/// The effect of a line on a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldEffect {
    Set,
    Added,
    Default,
    Removed,
    Replaced,
}

fn done(change: &HeaderChange) -> FieldEffect {
    match change {
        HeaderChange::Set(_) => FieldEffect::Set,
        HeaderChange::Add(_) => FieldEffect::Added,
        HeaderChange::Default(_) => FieldEffect::Default,
        HeaderChange::Replace(..) => FieldEffect::Replaced,
    }
}

/// Returns the fields of the preset, which are set unless the server sends them, as OWASP's Secure Headers Project
/// recommends; and those that it removes, because they reveal details of the server.
pub(crate) fn security(span: Span, tls: bool) -> ResponseHeaders {
    const FIELDS: [(&str, &str); 5] = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ];
    // RFC 6797 section 7.2: not over plain HTTP.
    let hsts = tls.then_some(("strict-transport-security", "max-age=31536000"));
    let item = |line| Item { span, what: What::line(line), broken: false };
    let name = |name: &str| Spanned { value: name.to_owned(), span };
    let set = |(field, value): (&str, &'static str)| {
        let value = ast::Template { parts: vec![ast::Part::Text(value.into())], span };
        item(HeaderLine::Change(name(field), HeaderChange::Default(Spanned { value, span })))
    };
    let mut lines: Vec<Item> = FIELDS.into_iter().chain(hsts).map(set).collect();
    lines.push(item(HeaderLine::Remove(vec![name("server"), name("x-powered-by")])));
    ResponseHeaders(lines)
}
