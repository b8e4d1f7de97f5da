//! Pass 5, `lower`: turns the model into a plan. It numbers routes, shares equal values, builds the lookup tables and the
//! tables of expressions. It makes no decisions about the site: that was `check`.
//!
//! After this pass, all orders and numbers are fixed. The plan is a function of the model: nothing depends on hash
//! seeds or addresses.

mod tables;

#[cfg(feature = "bundle")]
pub(crate) use self::tables::table;

use std::borrow::Cow;

use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::router::regex::{Capturing, Regex};
use proxy_runtime::site::{Handler, Redirect};

use crate::expression;
use crate::interned::Interned;
use crate::model::{self, HeaderOp, Matcher, PathStep, RequestFilter, ResponseFilter};
use crate::pattern::ValueTest;
use crate::plan::{Plan, Route};

/// Lowers a model.
pub fn lower(model: &model::Site) -> Plan<'_> {
    let mut policies = Interned::default();
    policies.add(&model.root);
    let (mut matchers, mut requests, mut responses) = (Interned::default(), Interned::default(), Interned::default());
    let (mut functions, mut methods, mut handlers) = (Interned::default(), Interned::default(), Interned::default());
    let mut routes = Vec::new();
    for (site, host) in model.hosts.iter().enumerate() {
        policies.add(&host.policy);
        for route in &host.routes {
            let (handler, row) = share(&route.handler);
            routes.push(Route {
                model: route,
                site: site as u32,
                methods: methods.add(&route.methods),
                matches: some(route.expression().1).map(|slice| matchers.add(slice)),
                request: some(&route.request).map(|slice| requests.add(slice)),
                response: some(&route.response).map(|slice| responses.add(slice)),
                functions: Some(&route.functions).filter(|list| !list.is_empty()).map(|list| functions.add(list)),
                handler: handlers.add(handler),
                row,
                policy: policies.add(&route.policy),
            });
        }
    }
    let tables = tables::build(model);
    let mut plan = Plan {
        model,
        tables,
        routes,
        policies,
        matchers,
        requests,
        responses,
        functions,
        methods,
        handlers,
        regexes: Vec::new(),
        capturing: Vec::new(),
    };
    collect_expressions(&mut plan);
    plan
}

/// Splits a handler into a shared part and the route's own text: for a redirect to a fixed target, the target.
fn share(handler: &Handler) -> (Cow<'_, Handler>, &str) {
    if let Handler::Redirect(redirect) = handler
        && let [Piece::Text(target)] = &*redirect.to.pieces
    {
        let shared = Redirect { to: Template { pieces: model::list(vec![Piece::Row]) }, ..redirect.clone() };
        return (Cow::Owned(Handler::Redirect(shared)), target);
    }
    (Cow::Borrowed(handler), "")
}

fn some<T>(slice: &[T]) -> Option<&[T]> {
    (!slice.is_empty()).then_some(slice)
}

/// Collects all expressions of a plan.
fn collect_expressions(plan: &mut Plan<'_>) {
    let mut yes_or_no = Vec::new();
    let mut groups = Vec::new();
    for matchers in &plan.matchers.values {
        matchers.iter().for_each(|matcher| in_matcher(matcher, &mut yes_or_no, &mut groups));
    }
    for filter in plan.requests.values.iter().flat_map(|filters| filters.iter()) {
        match filter {
            RequestFilter::Rewrite(rewrite) => groups.extend(rewrite.path.iter().filter_map(|step| match step {
                PathStep::Replace(regex, _) => Some(regex.clone()),
                _ => None,
            })),
            RequestFilter::Headers(ops) => in_headers(ops, &mut groups),
        }
    }
    for ResponseFilter::Headers(ops) in plan.responses.values.iter().flat_map(|filters| filters.iter()) {
        in_headers(ops, &mut groups);
    }
    for pattern in distinct(yes_or_no) {
        let table =
            expression::table(&pattern, true).and_then(|table| table.to_sparse().map_err(|error| error.to_string()));
        let bytes = table.expect("the check has built this table").to_bytes_little_endian();
        plan.regexes.push((pattern, Regex::owned(bytes.clone()), bytes));
    }
    for pattern in distinct(groups) {
        // The runtime holds these in statics, and so does the plan when it runs: leaked once per expression.
        let capturing: &'static Capturing = Box::leak(Box::new(Capturing::new(pattern.clone().into())));
        plan.capturing.push((pattern, capturing));
    }
}

fn distinct(mut patterns: Vec<String>) -> Vec<String> {
    patterns.sort();
    patterns.dedup();
    patterns
}

fn in_matcher(matcher: &Matcher, yes_or_no: &mut Vec<String>, groups: &mut Vec<String>) {
    match matcher {
        Matcher::Value(_, _, ValueTest::Matches(pattern)) | Matcher::PathRegex(pattern, None) => {
            yes_or_no.push(pattern.clone())
        }
        Matcher::PathRegex(pattern, Some(_)) => groups.push(pattern.clone()),
        Matcher::Not(inner) | Matcher::Any(inner) => {
            inner.iter().for_each(|matcher| in_matcher(matcher, yes_or_no, groups))
        }
        _ => {}
    }
}

fn in_headers(ops: &[HeaderOp], groups: &mut Vec<String>) {
    groups.extend(ops.iter().filter_map(|op| match op {
        HeaderOp::Replace(_, regex, _) => Some(regex.clone()),
        _ => None,
    }));
}
