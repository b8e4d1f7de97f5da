//! Finds settings without effect: prefixes and expressions that no path of a route matches, priorities that decide nothing, fields that
//! a later line overwrites. Whether a setting has an effect is often known only when all of its routes have been checked (a preset's
//! `rewrite`, a route's patterns), so it is recorded where it is written, and reported at the end if it never had one.

use super::Check;
use super::overlap::{Proof, Relation};
use crate::ast::Pattern;
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{Span, Spanned};

/// Settings that may have no effect.
#[derive(Default)]
pub(crate) struct Effects {
    found: Vec<Effect>,
    /// The conditions of routes on their paths, beside their patterns.
    paths: Vec<PathUse>,
    /// The priorities of routes, by the spans of their patterns.
    priorities: Vec<(Span, usize)>,
    /// Whether a route was left out, as it has errors: what others do beside it is not known.
    lacks_routes: bool,
}

struct Effect {
    at: Span,
    acts: bool,
    judged_by: JudgedBy,
    diagnostic: Diagnostic,
}

/// What decides whether a setting has an effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JudgedBy {
    /// The routes that have it.
    OwnRoutes,
    /// Other routes, too.
    AllRoutes,
}

struct PathUse {
    route: Span,
    effect: usize,
    paths: Paths,
    /// Whether the route is among those of its site, and was looked at.
    judged: bool,
}

/// The paths that a setting affects.
pub(crate) enum Paths {
    /// All paths at and below a prefix.
    Below(Pattern),
    /// All paths that an expression matches.
    Matching(String),
}

impl Effects {
    /// Returns the index of the setting at a span; several routes may share it.
    fn number(&mut self, at: Span, judged_by: JudgedBy, diagnostic: impl FnOnce() -> Diagnostic) -> usize {
        self.found.iter().position(|effect| effect.at == at).unwrap_or_else(|| {
            self.found.push(Effect { at, acts: false, judged_by, diagnostic: diagnostic() });
            self.found.len() - 1
        })
    }
}

impl Check<'_> {
    /// Records the paths that a setting of a route affects.
    pub(crate) fn note_paths(&mut self, route: Span, at: Span, paths: Paths, idle: impl FnOnce() -> Diagnostic) {
        let effect = self.effects.number(at, JudgedBy::OwnRoutes, idle);
        self.effects.paths.push(PathUse { route, effect, paths, judged: false });
    }

    /// Notes whether what is written at a place acts on what is being checked.
    pub(crate) fn note_act(&mut self, at: Span, acts: bool, idle: impl FnOnce() -> Diagnostic) {
        let effect = self.effects.number(at, JudgedBy::AllRoutes, idle);
        self.effects.found[effect].acts |= acts;
    }

    /// Notes that a route is left out, as it has errors.
    pub(crate) fn note_lost_route(&mut self) {
        self.effects.lacks_routes = true;
    }

    /// Records that a route has a priority.
    pub(crate) fn note_priority(&mut self, pattern: &Spanned<Pattern>, priority: Option<&Spanned<i64>>) {
        let Some(priority) = priority.filter(|priority| priority.value != 0) else { return };
        let help = self.without(priority.span, "priority");
        let effect = self.effects.number(priority.span, JudgedBy::AllRoutes, || {
            let message = "this priority has no effect: no other route with the same pattern matches the same requests";
            Diagnostic::lint("idle-priority", message, priority.span)
                .help("routes with different patterns are ordered by their patterns, whatever their priorities")
                .maybe_help(help)
        });
        self.effects.priorities.push((pattern.span, effect));
    }

    /// Finds out which of the recorded settings affect the routes of a site, whose `groups` have one pattern each.
    pub(crate) fn note_effects(&mut self, proof: &Proof<'_>, groups: &[Vec<usize>]) {
        for noted in &mut self.effects.paths {
            let effect = &mut self.effects.found[noted.effect];
            let Some(index) = proof.routes.iter().position(|route| route.span == noted.route) else { continue };
            noted.judged = true;
            if effect.acts {
                continue;
            }
            let paths = match &noted.paths {
                Paths::Below(pattern) => Some(proof.requests.below(pattern)),
                Paths::Matching(regex) => proof.requests.matching(regex),
            };
            let none = paths.is_some_and(|paths| {
                proof.sound[index]
                    && matches!(proof.requests.example(&[&proof.formulas[index], &paths], None), Ok(None))
            });
            effect.acts |= !none;
        }
        for &(route, effect) in &self.effects.priorities {
            let Some(index) = proof.routes.iter().position(|found| found.span == route) else { continue };
            let alone = groups.iter().find(|group| group.contains(&index)).is_none_or(|group| {
                // If there are many with one pattern, pairs are not proved.
                group.len() <= MAX_COMPARED
                    && group
                        .iter()
                        .all(|&other| other == index || matches!(proof.relation(index, other), Ok(Relation::Disjoint)))
            });
            self.effects.found[effect].acts |= !alone || !proof.sound[index];
        }
    }

    /// Reports settings that never have an effect.
    pub(crate) fn report_effects(&mut self) {
        let Effects { mut found, paths, lacks_routes, .. } = std::mem::take(&mut self.effects);
        for noted in paths.iter().filter(|noted| !noted.judged) {
            found[noted.effect].acts = true;
        }
        for effect in found {
            let is_known = !lacks_routes || effect.judged_by == JudgedBy::OwnRoutes;
            if is_known && !effect.acts {
                self.report.add(effect.diagnostic);
            }
        }
    }

    /// Proposes to remove a property, written as `name=value`.
    pub(crate) fn without(&self, value: Span, name: &str) -> Option<Help> {
        let text = self.sources.text(value.file);
        let before = text.get(..value.start as usize)?.strip_suffix(&format!("{name}="))?;
        let start = before.trim_end_matches([' ', '\t']).len() as u32;
        let edit = Edit { at: Span { start, ..value }, text: String::new() };
        Some(Help::told(format!("leave {name}= out"), vec![edit]))
    }
}

/// The most routes of the same pattern that a route is compared with.
const MAX_COMPARED: usize = 64;
