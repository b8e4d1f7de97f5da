//! Routing: the look-up of host and path in a site's perfect-hash tables, and the values that it binds.
//!
//! Pure, on the hot path. No allocation: a host costs one probe (and one per label where wildcards are declared), an
//! exact path one probe, a pattern one probe per segment, however many routes there are. Expressions on paths cost one
//! walk over the path for all of them together (see [`Joint`]).
//! The tables are made by the compiler's pass `lower`, which puts the candidates of one pattern in order of precedence.
//!
//! Precedence, segment by segment: literal, then literal in any case, then `{name}`, then `*`. If no route of a branch matches, the look-up
//! continues with the next branch, so a route's matchers never hide a less specific route.

use std::borrow::Cow;
use std::ops::Range;

use crate::protocol::methods::Methods;
pub use crate::router::captures::{Captures, MAX_CAPTURES};
use crate::router::regex::{End, Joint};
pub use crate::router::table::NONE;
use crate::router::table::{Table, Words};

/// An index into [`crate::site::Site::routes`].
pub type RouteId = u32;

/// An index into [`crate::site::Site::sites`].
pub type SiteId = u32;

/// The bit of a leaf that is a single route.
pub const ONLY: u32 = 1 << 31;

/// The bit of a candidate (of such a leaf, too) that takes any request that gets to it: nothing is left to ask.
pub const ALWAYS: u32 = 1 << 30;

/// The scope bit that separates wildcard suffixes from exact hosts.
const WILDCARD: u32 = 1 << 31;

/// A place in the tree of patterns, as four numbers; it stands in the slot of the text that leads to it. The roots of the
/// sites are numbered by their [`SiteId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(pub [u32; 4]);

/// The bit of a node's number that says that the segment table has children of it.
pub const LITERALS: u32 = 1 << 31;

/// The bit of a node's number that says that it has children for text in any case, and of the scope in which these stand in the segment
/// table, with small letters.
pub const ANY_CASE: u32 = 1 << 30;

/// No text in any case is longer, in bytes: such segments are looked up in a copy.
pub const LONGEST_ANY_CASE: usize = 256;

impl Node {
    /// The number: the scope of the children in the segment table.
    pub fn id(self) -> u32 {
        self.0[0] & !(LITERALS | ANY_CASE)
    }

    fn has_any_case(self) -> bool {
        self.0[0] & ANY_CASE != 0
    }

    fn has_literals(self) -> bool {
        self.0[0] & LITERALS != 0
    }

    /// Where in [`Tables::captures`] the child for `{name}` is.
    fn capture(self) -> u32 {
        self.0[1]
    }

    /// The leaf of patterns that end here.
    fn leaf(self) -> u32 {
        self.0[2]
    }

    /// The leaf of patterns that go on with `*`.
    fn rest(self) -> u32 {
        self.0[3]
    }
}

/// Everything the look-up needs.
#[derive(Debug, Clone)]
pub struct Tables {
    /// (listener, host) to the site's root; wildcard suffixes stand under [`wildcard_scope`].
    pub hosts: Table<4>,
    /// Per listener: the root of the site that takes any host, or a row of [`NONE`].
    pub any_host: Words,
    /// Whether any listener has a wildcard host, so that the others never look.
    pub wildcards: bool,
    /// (site, path) to leaf, for paths without captures and without `*`.
    pub exact: Table<1>,
    /// (node, segment) to node, for all other patterns.
    pub segments: Table<4>,
    /// The nodes for `{name}`.
    pub captures: Words,
    /// The leaves that are not a single route (that is a leaf with [`ONLY`] set, and perhaps [`ALWAYS`]), rows of four:
    /// `start..end` in `expressions`, and in `plain`. A leaf's routes have positions in order of precedence, and are
    /// candidates: with [`ALWAYS`] set where it holds.
    pub leaves: Words,
    /// The candidates with an expression on the path, rows of four, sorted: joint table, number of the expression in it,
    /// position, candidate.
    pub expressions: Words,
    /// Those without, rows of two, sorted: position, candidate.
    pub plain: Words,
    /// The expressions on paths, put together in as few tables as they fit into.
    pub joint: Cow<'static, [Joint]>,
}

/// The verdict of a route on a request whose path it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteVerdict {
    /// All its matchers hold.
    Yes,
    /// A matcher does not hold.
    No,
    /// All but the method; these it would take.
    OtherMethod(MethodSet),
}

/// The outcome of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteLookup {
    /// This route, with what its pattern bound.
    Route(RouteId, Captures),
    /// No route; but these would, had the method been theirs (405).
    OtherMethod(MethodSet),
    /// No route (404).
    Nothing,
}

/// The methods that a path would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MethodSet {
    /// Bits as in [`Methods`].
    pub mask: u16,
}

impl MethodSet {
    /// A route's methods. Methods outside the registry don't fit into the mask and are left out of `Allow`.
    pub fn of(methods: &Methods) -> MethodSet {
        MethodSet { mask: methods.mask }
    }

    /// The value of `Allow`.
    pub fn allow(self) -> String {
        let methods = Methods { mask: self.mask, others: Cow::Borrowed(&[]) };
        methods.names().collect::<Vec<_>>().join(", ")
    }
}

impl Tables {
    /// The root of the site for a host in normal form on a listener; its number is the [`SiteId`]. One probe, and one
    /// per label with wildcards.
    pub fn site(&self, listener: u32, host: &str) -> Option<Node> {
        if let Some(root) = self.hosts.get(listener, host.as_bytes()) {
            return Some(Node(root));
        }
        if self.wildcards {
            // `*.example.com` stands for one or more labels: the longest declared suffix wins.
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(root) = self.hosts.get(wildcard_scope(listener), suffix.as_bytes()) {
                    return Some(Node(root));
                }
                rest = suffix;
            }
        }
        Some(self.any_host.row(listener as usize)).filter(|root| root[0] != NONE).map(Node)
    }

    /// The route of a site, given its root, for a path in normal form. `ask` is called for each candidate in order of precedence and
    /// may bind captures of its own. No allocation.
    pub fn route(
        &self,
        root: Node,
        path: &str,
        mut ask: impl FnMut(RouteId, &mut Captures) -> RouteVerdict,
    ) -> RouteLookup {
        let mut search = Search {
            tables: self,
            path,
            captures: Captures::default(),
            missed: None,
            ends: [None; CACHED],
            ask: &mut ask,
        };
        let exact = self.exact.get(root.id(), path.as_bytes());
        let found = exact.and_then(|[leaf]| search.leaf(leaf)).or_else(|| search.node(root, 1, 0));
        match (found, search.missed) {
            (Some(route), _) => RouteLookup::Route(route, search.captures),
            (None, Some(methods)) => RouteLookup::OtherMethod(methods),
            (None, None) => RouteLookup::Nothing,
        }
    }
}

impl Tables {
    /// Position and candidate of an expression, from a position on; the rows in question are of one joint table.
    fn matching(&self, Range { start, end }: Range<u32>, wanted: [u32; 3]) -> Option<[u32; 2]> {
        let row = |at: u32| self.expressions.row::<4>(at as usize);
        let below = |[table, expression, position, _]: [u32; 4]| [table, expression, position] < wanted;
        // Where a leaf has all of a table's expressions, each once, the row is where its number says.
        let guess = start.wrapping_add(wanted[1].wrapping_sub(row(start)[1]));
        let lucky = (start..end).contains(&guess) && !below(row(guess)) && (guess == start || below(row(guess - 1)));
        let found = if lucky { guess } else { self.expressions.lower_bound(start, end, below) };
        let [_, expression, position, candidate] = row(found);
        (found < end && expression == wanted[1]).then_some([position, candidate])
    }
}

/// The scope of wildcard suffixes on a listener.
pub const fn wildcard_scope(listener: u32) -> u32 {
    listener | WILDCARD
}

/// How many joint tables' results are kept during a look-up; sites have one or two, as a rule.
const CACHED: usize = 8;

struct Search<'a, F> {
    tables: &'a Tables,
    path: &'a str,
    captures: Captures,
    missed: Option<MethodSet>,
    /// Where the path leads in each joint table, once it was asked.
    ends: [Option<End>; CACHED],
    ask: &'a mut F,
}

impl<F: FnMut(RouteId, &mut Captures) -> RouteVerdict> Search<'_, F> {
    /// `start` is where the next segment begins: behind its slash, or one past the end of the path.
    /// Recursion is as deep as the longest pattern of the site, which the compiler bounds.
    fn node(&mut self, node: Node, start: usize, depth: usize) -> Option<RouteId> {
        if start > self.path.len() {
            return self.leaf(node.leaf()).or_else(|| self.rest(node.rest(), start, depth));
        }
        let rest = &self.path[start..];
        let end = start + rest.find('/').unwrap_or(rest.len());
        if node.has_literals()
            && let Some(child) = self.tables.segments.get(node.id(), &self.path.as_bytes()[start..end])
            && let Some(route) = self.node(Node(child), end + 1, depth)
        {
            return Some(route);
        }
        if node.has_any_case()
            && let Some(child) = self.any_case(node, &self.path.as_bytes()[start..end])
            && let Some(route) = self.node(child, end + 1, depth)
        {
            return Some(route);
        }
        if node.capture() != NONE && end > start {
            self.captures.bind(depth, start, end);
            let child = Node(self.tables.captures.row(node.capture() as usize));
            if let Some(route) = self.node(child, end + 1, depth + 1) {
                return Some(route);
            }
        }
        self.rest(node.rest(), start, depth)
    }

    /// The child for a segment in any case.
    fn any_case(&self, node: Node, segment: &[u8]) -> Option<Node> {
        let mut copy = [0; LONGEST_ANY_CASE];
        let small = copy.get_mut(..segment.len())?;
        small.copy_from_slice(segment);
        small.make_ascii_lowercase();
        self.tables.segments.get(node.id() | ANY_CASE, small).map(Node)
    }

    fn rest(&mut self, leaf: u32, start: usize, depth: usize) -> Option<RouteId> {
        if leaf == NONE {
            return None;
        }
        self.captures.bind(depth, start.min(self.path.len()), self.path.len());
        self.leaf(leaf)
    }

    fn leaf(&mut self, leaf: u32) -> Option<RouteId> {
        if leaf == NONE {
            return None;
        }
        if leaf & ONLY != 0 {
            return self.candidate(leaf & !ONLY);
        }
        let leaf = self.tables.leaves.row(leaf as usize);
        let mut from = 0;
        while let Some([position, candidate]) = self.next(&leaf, from) {
            if let Some(route) = self.candidate(candidate) {
                return Some(route);
            }
            from = position + 1;
        }
        None
    }

    /// The next position from `from` on, and its candidate, that has no expression, or one that matches. However many
    /// routes a leaf has: a search per expression that matches the path.
    fn next(&mut self, &[start, end, plain, plain_end]: &[u32; 4], from: u32) -> Option<[u32; 2]> {
        let tables = self.tables;
        let first = tables.plain.lower_bound::<2>(plain, plain_end, |[position, _]| position < from);
        let mut best = (first < plain_end).then(|| tables.plain.row(first as usize));
        let table_of = |at: u32| tables.expressions.row::<4>(at as usize)[0];
        let mut at = start;
        while at < end {
            let table = table_of(at);
            // One table has them all, as a rule.
            let others = match table_of(end - 1) == table {
                true => end,
                false => tables.expressions.lower_bound(at, end, |row: [u32; 4]| row[0] <= table),
            };
            let Some(joint) = tables.joint.get(table as usize) else { break };
            let reached = self.end(table as usize, joint);
            for expression in joint.matched(reached) {
                let found = tables.matching(at..others, [table, expression, from]);
                best = best.into_iter().chain(found).min();
            }
            at = others;
        }
        best
    }

    fn end(&mut self, table: usize, joint: &Joint) -> End {
        match self.ends.get_mut(table) {
            Some(Some(end)) => *end,
            Some(kept) => *kept.insert(joint.end(self.path.as_bytes())),
            None => joint.end(self.path.as_bytes()),
        }
    }

    fn candidate(&mut self, candidate: u32) -> Option<RouteId> {
        let route = candidate & !ALWAYS;
        if candidate & ALWAYS != 0 {
            return Some(route);
        }
        match (self.ask)(route, &mut self.captures) {
            RouteVerdict::Yes => return Some(route),
            RouteVerdict::No => {}
            RouteVerdict::OtherMethod(methods) => self.missed.get_or_insert_default().mask |= methods.mask,
        }
        None
    }
}
