//! Matchers and filters as Rust functions, with the data they use beside them.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::quote;

use super::expression::expression;
use super::literal::{networks, numbered, text};
use crate::model::{HeaderOp, Matcher, PathStep, RequestFilter, ResponseFilter};
use crate::pattern::{ValueOf, ValueTest};
use crate::plan::{Plan, Route};

pub(super) fn expressions(plan: &Plan<'_>) -> TokenStream {
    let tables = plan.regexes.iter().enumerate().map(|(index, (pattern, _, bytes))| {
        let (name, bytes) = (numbered("REGEX", index), Literal::byte_string(bytes));
        let doc = format!(" `{pattern}`");
        quote! {
            #[doc = #doc]
            static #name: Regex = Regex::new(#bytes);
        }
    });
    let capturing = plan.capturing.iter().enumerate().map(|(index, (pattern, _))| {
        let name = numbered("PATTERN", index);
        quote!(static #name: Capturing = Capturing::new(Borrowed(#pattern));)
    });
    quote!(#(#tables)* #(#capturing)*)
}

/// Returns the location of the first route that uses an item, as documentation.
fn used_by(plan: &Plan<'_>, uses: impl Fn(&Route<'_>) -> bool) -> String {
    match plan.routes.iter().find(|route| uses(route)) {
        Some(route) => format!(" {}:{} `{}`", route.model.place.file, route.model.place.line, route.model.pattern.text),
        None => String::new(),
    }
}

pub(super) fn matchers(plan: &Plan<'_>) -> TokenStream {
    let functions = plan.matchers.values.iter().enumerate().map(|(index, matchers)| {
        let (name, doc) = (numbered("matches", index), used_by(plan, |route| route.matches == Some(index)));
        let mut conjunction = Conjunction { plan, statics: Vec::new() };
        let holds = conjunction.all(matchers);
        let statics = conjunction.statics;
        quote! {
            #[doc = #doc]
            #[allow(unused_variables)]
            fn #name(view: &RequestView<'_>, captures: &mut Captures) -> bool {
                #(#statics)*
                #holds
            }
        }
    });
    quote!(#(#functions)*)
}

/// The body of a matcher function under construction: the expression, and its data.
struct Conjunction<'a> {
    plan: &'a Plan<'a>,
    statics: Vec<TokenStream>,
}

impl Conjunction<'_> {
    fn all(&mut self, matchers: &[Matcher]) -> TokenStream {
        let parts: Vec<_> = matchers.iter().map(|matcher| self.one(matcher)).collect();
        quote!(#(#parts)&&*)
    }

    fn one(&mut self, matcher: &Matcher) -> TokenStream {
        match matcher {
            Matcher::Method(names) => quote!([#(#names),*].contains(&view.method.as_str())),
            Matcher::Value(of, name, test) => self.value(*of, name, test),
            Matcher::ClientIp(list) => {
                let (name, list) = (numbered("NETWORKS", self.statics.len()), networks(list));
                self.statics.push(quote!(static #name: &[IpNet] = #list;));
                quote!(matcher::client_ip(view, #name))
            }
            Matcher::WebSocket => quote!(matcher::websocket(view)),
            Matcher::Grpc => quote!(matcher::grpc(view)),
            Matcher::Http2 => quote!(matcher::http2(view)),
            Matcher::Http3 => quote!(matcher::http3(view)),
            Matcher::Always => quote!(true),
            Matcher::PathRegex(pattern, None) => {
                let regex = numbered("REGEX", self.plan.regex(pattern));
                quote!(#regex.is_match(view.path.as_bytes()))
            }
            Matcher::PathRegex(pattern, Some(first)) => {
                let regex = numbered("PATTERN", self.plan.capturing(pattern));
                quote!(#regex.bind(view.path, #first, captures))
            }
            Matcher::Not(inner) => {
                let inner = self.all(inner);
                quote!(!(#inner))
            }
            Matcher::Any(inner) => {
                let parts: Vec<_> = inner.iter().map(|matcher| self.one(matcher)).collect();
                quote!((#(#parts)||*))
            }
        }
    }

    fn value(&mut self, of: ValueOf, name: &str, test: &ValueTest) -> TokenStream {
        let (present, is, matches) = match of {
            ValueOf::Header => (quote!(header), quote!(header_is), quote!(header_matches)),
            ValueOf::Query => (quote!(query), quote!(query_is), quote!(query_matches)),
            ValueOf::Cookie => (quote!(cookie), quote!(cookie_is), quote!(cookie_matches)),
        };
        match test {
            ValueTest::Present => quote!(matcher::#present(view, #name)),
            ValueTest::Equals(value) => quote!(matcher::#is(view, #name, #value)),
            ValueTest::Matches(pattern) => {
                let regex = numbered("REGEX", self.plan.regex(pattern));
                quote!(matcher::#matches(view, #name, &#regex))
            }
        }
    }
}

pub(super) fn requests(plan: &Plan<'_>) -> TokenStream {
    let functions = plan.requests.values.iter().enumerate().map(|(index, filters)| {
        let (name, doc) = (numbered("request", index), used_by(plan, |route| route.request == Some(index)));
        let steps = filters.iter().map(|filter| match filter {
            RequestFilter::Rewrite(rewrite) => {
                let path = rewrite.path.iter().map(|step| path_step(step, plan));
                let (remove, raw) = (rewrite.query_remove.iter().map(|name| text(name)), rewrite.raw);
                let set = rewrite.query_set.iter().map(|(name, value)| {
                    let (name, value) = (text(name), expression(value));
                    quote!((#name, #value))
                });
                quote! {
                    static REWRITE: Rewrite = Rewrite {
                        path: Borrowed(&[#(#path),*]),
                        query_remove: Borrowed(&[#(#remove),*]),
                        query_set: Borrowed(&[#(#set),*]),
                        raw: #raw,
                    };
                    filter::rewrite(out, facts, &REWRITE);
                }
            }
            RequestFilter::Headers(ops) => {
                let count = ops.len();
                let ops = ops.iter().map(|op| header_op(op, plan));
                quote! {
                    static HEADERS: [HeaderOp; #count] = [#(#ops),*];
                    filter::request_headers(out, facts, &HEADERS);
                }
            }
        });
        quote! {
            #[doc = #doc]
            fn #name(out: &mut Outgoing<'_>, facts: &Facts<'_>) {
                #(#steps)*
            }
        }
    });
    quote!(#(#functions)*)
}

pub(super) fn responses(plan: &Plan<'_>) -> TokenStream {
    let functions = plan.responses.values.iter().enumerate().map(|(index, filters)| {
        let (name, doc) = (numbered("response", index), used_by(plan, |route| route.response == Some(index)));
        let steps = filters.iter().map(|ResponseFilter::Headers(ops)| {
            let count = ops.len();
            let ops = ops.iter().map(|op| header_op(op, plan));
            quote! {
                static HEADERS: [HeaderOp; #count] = [#(#ops),*];
                filter::response_headers(headers, facts, &HEADERS);
            }
        });
        quote! {
            #[doc = #doc]
            fn #name(headers: &mut Fields, facts: &Facts<'_>) {
                #(#steps)*
            }
        }
    });
    quote!(#(#functions)*)
}

/// `static FUNCTIONS`: the user's functions, by their paths. rustc checks that they exist and have the right type.
pub(super) fn of_the_user(plan: &Plan<'_>) -> TokenStream {
    let functions = |paths: &[String]| -> TokenStream {
        let functions = paths.iter().map(|path| {
            let names = path.split("::").map(|name| Ident::new(name, Span::call_site()));
            quote!(Function { name: #path, call: #(#names)::* })
        });
        quote!(&[#(#functions),*])
    };
    let lists = plan.functions.values.iter().map(|list| {
        let (request, response) = (functions(&list.request), functions(&list.response));
        quote!(Functions { request: #request, response: #response })
    });
    quote!(static FUNCTIONS: &[Functions] = &[#(#lists),*];)
}

fn path_step(step: &PathStep, plan: &Plan<'_>) -> TokenStream {
    match step {
        PathStep::StripPrefixAnyCase(prefix) => {
            let prefix = text(prefix);
            quote!(PathStep::StripPrefixAnyCase(#prefix))
        }
        PathStep::StripPrefix(prefix) => {
            let prefix = text(prefix);
            quote!(PathStep::StripPrefix(#prefix))
        }
        PathStep::Replace(pattern, replacement) => {
            let (regex, replacement) = (numbered("PATTERN", plan.capturing(pattern)), text(replacement));
            quote!(PathStep::Replace(&#regex, #replacement))
        }
        PathStep::Path(path) => {
            let path = expression(path);
            quote!(PathStep::Path(#path))
        }
        PathStep::AddPrefix(prefix) => {
            let prefix = text(prefix);
            quote!(PathStep::AddPrefix(#prefix))
        }
    }
}

fn header_op(op: &HeaderOp, plan: &Plan<'_>) -> TokenStream {
    match op {
        HeaderOp::Set(name, value) => {
            let (name, value) = (text(name), expression(value));
            quote!(HeaderOp::Set(#name, #value))
        }
        HeaderOp::Add(name, value) => {
            let (name, value) = (text(name), expression(value));
            quote!(HeaderOp::Add(#name, #value))
        }
        HeaderOp::Default(name, value) => {
            let (name, value) = (text(name), expression(value));
            quote!(HeaderOp::Default(#name, #value))
        }
        HeaderOp::Remove(name) => {
            let name = text(name);
            quote!(HeaderOp::Remove(#name))
        }
        HeaderOp::Replace(name, pattern, replacement) => {
            let (name, replacement) = (text(name), text(replacement));
            let regex = numbered("PATTERN", plan.capturing(pattern));
            quote!(HeaderOp::Replace(#name, &#regex, #replacement))
        }
    }
}
