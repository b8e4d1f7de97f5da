//! Routes of one pattern: which goes first, and where that can't be told.
//!
//! A route goes before another when its matchers include all of the other's. Two routes of which neither does, and
//! which some request reaches both, are an error with that request, unless `priority` settles it. What can't be proved
//! to be disjoint counts as overlapping.

use std::collections::HashMap;

use super::Check;
use super::matchers::implies;
use crate::ast::{HostPattern, Segment, ValueOf, ValueTest};
use crate::model::{Matcher, Route};
use crate::report::Diagnostic;

/// How two routes of one pattern relate.
#[derive(Debug, PartialEq, Eq)]
enum Relation {
    /// They take the same requests.
    Same,
    /// The first takes some of what the second takes, and no others.
    Narrower,
    /// The other way round.
    Wider,
    /// No request reaches both.
    Disjoint,
    /// Some request may reach both, and neither goes first.
    Ambiguous,
}

impl Check<'_> {
    /// Reports duplicates and ties among the routes of one site.
    pub(super) fn overlaps(&mut self, hosts: &[HostPattern], routes: &[Route]) {
        let mut by_shape: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, route) in routes.iter().enumerate() {
            by_shape.entry(shape(route)).or_default().push(index);
        }
        let mut groups: Vec<_> = by_shape.into_values().filter(|group| group.len() > 1).collect();
        groups.sort();
        for group in groups {
            for (at, &first) in group.iter().enumerate() {
                for &second in &group[at + 1..] {
                    self.compare(hosts, &routes[first], &routes[second]);
                }
            }
        }
    }

    fn compare(&mut self, hosts: &[HostPattern], first: &Route, second: &Route) {
        let relation = relation(first, second);
        let (higher, lower) = if first.priority > second.priority { (first, second) } else { (second, first) };
        let settled = first.priority != second.priority;
        let example = example(hosts, first, second);
        let hidden = match relation {
            Relation::Disjoint => return,
            Relation::Ambiguous if settled => return,
            Relation::Ambiguous => {
                self.report.add(
                    Diagnostic::error(
                        "ambiguous-routes",
                        "two routes take this request, and neither goes before the other",
                        second.span,
                    )
                    .label("this one")
                    .also(first.span, "and this one")
                    .help(format!("for example: {example}"))
                    .help("settle it with `priority=1` on one of them, or add a matcher"),
                );
                return;
            }
            Relation::Same if settled => Some((lower, higher)),
            Relation::Same => {
                self.report.add(
                    Diagnostic::error(
                        "duplicate-route",
                        format!("the route `{}` is there twice", second.pattern.text),
                        second.span,
                    )
                    .label("the second")
                    .also(first.span, "the first")
                    .help(format!("for example: {example}")),
                );
                return;
            }
            Relation::Narrower => (second.priority > first.priority).then_some((first, second)),
            Relation::Wider => (first.priority > second.priority).then_some((second, first)),
        };
        if let Some((hidden, by)) = hidden {
            self.report.add(
                Diagnostic::error(
                    "unreachable-route",
                    "this route is never reached: `priority` puts a wider one before it",
                    hidden.span,
                )
                .also(by.span, "this one takes all of its requests")
                .help(format!("for example: {example}")),
            );
        }
    }
}

/// The order in which the routes of one pattern are asked; see the module.
pub fn precedence(routes: &[Route], group: &mut [usize]) {
    group.sort_by_key(|&index| {
        let route = &routes[index];
        let methods = if route.methods.mask == u16::MAX { usize::MAX } else { route.methods.names().count() };
        (std::cmp::Reverse(route.priority), std::cmp::Reverse(weight(&route.matchers)), methods, index)
    });
}

/// Grows with every matcher that is added or made stricter, so that narrower routes weigh more.
fn weight(matchers: &[Matcher]) -> usize {
    let one = |matcher: &Matcher| match matcher {
        Matcher::Value(_, _, ValueTest::Present) => 2,
        Matcher::Any(_) => 1,
        Matcher::ClientIp(networks) => {
            3 + networks.iter().map(|network| usize::from(network.prefix_len())).min().unwrap_or(0)
        }
        _ => 3,
    };
    matchers.iter().map(|matcher| 1000 + one(matcher)).sum()
}

/// The pattern without its names: two patterns of one shape take the same paths.
pub fn shape(route: &Route) -> String {
    let segments = route.pattern.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => format!("/={text}"),
        Segment::Capture(_) => "/{}".to_owned(),
        Segment::Rest => "/*".to_owned(),
    });
    segments.collect()
}

fn relation(first: &Route, second: &Route) -> Relation {
    if disjoint(first, second) {
        return Relation::Disjoint;
    }
    match (includes(first, second), includes(second, first)) {
        (true, true) => Relation::Same,
        (true, false) => Relation::Narrower,
        (false, true) => Relation::Wider,
        (false, false) => Relation::Ambiguous,
    }
}

/// Whether `narrow` asks for all that `wide` asks for.
fn includes(narrow: &Route, wide: &Route) -> bool {
    let methods = wide.methods.mask == u16::MAX
        || (narrow.methods.mask != u16::MAX
            && narrow.methods.names().all(|name| wide.methods.names().any(|other| other == name)));
    methods && wide.matchers.iter().all(|asked| narrow.matchers.iter().any(|matcher| implies(matcher, asked)))
}

fn disjoint(first: &Route, second: &Route) -> bool {
    let any = |route: &Route| route.methods.mask == u16::MAX;
    let methods = !any(first)
        && !any(second)
        && !first.methods.names().any(|name| second.methods.names().any(|other| other == name));
    methods || first.matchers.iter().any(|a| second.matchers.iter().any(|b| exclude(a, b)))
}

/// Whether no request can satisfy both.
fn exclude(a: &Matcher, b: &Matcher) -> bool {
    match (a, b) {
        (Matcher::Not(inner), other) | (other, Matcher::Not(inner)) if inner.len() == 1 => implies(other, &inner[0]),
        // A parameter or cookie can be there several times with several values; the last word on these is `priority`.
        (
            Matcher::Value(ValueOf::Header, x, ValueTest::Equals(left)),
            Matcher::Value(ValueOf::Header, y, ValueTest::Equals(right)),
        ) => SINGLE_VALUED.contains(&x.as_str()) && x == y && left != right,
        (Matcher::ClientIp(left), Matcher::ClientIp(right)) => {
            !left.iter().any(|a| right.iter().any(|b| a.contains(b) || b.contains(a)))
        }
        (Matcher::Any(either), other) | (other, Matcher::Any(either)) => either.iter().all(|one| exclude(one, other)),
        _ => false,
    }
}

/// Fields that come once (RFC 9110): two values of these exclude each other.
const SINGLE_VALUED: &[&str] =
    &["host", "content-type", "user-agent", "authorization", "origin", "referer", "from", "content-length"];

/// A request that reaches both, as far as it can be made up.
fn example(hosts: &[HostPattern], first: &Route, second: &Route) -> String {
    let host = match hosts.first() {
        Some(HostPattern::Exact(host)) => host.clone(),
        Some(HostPattern::Wildcard(suffix)) => format!("www.{suffix}"),
        Some(HostPattern::Any) | None => "example.com".to_owned(),
    };
    let path: String = first
        .pattern
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Capture(name) => format!("/{name}"),
            Segment::Rest => "/x".to_owned(),
        })
        .collect();
    let method = if first.methods.mask == u16::MAX {
        second.methods.names().next().filter(|_| second.methods.mask != u16::MAX).unwrap_or("GET").to_owned()
    } else {
        let both = first
            .methods
            .names()
            .find(|name| second.methods.mask == u16::MAX || second.methods.names().any(|other| other == *name));
        both.unwrap_or("GET").to_owned()
    };
    let (mut query, mut rest) = (Vec::new(), Vec::new());
    for matcher in first.matchers.iter().chain(&second.matchers) {
        show(matcher, &mut query, &mut rest);
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let rest = if rest.is_empty() { String::new() } else { format!(" with {}", rest.join(", ")) };
    format!("{method} http://{host}{path}{query}{rest}")
}

fn show(matcher: &Matcher, query: &mut Vec<String>, rest: &mut Vec<String>) {
    let add = |list: &mut Vec<String>, text: String| {
        if !list.contains(&text) {
            list.push(text);
        }
    };
    match matcher {
        Matcher::Value(ValueOf::Query, name, ValueTest::Equals(value)) => add(query, format!("{name}={value}")),
        Matcher::Value(ValueOf::Query, name, ValueTest::Present) => add(query, format!("{name}=")),
        Matcher::Value(ValueOf::Header, name, ValueTest::Equals(value)) => add(rest, format!("{name}: {value}")),
        Matcher::Value(ValueOf::Cookie, name, ValueTest::Equals(value)) => add(rest, format!("cookie: {name}={value}")),
        Matcher::ClientIp(networks) => {
            if let Some(network) = networks.first() {
                add(rest, format!("client {}", network.addr()));
            }
        }
        other => add(rest, super::matchers::describe(other)),
    }
}
