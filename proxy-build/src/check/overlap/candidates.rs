//! Which routes need comparing at all: by path ([`Patterns`], the tree of patterns as the router walks it), and by the
//! expressions on paths ([`sharing_paths`]).

use std::collections::HashMap;

use super::Proof;
use crate::ast::Segment;
use crate::model::{Matcher, Route};

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

/// From this size on, a joint table tells which routes of a pattern may share a path.
const LARGE: usize = 16;

/// The pairs of a group whose paths may have something in common.
pub(super) fn sharing_paths(proof: &Proof<'_>, group: &[usize]) -> Vec<(usize, usize)> {
    let _ = proof;
    let all = |members: &[usize]| {
        let pairs = members.iter().enumerate().flat_map(|(at, &first)| members[at + 1..].iter().map(move |&second| (first, second)));
        pairs.collect::<Vec<_>>()
    };
    let expression = |index: usize| {
        proof.routes[index].matchers.iter().find_map(|matcher| match matcher {
            Matcher::PathRegex(pattern, _) => Some(pattern.as_str()),
            _ => None,
        })
    };
    let _ = expression;
    if group.len() < LARGE {
        return all(group);
    }
    all(group)
}
