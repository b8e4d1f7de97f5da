//! From host and path to route: the look-up over a site's perfect-hash tables, and what the look-up binds.
//!
//! Pure, on the hot path. No allocation: a host costs one probe (and one per label where wildcards are declared), an
//! exact path one probe, a pattern one probe per segment, however many routes there are.
//! The tables are made by the compiler's pass `lower`, which puts the candidates of one pattern in order of precedence.
//!
//! Precedence, segment by segment: literal, then `{name}`, then `*`. A branch whose routes all decline is left again
//! for the next one, so a route's matchers never hide a less specific route.

use std::borrow::Cow;

use phf_shared::PhfHash;

use crate::site::Methods;

/// An index into [`crate::site::Site::routes`].
pub type RouteId = u32;

/// An index into [`crate::site::Site::sites`].
pub type SiteId = u32;

/// Stands for "none" in the tables.
pub const NONE: u32 = u32::MAX;

/// The bit of a leaf that is a single route.
pub const ONLY: u32 = 1 << 31;

/// The most names a pattern and a `path-regex` may bind together.
pub const MAX_CAPTURES: usize = 16;

/// The scope bit that separates wildcard suffixes from exact hosts.
const WILDCARD: u32 = 1 << 31;

/// Everything the look-up needs.
#[derive(Debug, Clone)]
pub struct Tables {
    /// (listener, host) to site; wildcard suffixes stand under [`wildcard_scope`].
    pub hosts: Table,
    /// Per listener: the site that takes any host, or [`NONE`].
    pub any_host: Cow<'static, [u32]>,
    /// Whether any listener has a wildcard host, so that the others never look.
    pub wildcards: bool,
    /// (site, path) to leaf, for paths without captures and without `*`.
    pub exact: Table,
    /// (node, segment) to node, for all other patterns.
    pub segments: Table,
    /// The nodes; that of a site's root is its [`SiteId`].
    pub nodes: Cow<'static, [Node]>,
    /// The leaves of several routes: `start..end` of `candidates`. A leaf of one route is that route, with [`ONLY`] set.
    pub leaves: Cow<'static, [(u32, u32)]>,
    /// The routes of each leaf, in order of precedence.
    pub candidates: Cow<'static, [RouteId]>,
}

/// A place in the tree of patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Whether the segment table has children of this node.
    pub literals: bool,
    /// The child for `{name}`, or [`NONE`].
    pub capture: u32,
    /// The leaf of patterns that end here, or [`NONE`].
    pub leaf: u32,
    /// The leaf of patterns that go on with `*`, or [`NONE`].
    pub rest: u32,
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
        self.any_host.get(listener as usize).copied().filter(|&site| site != NONE)
    }

    /// The route of a site for a path in normal form. `ask` is called for each candidate in order of precedence and
    /// may bind captures of its own. No allocation.
    pub fn route(&self, site: SiteId, path: &str, mut ask: impl FnMut(RouteId, &mut Captures) -> Verdict) -> Found {
        let mut search = Search { tables: self, path, captures: Captures::default(), missed: None, ask: &mut ask };
        let exact = self.exact.get(site, path.as_bytes());
        let found = exact.and_then(|leaf| search.leaf(leaf)).or_else(|| search.node(site, 1, 0));
        match (found, search.missed) {
            (Some(route), _) => Found::Route(route, search.captures),
            (None, Some(methods)) => Found::OtherMethod(methods),
            (None, None) => Found::Nothing,
        }
    }

    /// The routes of a leaf that has several, in order of precedence.
    fn candidates(&self, leaf: u32) -> &[RouteId] {
        let (start, end) = self.leaves.get(leaf as usize).copied().unwrap_or_default();
        self.candidates.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// The scope of wildcard suffixes on a listener.
pub const fn wildcard_scope(listener: u32) -> u32 {
    listener | WILDCARD
}

struct Search<'a, F> {
    tables: &'a Tables,
    path: &'a str,
    captures: Captures,
    missed: Option<MethodSet>,
    ask: &'a mut F,
}

impl<F: FnMut(RouteId, &mut Captures) -> Verdict> Search<'_, F> {
    /// `start` is where the next segment begins: behind its slash, or one past the end of the path.
    /// Recursion is as deep as the longest pattern of the site, which the compiler bounds.
    fn node(&mut self, node: u32, start: usize, depth: usize) -> Option<RouteId> {
        let here = *self.tables.nodes.get(node as usize)?;
        if start > self.path.len() {
            return self.leaf(here.leaf).or_else(|| self.rest(here.rest, start, depth));
        }
        let rest = &self.path[start..];
        let end = start + rest.find('/').unwrap_or(rest.len());
        if here.literals
            && let Some(child) = self.tables.segments.get(node, &self.path.as_bytes()[start..end])
            && let Some(route) = self.node(child, end + 1, depth)
        {
            return Some(route);
        }
        if here.capture != NONE && end > start {
            self.captures.bind(depth, start, end);
            if let Some(route) = self.node(here.capture, end + 1, depth + 1) {
                return Some(route);
            }
        }
        self.rest(here.rest, start, depth)
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
        self.tables.candidates(leaf).iter().find_map(|&route| self.candidate(route))
    }

    fn candidate(&mut self, route: RouteId) -> Option<RouteId> {
        match (self.ask)(route, &mut self.captures) {
            Verdict::Yes => return Some(route),
            Verdict::No => {}
            Verdict::OtherMethod(methods) => self.missed.get_or_insert_default().mask |= methods.mask,
        }
        None
    }
}

/// A minimal perfect hash table from (scope, text) to a number, as `phf_generator` lays it out (CHD).
///
/// All keys stand in one string and all numbers in flat arrays: rustc takes 100,000 of these in a fraction of the
/// time and memory that as many tuples of `&str` cost.
#[derive(Debug, Clone)]
pub struct Table {
    /// The seed of the hash.
    pub seed: u64,
    /// Displacements.
    pub disps: Cow<'static, [(u32, u32)]>,
    /// The entries, in the hash's order.
    pub slots: Cow<'static, [Slot]>,
    /// The keys' text, one after the other.
    pub text: Cow<'static, str>,
}

/// An entry of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// First half of the key.
    pub scope: u32,
    /// Second half of the key: where it starts in `text`.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
    /// What it maps to.
    pub value: u32,
}

/// A key of a [`Table`]; both sides hash it through this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// Listener, site or node.
    pub scope: u32,
    /// Host, path or segment.
    pub text: &'a [u8],
}

impl PhfHash for Key<'_> {
    fn phf_hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u32(self.scope);
        state.write(self.text);
    }
}

impl Table {
    /// A table without entries.
    pub const EMPTY: Table =
        Table { seed: 0, disps: Cow::Borrowed(&[]), slots: Cow::Borrowed(&[]), text: Cow::Borrowed("") };

    /// The value of a key: one hash, one comparison.
    pub fn get(&self, scope: u32, text: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hashes = phf_shared::hash(&Key { scope, text }, &self.seed);
        let index = phf_shared::get_index(&hashes, &self.disps, self.slots.len());
        let slot = self.slots.get(index as usize)?;
        let key = self.text.as_bytes().get(slot.start as usize..(slot.start + slot.len) as usize)?;
        (slot.scope == scope && key == text).then_some(slot.value)
    }
}
