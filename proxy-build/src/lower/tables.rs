//! The lookup tables of hosts and paths: the tree of patterns, and its perfect hashes.

use std::collections::{BTreeMap, HashMap};

use proxy_runtime::router::route::{ALWAYS, ANY_CASE, LITERALS, NONE, ONLY, RouteId, Tables, wildcard_scope};
use proxy_runtime::router::table::{Table, TableKey};
use proxy_runtime::site::Methods;

use crate::check::overlap;
use crate::joint::JointTables;
use crate::model;
use crate::pattern::{HostPattern, Segment};

/// Builds the tables of a model; routes are numbered in the order of sites and their routes.
pub(super) fn build(model: &model::Site) -> Tables {
    let mut tree = Tree { nodes: vec![EMPTY; model.hosts.len()], ..Tree::new(&model.joined) };
    let mut first = 0;
    for (site, host) in model.hosts.iter().enumerate() {
        tree.add_site(site as u32, host, first);
        first += host.routes.len() as u32;
    }
    let mut any_host = vec![[NONE; 4]; model.listeners.len()];
    let mut hosts = Vec::new();
    for (site, host) in model.hosts.iter().enumerate() {
        let root = tree.row(site as u32);
        for &listener in &host.listeners {
            for pattern in &host.hosts {
                match pattern {
                    HostPattern::Exact(name) => hosts.push((listener as u32, name.as_str(), root)),
                    HostPattern::Wildcard(suffix) => {
                        hosts.push((wildcard_scope(listener as u32), suffix.as_str(), root))
                    }
                    HostPattern::Any => any_host[listener] = root,
                }
            }
        }
    }
    let wildcards =
        model.hosts.iter().any(|host| host.hosts.iter().any(|host| matches!(host, HostPattern::Wildcard(_))));
    let segments = tree.segments.iter().map(|(scope, text, node)| (*scope, text.as_str(), tree.row(*node))).collect();
    let exact = tree.exact.iter().map(|(site, path, leaf)| (*site, path.as_str(), [*leaf])).collect();
    Tables {
        hosts: table(hosts),
        any_host: any_host.into_iter().flatten().collect(),
        wildcards,
        exact: table(exact),
        segments: table(segments),
        captures: tree.captures.iter().flat_map(|&node| tree.row(node)).collect(),
        leaves: tree.leaves.into_iter().flatten().collect(),
        expressions: tree.expressions.into_iter().flatten().collect(),
        plain: tree.plain.into_iter().flatten().collect(),
        joint: model.joined.tables.clone().into(),
    }
}

/// A node of the tree of patterns.
#[derive(Clone, Copy)]
struct TreeNode {
    literals: bool,
    any_case: bool,
    /// The index of the child for `{name}` in [`Tree::captures`].
    capture: u32,
    leaf: u32,
    rest: u32,
}

const EMPTY: TreeNode = TreeNode { literals: false, any_case: false, capture: NONE, leaf: NONE, rest: NONE };

/// The tree of all sites' patterns under construction; a site's root is the node of its own number.
struct Tree<'m> {
    nodes: Vec<TreeNode>,
    children: HashMap<(u32, String), u32>,
    exact: Vec<(u32, String, u32)>,
    segments: Vec<(u32, String, u32)>,
    /// The nodes for `{name}`.
    captures: Vec<u32>,
    joined: &'m JointTables,
    leaves: Vec<[u32; 4]>,
    expressions: Vec<[u32; 4]>,
    plain: Vec<[u32; 2]>,
}

impl<'m> Tree<'m> {
    fn new(joined: &'m JointTables) -> Tree<'m> {
        Tree {
            nodes: Vec::new(),
            children: HashMap::new(),
            exact: Vec::new(),
            segments: Vec::new(),
            captures: Vec::new(),
            joined,
            leaves: Vec::new(),
            expressions: Vec::new(),
            plain: Vec::new(),
        }
    }

    fn add_site(&mut self, site: u32, host: &model::Host, first: u32) {
        // One leaf per shape of pattern; sorted by text, so that the same site produces the same tables.
        let mut by_shape: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, route) in host.routes.iter().enumerate() {
            by_shape.entry(overlap::shape(route)).or_default().push(index);
        }
        for mut group in by_shape.into_values() {
            group.sort_by_key(|&index| host.routes[index].rank);
            let leaf = self.leaf(host, first, &group);
            self.add_pattern(site, &host.routes[group[0]].pattern, leaf);
        }
    }

    fn leaf(&mut self, host: &model::Host, first: u32, group: &[usize]) -> u32 {
        if let [only] = group
            && host.routes[*only].expression().0.is_none()
        {
            return candidate(&host.routes[*only], first + *only as u32) | ONLY;
        }
        let sizes = |tree: &Tree<'_>| [tree.expressions.len() as u32, tree.plain.len() as u32];
        let starts = sizes(self);
        for (position, &index) in (0..).zip(group) {
            let candidate = candidate(&host.routes[index], first + index as u32);
            match host.routes[index].expression().0 {
                Some(pattern) => {
                    let (table, number) = self.joined.places[pattern];
                    self.expressions.push([table, number, position, candidate]);
                }
                None => self.plain.push([position, candidate]),
            }
        }
        self.expressions[starts[0] as usize..].sort_unstable();
        let ends = sizes(self);
        self.leaves.push([starts[0], ends[0], starts[1], ends[1]]);
        self.leaves.len() as u32 - 1
    }

    fn add_pattern(&mut self, site: u32, pattern: &crate::pattern::Pattern, leaf: u32) {
        if pattern.segments.iter().all(|segment| matches!(segment, Segment::Literal(_))) {
            self.exact.push((site, pattern.text.clone(), leaf));
            return;
        }
        let mut node = site;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => {
                    self.nodes[node as usize].literals = true;
                    self.text(node, text)
                }
                Segment::AnyCase(text) => {
                    self.nodes[node as usize].any_case = true;
                    self.text(node | ANY_CASE, text)
                }
                Segment::Capture(_) => self.capture(node),
                Segment::Rest => {
                    self.nodes[node as usize].rest = leaf;
                    return;
                }
            };
        }
        self.nodes[node as usize].leaf = leaf;
    }

    /// Returns the node that a text leads to, in a scope of the segment table.
    fn text(&mut self, scope: u32, text: &str) -> u32 {
        if let Some(&child) = self.children.get(&(scope, text.to_owned())) {
            return child;
        }
        let child = self.node();
        self.children.insert((scope, text.to_owned()), child);
        self.segments.push((scope, text.to_owned(), child));
        child
    }

    fn capture(&mut self, node: u32) -> u32 {
        if self.nodes[node as usize].capture == NONE {
            let child = self.node();
            self.nodes[node as usize].capture = self.captures.len() as u32;
            self.captures.push(child);
        }
        self.captures[self.nodes[node as usize].capture as usize]
    }

    /// Returns the runtime's form of a node.
    fn row(&self, node: u32) -> [u32; 4] {
        let TreeNode { literals, any_case, capture, leaf, rest } = self.nodes[node as usize];
        let bit = |is: bool, bit: u32| if is { bit } else { 0 };
        [node | bit(literals, LITERALS) | bit(any_case, ANY_CASE), capture, leaf, rest]
    }

    fn node(&mut self) -> u32 {
        self.nodes.push(EMPTY);
        self.nodes.len() as u32 - 1
    }
}

/// Returns a route as a candidate: whether it has further conditions, once path and expression match.
fn candidate(route: &model::Route, id: RouteId) -> u32 {
    let nothing_left = route.methods == Methods::ANY && route.expression().1.is_empty();
    id | if nothing_left { ALWAYS } else { 0 }
}

/// Builds the perfect hash table of distinct keys.
pub(crate) fn table<const N: usize>(entries: Vec<(u32, &str, [u32; N])>) -> Table<N> {
    if entries.is_empty() {
        return Table::EMPTY;
    }
    let keys: Vec<_> =
        entries.iter().map(|(scope, text, _)| TableKey { scope: *scope, text: text.as_bytes() }).collect();
    let hash = phf_generator::generate_hash(&keys);
    let disps = hash.disps.iter().flat_map(|(d1, d2)| [*d1, *d2]).collect();
    Table::from_entries(hash.key, disps, hash.map.iter().map(|&index| entries[index]))
}
