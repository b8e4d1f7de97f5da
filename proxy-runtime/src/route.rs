//! From host and path to route: the look-up over a site's perfect-hash tables, and what the look-up binds.
//!
//! Pure, on the hot path. No allocation: a host costs one probe (and one per label where wildcards are declared), an
//! exact path one probe, a pattern one probe per segment, however many routes there are. Expressions on paths cost one
//! walk over the path for all of them together (see [`Joint`]).
//! The tables are made by the compiler's pass `lower`, which puts the candidates of one pattern in order of precedence.
//!
//! Precedence, segment by segment: literal, then `{name}`, then `*`. A branch whose routes all decline is left again
//! for the next one, so a route's matchers never hide a less specific route.

use std::borrow::Cow;
use std::ops::Range;

use crate::regex::{End, Joint};
use crate::site::Methods;
pub use crate::table::NONE;
use crate::table::{Table, Words};

/// An index into [`crate::site::Site::routes`].
pub type RouteId = u32;

/// An index into [`crate::site::Site::sites`].
pub type SiteId = u32;

/// The bit of a leaf that is a single route.
pub const ONLY: u32 = 1 << 31;

/// The bit of a candidate (of such a leaf, too) that takes any request that gets to it: nothing is left to ask.
pub const ALWAYS: u32 = 1 << 30;

/// The most names a pattern and a `path-regex` may bind together.
pub const MAX_CAPTURES: usize = 16;

/// The scope bit that separates wildcard suffixes from exact hosts.
const WILDCARD: u32 = 1 << 31;

/// Everything the look-up needs.
#[derive(Debug)]
pub struct Tables {
    /// (listener, host) to site; wildcard suffixes stand under [`wildcard_scope`].
    pub hosts: Table,
    /// Per listener: the site that takes any host, or [`NONE`].
    pub any_host: Words,
    /// Whether any listener has a wildcard host, so that the others never look.
    pub wildcards: bool,
    /// (site, path) to leaf, for paths without captures and without `*`.
    pub exact: Table,
    /// (node, segment) to node, for all other patterns.
    pub segments: Table,
    /// The places in the tree of patterns, rows of four: whether the segment table has children of it (1 or 0), the child
    /// for `{name}`, the leaf of patterns that end here, the leaf of patterns that go on with `*`. The first rows are the
    /// sites' roots, by [`SiteId`].
    pub nodes: Words,
    /// The leaves that are not a single route (that is a leaf with [`ONLY`] set, and perhaps [`ALWAYS`]), rows of six: `start..end` in
    /// `candidates`, in `expressions`, and in `plain`.
    pub leaves: Words,
    /// The routes of each leaf, in order of precedence; with [`ALWAYS`] set where it holds.
    pub candidates: Words,
    /// The candidates with an expression on the path, rows of three, sorted: joint table, number of the expression in
    /// it, position among the leaf's candidates.
    pub expressions: Words,
    /// The positions of those without.
    pub plain: Words,
    /// The expressions on paths, put together in as few tables as they fit into.
    pub joint: Cow<'static, [Joint]>,
}

/// What a route says to a request whose path it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All its matchers hold.
    Yes,
    /// A matcher does not hold.
    No,
    /// All but the method; these it would take.
    OtherMethod(MethodSet),
}

/// The outcome of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
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

/// What a pattern bound: ranges of the path. At most [`MAX_CAPTURES`]; lives on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Captures {
    slots: [(u16, u16); MAX_CAPTURES],
}

impl Captures {
    /// Binds a slot. A path is never longer than `u16::MAX` (the parser refuses longer targets), a slot never above
    /// [`MAX_CAPTURES`] (the compiler refuses such patterns); what is out of range stays unbound.
    pub fn bind(&mut self, slot: usize, start: usize, end: usize) {
        if let (Some(slot), Ok(start), Ok(end)) = (self.slots.get_mut(slot), u16::try_from(start), u16::try_from(end)) {
            *slot = (start, end);
        }
    }

    /// The text of a slot; "" where it is not bound.
    pub fn get<'a>(&self, slot: usize, path: &'a str) -> &'a str {
        let (start, end) = self.slots.get(slot).copied().unwrap_or_default();
        path.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }
}

impl Tables {
    /// The site for a host in normal form on a listener. One probe, and one per label with wildcards.
    pub fn site(&self, listener: u32, host: &str) -> Option<SiteId> {
        if let Some(site) = self.hosts.get(listener, host.as_bytes()) {
            return Some(site);
        }
        if self.wildcards {
            // `*.example.com` stands for one or more labels: the longest declared suffix wins.
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(site) = self.hosts.get(wildcard_scope(listener), suffix.as_bytes()) {
                    return Some(site);
                }
                rest = suffix;
            }
        }
        Some(self.any_host.get(listener as usize)).filter(|&site| site != NONE)
    }

    /// The route of a site for a path in normal form. `ask` is called for each candidate in order of precedence and
    /// may bind captures of its own. No allocation.
    pub fn route(&self, site: SiteId, path: &str, mut ask: impl FnMut(RouteId, &mut Captures) -> Verdict) -> Found {
        let mut search = Search {
            tables: self,
            path,
            captures: Captures::default(),
            missed: None,
            ends: [None; CACHED],
            ask: &mut ask,
        };
        let exact = self.exact.get(site, path.as_bytes());
        let found = exact.and_then(|leaf| search.leaf(leaf)).or_else(|| search.node(site, 1, 0));
        match (found, search.missed) {
            (Some(route), _) => Found::Route(route, search.captures),
            (None, Some(methods)) => Found::OtherMethod(methods),
            (None, None) => Found::Nothing,
        }
    }
}

impl Tables {
    /// The position in the first row of `expressions`, within a range of one joint table, that is not before `wanted`, if
    /// it is of the expression wanted.
    fn position(&self, Range { start, end }: Range<u32>, wanted: [u32; 3]) -> Option<u32> {
        let row = |at: u32| self.expressions.row::<3>(at as usize);
        // Where a leaf has all of a table's expressions, each once, the row is where its number says.
        let guess = start.wrapping_add(wanted[1].wrapping_sub(row(start)[1]));
        let lucky =
            (start..end).contains(&guess) && row(guess) >= wanted && (guess == start || row(guess - 1) < wanted);
        let found = if lucky { guess } else { self.expressions.lower_bound(start, end, |row| row < wanted) };
        let [_, expression, position] = row(found);
        (found < end && expression == wanted[1]).then_some(position)
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

impl<F: FnMut(RouteId, &mut Captures) -> Verdict> Search<'_, F> {
    /// `start` is where the next segment begins: behind its slash, or one past the end of the path.
    /// Recursion is as deep as the longest pattern of the site, which the compiler bounds.
    fn node(&mut self, node: u32, start: usize, depth: usize) -> Option<RouteId> {
        let [literals, capture, leaf, goes_on] = self.tables.nodes.row(node as usize);
        if start > self.path.len() {
            return self.leaf(leaf).or_else(|| self.rest(goes_on, start, depth));
        }
        let rest = &self.path[start..];
        let end = start + rest.find('/').unwrap_or(rest.len());
        if literals == 1
            && let Some(child) = self.tables.segments.get(node, &self.path.as_bytes()[start..end])
            && let Some(route) = self.node(child, end + 1, depth)
        {
            return Some(route);
        }
        if capture != NONE && end > start {
            self.captures.bind(depth, start, end);
            if let Some(route) = self.node(capture, end + 1, depth + 1) {
                return Some(route);
            }
        }
        self.rest(goes_on, start, depth)
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
        while let Some(position) = self.next(&leaf, from) {
            let route = self.tables.candidates.get(leaf[0] as usize + position as usize);
            if let Some(route) = self.candidate(route) {
                return Some(route);
            }
            from = position + 1;
        }
        None
    }

    /// The next position from `from` on whose route has no expression, or one that matches. However many routes a leaf
    /// has: a search per expression that matches the path.
    fn next(&mut self, &[_, _, start, end, plain, plain_end]: &[u32; 6], from: u32) -> Option<u32> {
        let tables = self.tables;
        let first = tables.plain.lower_bound::<1>(plain, plain_end, |[position]| position < from);
        let mut best = (first < plain_end).then(|| tables.plain.get(first as usize));
        let mut at = start;
        while at < end {
            let table = tables.expressions.row::<3>(at as usize)[0];
            let others = tables.expressions.lower_bound(at, end, |row: [u32; 3]| row[0] <= table);
            let Some(joint) = tables.joint.get(table as usize) else { break };
            let reached = self.end(table as usize, joint);
            for expression in joint.matched(reached) {
                if let Some(position) = tables.position(at..others, [table, expression, from]) {
                    best = Some(best.map_or(position, |best| best.min(position)));
                }
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
            Verdict::Yes => return Some(route),
            Verdict::No => {}
            Verdict::OtherMethod(methods) => self.missed.get_or_insert_default().mask |= methods.mask,
        }
        None
    }
}
