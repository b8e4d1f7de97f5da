//! Tests the router against an oracle: random sites and requests, routed by the compiled tables and by a naive
//! implementation of
//! the rules of precedence. Both must agree.

use std::cmp::Ordering;

use proptest::prelude::*;
use proxy_build::ast::{HostPattern, Segment};
use proxy_build::lower::lower;
use proxy_build::model::{Matcher, Route, Site};
use proxy_runtime::context::settings::Settings;
use proxy_runtime::context::view::RequestVersion;
use proxy_runtime::rehearse::{Rehearsal, rehearse};

/// The rules in their slowest form: of all routes whose pattern and matchers match the request, the most specific.
fn oracle(site: &Site, host: &str, path: &str, method: &str, headers: &[(&str, &str)]) -> Option<String> {
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Wildcard(suffix) => 1 + suffix.len(),
        HostPattern::Any => 0,
    };
    let candidates = site.hosts.iter().flat_map(|site| site.hosts.iter().map(move |host| (site, host)));
    let (site, _) = candidates.filter(|(_, pattern)| pattern.matches(host)).max_by_key(|(_, pattern)| rank(pattern))?;
    let segments: Vec<&str> = path[1..].split('/').collect();
    let mut routes: Vec<&Route> = site.routes.iter().filter(|route| takes(route, &segments, method, headers)).collect();
    routes.sort_by(|a, b| precedes(a, b));
    routes.first().map(|route| format!("{} line {}", route.pattern.text, route.place.line))
}

fn takes(route: &Route, segments: &[&str], method: &str, headers: &[(&str, &str)]) -> bool {
    let path = format!("/{}", segments.join("/"));
    let mut left = segments;
    for segment in &route.pattern.segments {
        match (segment, left) {
            (Segment::Rest, _) => {
                left = &[];
                break;
            }
            (Segment::Literal(text), [first, rest @ ..]) if text == first => left = rest,
            (Segment::AnyCase(text), [first, rest @ ..]) if text.eq_ignore_ascii_case(first) => left = rest,
            (Segment::Capture(_), [first, rest @ ..]) if !first.is_empty() => left = rest,
            _ => return false,
        }
    }
    let method = method.parse().expect("a method");
    left.is_empty()
        && route.methods.contains(&method)
        && route.matchers.iter().all(|matcher| match matcher {
            Matcher::Value(_, name, _) => headers.iter().any(|(found, _)| found == name),
            Matcher::PathRegex(expression, _) => matches(expression, &path),
            other => panic!("the oracle knows no {other:?}"),
        })
}

type Means = fn(&str) -> bool;

/// Regular expressions, and an equivalent function for each.
const EXPRESSIONS: &[(&str, Means)] = &[
    ("^/a", |path| path.starts_with("/a")),
    ("b$", |path| path.ends_with('b')),
    ("c", |path| path.contains('c')),
    ("^/[ab]/(?<rest>.*)$", |path| path.starts_with("/a/") || path.starts_with("/b/")),
    ("^/b?$", |path| path == "/" || path == "/b"),
];

fn matches(expression: &str, path: &str) -> bool {
    let (_, means) = EXPRESSIONS.iter().find(|(known, _)| *known == expression).expect("one of these");
    means(path)
}

/// Compares segment by segment: text before case-insensitive text before `{name}` before `*`; then the higher priority; then the one with
/// more conditions.
fn precedes(a: &Route, b: &Route) -> Ordering {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::AnyCase(_) => 1,
        Segment::Capture(_) => 2,
        Segment::Rest => 3,
    };
    for (left, right) in a.pattern.segments.iter().zip(&b.pattern.segments) {
        match rank(left).cmp(&rank(right)) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    // `/x` and `/x/*`: a pattern that ends goes before one that continues.
    let methods = |route: &Route| if route.methods.mask == u16::MAX { 99 } else { route.methods.names().count() };
    (a.pattern.segments.len().cmp(&b.pattern.segments.len()))
        .then(b.priority.cmp(&a.priority))
        .then(b.matchers.len().cmp(&a.matchers.len()))
        .then(methods(a).cmp(&methods(b)))
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("a".to_owned()), 3 => Just("b".to_owned()), 1 => Just("A".to_owned()), 2 => Just("{x}".to_owned())]
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment(), 0..4), any::<bool>()).prop_map(|(segments, rest)| {
        let mut text = String::new();
        for (index, segment) in segments.iter().enumerate() {
            text += &format!("/{}", segment.replace("{x}", &format!("{{x{index}}}")));
        }
        match (rest, text.is_empty()) {
            (true, _) => text + "/*",
            (false, true) => "/".to_owned(),
            (false, false) => text,
        }
    })
}

fn route() -> impl Strategy<Value = String> {
    let method = prop_oneof![2 => Just(""), 1 => Just("method GET\n"), 1 => Just("method POST\n"), 1 => Just("method GET POST\n")];
    let header = prop_oneof![2 => Just(""), 1 => Just("header x-a\n"), 1 => Just("header x-b\n"), 1 => Just("header x-a\nheader x-b\n")];
    let expression = prop_oneof![3 => Just(None), 1 => prop::sample::select(EXPRESSIONS).prop_map(Some)];
    let case = prop_oneof![3 => Just(""), 1 => Just(" ignore-case=#true")];
    (pattern(), case, method, header, expression, 0..9_u32).prop_map(
        |(pattern, case, method, header, expression, priority)| {
            // Without letters, it would have no effect.
            let case = if pattern.replace("{x", "").contains(['a', 'b', 'A']) { case } else { "" };
            let expression = expression.map_or(String::new(), |(text, _)| format!("path-regex #\"{text}\"#\n"));
            format!("route \"{pattern}\" priority={priority}{case} {{\n{method}{header}{expression}respond 200\n}}\n")
        },
    )
}

/// Hosts with their routes.
pub(crate) type Parts = Vec<(&'static str, Vec<String>)>;

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let hosts =
        prop::sample::subsequence(vec!["site.test", "*.site.test", "*.a.site.test", "b.a.site.test", "*"], 1..5);
    (hosts, prop::collection::vec(prop::collection::vec(route(), 1..8), 5))
        .prop_map(|(hosts, routes)| hosts.into_iter().zip(routes).collect())
}

pub(crate) fn text(parts: &Parts) -> String {
    let sites = parts.iter().map(|(host, routes)| format!("site {host} {{\n{}}}\n", routes.concat()));
    // Priorities are random, too.
    std::iter::once("lint allow idle-priority\n".to_owned()).chain(sites).collect()
}

fn site() -> impl Strategy<Value = String> {
    parts().prop_map(|parts| text(&parts))
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("A"), Just("B"), Just("")], 0..5)
        .prop_map(|segments| format!("/{}", segments.join("/")))
        // Doubled slashes are merged before the router sees them.
        .prop_filter("normal form", |path| !path.contains("//"))
}

/// Path, method, whether `x-a` and `x-b` are present, host.
fn request() -> impl Strategy<Value = (String, &'static str, bool, bool, &'static str)> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT")];
    let host = prop_oneof![
        Just("site.test"),
        Just("x.site.test"),
        Just("b.a.site.test"),
        Just("x.y.a.site.test"),
        Just("other.test")
    ];
    (path(), method, any::<bool>(), any::<bool>(), host)
}

proptest! {
    #![proptest_config(crate::kiln_config(400))]

    #[test]
    fn tables_agree_with_the_oracle(
        text in site(),
        requests in prop::collection::vec(request(), 20),
    ) {
        let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text);
        // Random sites may have duplicates, ties and unreachable routes: those are correctly rejected.
        let Some(model) = &compiled.model else { return Ok(()) };
        let plan = lower(model);
        for (path, method, a, b, host) in requests {
            let mut headers = Vec::new();
            if a { headers.push(("x-a", "1")); }
            if b { headers.push(("x-b", "1")); }
            let url = format!("http://{host}{path}");
            let request = Rehearsal { method, url: &url, listener: 0, headers: headers.clone(), body: 0, from: "192.0.2.1".parse().unwrap(), version: RequestVersion::Http1 };
            let outcome = rehearse(&plan, &request, &Settings::default()).expect("a request");
            let found = outcome.route.map(|route| {
                let route = plan.routes[route as usize].model;
                format!("{} line {}", route.pattern.text, route.place.line)
            });
            prop_assert_eq!(found, oracle(model, host, &path, method, &headers), "{} {} {:?}\n{}", method, url, headers, text);
        }
    }
}

/// The test above is useless if hardly any random site compiles.
#[test]
fn enough_random_sites_compile() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let compiles = (0..200).filter(|_| {
        let text = site().new_tree(&mut runner).expect("a site").current();
        proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text).model.is_some()
    });
    let compiles = compiles.count();
    assert!(compiles > 30, "{compiles} of 200");
}
