//! Checks trusted proxies, and the rules for clients' fields on a route: the names that it sets itself, and the proxy fields that it
//! accepts.

use proxy_runtime::filter::intake::{ANNOUNCED, is_claim, is_odd};
use proxy_runtime::site::{AuthScheme, Policy, Text, Trusted, TrustedHeader, Where};

use super::{Check, list};
use crate::ast::{self, Part};
use crate::check::scope::Phase;
use crate::model::RequestFilter;
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{Span, Spanned};

/// Fields of the connection or of the message's framing, which the proxy handles itself (RFC 9110 section 7.6.1).
const UNTOUCHABLE: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

impl Check<'_> {
    /// Checks that a directive changes only fields that may be changed.
    pub(crate) fn may_change(&mut self, name: &Spanned<String>, phase: Phase, replace: bool) {
        let diagnostic = |message: &str| Diagnostic::error("untouchable-header", message, name.span);
        if UNTOUCHABLE.contains(&name.value.as_str()) {
            self.report.add(
                diagnostic(&format!("`{name}` belongs to the connection, and the proxy sets it"))
                    .help("setting it would break the framing of messages (RFC 9110 section 7.6.1)"),
            );
        } else if phase == Phase::Request
            && self.trace_fields.as_ref().is_some_and(|fields| fields.contains(&name.value.as_str()))
        {
            self.report.add(
                diagnostic(&format!("`{name}` is set by `trace`"))
                    .help("the id of the trace is {trace.id}, for a field of another name"),
            );
        } else if name.value == "host" && !(replace && phase == Phase::Response) {
            let help = if phase == Phase::Request {
                "use the property `host=` of `proxy`"
            } else {
                "it is a field of requests"
            };
            self.report.add(diagnostic("`host` can't be changed here").help(help));
        }
    }

    /// Checks `trusted-proxies`.
    pub(crate) fn trusted(&mut self, trusted: Option<(Span, ast::TrustedProxies)>) -> Trusted {
        let Some((_, trusted)) = trusted else {
            return Trusted { networks: list(Vec::new()), header: TrustedHeader::XForwardedFor };
        };
        for network in trusted.networks.iter().filter(|network| network.value.prefix_len() == 0) {
            self.report.add(
                Diagnostic::lint(
                    "trusts-everybody",
                    "this trusts everybody: any client could forge its address",
                    network.span,
                )
                .help("name the networks of the proxies in front of this one"),
            );
        }
        Trusted {
            networks: list(trusted.networks.iter().map(|network| network.value).collect()),
            header: trusted.header.map_or(TrustedHeader::XForwardedFor, |header| header.value),
        }
    }

    /// Checks that a field which is read before the proxy adds its own can reach the route.
    pub(crate) fn gets_through(&mut self, name: &Spanned<String>) {
        if name.value.contains('_') && !self.underscores {
            let message = format!("no request has `{name}` here: fields with `_` in their names are dropped");
            self.report.add(
                Diagnostic::error("no-effect", message, name.span)
                    .help("to let them through, write in the site: limits underscores=#true"),
            );
        }
    }

    /// Checks that a client is not identified by a field that it can forge.
    pub(crate) fn spoofable(&mut self, template: &ast::Template) {
        for part in &template.parts {
            let Part::Placeholder(name) = part else { continue };
            let Some(field) = name.value.strip_prefix("header.").map(str::to_ascii_lowercase) else { continue };
            let claims = ["for", "ip", "addr"].iter().any(|word| field.split(['-', '_']).any(|part| part == *word));
            if !(ANNOUNCED.contains(&field.as_str()) || is_claim(field.as_bytes())) || !(claims || field == "forwarded")
            {
                continue;
            }
            let message = format!("clients can forge `{field}`, and would be counted as a new client each time");
            let found = Diagnostic::lint("spoofable-key", message, name.span);
            let ours = Help::told(
                "write {client.ip}, which `trusted-proxies` determine",
                vec![Edit { at: name.span, text: "{client.ip}".to_owned() }],
            );
            let allowed = self.allowed("if only a proxy that sets it can connect", "spoofable-key");
            self.report.add(found.help(ours).help(allowed));
        }
    }
}

/// Adds the names that a route uses: fields that it sets, copies, changes and removes, and that it rejects requests for; and the field
/// of `trusted-proxies`.
pub(crate) fn own(policy: &mut Policy, filters: &[RequestFilter], trusted: &TrustedHeader) {
    let mut names: Vec<Text> = Vec::new();
    if let TrustedHeader::Field(name) = trusted {
        names.push(name.clone());
    }
    for filter in filters {
        let RequestFilter::Headers(ops) = filter else { continue };
        names.extend(ops.iter().map(|op| Text::from(op.name().to_owned())));
    }
    if let Some(access) = &policy.access {
        match access.auth.as_ref().map(|auth| &auth.scheme) {
            Some(AuthScheme::Forward(forward)) => names.extend(forward.copy.iter().cloned()),
            Some(AuthScheme::ApiKey(_, header)) => names.push(header.clone()),
            _ => {}
        }
        let patterns =
            access.blocks.iter().flat_map(|blocks| blocks.rules.iter()).flat_map(|rule| rule.patterns.iter());
        names.extend(patterns.filter_map(|(place, _)| match place {
            Where::Header(name) => Some(name.clone()),
            _ => None,
        }));
    }
    policy.fields.odd = names.iter().any(|name| is_odd(name.as_bytes()));
    policy.fields.own = list(sorted(names));
}

/// Adds one name.
pub(crate) fn own_also(policy: &mut Policy, name: Text) {
    policy.fields.odd |= is_odd(name.as_bytes());
    let own = policy.fields.own.iter().cloned().chain([name]);
    policy.fields.own = list(sorted(own.collect()));
}

/// Returns the fields that some route of a site accepts, which its other routes must receive, too.
pub(crate) fn passed_by_some<'p>(policies: impl Iterator<Item = &'p Policy>) -> Vec<Text> {
    sorted(policies.flat_map(|policy| policy.fields.pass.iter().cloned()).collect())
}

pub(crate) fn sorted(mut names: Vec<Text>) -> Vec<Text> {
    names.sort();
    names.dedup();
    names
}
