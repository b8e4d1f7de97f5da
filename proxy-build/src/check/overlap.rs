//! Proofs about the routes of one site: the order of routes with one pattern, ties among them, and routes that are
//! never reached.
//!
//! Of two routes with one pattern, a route goes first if the other one matches all of its requests as well: that is the meaning of
//! "its matchers include all of the other's". If two routes share some requests, and each has some of its own, that is an error with
//! a request that both match, unless `priority` decides. A route whose requests all go to routes before it is an
//! error, too. A question that can't be decided within bounds counts as a tie, and never as unreachable.

pub(crate) mod candidates;

use std::collections::HashMap;

use super::Check;
use super::matchers::implies;
use crate::ast::Segment;
use crate::joint::JointTables;
use crate::model::{Example, Host, Route};
use crate::report::Diagnostic;
use crate::requests::{Formula, Requests, Undecided};
use candidates::{Patterns, sharing_paths};

/// The relation of two routes with one pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Both match the same requests.
    Same(Example),
    /// The first matches a proper subset of the second's requests.
    Narrower,
    /// The first matches a proper superset of the second's requests.
    Wider,
    /// No request matches both.
    Disjoint,
    /// This request matches both, and each matches others alone.
    Ambiguous(Example),
}

/// The routes of a site during the proof.
pub(crate) struct Proof<'a> {
    pub(crate) routes: &'a [Route],
    pub(crate) requests: Requests,
    pub(crate) formulas: Vec<Formula>,
    joined: &'a JointTables,
    /// Whether a route had no errors before.
    pub(crate) sound: Vec<bool>,
    /// Whether a route's order is ambiguous.
    tied: Vec<bool>,
}

impl Check<'_> {
    /// Ranks the routes of one site, and reports ties, duplicates and unreachable routes.
    pub(crate) fn overlaps(&mut self, host: &mut Host, joined: &JointTables) {
        let requests = Requests::new(self.made.clone(), &host.hosts, host.normal_form, &host.routes);
        let formulas = host.routes.iter().map(|route| requests.of_route(route)).collect();
        let sound = host.routes.iter().map(|route| !self.unsound.contains(&route.span)).collect();
        let tied = vec![false; host.routes.len()];
        let mut proof = Proof { routes: &host.routes, requests, formulas, joined, sound, tied };
        let mut groups: Vec<Vec<usize>> = by_shape(proof.routes).into_values().collect();
        groups.sort();
        let mut order: Vec<(usize, u32)> = Vec::new();
        for group in &mut groups {
            self.rank(&mut proof, group);
            order.extend(group.iter().enumerate().map(|(rank, &index)| (index, rank as u32)));
        }
        let patterns = Patterns::new(proof.routes, &groups, joined);
        let sound = (0..proof.routes.len()).filter(|&index| proof.sound[index] && !proof.tied[index]);
        let examples: Vec<_> = sound.map(|index| (index, self.reached(&proof, &patterns, index))).collect();
        self.note_effects(&proof, &groups);
        for (index, rank) in order {
            host.routes[index].rank = rank;
        }
        for (index, example) in examples {
            host.routes[index].example = example;
        }
    }

    /// Orders the routes of one pattern.
    fn rank(&mut self, proof: &mut Proof<'_>, group: &mut [usize]) {
        let routes = proof.routes;
        // By priority, and then by the number of routes that include this one: if A is a subset of B, all routes that
        // include B include A, so A has more of them.
        let mut wider: HashMap<usize, usize> = HashMap::new();
        let (mut ties, mut proofs) = (0, 0);
        let Some(pairs) = sharing_paths(proof, group) else { return self.too_many(proof, group) };
        for (first, second) in pairs {
            if routes[first].priority != routes[second].priority || !proof.sound[first] || !proof.sound[second] {
                continue;
            }
            if ties == MAX_TIES {
                // Further ones are not helpful; nothing is known of the other routes.
                group.iter().for_each(|&route| proof.tied[route] = true);
                return;
            }
            if proof.by_words(first, second).is_none() {
                proofs += 1;
            }
            if proofs > MAX_PROOFS {
                return self.too_many(proof, group);
            }
            match proof.relation(first, second) {
                Ok(Relation::Narrower) => *wider.entry(first).or_default() += 1,
                Ok(Relation::Wider) => *wider.entry(second).or_default() += 1,
                Ok(Relation::Disjoint) => {}
                Ok(Relation::Same(example)) => {
                    ties += 1;
                    proof.tied[second] = true;
                    self.report.add(
                        Diagnostic::error(
                            "duplicate-route",
                            format!("the route `{}` is written twice", routes[second].pattern.text),
                            routes[second].span,
                        )
                        .label("the second")
                        .also(routes[first].span, "the first")
                        .help(format!("for example: {example}")),
                    );
                }
                Ok(Relation::Ambiguous(example)) => {
                    ties += 1;
                    self.tie(proof, first, second, format!("for example: {example}"));
                }
                Err(Undecided) => {
                    ties += 1;
                    let help = "their expressions are too large to tell which requests they share".to_owned();
                    self.tie(proof, first, second, help);
                }
            }
        }
        group.sort_by_key(|index| {
            let wider = wider.get(index).copied().unwrap_or(0);
            (std::cmp::Reverse(routes[*index].priority), std::cmp::Reverse(wider), *index)
        });
    }

    /// Rejects a group with too many routes to compare.
    fn too_many(&mut self, proof: &mut Proof<'_>, group: &[usize]) {
        group.iter().for_each(|&route| proof.tied[route] = true);
        let route = &proof.routes[group[0]];
        let message =
            format!("too many of the {} routes `{}` may match the same request", group.len(), route.pattern.text);
        self.report.add(
            Diagnostic::error("too-many-overlaps", message, route.span)
                .label(format!("more than {MAX_PROOFS} pairs of them would have to be compared"))
                .help("begin expressions with ^/ and a name, or write patterns in their place: then few can overlap"),
        );
    }

    fn tie(&mut self, proof: &mut Proof<'_>, first: usize, second: usize, example: String) {
        let routes = proof.routes;
        proof.tied[first] = true;
        proof.tied[second] = true;
        self.report.add(
            Diagnostic::error(
                "ambiguous-routes",
                "two routes match this request, and neither goes before the other",
                routes[second].span,
            )
            .label("this one")
            .also(routes[first].span, "and this one")
            .help(example)
            .help("choose one with `priority=1`, or add a matcher"),
        );
    }

    /// Finds a request for a route; reports a route that none reaches.
    fn reached(&mut self, proof: &Proof<'_>, patterns: &Patterns<'_>, index: usize) -> Option<Example> {
        let route = &proof.routes[index];
        let own = &proof.formulas[index];
        let through = proof.requests.let_through(route);
        let mut before: Vec<usize> = Vec::new();
        let found = proof.requests.avoiding(&[own, &through], None, |request| {
            let taker = patterns.taker(&request.path, |other| proof.formulas[other].holds(request))?;
            if taker == index {
                return None;
            }
            if !before.contains(&taker) {
                before.push(taker);
            }
            Some(&proof.formulas[taker])
        });
        if !matches!(found, Ok(None)) {
            return found.ok().flatten();
        }
        if before.is_empty() {
            self.report.add(
                Diagnostic::error("contradiction", "no request can reach this route", route.span)
                    .label("no request satisfies all of its matchers")
                    .help("remove one of its matchers"),
            );
            return None;
        }
        let message = match before.as_slice() {
            [other]
                if proof.routes[*other].priority > route.priority && shape(&proof.routes[*other]) == shape(route) =>
            {
                "this route is never reached: `priority` puts a wider one before it".to_owned()
            }
            [_] => "this route is never reached: a more specific one takes all of its requests".to_owned(),
            _ => "this route is never reached: others take all of its requests".to_owned(),
        };
        let mut diagnostic = Diagnostic::error("unreachable-route", message, route.span);
        for &other in before.iter().take(4) {
            let label = if before.len() == 1 { "this one takes all of its requests" } else { "takes some of them" };
            diagnostic = diagnostic.also(proof.routes[other].span, label);
        }
        if let Ok(Some(example)) = proof.requests.example(&[own], None) {
            diagnostic = diagnostic.help(format!("for example: {example}"));
        }
        self.report.add(diagnostic);
        None
    }
}

/// The most ties among the routes of one pattern that are reported.
const MAX_TIES: usize = 50;

/// The most pairs of routes of one pattern that are compared by proof. Each takes some hundredths of a millisecond, and
/// more if expressions are large.
const MAX_PROOFS: usize = 50_000;

impl Proof<'_> {
    /// An obvious relation needs no proof: more matchers, fewer requests.
    fn by_words(&self, first: usize, second: usize) -> Option<Relation> {
        let (a, b) = (&self.routes[first], &self.routes[second]);
        match (includes(a, b), includes(b, a)) {
            (true, false) => Some(Relation::Narrower),
            (false, true) => Some(Relation::Wider),
            _ => None,
        }
    }

    /// Returns the relation of two routes, regardless of priorities.
    pub(crate) fn relation(&self, first: usize, second: usize) -> Result<Relation, Undecided> {
        if let Some(relation) = self.by_words(first, second) {
            return Ok(relation);
        }
        let (a, b) = (&self.formulas[first], &self.formulas[second]);
        let Some(example) = self.requests.example(&[a, b], None)? else { return Ok(Relation::Disjoint) };
        let own = self.requests.example(&[a], Some(b))?.is_some();
        let others = self.requests.example(&[b], Some(a))?.is_some();
        Ok(match (own, others) {
            (false, false) => Relation::Same(example),
            (false, true) => Relation::Narrower,
            (true, false) => Relation::Wider,
            (true, true) => Relation::Ambiguous(example),
        })
    }
}

/// Returns whether `narrow` obviously has all matchers of `wide`.
fn includes(narrow: &Route, wide: &Route) -> bool {
    let any = |route: &Route| route.methods.mask == u16::MAX;
    let methods = any(wide)
        || (!any(narrow) && narrow.methods.names().all(|name| wide.methods.names().any(|other| other == name)));
    methods && wide.matchers.iter().all(|asked| narrow.matchers.iter().any(|matcher| implies(matcher, asked)))
}

/// Returns the pattern without its names: two patterns of one shape match the same paths.
pub fn shape(route: &Route) -> String {
    let segments = route.pattern.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => format!("/={text}"),
        Segment::AnyCase(text) => format!("/~{text}"),
        Segment::Capture(_) => "/{}".to_owned(),
        Segment::Rest => "/*".to_owned(),
    });
    segments.collect()
}

pub(crate) fn by_shape(routes: &[Route]) -> HashMap<String, Vec<usize>> {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        groups.entry(shape(route)).or_default().push(index);
    }
    groups
}
