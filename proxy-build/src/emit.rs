//! Pass 6, `emit`: generates Rust from a plan. It decides nothing; there is one function per type of the contract.
//!
//! The output is data, one `static` per table, and functions only where interpretation would cost time per request:
//! matchers and the sequence of filters. It uses full paths and asserts the contract's version.

mod data;
mod expression;
mod functions;
mod literal;

use std::path::Path;

use expression::expression;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use proxy_runtime::site::Upstream;
use quote::quote;

use crate::model::Site;
use crate::plan::Plan;
use crate::source::Sources;

/// The generated code of a site: items, and the expression `&SITE`.
pub struct Output {
    /// `use`s, `static`s and functions.
    pub items: TokenStream,
    /// The site, as `&'static Site`.
    pub site: TokenStream,
}

/// Generates the code of a plan.
pub fn emit(plan: &Plan<'_>, sources: &Sources, digest: &str, bundle: &Path) -> Output {
    let (checks, prelude, functions) = (checks(plan.model), prelude(), functions(plan));
    let (tables, declarations, site) = (tables(plan), declarations(plan.model), site(plan, sources, digest, bundle));
    Output { items: quote!(#prelude #checks #functions #tables #declarations #site), site: quote!(&SITE) }
}

/// Returns the imports of the items.
fn prelude() -> TokenStream {
    quote! {
        #[allow(unused_imports)]
        use ::proxy_runtime::{
            context::facts::Facts, protocol::fields::Fields, filter, filter::Function, filter::Functions, filter::HeaderOp, filter::Outgoing, filter::PathStep, filter::Rewrite,
            context::matcher, router::regex::Capturing, router::regex::Joint, router::regex::Regex, router::route::Captures,
            router::route::Tables, site, site::*, router::table::Aligned, router::table::Table, router::table::Words, context::template::Piece,
            context::template::Template, context::view::RequestView,
        };
        #[allow(unused_imports)]
        use ::std::{borrow::Cow::Borrowed, net::IpAddr, net::Ipv4Addr, net::Ipv6Addr, option::Option::None, option::Option::Some, time::Duration};
    }
}

/// Assertions that the runtime has the right version, and the features that the site needs.
fn checks(model: &Site) -> TokenStream {
    let version = Literal::u32_unsuffixed(proxy_runtime::site::VERSION);
    let features = model.features().into_iter().filter(|(_, needed)| *needed).map(|(feature, _)| {
        let constant = Ident::new(feature.constant, Span::call_site());
        let message =
            format!("this site {}: give proxy-runtime the feature `{}` in Cargo.toml", feature.does, feature.name);
        quote!(
            const _: () = ::std::assert!(::proxy_runtime::#constant, #message);
        )
    });
    quote! {
        const _: () = ::std::assert!(
            ::proxy_runtime::site::VERSION == #version,
            "proxy-build and proxy-runtime are of different versions"
        );

        #(#features)*
    }
}

/// Expressions, matchers and filters.
fn functions(plan: &Plan<'_>) -> TokenStream {
    let (regexes, matchers) = (functions::expressions(plan), functions::matchers(plan));
    let (requests, responses) = (functions::requests(plan), functions::responses(plan));
    quote!(#regexes #matchers #requests #responses)
}

/// Returns the tables for lookups, and the data of routes.
fn tables(plan: &Plan<'_>) -> TokenStream {
    let (policies, sites, routes) = (data::policies(plan), data::sites(plan), data::routes(plan));
    let mut slots = data::slots("HOSTS", &plan.tables.hosts);
    slots.extend(data::slots("EXACT", &plan.tables.exact));
    slots.extend(data::slots("SEGMENTS", &plan.tables.segments));
    let joint = data::joint(&plan.tables);
    quote! {
        #policies

        static SITES: &[Host] = &[#(#sites),*];
        #slots
        #joint
        #routes
    }
}

/// Returns the declarations of the file beside hosts and routes.
fn declarations(model: &Site) -> TokenStream {
    let upstreams = model.upstreams.iter().map(expression);
    let stores = model.stores.iter().map(expression);
    let listed = model.listed.iter().map(expression);
    let listeners = model.listeners.iter().map(expression);
    let tls = model.tls.iter().map(expression);
    let streams = model.streams.iter().map(expression);
    let acme = model.acme.as_ref().map(expression).map(|acme| quote!(static ACME: Acme = #acme;));
    let admin = model.admin.as_ref().map(expression).map(|admin| quote!(static ADMIN: Admin = #admin;));
    let outputs = model.outputs.iter().map(expression);
    let errors = model.errors.as_ref().map(expression).map(|errors| quote!(static ERROR_LOG: ErrorLog = #errors;));
    let trace = model.trace.as_ref().map(expression).map(|trace| quote!(static TRACE: Trace = #trace;));
    let params = model.params.iter().map(expression);
    let files = model.files.iter().map(expression);
    let (process, trusted) = (expression(&model.process), expression(&model.trusted));
    let tests = model.tests.iter().map(|test| expression(&test.test));
    quote! {
        static UPSTREAMS: &[Upstream] = &[#(#upstreams),*];
        static STORES: &[Store] = &[#(#stores),*];
        static LISTED: &[Listed] = &[#(#listed),*];
        static LISTENERS: &[Listener] = &[#(#listeners),*];
        static TLS: &[Tls] = &[#(#tls),*];
        static STREAMS: &[Stream] = &[#(#streams),*];
        #acme
        #admin
        static OUTPUTS: &[LogOutput] = &[#(#outputs),*];
        #errors
        #trace
        static PARAMS: &[Param] = &[#(#params),*];
        static FILES: &[FileRef] = &[#(#files),*];
        static PROCESS: Process = #process;
        static TRUSTED: Trusted = #trusted;
        static TESTS: &[Test] = &[#(#tests),*];
    }
}

/// Returns the site itself, with its sources.
fn site(plan: &Plan<'_>, sources: &Sources, digest: &str, bundle: &Path) -> TokenStream {
    let (name, files_read) = site_files(sources);
    let built = concat!("kiln ", env!("CARGO_PKG_VERSION"));
    let assets = sources.assets().map(|(path, digest)| quote!(Asset { path: #path, digest: #digest }));
    let acme = if plan.model.acme.is_some() { quote!(Some(&ACME)) } else { quote!(None) };
    let admin = if plan.model.admin.is_some() { quote!(Some(&ADMIN)) } else { quote!(None) };
    let errors = if plan.model.errors.is_some() { quote!(Some(&ERROR_LOG)) } else { quote!(None) };
    let trace = if plan.model.trace.is_some() { quote!(Some(&TRACE)) } else { quote!(None) };
    let tables = data::tables(&plan.tables);
    let key_sources = plan.model.key_sources.iter().map(expression);
    let bundle = if plan.model.bundle.is_empty() {
        quote!(Bundle::new(&[]))
    } else {
        let path = bundle.display().to_string();
        quote!(Bundle::new(include_bytes!(#path)))
    };
    let resolve = match plan.model.upstreams.iter().any(Upstream::asks_dns) {
        true => quote!(Some(::proxy_runtime::resolve)),
        false => quote!(None),
    };
    quote! {
        static SITE: Site = Site {
            name: #name,
            digest: #digest,
            built: #built,
            sources: &[#(#files_read),*],
            assets: &[#(#assets),*],
            params: PARAMS,
            files: FILES,
            process: &PROCESS,
            listeners: LISTENERS,
            tls: TLS,
            acme: #acme,
            admin: #admin,
            outputs: OUTPUTS,
            errors: #errors,
            trace: #trace,
            streams: STREAMS,
            trusted: &TRUSTED,
            root: &POLICY_0,
            tables: #tables,
            sites: SITES,
            routes: ROUTE_TABLE,
            upstreams: UPSTREAMS,
            stores: STORES,
            listed: LISTED,
            key_sources: &[#(#key_sources),*],
            bundle: #bundle,
            resolve: #resolve,
            tests: TESTS,
        };
    }
}

fn site_files(sources: &Sources) -> (String, Vec<TokenStream>) {
    let name = sources.site_files().next().map(|(shown, _)| shown.to_owned()).unwrap_or_default();
    let files = sources.site_files().map(|(path, text)| quote!(SourceFile { path: #path, text: #text }));
    (name, files.collect())
}
