//! Policies in layers: what presets, a site and a route say, merged inward.
//!
//! Of values the inner one holds; of lists (header lines, error pages) all hold, inner ones having the last word.

use crate::ast::{self, Item, Policy, What};
use crate::check::Check;
use crate::policy;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// What one place says, or several merged.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub(super) rewrite: Option<(Span, ast::Rewrite)>,
    pub(super) request_headers: Vec<(Span, Vec<Item>)>,
    pub(super) response_headers: Vec<(Span, Vec<Item>)>,
    pub(super) cache: Option<(Span, ast::Cache)>,
    /// What has a file in `policy`.
    pub(super) said: policy::Layer,
    /// Which directive came from where, for `explain`.
    pub(super) origins: Vec<(&'static str, Span)>,
}

impl Layer {
    /// This layer with `inner` on top.
    pub(super) fn overlay(mut self, inner: Layer) -> Layer {
        self.request_headers.extend(inner.request_headers);
        self.response_headers.extend(inner.response_headers);
        self.origins.extend(inner.origins);
        policy::ALL.iter().for_each(|kind| kind.merge(&mut self.said, &inner.said));
        Layer {
            rewrite: inner.rewrite.or(self.rewrite),
            request_headers: self.request_headers,
            response_headers: self.response_headers,
            cache: inner.cache.or(self.cache),
            said: self.said,
            origins: self.origins,
        }
    }
}

impl Check<'_> {
    /// The layer that the policies among `items` make on top of `outer`: presets first.
    pub(super) fn layer(&mut self, items: &[Item], outer: &Layer) -> Layer {
        let (presets, own) = self.parts(items, &mut Vec::new());
        for item in items.iter().filter(|item| !item.broken) {
            if let Some(kind) =
                policy::ALL.iter().find(|kind| kind.turns_nothing_off(item, &[&outer.said, &presets.said]))
            {
                let name = kind.name();
                let message = format!("`{name} off` has no effect: outside of here there is no `{name}`");
                self.error("no-effect", message, item.span);
            }
        }
        outer.clone().overlay(presets).overlay(own)
    }

    /// What presets say, and what is said here.
    fn parts(&mut self, items: &[Item], using: &mut Vec<usize>) -> (Layer, Layer) {
        let mut layer = Layer::default();
        for item in items {
            let What::Use(name) = &item.what else { continue };
            if name.value == SECURITY_HEADERS && !self.presets.index.contains_key(SECURITY_HEADERS) {
                layer = layer.overlay(security_headers(name.span, self.site_tls.is_some()));
                continue;
            }
            let Some(index) = self.presets.look_up("preset", name, self.report) else { continue };
            if using.contains(&index) {
                let declared = self.presets.entries[index].span;
                self.report.add(
                    Diagnostic::error("preset-loop", format!("the preset `{name}` uses itself"), name.span)
                        .also(declared, "declared here"),
                );
                continue;
            }
            let items = self.presets.entries[index].value.1.clone();
            using.push(index);
            let (outer, inner) = self.parts(&items, using);
            layer = layer.overlay(outer).overlay(inner);
            using.pop();
        }
        let own = own(items);
        policy::ALL.iter().for_each(|kind| kind.check_place(self, &own.said));
        (layer, own)
    }
}

/// The preset that comes with Kiln.
const SECURITY_HEADERS: &str = "security-headers";

/// What it sets where a server says nothing itself, as OWASP's Secure Headers Project recommends it; and what it removes, which
/// tells strangers what there is to attack.
fn security_headers(span: Span, tls: bool) -> Layer {
    const FIELDS: [(&str, &str); 5] = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ];
    // RFC 6797 section 7.2: not over plain HTTP.
    let hsts = tls.then_some(("strict-transport-security", "max-age=31536000"));
    let item = |what| Item { span, what, broken: false };
    let name = |name: &str| Spanned { value: name.to_owned(), span };
    let set = |(field, value): (&str, &'static str)| {
        let value = ast::Template { parts: vec![ast::Part::Text(value.into())], span };
        let kind = ast::HeaderOpKind::Default(Spanned { value, span });
        item(What::HeaderOp(ast::HeaderOp { kind, name: name(field) }))
    };
    let mut lines: Vec<Item> = FIELDS.into_iter().chain(hsts).map(set).collect();
    lines.push(item(What::HeaderRemove(vec![name("server"), name("x-powered-by")])));
    Layer { response_headers: vec![(span, lines)], origins: vec![("response-headers", span)], ..Layer::default() }
}

fn own(items: &[Item]) -> Layer {
    let mut layer = Layer::default();
    for item @ Item { span, what, .. } in items {
        let What::Policy(policy) = what else { continue };
        let name = match policy {
            Policy::InFile(_) => {
                let Some(name) = policy::ALL.iter().find_map(|kind| kind.add(item, &mut layer.said)) else { continue };
                name
            }
            Policy::Rewrite(rewrite) => {
                layer.rewrite = Some((*span, rewrite.clone()));
                "rewrite"
            }
            Policy::RequestHeaders(lines) => {
                layer.request_headers.push((*span, lines.clone()));
                "request-headers"
            }
            Policy::ResponseHeaders(lines) => {
                layer.response_headers.push((*span, lines.clone()));
                "response-headers"
            }
            Policy::Cache(cache) => {
                layer.cache = Some((*span, cache.clone()));
                "cache"
            }
        };
        layer.origins.push((name, *span));
    }
    layer
}
