//! What holds for requests: limits, time-outs, and what else a layer makes.

use proxy_runtime::site::{FieldRules, Policy, Text};

use super::layer::Layer;
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::fields::sorted;
use crate::check::scope::{self};
use crate::model::{self, list};
use crate::policy;
use crate::policy::cors::Cors;
use crate::report::Diagnostic;
use crate::source::Spanned;

impl Check<'_> {
    /// The policy that a layer makes, where these placeholders have a value.
    pub(super) fn policy(&mut self, layer: &Layer, scope: &scope::Scope) -> Policy {
        let mut policy = model::policy();
        policy.fields = self.field_rules(layer);
        policy::ALL.iter().for_each(|kind| kind.check(self, &layer.said, scope, &mut policy));
        policy
    }

    /// What holds where no route is known; routes add to it.
    pub(super) fn field_rules(&mut self, layer: &Layer) -> FieldRules {
        let mut pass: Vec<Text> = Vec::new();
        for item in layer.request_headers.iter().flat_map(|(_, items)| items) {
            let What::HeaderPass(names) = &item.what else { continue };
            pass.extend(names.iter().filter(|name| self.may_pass(name)).map(|name| name.value.clone().into()));
        }
        FieldRules { pass: list(sorted(pass)), ..FieldRules::default() }
    }

    /// What `cors` says is not said by hand as well: two voices are none to a browser.
    pub(super) fn cors_alone(&mut self, layer: &Layer) {
        let Some(cors) = layer.said.one::<Cors>() else { return };
        for item in layer.response_headers.iter().flat_map(|(_, items)| items) {
            let What::HeaderOp(op) = &item.what else { continue };
            if op.name.value.starts_with("access-control-") {
                let message = format!("`{}` is said by `cors` here: this line contradicts it", op.name);
                let found =
                    Diagnostic::error("contradiction", message, op.name.span).also(cors.span, "it is said here");
                self.report.add(found.help("leave one of both out; `cors` answers preflights, too"));
            }
        }
    }

    /// Of the fields that `proxy` sets where it is asked to, none is let through.
    pub(super) fn passes_nothing_that_is_set(&mut self, layer: &Layer, handler: &ast::Handler) {
        let Some(options) = handler.forwarding() else { return };
        let set = [("x-forwarded-port", &options.port), ("x-real-ip", &options.real_ip)];
        for item in layer.request_headers.iter().flat_map(|(_, items)| items) {
            let What::HeaderPass(names) = &item.what else { continue };
            for name in names {
                let is_set = |(set, wanted): &&(&str, &Option<Spanned<bool>>)| {
                    *set == name.value && wanted.as_ref().is_some_and(|wanted| wanted.value)
                };
                if let Some((_, Some(wanted))) = set.iter().find(is_set) {
                    let message = format!("the proxy sets `{name}` here: what a client says of it can't pass");
                    self.report
                        .add(Diagnostic::error("contradiction", message, name.span).also(wanted.span, "set here"));
                }
            }
        }
    }
}
