//! Checks a route's matchers: its methods, and the conjunction of all others.

use proxy_runtime::router::route::MAX_CAPTURES;
use proxy_runtime::site::Methods;

use super::Check;
use crate::ast::{self, Item, Pattern, Protocol, Segment, ValueTest, What};
use crate::expression;
use crate::model::{Matcher, list};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// The checked matchers of a route.
pub(crate) struct RouteMatchers {
    pub(crate) methods: Methods,
    pub(crate) matchers: Vec<Matcher>,
    /// The names of the captures of pattern and `path-regex`, by slot.
    pub(crate) captures: Vec<String>,
}

impl Check<'_> {
    pub(crate) fn matchers(&mut self, items: &[Item], pattern: &Spanned<Pattern>) -> RouteMatchers {
        let mut captures = self.pattern_captures(pattern);
        let mut methods = Methods::ANY;
        let mut matchers = Vec::new();
        for Item { what, .. } in items {
            let What::Matcher(matcher) = what else { continue };
            match matcher {
                ast::Matcher::Method(names) => methods = self.methods(names),
                ast::Matcher::PathRegex(regex) => {
                    self.never_matches_path(regex);
                    self.expressions.entry(regex.value.clone()).or_insert(regex.span);
                    self.anchored(regex);
                    matchers.push(self.path_regex(regex, &mut captures));
                }
                other => matchers.extend(self.matcher(other)),
            }
        }
        matchers.retain(|matcher| *matcher != Matcher::Always);
        matchers.sort();
        if let Some(twice) = matchers.windows(2).find(|pair| pair[0] == pair[1]) {
            let span = items
                .iter()
                .rev()
                .find(|item| matches!(item.what, What::Matcher(_)))
                .map_or(pattern.span, |item| item.span);
            self.error("duplicate-matcher", format!("the matcher {} is written twice", describe(&twice[0])), span);
        }
        matchers.dedup();
        self.contradictions(&matchers, items, pattern.span);
        // One expression on the path comes first: `lower` moves it into the joint table, see `Route::expression`.
        if let Some(at) = matchers.iter().position(|matcher| matches!(matcher, Matcher::PathRegex(..))) {
            matchers[..=at].rotate_right(1);
        }
        RouteMatchers { methods, matchers, captures }
    }

    fn pattern_captures(&mut self, pattern: &Spanned<Pattern>) -> Vec<String> {
        let names = pattern.value.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) | Segment::AnyCase(_) => None,
            Segment::Capture(name) => Some(name.clone()),
            Segment::Rest => Some("*".to_owned()),
        });
        let captures: Vec<_> = names.collect();
        if captures.len() > MAX_CAPTURES {
            self.error("too-many-captures", format!("a pattern binds at most {MAX_CAPTURES} names"), pattern.span);
        }
        captures
    }

    fn methods(&mut self, names: &[Spanned<String>]) -> Methods {
        let mut mask = 0;
        let mut others: Vec<proxy_runtime::site::Text> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for name in names {
            if seen.contains(&name.value.as_str()) {
                let message = format!("{name} is listed twice");
                self.report.add(Diagnostic::error("duplicate-matcher", message, name.span).help("one is enough"));
            }
            seen.push(&name.value);
            match Methods::NAMES.iter().position(|known| *known == name.value) {
                // RFC 9110 section 9.3.2: HEAD is GET without the content.
                Some(0) => mask |= 0b11,
                Some(bit) => mask |= 1 << bit,
                None => others.push(name.value.clone().into()),
            }
        }
        Methods { mask, others: list(others) }
    }

    fn path_regex(&mut self, regex: &Spanned<String>, captures: &mut Vec<String>) -> Matcher {
        let first = captures.len();
        let groups = group_names(&regex.value).unwrap_or_else(|| {
            self.error("bad-regex", "this expression's groups need more memory than there is", regex.span);
            Vec::new()
        });
        for (index, group) in groups.iter().enumerate() {
            match group {
                Some(name) if captures.contains(name) => {
                    self.error(
                        "duplicate-capture",
                        format!("`{{{name}}}` is bound by the pattern already"),
                        regex.span,
                    );
                }
                Some(name) => captures.push(name.clone()),
                // Unnamed groups take a slot, too, with a name that no placeholder can have.
                None => captures.push(format!("\0{index}")),
            }
        }
        if captures.len() > MAX_CAPTURES {
            self.error(
                "too-many-captures",
                format!("pattern and expression bind at most {MAX_CAPTURES} groups; unnamed ones can be (?:...)"),
                regex.span,
            );
        }
        let binds = groups.iter().any(Option::is_some);
        if !binds {
            captures.truncate(first);
        }
        Matcher::PathRegex(regex.value.clone(), binds.then_some(first as u8))
    }

    fn matcher(&mut self, matcher: &ast::Matcher) -> Vec<Matcher> {
        match matcher {
            ast::Matcher::Method(names) => {
                let methods = self.methods(names);
                vec![Matcher::Method(methods.names().map(str::to_owned).collect())]
            }
            ast::Matcher::Value { of, name, test } => {
                if *of == ast::ValueOf::Header {
                    self.gets_through(name);
                }
                if let ValueTest::Matches(regex) = test {
                    self.table_fits(&Spanned { value: regex.clone(), span: name.span });
                }
                vec![Matcher::Value(*of, name.value.clone(), test.clone())]
            }
            ast::Matcher::ClientIp(networks) => {
                for (index, network) in networks.iter().enumerate() {
                    let covers = networks.iter().enumerate().find(|(other, wider)| {
                        *other != index
                            && wider.value.contains(&network.value)
                            && (wider.value != network.value || *other < index)
                    });
                    if let Some((_, wider)) = covers {
                        let message = format!("{} has no effect: {} contains it", network.value, wider.value);
                        self.report.add(
                            Diagnostic::error("no-effect", message, network.span).also(wider.span, "the wider one"),
                        );
                    }
                }
                let mut networks: Vec<_> = networks.iter().map(|network| network.value).collect();
                networks.sort();
                vec![Matcher::ClientIp(networks)]
            }
            ast::Matcher::Protocol(protocols) => self.protocol(protocols),
            ast::Matcher::PathRegex(regex) => {
                self.never_matches_path(regex);
                if group_names(&regex.value).iter().flatten().any(Option::is_some) {
                    self.error("capture-in-not-or-any", "a group within `not` or `any` binds nothing", regex.span);
                }
                vec![Matcher::PathRegex(regex.value.clone(), None)]
            }
            ast::Matcher::Not(items) => self.nested(items, |a, b| a == b).map(Matcher::Not).into_iter().collect(),
            ast::Matcher::Any(items) => self.nested(items, implies).map(Matcher::Any).into_iter().collect(),
        }
    }

    /// Returns the matchers of a block, none of which makes another one redundant (`idle`).
    fn nested(&mut self, items: &[Item], idle: fn(&Matcher, &Matcher) -> bool) -> Option<Vec<Matcher>> {
        let mut inner: Vec<(Matcher, Span)> = Vec::new();
        for item in items {
            let What::Matcher(matcher) = &item.what else { continue };
            for made in self.matcher(matcher) {
                let other = inner.iter().find_map(|(other, at)| {
                    let pairs = [(&made, other, item.span, *at), (other, &made, *at, item.span)];
                    pairs
                        .into_iter()
                        .find(|(a, b, ..)| idle(a, b))
                        .map(|(a, b, own, wider)| (a.clone(), b.clone(), own, wider))
                });
                if let Some((one, other, own, wider)) = other {
                    let (code, message) = match one == other {
                        true => ("duplicate-matcher", format!("the matcher {} is written twice", describe(&one))),
                        false => (
                            "no-effect",
                            format!("{} has no effect: {} matches as well", describe(&one), describe(&other)),
                        ),
                    };
                    self.report.add(Diagnostic::error(code, message, own).also(wider, "the other one"));
                }
                inner.push((made, item.span));
            }
        }
        if items.is_empty() {
            return None;
        }
        let mut inner: Vec<Matcher> = inner.into_iter().map(|(matcher, _)| matcher).collect();
        inner.sort();
        Some(inner)
    }

    fn protocol(&mut self, protocols: &[Spanned<Protocol>]) -> Vec<Matcher> {
        let mut found = Vec::new();
        for protocol in protocols {
            found.push(match protocol.value {
                Protocol::WebSocket => Matcher::WebSocket,
                Protocol::Grpc => Matcher::Grpc,
                Protocol::Http1 => match (self.http2_spoken, self.http3_spoken) {
                    (false, false) => Matcher::Always,
                    (true, false) => Matcher::Not(vec![Matcher::Http2]),
                    (false, true) => Matcher::Not(vec![Matcher::Http3]),
                    (true, true) => Matcher::Not(vec![Matcher::Any(vec![Matcher::Http2, Matcher::Http3])]),
                },
                Protocol::Http2 if self.http2_spoken => Matcher::Http2,
                Protocol::Http3 if self.http3_spoken => Matcher::Http3,
                Protocol::Http2 | Protocol::Http3 => {
                    self.report.add(
                        Diagnostic::error(
                            "no-such-protocol",
                            "no listener supports this: the route would never be reached",
                            protocol.span,
                        )
                        .help(match protocol.value {
                            Protocol::Http2 => "let a listener speak it: listen \":8080\" { http h1 h2; }",
                            _ => "let a listener speak it: listen \":8443\" { tls; http h1 h2 h3; }",
                        }),
                    );
                    continue;
                }
            });
        }
        match found.len() {
            0 | 1 => found,
            _ => vec![Matcher::Any(found)],
        }
    }

    /// Finds contradictions: a value that must equal two texts, or be present and absent.
    fn contradictions(&mut self, matchers: &[Matcher], items: &[Item], span: Span) {
        for matcher in matchers {
            let opposite = matchers
                .iter()
                .any(|other| matches!(other, Matcher::Not(inner) if inner.len() == 1 && implies(matcher, &inner[0])));
            if opposite {
                let at = items
                    .iter()
                    .find(|item| matches!(item.what, What::Matcher(ast::Matcher::Not(_))))
                    .map_or(span, |item| item.span);
                self.error(
                    "contradiction",
                    format!("the route requires {} and excludes it: no request can reach it", describe(matcher)),
                    at,
                );
            }
        }
    }
}

/// Returns the groups of an expression after the whole match: their names, if they have one. `None` if it has groups
/// and is too large for an engine with groups.
pub(crate) fn group_names(pattern: &str) -> Option<Vec<Option<String>>> {
    // Most have none, and an engine with groups is expensive.
    if expression::parse(pattern).is_ok_and(|hir| hir.properties().explicit_captures_len() == 0) {
        return Some(Vec::new());
    }
    let compiled = proxy_runtime::router::regex::compile(pattern).ok()?;
    let names = compiled.group_info().pattern_names(regex_automata::PatternID::ZERO);
    Some(names.skip(1).map(|name| name.map(str::to_owned)).collect())
}

/// Returns whether `a` implies `b`. `false` if that is not obvious.
pub(crate) fn implies(a: &Matcher, b: &Matcher) -> bool {
    match (a, b) {
        (a, b) if a == b => true,
        (Matcher::Value(of, name, _), Matcher::Value(other_of, other, ValueTest::Present)) => {
            of == other_of && name == other
        }
        (Matcher::ClientIp(narrow), Matcher::ClientIp(wide)) => {
            narrow.iter().all(|net| wide.iter().any(|wide| wide.contains(net)))
        }
        (Matcher::Any(either), b) => either.iter().all(|a| implies(a, b)),
        (a, Matcher::Any(either)) => either.iter().any(|b| implies(a, b)),
        _ => false,
    }
}

/// Returns a description of a matcher for messages.
pub fn describe(matcher: &Matcher) -> String {
    let join = |inner: &[Matcher], word: &str| inner.iter().map(describe).collect::<Vec<_>>().join(word);
    match matcher {
        Matcher::Method(names) => format!("method {}", names.join(" ")),
        Matcher::Value(of, name, test) => {
            let of = match of {
                ast::ValueOf::Header => "header",
                ast::ValueOf::Query => "query",
                ast::ValueOf::Cookie => "cookie",
            };
            match test {
                ValueTest::Present => format!("{of} {name}"),
                ValueTest::Equals(value) => format!("{of} {name} \"{value}\""),
                ValueTest::Matches(regex) => format!("{of} {name} (regex)\"{regex}\""),
            }
        }
        Matcher::ClientIp(networks) => {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            format!("client-ip {}", networks.join(" "))
        }
        Matcher::WebSocket => "protocol websocket".to_owned(),
        Matcher::Grpc => "protocol grpc".to_owned(),
        Matcher::Http2 => "protocol http2".to_owned(),
        Matcher::Http3 => "protocol http3".to_owned(),
        Matcher::Always => "protocol http1".to_owned(),
        Matcher::PathRegex(regex, _) => format!("path-regex \"{regex}\""),
        Matcher::Not(inner) => format!("not ({})", join(inner, " and ")),
        Matcher::Any(inner) => format!("any of ({})", join(inner, ", ")),
    }
}
