//! The contract's data as Rust expressions; what `expression` does not do alone.

use ipnet::IpNet;
use proc_macro2::{Literal, TokenStream};
use proxy_runtime::route::{NONE, Table, Tables};
use proxy_runtime::site::Methods;
use quote::quote;

use super::expression::expression;
use super::numbered;
use crate::plan::Plan;

fn list<T>(items: &[T], one: impl Fn(&T) -> TokenStream) -> TokenStream {
    let items = items.iter().map(one);
    quote!(Borrowed(&[#(#items),*]))
}

fn option<T>(value: Option<T>, one: impl Fn(T) -> TokenStream) -> TokenStream {
    match value.map(one) {
        Some(value) => quote!(Some(#value)),
        None => quote!(None),
    }
}

pub(super) fn text(text: &str) -> TokenStream {
    quote!(Borrowed(#text))
}

pub(super) fn policies(plan: &Plan<'_>) -> TokenStream {
    let statics = plan.policies.values.iter().enumerate().map(|(index, value)| {
        let (name, value) = (numbered("POLICY", index), expression(*value));
        quote!(static #name: Policy = #value;)
    });
    quote!(#(#statics)*)
}

pub(super) fn sites<'a>(plan: &'a Plan<'_>) -> impl Iterator<Item = TokenStream> + 'a {
    plan.model.hosts.iter().map(|host| {
        let name = text(&host.hosts.first().map(ToString::to_string).unwrap_or_default());
        let normal_form = expression(&host.normal_form);
        let index =
            plan.policies.values.iter().position(|policy| format!("{policy:?}") == format!("{:?}", host.policy));
        let policy = numbered("POLICY", index.expect("interned"));
        quote!(Host {
            name: #name,
            normal_form: #normal_form,
            policy: &#policy,
        })
    })
}

pub(super) fn routes<'a>(plan: &'a Plan<'_>) -> impl Iterator<Item = TokenStream> + 'a {
    plan.routes.iter().map(|route| {
        let host = plan.model.hosts[route.site as usize].hosts.first().map(ToString::to_string).unwrap_or_default();
        let pattern = &route.model.pattern.text;
        let (name, written) = (text(&format!("{host}{pattern}")), text(pattern));
        let (place, methods, handler) =
            (expression(&route.model.place), methods(&route.model.methods), expression(&route.model.handler));
        let function = |prefix: &'static str| {
            move |index| {
                let name = numbered(prefix, index);
                quote!(#name)
            }
        };
        let matches = option(route.matches, function("matches"));
        let request = option(route.request, function("request"));
        let response = option(route.response, function("response"));
        let policy = numbered("POLICY", route.policy);
        quote!(Route {
            name: #name,
            pattern: #written,
            place: #place,
            methods: #methods,
            matches: #matches,
            request: #request,
            response: #response,
            handler: #handler,
            policy: &#policy,
        })
    })
}

fn methods(methods: &Methods) -> TokenStream {
    if *methods == Methods::ANY {
        return quote!(Methods::ANY);
    }
    expression(methods)
}

/// `&[IpNet, ...]`
pub(super) fn networks(networks: &[IpNet]) -> TokenStream {
    let networks = networks.iter().map(expression);
    quote!(&[#(#networks),*])
}

pub(super) fn tables(tables: &Tables) -> TokenStream {
    let (hosts, exact, segments) = (table(&tables.hosts), table(&tables.exact), table(&tables.segments));
    let (any_host, candidates) =
        (list(&tables.any_host, |site| id(*site)), list(&tables.candidates, |route| id(*route)));
    let leaves = list(&tables.leaves, |(start, end)| {
        let (start, end) = (id(*start), id(*end));
        quote!((#start, #end))
    });
    let nodes = list(&tables.nodes, |node| {
        let (literals, capture, leaf, rest) = (node.literals, id(node.capture), id(node.leaf), id(node.rest));
        quote!(Node { literals: #literals, capture: #capture, leaf: #leaf, rest: #rest })
    });
    let wildcards = tables.wildcards;
    quote!(Tables {
        hosts: #hosts, any_host: #any_host, wildcards: #wildcards, exact: #exact, segments: #segments,
        nodes: #nodes, leaves: #leaves, candidates: #candidates,
    })
}

fn table(table: &Table) -> TokenStream {
    if table.slots.is_empty() {
        return quote!(Table::EMPTY);
    }
    let seed = Literal::u64_unsuffixed(table.seed);
    let disps = list(&table.disps, |(d1, d2)| {
        let (d1, d2) = (id(*d1), id(*d2));
        quote!((#d1, #d2))
    });
    let slots = list(&table.slots, |slot| {
        let (scope, start, len, value) = (id(slot.scope), id(slot.start), id(slot.len), id(slot.value));
        quote!(Slot { scope: #scope, start: #start, len: #len, value: #value })
    });
    let keys = text(&table.text);
    quote!(Table { seed: #seed, disps: #disps, slots: #slots, text: #keys })
}

/// A number of the tables; "none" by its name.
fn id(id: u32) -> TokenStream {
    if id == NONE {
        return quote!(::proxy_runtime::route::NONE);
    }
    let id = Literal::u32_unsuffixed(id);
    quote!(#id)
}
