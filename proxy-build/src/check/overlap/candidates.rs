//! Finds the pairs of routes to compare: by path ([`Patterns`], the tree of patterns as the router walks it), and by the
//! expressions on paths ([`sharing_paths`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Proof;
use crate::ast::Segment;
use crate::joint::JointTables;
use crate::model::Route;

/// The tree of a site's patterns; each node has its routes in order of precedence.
pub(crate) struct Patterns<'a> {
    nodes: Vec<PatternNode>,
    joined: &'a JointTables,
}

#[derive(Default)]
struct PatternNode {
    literals: HashMap<String, usize>,
    any_case: HashMap<String, usize>,
    capture: Option<usize>,
    ends: PatternRoutes,
    rest: PatternRoutes,
}

/// The routes of one pattern, in order; for many routes, the joint tables tell which ones to compare.
#[derive(Default)]
struct PatternRoutes {
    routes: Vec<usize>,
    places: Places,
}

/// Routes (or positions) by the position of their expression in the joint tables, and those without one.
#[derive(Default)]
struct Places {
    by_place: HashMap<(u32, u32), Vec<usize>>,
    plain: Vec<usize>,
    tables: BTreeSet<u32>,
}

impl Places {
    fn new(routes: &[Route], joined: &JointTables, members: impl Iterator<Item = (usize, usize)>) -> Places {
        let mut places = Places::default();
        for (route, what) in members {
            match routes[route].expression().0.and_then(|pattern| joined.places.get(pattern)) {
                Some(&place) => {
                    places.by_place.entry(place).or_default().push(what);
                    places.tables.insert(place.0);
                }
                None => places.plain.push(what),
            }
        }
        places
    }
}

impl Patterns<'_> {
    /// `groups` has the routes of each pattern, in order.
    pub(crate) fn new<'a>(routes: &[Route], groups: &[Vec<usize>], joined: &'a JointTables) -> Patterns<'a> {
        let mut patterns = Patterns { nodes: vec![PatternNode::default()], joined };
        for group in groups {
            let mut places = Places::default();
            if group.len() >= LARGE {
                places = Places::new(routes, joined, group.iter().enumerate().map(|(at, &route)| (route, at)));
            }
            patterns.add(&routes[group[0]].pattern.segments, PatternRoutes { routes: group.clone(), places });
        }
        patterns
    }

    fn add(&mut self, segments: &[Segment], group: PatternRoutes) {
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len();
            at = match segment {
                Segment::Literal(text) => *self.nodes[at].literals.entry(text.clone()).or_insert(next),
                Segment::AnyCase(text) => *self.nodes[at].any_case.entry(text.clone()).or_insert(next),
                Segment::Capture(_) => *self.nodes[at].capture.get_or_insert(next),
                Segment::Rest => {
                    self.nodes[at].rest = group;
                    return;
                }
            };
            if at == next {
                self.nodes.push(PatternNode::default());
            }
        }
        self.nodes[at].ends = group;
    }

    /// Returns the first matching route for a path.
    pub(crate) fn taker(&self, path: &str, holds: impl Fn(usize) -> bool) -> Option<usize> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        self.walk(0, path, &segments, &holds)
    }

    /// Returns the routes whose pattern shares a path with these segments.
    #[cfg(feature = "kiln")]
    pub(crate) fn meeting(&self, segments: &[Segment]) -> Vec<usize> {
        let mut found = Vec::new();
        self.meet(0, segments, &mut found);
        // The nodes are in unordered tables.
        found.sort_unstable();
        found
    }

    #[cfg(feature = "kiln")]
    fn meet(&self, at: usize, left: &[Segment], found: &mut Vec<usize>) {
        let node = &self.nodes[at];
        found.extend(&node.rest.routes);
        let (texts, capture) = (|| node.literals.values().chain(node.any_case.values()), node.capture.iter());
        match left.split_first() {
            None => found.extend(&node.ends.routes),
            Some((Segment::Rest, _)) => {
                found.extend(&node.ends.routes);
                texts().chain(capture).for_each(|&child| self.meet(child, left, found));
            }
            Some((Segment::Capture(_), after)) => {
                texts().chain(capture).for_each(|&child| self.meet(child, after, found));
            }
            Some((Segment::Literal(text), after)) => {
                let any_case = node.any_case.get(&text.to_ascii_lowercase()).into_iter();
                let same = node.literals.get(text).into_iter().chain(any_case);
                same.chain(capture).for_each(|&child| self.meet(child, after, found));
            }
            Some((Segment::AnyCase(text), after)) => {
                let literals = node.literals.iter().filter(|(other, _)| other.eq_ignore_ascii_case(text));
                let same = literals.map(|(_, child)| child).chain(node.any_case.get(text));
                same.chain(capture).for_each(|&child| self.meet(child, after, found));
            }
        }
    }

    fn walk(&self, at: usize, path: &str, left: &[&str], holds: &dyn Fn(usize) -> bool) -> Option<usize> {
        let node = &self.nodes[at];
        let first = |group: &PatternRoutes| self.first(group, path, holds);
        let Some((segment, after)) = left.split_first() else {
            return first(&node.ends).or_else(|| first(&node.rest));
        };
        let literal = node.literals.get(*segment).and_then(|&child| self.walk(child, path, after, holds));
        let any_case = || {
            let child = node.any_case.get(&segment.to_ascii_lowercase());
            child.and_then(|&child| self.walk(child, path, after, holds))
        };
        let capture =
            || node.capture.filter(|_| !segment.is_empty()).and_then(|child| self.walk(child, path, after, holds));
        literal.or_else(any_case).or_else(capture).or_else(|| first(&node.rest))
    }

    fn first(&self, group: &PatternRoutes, path: &str, holds: &dyn Fn(usize) -> bool) -> Option<usize> {
        if group.routes.len() < LARGE {
            return group.routes.iter().copied().find(|&route| holds(route));
        }
        let mut positions = group.places.plain.clone();
        for &table in &group.places.tables {
            let joint = &self.joined.tables[table as usize];
            let matched = joint.matched(joint.end(path.as_bytes()));
            positions.extend(matched.filter_map(|number| group.places.by_place.get(&(table, number))).flatten());
        }
        positions.sort_unstable();
        positions.into_iter().map(|at| group.routes[at]).find(|&route| holds(route))
    }
}

/// From this group size on, the joint tables decide which expressions may share a path.
const LARGE: usize = 16;

/// The most pairs that are compared, for time and memory.
const MAX_PAIRS: usize = 1 << 20;

/// Returns the pairs of a group whose paths may overlap; `None` if there are too many.
pub(crate) fn sharing_paths(proof: &Proof<'_>, group: &[usize]) -> Option<Vec<(usize, usize)>> {
    let mut pairs = Pairs::default();
    if group.len() < LARGE {
        pairs.all(group)?;
        return Some(pairs.sorted());
    }
    let places = Places::new(proof.routes, proof.joined, group.iter().map(|&route| (route, route)));
    let Places { by_place, plain, .. } = &places;
    for &one in plain {
        pairs.across(&[one], group)?;
    }
    by_place.values().try_for_each(|routes| pairs.all(routes))?;
    for &table in &places.tables {
        for set in &proof.joined.sharing[table as usize] {
            let members: Vec<usize> =
                set.iter().filter_map(|number| by_place.get(&(table, *number))).flatten().copied().collect();
            pairs.all(&members)?;
        }
        // An expression in another table may share any path.
        let of = |wanted: &dyn Fn(u32) -> bool| {
            let found = by_place.iter().filter(|((table, _), _)| wanted(*table)).flat_map(|(_, routes)| routes);
            found.copied().collect::<Vec<usize>>()
        };
        let (here, others) = (of(&|other| other == table), of(&|other| other > table));
        pairs.across(&here, &others)?;
    }
    Some(pairs.sorted())
}

/// Pairs, the lower index first; adding fails beyond [`MAX_PAIRS`].
#[derive(Default)]
struct Pairs(HashSet<(usize, usize)>);

impl Pairs {
    /// Adds all pairs among `routes`.
    fn all(&mut self, routes: &[usize]) -> Option<()> {
        routes.iter().enumerate().try_for_each(|(at, first)| self.across(&[*first], &routes[at + 1..]))
    }

    /// Adds all pairs of `some` and `others`.
    fn across(&mut self, some: &[usize], others: &[usize]) -> Option<()> {
        let pairs =
            some.iter().flat_map(|&a| others.iter().map(move |&b| (a.min(b), a.max(b)))).filter(|(a, b)| a != b);
        for pair in pairs {
            self.0.insert(pair);
            if self.0.len() > MAX_PAIRS {
                return None;
            }
        }
        Some(())
    }

    fn sorted(self) -> Vec<(usize, usize)> {
        let mut pairs: Vec<_> = self.0.into_iter().collect();
        pairs.sort_unstable();
        pairs
    }
}
