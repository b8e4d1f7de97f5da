//! Routing: the lookup of host and path in a site's perfect-hash tables, and its captures.
//!
//! Pure, on the hot path. No allocation: a host costs one probe (and one per label if wildcards are declared), an exact
//! path one probe, a pattern one probe per segment, however many routes there are. Expressions on paths cost one walk
//! over the path for all of them together (see [`Joint`]). The compiler's pass `lower` builds the tables, with the
//! candidates of one pattern in order of precedence.
//!
//! Precedence, segment by segment: literal, then case-insensitive literal, then `{name}`, then `*`. If no route of a branch matches, the
//! lookup continues with the next branch, so a route's matchers never hide a less specific route.

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

/// The bit of a candidate (or such a leaf) that matches any request that reaches it.
pub const ALWAYS: u32 = 1 << 30;

/// The scope bit that separates wildcard suffixes from exact hosts.
const WILDCARD: u32 = 1 << 31;

/// A node of the pattern tree, as four numbers, stored in the slot of the text that leads to it. The root of a site has
/// its [`SiteId`] as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(pub [u32; 4]);

/// The bit of a node's number if the segment table has children of it.
pub const LITERALS: u32 = 1 << 31;

/// The bit of a node's number if it has case-insensitive children, and of their scope in the segment table, where they are in lower
/// case.
pub const ANY_CASE: u32 = 1 << 30;

/// The longest case-insensitive segment, in bytes: such segments are copied for the lookup.
pub const LONGEST_ANY_CASE: usize = 256;

impl Node {
    /// Returns its number: the scope of its children in the segment table.
    pub fn id(self) -> u32 {
        self.0[0] & !(LITERALS | ANY_CASE)
    }

    fn has_any_case(self) -> bool {
        self.0[0] & ANY_CASE != 0
    }

    fn has_literals(self) -> bool {
        self.0[0] & LITERALS != 0
    }

    /// Returns the index of the child for `{name}` in [`Tables::captures`].
    fn capture(self) -> u32 {
        self.0[1]
    }

    /// Returns the leaf of patterns that end here.
    fn leaf(self) -> u32 {
        self.0[2]
    }

    /// Returns the leaf of patterns that continue with `*`.
    fn rest(self) -> u32 {
        self.0[3]
    }
}

/// The tables of the lookup.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Maps (listener, host) to the site's root; wildcard suffixes have [`wildcard_scope`].
    pub hosts: Table<4>,
    /// Per listener: the root of the site for any host, or a row of [`NONE`].
    pub any_host: Words,
    /// Whether any listener has a wildcard host; if not, they are not looked up.
    pub wildcards: bool,
    /// Maps (site, path) to a leaf, for paths without captures and without `*`.
    pub exact: Table<1>,
    /// Maps (node, segment) to a node, for all other patterns.
    pub segments: Table<4>,
    /// The nodes for `{name}`.
    pub captures: Words,
    /// The leaves with several routes (a single route is a leaf with [`ONLY`] set, and perhaps [`ALWAYS`]), in rows of
    /// four: `start..end` in `expressions`, and in `plain`. The routes of a leaf are candidates, with positions in
    /// order of precedence; [`ALWAYS`] is set if it applies.
    pub leaves: Words,
    /// The candidates with a `path-regex`, in sorted rows of four: joint table, number of the expression in it,
    /// position, candidate.
    pub expressions: Words,
    /// The candidates without one, in sorted rows of two: position, candidate.
    pub plain: Words,
    /// The expressions on paths, combined into as few tables as possible.
    pub joint: Cow<'static, [Joint]>,
}

/// The verdict of a route on a request whose path matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteVerdict {
    /// All of its matchers match.
    Yes,
    /// A matcher does not match.
    No,
    /// Only the method does not match; the route has these methods.
    OtherMethod(MethodSet),
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteLookup {
    /// A route, with its captures.
    Route(RouteId, Captures),
    /// No route for the method; others match with these methods (405).
    OtherMethod(MethodSet),
    /// No route (404).
    Nothing,
}

/// The methods that are allowed for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MethodSet {
    /// Bits as in [`Methods`].
    pub mask: u16,
}

impl MethodSet {
    /// Returns a route's methods. Unregistered methods don't fit into the mask and are omitted from `Allow`.
    pub fn of(methods: &Methods) -> MethodSet {
        MethodSet { mask: methods.mask }
    }

    /// Returns the value of `Allow`.
    pub fn allow(self) -> String {
        let methods = Methods { mask: self.mask, others: Cow::Borrowed(&[]) };
        methods.names().collect::<Vec<_>>().join(", ")
    }
}

impl Tables {
    /// Returns the root of the site for a normalized host on a listener; its number is the [`SiteId`]. One probe, and
    /// one per label if there are wildcards.
    pub fn site(&self, listener: u32, host: &str) -> Option<Node> {
        if let Some(root) = self.hosts.get(listener, host.as_bytes()) {
            return Some(Node(root));
        }
        if self.wildcards {
            // `*.example.com` matches one or more labels: the longest declared suffix wins.
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

    /// Returns the route of a site, given its root, for a normalized path. `ask` is called for each candidate in order of precedence
    /// and may set further captures. No allocation.
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
    /// Returns the next position and candidate of an expression, from a position on; the rows belong to one joint
    /// table.
    fn matching(&self, Range { start, end }: Range<u32>, wanted: [u32; 3]) -> Option<[u32; 2]> {
        let row = |at: u32| self.expressions.row::<4>(at as usize);
        let below = |[table, expression, position, _]: [u32; 4]| [table, expression, position] < wanted;
        // If a leaf has all expressions of a table, each once, the row's index follows from the expression's number.
        let guess = start.wrapping_add(wanted[1].wrapping_sub(row(start)[1]));
        let lucky = (start..end).contains(&guess) && !below(row(guess)) && (guess == start || below(row(guess - 1)));
        let found = if lucky { guess } else { self.expressions.lower_bound(start, end, below) };
        let [_, expression, position, candidate] = row(found);
        (found < end && expression == wanted[1]).then_some([position, candidate])
    }
}

/// Returns the scope of wildcard suffixes on a listener.
pub const fn wildcard_scope(listener: u32) -> u32 {
    listener | WILDCARD
}

/// The most joint tables whose results are cached during a lookup; sites usually have one or two.
const CACHED: usize = 8;

struct Search<'a, F> {
    tables: &'a Tables,
    path: &'a str,
    captures: Captures,
    missed: Option<MethodSet>,
    /// The result of each joint table, once it was computed.
    ends: [Option<End>; CACHED],
    ask: &'a mut F,
}

impl<F: FnMut(RouteId, &mut Captures) -> RouteVerdict> Search<'_, F> {
    /// `start` is the beginning of the next segment: after its slash, or one past the end of the path. The recursion is
    /// as deep as the longest pattern of the site, which the compiler limits.
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

    /// Returns the child for a case-insensitive segment.
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

    /// Returns the next position from `from` on, and its candidate, which has no expression, or a matching one. Costs a
    /// search per matching expression, however many routes a leaf has.
    fn next(&mut self, &[start, end, plain, plain_end]: &[u32; 4], from: u32) -> Option<[u32; 2]> {
        let tables = self.tables;
        let first = tables.plain.lower_bound::<2>(plain, plain_end, |[position, _]| position < from);
        let mut best = (first < plain_end).then(|| tables.plain.row(first as usize));
        let table_of = |at: u32| tables.expressions.row::<4>(at as usize)[0];
        let mut at = start;
        while at < end {
            let table = table_of(at);
            // Usually one table contains them all.
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
