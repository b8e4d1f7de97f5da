//! `request-content-types`: the permitted content types of request bodies.

use proxy_runtime::site;

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::What;
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::source::Spanned;
use crate::value;
use crate::wording;

pub(crate) static REQUEST_TYPES: Directive = Directive {
    name: "request-content-types",
    places: POLICY,
    args: "TYPE...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Accepts only request bodies of these content types.",
    details: "\
`application/json` is that type, `text/*` all types that begin with `text/`, `*+json` all that end with `+json`. A request with a body of
another type, or of none, gets a 415 with the reason `unsupported-media-type` (RFC 9110 section 15.5.16). The content of the body is not
checked.",
    example: r#"
site example.com {
    request-content-types "application/json" "multipart/form-data"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::policy(RequestTypes(r.some("a TYPE", value::media)))),
};

#[derive(Debug, Clone)]
pub(crate) struct RequestTypes(Vec<Spanned<String>>);

impl Policy for RequestTypes {
    const NAME: &'static str = "request-content-types";

    fn check(_: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        let types = layer.one::<RequestTypes>().into_iter().flat_map(|types| &types.value.0);
        let types: Vec<_> = types.map(|kind| kind.value.clone().into()).collect();
        if !types.is_empty() {
            policy.access.get_or_insert_default().request_types = list(types);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(&of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| !access.request_types.is_empty());
        any.then(|| Self::NAME.to_owned()).into_iter().collect()
    }

    fn diff(_: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(policy))
    }
}

/// Returns the description of the policy.
fn said(policy: &site::Policy) -> Vec<String> {
    let types = policy.access.iter().map(|access| &access.request_types).filter(|types| !types.is_empty());
    types.map(|types| wording::list(types)).collect()
}
