//! The contract's data as Rust expressions, if `expression` alone does not suffice.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use proxy_runtime::router::route::Tables;
use proxy_runtime::router::table::{NONE, Table, Words};
use proxy_runtime::site::{Methods, Routes};
use quote::quote;

use super::expression::expression;
use super::literal::{numbered, text};
use crate::plan::{Plan, Route};

pub(super) fn policies(plan: &Plan<'_>) -> TokenStream {
    let statics = plan.policies.values.iter().enumerate().map(|(index, value)| {
        let (name, value) = (numbered("POLICY", index), expression(*value));
        quote!(static #name: Policy = #value;)
    });
    quote!(#(#statics)*)
}

pub(super) fn sites<'a>(plan: &'a Plan<'_>) -> impl Iterator<Item = TokenStream> + 'a {
    let mut next = 0;
    plan.model.hosts.iter().map(move |host| {
        let first = Literal::u32_unsuffixed(next);
        next += host.routes.len() as u32;
        let name = text(&host.hosts.first().map(ToString::to_string).unwrap_or_default());
        let (normal_form, policy) =
            (expression(&host.normal_form), numbered("POLICY", plan.policies.index(&&host.policy)));
        let (tls, secure) = (expression(&host.tls), expression(&host.secure));
        quote!(Host {
            name: #name,
            normal_form: #normal_form,
            policy: &#policy,
            tls: #tls,
            secure: #secure,
            first_route: #first,
        })
    })
}

/// The most routes that are listed in the documentation of their table.
const LISTED: usize = 1000;

/// `static ROUTES`, with a line of documentation for each.
pub(super) fn routes(plan: &Plan<'_>) -> TokenStream {
    let (rows, strings) = rows(plan);
    let lines = plan.routes.iter().enumerate().take(LISTED).map(|(index, route)| line(plan, index, route));
    let functions = |prefix: &'static str, count: usize| (0..count).map(move |index| numbered(prefix, index));
    let matches = functions("matches", plan.matchers.values.len());
    let request = functions("request", plan.requests.values.len());
    let response = functions("response", plan.responses.values.len());
    let policies = functions("POLICY", plan.policies.values.len());
    let methods = plan.methods.values.iter().map(|methods| match *methods {
        any if *any == Methods::ANY => quote!(Methods::ANY),
        some => expression(some),
    });
    let handlers = plan.handlers.values.iter().map(|handler| expression(handler.as_ref()));
    let functions = super::functions::of_the_user(plan);
    let rows = words(&rows);
    quote! {
        #functions
        static HANDLERS: &[Handler] = &[#(#handlers),*];
        static METHODS: &[Methods] = &[#(#methods),*];
        static POLICIES: &[PolicyId] = &[#(&#policies),*];
        #(#[doc = #lines])*
        static ROUTES: &[u8] = #rows;
        const ROUTE_TABLE: Routes = Routes {
            rows: Words::new(ROUTES),
            text: #strings,
            methods: METHODS,
            matches: &[#(#matches),*],
            request: &[#(#request),*],
            response: &[#(#response),*],
            functions: FUNCTIONS,
            handlers: HANDLERS,
            policies: POLICIES,
        };
    }
}

/// Returns the rows of the table of routes, and the texts they refer to.
fn rows(plan: &Plan<'_>) -> (Words, String) {
    let mut strings = String::new();
    let mut add = |text: &str| {
        let start = strings.len() as u32;
        strings.push_str(text);
        [start, text.len() as u32]
    };
    let mut rows = Vec::with_capacity(Routes::COLUMNS * plan.routes.len());
    for route in &plan.routes {
        let some = |index: Option<usize>| index.map_or(NONE, |index| index as u32);
        rows.extend(add(&route.model.pattern.text));
        rows.extend([route.methods as u32, some(route.matches), some(route.request), some(route.response)]);
        rows.extend([some(route.functions), route.handler as u32, route.policy as u32]);
        rows.extend(add(route.row));
    }
    (rows.into_iter().collect(), strings)
}

/// Returns the documentation of a route in the table.
fn line(plan: &Plan<'_>, index: usize, route: &Route<'_>) -> String {
    let host = plan.model.hosts[route.site as usize].hosts.first().map(ToString::to_string).unwrap_or_default();
    let (pattern, place) = (&route.model.pattern.text, &route.model.place);
    let number = |name: &str, index: Option<usize>| index.map_or(String::new(), |index| format!(" {name}_{index}"));
    format!(
        " {index}: `{host}{pattern}`{}{}{}{} HANDLERS[{}] POLICY_{} ({}:{})",
        number("matches", route.matches),
        number("request", route.request),
        number("response", route.response),
        route.functions.map_or(String::new(), |index| format!(" FUNCTIONS[{index}]")),
        route.handler,
        route.policy,
        place.file,
        place.line
    )
}

/// `static JOINT`: the tables of expressions on paths.
pub(super) fn joint(tables: &Tables) -> TokenStream {
    let count = tables.joint.len();
    let joint = tables.joint.iter().map(|joint| {
        let bytes = Literal::byte_string(joint.bytes());
        quote!(Joint::new(Borrowed(#bytes)))
    });
    quote!(static JOINT: [Joint; #count] = [#(#joint),*];)
}

pub(super) fn tables(tables: &Tables) -> TokenStream {
    let (hosts, exact, segments) =
        (table("HOSTS", &tables.hosts), table("EXACT", &tables.exact), table("SEGMENTS", &tables.segments));
    let [any_host, captures, leaves, expressions, plain] =
        [&tables.any_host, &tables.captures, &tables.leaves, &tables.expressions, &tables.plain].map(words);
    let wildcards = tables.wildcards;
    quote!(Tables {
        hosts: #hosts,
        any_host: Words::new(#any_host),
        wildcards: #wildcards,
        exact: #exact,
        segments: #segments,
        captures: Words::new(#captures),
        leaves: Words::new(#leaves),
        expressions: Words::new(#expressions),
        plain: Words::new(#plain),
        joint: Borrowed(&JOINT),
    })
}

/// Returns the slots of a table, aligned: `static HOSTS: &Aligned<[u8]>`; nothing for a table without entries.
pub(super) fn slots<const N: usize>(name: &str, table: &Table<N>) -> TokenStream {
    if table.is_empty() {
        return TokenStream::new();
    }
    let (name, slots) = (Ident::new(name, Span::call_site()), Literal::byte_string(&table.slots));
    let doc = format!(" {} entries of {} bytes", table.len(), table.stride);
    quote! {
        #[doc = #doc]
        static #name: &Aligned<[u8]> = &Aligned(*#slots);
    }
}

fn table<const N: usize>(name: &str, table: &Table<N>) -> TokenStream {
    if table.is_empty() {
        return quote!(Table::EMPTY);
    }
    let name = Ident::new(name, Span::call_site());
    let (seed, stride) = (Literal::u64_unsuffixed(table.seed), Literal::u32_unsuffixed(table.stride));
    let (disps, long) = (words(&table.disps), text(&table.long));
    quote!(Table { seed: #seed, disps: Words::new(#disps), stride: #stride, slots: Borrowed(&#name.0), long: #long })
}

/// Numbers as bytes.
fn words(words: &Words) -> TokenStream {
    let bytes = Literal::byte_string(words.bytes());
    quote!(#bytes)
}
