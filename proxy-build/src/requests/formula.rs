//! The conditions of a route, as a formula of atomic facts.

use proxy_runtime::site::Methods;

use super::cube::Atom;
use super::{Language, Requests};
use crate::model::{Example, HTTP_VERSION, Matcher, Route};
use crate::pattern::{Pattern, ValueOf, ValueTest};

/// A formula of facts.
#[derive(Debug, Clone)]
pub(crate) enum Formula {
    /// An atomic fact.
    Atom(Atom),
    /// A conjunction.
    All(Vec<Formula>),
    /// A disjunction.
    Any(Vec<Formula>),
    /// A negation.
    Not(Box<Formula>),
}

impl Formula {
    /// Returns whether it is true for a request.
    pub(crate) fn holds(&self, request: &Example) -> bool {
        match self {
            Formula::Atom(atom) => atom.holds(request),
            Formula::All(parts) => parts.iter().all(|part| part.holds(request)),
            Formula::Any(parts) => parts.iter().any(|part| part.holds(request)),
            Formula::Not(inner) => !inner.holds(request),
        }
    }
}

impl Requests {
    /// Returns the requests that match the pattern and all matchers of a route.
    pub(crate) fn of_route(&self, route: &Route) -> Formula {
        let path = Atom::Path { language: Language::pattern(&route.pattern), hints: self.plain_paths(&route.pattern) };
        let mut parts = vec![Formula::Atom(path)];
        if route.methods != Methods::ANY {
            parts.push(Formula::Atom(Atom::Method(route.methods.names().map(str::to_owned).collect())));
        }
        parts.extend(route.matchers.iter().map(|matcher| self.of_matcher(matcher)));
        Formula::All(parts)
    }

    /// Returns the requests of a route whose path is not rejected.
    pub(crate) fn let_through(&self, route: &Route) -> Formula {
        let refused = self.form.encoded_slash && !route.policy.limits.encoded_slash;
        let slashes = || Formula::Atom(Atom::Path { language: self.table("%(?:2F|5C)"), hints: Vec::new() });
        if refused { Formula::Not(Box::new(slashes())) } else { Formula::All(Vec::new()) }
    }

    /// Returns the requests whose path is at or below a prefix.
    pub(crate) fn below(&self, prefix: &Pattern) -> Formula {
        Formula::Atom(Atom::Path { language: Language::pattern(prefix), hints: self.plain_paths(prefix) })
    }

    /// Returns the requests whose path matches an expression; `None` if it has no table.
    pub(crate) fn matching(&self, expression: &str) -> Option<Formula> {
        let table = self.made.table(expression).ok()?;
        Some(Formula::Atom(Atom::Path { language: Language::Table(table), hints: Vec::new() }))
    }

    fn of_matcher(&self, matcher: &Matcher) -> Formula {
        let all = |inner: &[Matcher]| inner.iter().map(|matcher| self.of_matcher(matcher)).collect();
        match matcher {
            Matcher::Method(names) => Formula::Atom(Atom::Method(names.clone())),
            Matcher::Value(of, name, test) => self.of_value(*of, name, test),
            Matcher::ClientIp(networks) => Formula::Atom(Atom::Client(networks.clone())),
            Matcher::WebSocket => {
                let token = |name: &str, token: &str| {
                    let list = format!("(?i)(?:^|,)[ \t]*{token}[ \t]*(?:,|$)");
                    self.of_value(ValueOf::Header, name, &ValueTest::Matches(list))
                };
                Formula::All(vec![token("connection", "upgrade"), token("upgrade", "websocket")])
            }
            Matcher::Grpc => {
                let test = ValueTest::Matches("^application/grpc(?:$|[+;])".to_owned());
                self.of_value(ValueOf::Header, "content-type", &test)
            }
            Matcher::Http2 => self.of_value(ValueOf::Header, HTTP_VERSION, &ValueTest::Equals("HTTP/2".to_owned())),
            Matcher::Http3 => self.of_value(ValueOf::Header, HTTP_VERSION, &ValueTest::Equals("HTTP/3".to_owned())),
            Matcher::Always => Formula::All(Vec::new()),
            Matcher::PathRegex(pattern, _) => {
                Formula::Atom(Atom::Path { language: self.table(pattern), hints: Vec::new() })
            }
            Matcher::Not(inner) => Formula::Not(Box::new(Formula::All(all(inner)))),
            Matcher::Any(inner) => Formula::Any(all(inner)),
        }
    }

    fn of_value(&self, of: ValueOf, name: &str, test: &ValueTest) -> Formula {
        let language = match test {
            ValueTest::Present => Language::Any,
            ValueTest::Equals(value) if of == ValueOf::Query => self.spellings(value),
            ValueTest::Equals(value) => Language::Exactly(value.as_str().into()),
            ValueTest::Matches(pattern) => self.table(pattern),
        };
        Formula::Atom(Atom::Value { of, name: name.to_owned(), language })
    }
}
