//! The contract's data as Rust expressions; one function per type.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use proxy_runtime::route::{NONE, Table, Tables};
use proxy_runtime::site::{
    Bytes, ErrorPage, Expect, FilePath, FileRef, Handler, HostField, Limits, Listener, Log, Methods, Param, Place,
    Policy, Process, Proxy, Redirect, Respond, RespondBody, Server, Setting, Test, Text, Timeouts, Trusted, Upstream,
};
use proxy_runtime::template::{Piece, Template};
use quote::quote;

use super::numbered;
use crate::plan::Plan;

/// A variant without data, whose name is what `Debug` prints.
fn variant(value: impl std::fmt::Debug) -> Ident {
    Ident::new(&format!("{value:?}"), Span::call_site())
}

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

fn place(place: &Place) -> TokenStream {
    let (file, line) = (text(&place.file), Literal::u32_unsuffixed(place.line));
    quote!(Place { file: #file, line: #line })
}

fn setting<T>(setting: &Setting<T>, one: impl Fn(&T) -> TokenStream) -> TokenStream {
    match setting {
        Setting::Fixed(value) => {
            let value = one(value);
            quote!(Setting::Fixed(#value))
        }
        Setting::Param(index) => quote!(Setting::Param(#index)),
    }
}

fn number(number: &u64) -> TokenStream {
    if *number == u64::MAX {
        return quote!(u64::MAX);
    }
    let number = Literal::u64_unsuffixed(*number);
    quote!(#number)
}

fn duration(duration: &Duration) -> TokenStream {
    if *duration == Duration::MAX {
        return quote!(Duration::MAX);
    }
    let millis = Literal::u64_unsuffixed(duration.as_millis() as u64);
    quote!(Duration::from_millis(#millis))
}

pub(super) fn policies(plan: &Plan<'_>) -> TokenStream {
    let statics = plan.policies.values.iter().enumerate().map(|(index, value)| {
        let (name, value) = (numbered("POLICY", index), policy(value));
        quote!(static #name: Policy = #value;)
    });
    quote!(#(#statics)*)
}

fn policy(policy: &Policy) -> TokenStream {
    let (limits, timeouts, log) = (limits(&policy.limits), timeouts(&policy.timeouts), log(&policy.log));
    let pages = list(&policy.error_pages, error_page);
    quote!(Policy { limits: #limits, timeouts: #timeouts, error_pages: #pages, log: #log })
}

fn limits(limits: &Limits) -> TokenStream {
    let one = |value: &Setting<u64>| setting(value, number);
    let (headers, uri, body) = (one(&limits.headers), one(&limits.uri), one(&limits.body));
    let (connections, per_client) = (one(&limits.connections), one(&limits.per_client));
    quote!(Limits { headers: #headers, uri: #uri, body: #body, connections: #connections, per_client: #per_client })
}

fn timeouts(timeouts: &Timeouts) -> TokenStream {
    let one = |value: &Setting<Duration>| setting(value, duration);
    let (connect, request, response) = (one(&timeouts.connect), one(&timeouts.request), one(&timeouts.response));
    let (idle, total) = (one(&timeouts.idle), one(&timeouts.total));
    quote!(Timeouts { connect: #connect, request: #request, response: #response, idle: #idle, total: #total })
}

fn error_page(page: &ErrorPage) -> TokenStream {
    let (codes, body, content_type) =
        (list(&page.codes, |code| quote!(#code)), bytes(&page.body), text(&page.content_type));
    quote!(ErrorPage { codes: #codes, body: #body, content_type: #content_type })
}

fn bytes(bytes: &Bytes) -> TokenStream {
    match bytes {
        Bytes::Fixed(bytes) => {
            let bytes = Literal::byte_string(bytes);
            quote!(site::Bytes::Fixed(Borrowed(#bytes)))
        }
        Bytes::File(index) => quote!(site::Bytes::File(#index)),
    }
}

fn log(log: &Log) -> TokenStream {
    match log {
        Log::Off => quote!(Log::Off),
        Log::Json(fields) => {
            let fields = list(fields, |field| {
                let field = variant(field);
                quote!(LogField::#field)
            });
            quote!(Log::Json(#fields))
        }
        Log::Template(line) => {
            let line = template(line);
            quote!(Log::Template(#line))
        }
    }
}

pub(super) fn template(template: &Template) -> TokenStream {
    let pieces = list(&template.pieces, piece);
    quote!(Template { pieces: #pieces })
}

fn piece(piece: &Piece) -> TokenStream {
    let with_text = |variant: TokenStream, value: &Text| {
        let value = text(value);
        quote!(Piece::#variant(#value))
    };
    match piece {
        Piece::Text(value) => with_text(quote!(Text), value),
        Piece::QueryValue(value) => with_text(quote!(QueryValue), value),
        Piece::Header(value) => with_text(quote!(Header), value),
        Piece::Cookie(value) => with_text(quote!(Cookie), value),
        Piece::Param(index) => quote!(Piece::Param(#index)),
        Piece::File(index) => quote!(Piece::File(#index)),
        Piece::Capture(slot) => quote!(Piece::Capture(#slot)),
        plain => {
            let plain = variant(plain);
            quote!(Piece::#plain)
        }
    }
}

pub(super) fn sites<'a>(plan: &'a Plan<'_>) -> impl Iterator<Item = TokenStream> + 'a {
    plan.model.hosts.iter().map(|host| {
        let name = text(&host.hosts.first().map(ToString::to_string).unwrap_or_default());
        let (encoded_slash, merge_slashes) = (host.normal_form.encoded_slash, host.normal_form.merge_slashes);
        let index =
            plan.policies.values.iter().position(|policy| format!("{policy:?}") == format!("{:?}", host.policy));
        let policy = numbered("POLICY", index.expect("interned"));
        quote!(Host {
            name: #name,
            normal_form: NormalForm { encoded_slash: #encoded_slash, merge_slashes: #merge_slashes },
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
            (place(&route.model.place), methods(&route.model.methods), handler(&route.model.handler));
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
    let (mask, others) = (methods.mask, list(&methods.others, |name| text(name)));
    quote!(Methods { mask: #mask, others: #others })
}

fn handler(handler: &Handler) -> TokenStream {
    match handler {
        Handler::Proxy(value) => {
            let value = proxy(value);
            quote!(Handler::Proxy(#value))
        }
        Handler::Respond(value) => {
            let value = respond(value);
            quote!(Handler::Respond(#value))
        }
        Handler::Redirect(value) => {
            let value = redirect(value);
            quote!(Handler::Redirect(#value))
        }
        Handler::Echo => quote!(Handler::Echo),
        Handler::Abort => quote!(Handler::Abort),
    }
}

fn proxy(proxy: &Proxy) -> TokenStream {
    let (upstream, forwarded) = (proxy.upstream, proxy.forwarded);
    let host = match &proxy.host {
        HostField::Client => quote!(HostField::Client),
        HostField::Upstream => quote!(HostField::Upstream),
        HostField::Fixed(host) => {
            let host = text(host);
            quote!(HostField::Fixed(#host))
        }
    };
    quote!(Proxy { upstream: #upstream, host: #host, forwarded: #forwarded })
}

fn respond(respond: &Respond) -> TokenStream {
    let (code, content_type) = (respond.code, text(&respond.content_type));
    let body = match &respond.body {
        RespondBody::Bytes(body) => {
            let body = bytes(body);
            quote!(RespondBody::Bytes(#body))
        }
        RespondBody::Template(body) => {
            let body = template(body);
            quote!(RespondBody::Template(#body))
        }
    };
    quote!(Respond { code: #code, body: #body, content_type: #content_type })
}

fn redirect(redirect: &Redirect) -> TokenStream {
    let (code, to) = (redirect.code, template(&redirect.to));
    let allow_hosts = list(&redirect.allow_hosts, |host| text(host));
    quote!(Redirect { code: #code, to: #to, allow_hosts: #allow_hosts })
}

pub(super) fn param(param: &Param) -> TokenStream {
    let (name, kind, help, place) = (text(&param.name), variant(param.kind), text(&param.help), place(&param.place));
    let default = option(param.default.as_deref(), text);
    quote!(Param { name: #name, kind: ParamKind::#kind, default: #default, help: #help, place: #place })
}

pub(super) fn file(file: &FileRef) -> TokenStream {
    let (secret, place) = (file.secret, place(&file.place));
    let path = match &file.path {
        FilePath::Fixed(path) => {
            let path = text(path);
            quote!(FilePath::Fixed(#path))
        }
        FilePath::Param(index) => quote!(FilePath::Param(#index)),
    };
    quote!(FileRef { path: #path, secret: #secret, place: #place })
}

pub(super) fn process(process: &Process) -> TokenStream {
    let workers = option(process.workers.as_ref(), |workers| setting(workers, number));
    let drain = setting(&process.drain, duration);
    quote!(Process { workers: #workers, drain: #drain })
}

pub(super) fn listener(listener: &Listener) -> TokenStream {
    let (name, place) = (text(&listener.name), place(&listener.place));
    let address = setting(&listener.address, |address| text(address));
    quote!(Listener { name: #name, address: #address, place: #place })
}

pub(super) fn upstream(upstream: &Upstream) -> TokenStream {
    let (name, servers, place) = (text(&upstream.name), list(&upstream.servers, server), place(&upstream.place));
    quote!(Upstream { name: #name, servers: #servers, place: #place })
}

fn server(server: &Server) -> TokenStream {
    let (address, place) = (setting(&server.address, |address| text(address)), place(&server.place));
    let weight = setting(&server.weight, number);
    quote!(Server { address: #address, weight: #weight, place: #place })
}

pub(super) fn trusted(trusted: &Trusted) -> TokenStream {
    let networks = networks(&trusted.networks);
    let header = variant(trusted.header);
    quote!(Trusted { networks: Borrowed(#networks), header: TrustedHeader::#header })
}

/// `&[IpNet, ...]`
pub(super) fn networks(networks: &[IpNet]) -> TokenStream {
    let networks = networks.iter().map(|network| {
        let (address, length) = (ip(network.addr()), network.prefix_len());
        quote!(IpNet::new_assert(#address, #length))
    });
    quote!(&[#(#networks),*])
}

fn ip(address: IpAddr) -> TokenStream {
    match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            quote!(IpAddr::V4(Ipv4Addr::new(#(#octets),*)))
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            quote!(IpAddr::V6(Ipv6Addr::new(#(#segments),*)))
        }
    }
}

pub(super) fn test(test: &Test) -> TokenStream {
    let (name, place, method, url) = (text(&test.name), place(&test.place), text(&test.method), text(&test.url));
    let headers = list(&test.headers, |(name, value)| {
        let (name, value) = (text(name), text(value));
        quote!((#name, #value))
    });
    let (listener, from, expect) = (test.listener, ip(test.from), expect(&test.expect));
    quote!(Test {
        name: #name, place: #place, method: #method, url: #url, listener: #listener, headers: #headers, from: #from, expect: #expect,
    })
}

fn expect(expect: &Expect) -> TokenStream {
    let one = |value: &Option<Text>| option(value.as_deref(), text);
    let (route, handler, upstream) = (one(&expect.route), one(&expect.handler), one(&expect.upstream));
    let (upstream_path, location) = (one(&expect.upstream_path), one(&expect.location));
    let status = option(expect.status, |status| quote!(#status));
    quote!(Expect {
        status: #status, route: #route, handler: #handler, upstream: #upstream, upstream_path: #upstream_path, location: #location,
    })
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
