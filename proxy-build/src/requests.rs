//! Sets of requests, and proofs about them: whether a request reaches both of two routes, whether one set contains another, and an
//! example request ([`Requests::example`]).
//!
//! A route's set is a [`Formula`] over path, method, client, header fields, parameters and cookies. A question is a
//! conjunction of formulas, one of which may be negated: it is split into [`cube::Cube`]s (conjunctions of atomic
//! facts), each of which either has an example request or none. The semantics are exactly those of the runtime: fields
//! may occur several times, one matching value suffices, and paths are normalized. Everything is bounded; a question
//! that can't be decided within bounds is [`Undecided`].

mod cube;
mod formula;
mod language;
mod networks;

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use proxy_runtime::protocol::canonical;
use proxy_runtime::site::NormalForm;

use crate::expression::TableCache;
use crate::model::{Example, Route};
use crate::pattern::{HostPattern, Pattern, Segment};
use cube::Cube;
pub(crate) use formula::Formula;
use language::Language;
pub(crate) use language::Undecided;

/// The most cubes of one question.
const MAX_CUBES: usize = 4096;

/// Answers questions about one site, with cached intermediate results.
pub(crate) struct Requests {
    host: String,
    form: NormalForm,
    made: Rc<TableCache>,
    /// Languages that contain all paths, and languages that contain none.
    paths: (Vec<Language>, Vec<Language>),
    /// Languages that contain no field value.
    values: Vec<Language>,
    /// A segment that does not occur in the site's patterns.
    fresh: String,
    literals: HashSet<String>,
    deepest: usize,
}

impl Requests {
    /// For the routes of a site.
    pub(crate) fn new(made: Rc<TableCache>, hosts: &[HostPattern], form: NormalForm, routes: &[Route]) -> Requests {
        let host = match hosts.first() {
            Some(HostPattern::Exact(host)) => host.clone(),
            Some(HostPattern::Wildcard(suffix)) => format!("www.{suffix}"),
            Some(HostPattern::Any) | None => "example.com".to_owned(),
        };
        let literals: HashSet<String> = routes
            .iter()
            .flat_map(|route| &route.pattern.segments)
            .filter_map(|segment| match segment {
                Segment::Literal(text) | Segment::AnyCase(text) => Some(text.clone()),
                _ => None,
            })
            .collect();
        let fresh = ["x", "y", "z"].map(str::to_owned).into_iter().chain((0..).map(|n| format!("x{n}")));
        let mut requests = Requests {
            host,
            form,
            made,
            paths: (Vec::new(), Vec::new()),
            values: Vec::new(),
            fresh: fresh.into_iter().find(|word| !literals.contains(word)).unwrap_or_default(),
            literals,
            deepest: routes.iter().map(|route| route.pattern.segments.len()).max().unwrap_or(0),
        };
        let mut not = vec![requests.table("/[.]{1,2}(?:/|$)")];
        if form.merge_slashes {
            not.push(requests.table("//"));
        }
        requests.paths = (vec![requests.table(&canonical_form(form))], not);
        requests.values = vec![requests.table("^[ \t]|[ \t]$")];
        requests
    }

    /// Returns a request for which all of `hold` are true and `fails`, if given, is false.
    ///
    /// # Errors
    /// Fails if this can't be decided within bounds.
    pub(crate) fn example(&self, hold: &[&Formula], fails: Option<&Formula>) -> Result<Option<Example>, Undecided> {
        self.avoiding(hold, fails, |_| None)
    }

    /// Like [`Requests::example`], but excludes requests for which `taken` returns a formula: that formula must be
    /// false, too.
    ///
    /// # Errors
    /// See [`Requests::example`].
    pub(crate) fn avoiding<'a>(
        &self,
        hold: &[&'a Formula],
        fails: Option<&'a Formula>,
        mut taken: impl FnMut(&Example) -> Option<&'a Formula>,
    ) -> Result<Option<Example>, Undecided> {
        let mut open: Vec<(&Formula, bool)> = hold.iter().map(|formula| (*formula, true)).collect();
        open.extend(fails.map(|formula| (formula, false)));
        open.reverse();
        let fuel = Cell::new(MAX_CUBES);
        self.search(Cube::default(), open, &fuel, &mut taken)
    }

    fn search<'a>(
        &self,
        mut cube: Cube<'a>,
        mut open: Vec<(&'a Formula, bool)>,
        fuel: &Cell<usize>,
        taken: &mut dyn FnMut(&Example) -> Option<&'a Formula>,
    ) -> Result<Option<Example>, Undecided> {
        loop {
            while let Some((formula, holds)) = open.pop() {
                match (formula, holds) {
                    (Formula::Not(inner), _) => open.push((inner, !holds)),
                    (Formula::All(parts), true) | (Formula::Any(parts), false) => {
                        open.extend(parts.iter().rev().map(|part| (part, holds)));
                    }
                    (Formula::All(parts), false) | (Formula::Any(parts), true) => {
                        return self.branches(&cube, parts, holds, &open, fuel, taken);
                    }
                    (Formula::Atom(atom), _) => cube.add(atom, holds),
                }
            }
            fuel.set(fuel.get().checked_sub(1).ok_or(Undecided)?);
            let Some(example) = cube.example(self)? else { return Ok(None) };
            match taken(&example) {
                None => return Ok(Some(example)),
                Some(formula) => open.push((formula, false)),
            }
        }
    }

    /// Returns the alternatives in which at least one of `parts` has this value.
    fn branches<'a>(
        &self,
        cube: &Cube<'a>,
        parts: &'a [Formula],
        holds: bool,
        open: &[(&'a Formula, bool)],
        fuel: &Cell<usize>,
        taken: &mut dyn FnMut(&Example) -> Option<&'a Formula>,
    ) -> Result<Option<Example>, Undecided> {
        for part in parts {
            let mut open = open.to_vec();
            open.push((part, holds));
            let found = self.search(cube.clone(), open, fuel, taken)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Returns the language of an expression with a table (`check` ensures that there is one); empty otherwise.
    fn table(&self, pattern: &str) -> Language {
        match self.made.table(pattern) {
            Ok(table) => Language::Table(table),
            Err(_) => Language::Exactly("".into()),
        }
    }

    /// Returns the spellings of a parameter's value; usually one.
    fn spellings(&self, value: &str) -> Language {
        let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        match (!plain).then(|| self.made.table(&canonical::spellings(value))) {
            Some(Ok(table)) => Language::Table(table),
            _ => Language::Exactly(value.into()),
        }
    }

    /// Paths of a pattern that no other pattern names, if possible: for `*`, of every length that makes a difference.
    fn plain_paths(&self, pattern: &Pattern) -> Vec<String> {
        let mut start = String::new();
        for segment in &pattern.segments {
            match segment {
                Segment::Literal(text) | Segment::AnyCase(text) => start += &format!("/{text}"),
                Segment::Capture(name) if !self.literals.contains(name) => start += &format!("/{name}"),
                Segment::Capture(_) => start += &format!("/{}", self.fresh),
                Segment::Rest => {}
            }
        }
        if pattern.segments.last() != Some(&Segment::Rest) {
            return vec![if start.is_empty() { "/".to_owned() } else { start }];
        }
        let ends = (1..=self.deepest + 1).map(|depth| start.clone() + &format!("/{}", self.fresh).repeat(depth));
        let bare = if start.is_empty() { "/".to_owned() } else { start.clone() };
        ends.chain([bare]).collect()
    }
}

/// Returns an expression for canonical paths, derived from `proxy_runtime::protocol::canonical` by trying its functions; without dot
/// segments and doubled slashes.
fn canonical_form(form: NormalForm) -> String {
    let single = NormalForm { merge_slashes: false, ..form };
    let stays = |text: &str| canonical::path(text, single).is_ok_and(|path| path == text);
    let escapes: Vec<String> =
        (0..=u8::MAX).map(|byte| format!("%{byte:02X}")).filter(|escape| stays(&format!("/x{escape}"))).collect();
    let raw: String = (b'!'..=b'~')
        .filter(|&byte| byte != b'/' && stays(&format!("/x{}", char::from(byte))))
        .map(|byte| format!(r"\x{byte:02X}"))
        .collect();
    format!(r"^(?:/(?:[{raw}]|{})*)+$", escapes.join("|"))
}
