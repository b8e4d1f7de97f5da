//! Which routes need comparing at all: by path ([`Patterns`], the tree of patterns as the router walks it), and by the
//! expressions on paths ([`sharing_paths`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Proof;
use crate::ast::Segment;
use crate::model::Route;

/// The tree of a site's patterns; each place holds its routes in order of precedence.
pub(super) struct Patterns {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    literals: HashMap<String, usize>,
    capture: Option<usize>,
    ends: Vec<usize>,
    rest: Vec<usize>,
}

impl Patterns {
    /// `groups` are the routes of each pattern, in order.
    pub(super) fn new(routes: &[Route], groups: &[Vec<usize>]) -> Patterns {
        let mut patterns = Patterns { nodes: vec![Node::default()] };
        for group in groups {
            patterns.add(&routes[group[0]].pattern.segments, group);
        }
        patterns
    }

    fn add(&mut self, segments: &[Segment], group: &[usize]) {
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len();
            at = match segment {
                Segment::Literal(text) => *self.nodes[at].literals.entry(text.clone()).or_insert(next),
                Segment::Capture(_) => *self.nodes[at].capture.get_or_insert(next),
                Segment::Rest => {
                    self.nodes[at].rest = group.to_vec();
                    return;
                }
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].ends = group.to_vec();
    }

    /// The first route for a path, of those that hold.
    pub(super) fn taker(&self, path: &str, holds: impl Fn(usize) -> bool) -> Option<usize> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        self.walk(0, &segments, &holds)
    }

    fn walk(&self, at: usize, left: &[&str], holds: &dyn Fn(usize) -> bool) -> Option<usize> {
        let node = &self.nodes[at];
        let first = |routes: &[usize]| routes.iter().copied().find(|&route| holds(route));
        let Some((segment, after)) = left.split_first() else {
            return first(&node.ends).or_else(|| first(&node.rest));
        };
        let literal = node.literals.get(*segment).and_then(|&child| self.walk(child, after, holds));
        let capture = || node.capture.filter(|_| !segment.is_empty()).and_then(|child| self.walk(child, after, holds));
        literal.or_else(capture).or_else(|| first(&node.rest))
    }
}

/// From this size on, the joint tables are asked which expressions of a group may share a path.
const LARGE: usize = 16;

/// The pairs of a group whose paths may have something in common.
pub(super) fn sharing_paths(proof: &Proof<'_>, group: &[usize]) -> Vec<(usize, usize)> {
    let mut pairs = HashSet::new();
    if group.len() < LARGE {
        add_all(&mut pairs, group);
        return sorted(pairs);
    }
    // The routes of each expression, and those without one.
    let mut plain = Vec::new();
    let mut by_place: HashMap<(u32, u32), Vec<usize>> = HashMap::new();
    for &route in group {
        match proof.routes[route].expression().0.and_then(|pattern| proof.joined.places.get(pattern)) {
            Some(&place) => by_place.entry(place).or_default().push(route),
            None => plain.push(route),
        }
    }
    for &one in &plain {
        pairs.extend(group.iter().filter(|&&other| other != one).map(|&other| (one.min(other), one.max(other))));
    }
    by_place.values().for_each(|routes| add_all(&mut pairs, routes));
    let tables: BTreeSet<u32> = by_place.keys().map(|(table, _)| *table).collect();
    for &table in &tables {
        for set in proof.joined.sharing(table) {
            let members: Vec<usize> =
                set.iter().filter_map(|number| by_place.get(&(table, *number))).flatten().copied().collect();
            add_all(&mut pairs, &members);
        }
        // What stands in another table may share any path.
        let of = |wanted: &dyn Fn(u32) -> bool| {
            let found = by_place.iter().filter(|((table, _), _)| wanted(*table)).flat_map(|(_, routes)| routes);
            found.copied().collect::<Vec<usize>>()
        };
        let (here, others) = (of(&|other| other == table), of(&|other| other > table));
        pairs.extend(here.iter().flat_map(|&a| others.iter().map(move |&b| (a.min(b), a.max(b)))));
    }
    sorted(pairs)
}

fn add_all(pairs: &mut HashSet<(usize, usize)>, routes: &[usize]) {
    for (at, &first) in routes.iter().enumerate() {
        pairs.extend(routes[at + 1..].iter().map(|&second| (first.min(second), first.max(second))));
    }
}

fn sorted(pairs: HashSet<(usize, usize)>) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_unstable();
    pairs
}
