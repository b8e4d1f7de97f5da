//! What is accepted and could have no effect: prefixes and expressions that no path of a route has, priorities that settle nothing,
//! fields that a later line sets again. Whether something acts is often known only when all of its routes have been looked at (a
//! preset's `rewrite`, a route's patterns), so it is noted where it is written, and reported at the end where it never did.

use super::Check;
use super::overlap::{Proof, Relation};
use crate::ast::{self, HeaderOpKind, Item, Pattern, Segment, What};
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{Span, Spanned};
use crate::syntax::quoted;

/// What may turn out to have no effect.
#[derive(Default)]
pub(crate) struct Effects {
    found: Vec<Effect>,
    /// What routes ask of their paths, beside taking them.
    paths: Vec<PathUse>,
    /// The priorities of routes, by where their patterns stand.
    priorities: Vec<(Span, usize)>,
}

struct Effect {
    at: Span,
    acts: bool,
    diagnostic: Diagnostic,
}

struct PathUse {
    route: Span,
    effect: usize,
    paths: Paths,
}

/// The paths that something acts on.
pub(crate) enum Paths {
    /// Those at and below a prefix.
    Below(Pattern),
    /// Those that an expression matches.
    Matching(String),
}

impl Effects {
    /// The number of what is written at a place; several routes may have it.
    fn number(&mut self, at: Span, diagnostic: impl FnOnce() -> Diagnostic) -> usize {
        self.found.iter().position(|effect| effect.at == at).unwrap_or_else(|| {
            self.found.push(Effect { at, acts: false, diagnostic: diagnostic() });
            self.found.len() - 1
        })
    }
}

impl Check<'_> {
    /// Notes what a route's `rewrite` looks for in paths.
    pub(crate) fn note_rewrite(&mut self, pattern: &Spanned<Pattern>, rewrite: &ast::Rewrite) {
        let route = pattern.span;
        if let Some(prefix) = &rewrite.strip_prefix {
            let segments = prefix.value[1..].split('/').map(|segment| Segment::Literal(segment.to_owned()));
            let below =
                Pattern { text: format!("{}/*", prefix.value), segments: segments.chain([Segment::Rest]).collect() };
            let below = if pattern.value.ignores_case() { below.in_any_case() } else { below };
            let effect = self.effects.number(prefix.span, || {
                let message = format!("`strip-prefix` has no effect: no path that gets here begins with `{prefix}`");
                let literal = literal_start(&pattern.value);
                let help = (!literal.is_empty()).then(|| Help::write(prefix.span, quoted(&literal)));
                Diagnostic::error("no-effect", message, prefix.span)
                    .also(pattern.span, "what gets here")
                    .maybe_help(help)
            });
            self.effects.paths.push(PathUse { route, effect, paths: Paths::Below(below) });
        } else if let (Some(regex), Some(_)) = (&rewrite.regex, &rewrite.replace) {
            let effect = self.effects.number(regex.span, || {
                let message = "`regex` has no effect: it matches no path that gets here";
                Diagnostic::error("no-effect", message, regex.span)
                    .also(pattern.span, "what gets here")
                    .help("it is matched against the whole path, from its first `/` on")
            });
            self.effects.paths.push(PathUse { route, effect, paths: Paths::Matching(regex.value.clone()) });
        }
    }

    /// Notes that a route has a priority.
    pub(crate) fn note_priority(&mut self, pattern: &Spanned<Pattern>, priority: Option<&Spanned<i64>>) {
        let Some(priority) = priority.filter(|priority| priority.value != 0) else { return };
        let help = self.without(priority.span, "priority");
        let effect = self.effects.number(priority.span, || {
            let message = "this priority settles nothing: no other route takes the same requests by a pattern like this one";
            Diagnostic::lint("idle-priority", message, priority.span)
                .help("routes go by their patterns first, the more specific one before the other, whatever their priorities")
                .maybe_help(help)
        });
        self.effects.priorities.push((pattern.span, effect));
    }

    /// Finds out which of all that was noted act on the routes of a site, whose `groups` have one pattern each.
    pub(crate) fn note_effects(&mut self, proof: &Proof<'_>, groups: &[Vec<usize>]) {
        for noted in &self.effects.paths {
            let effect = &mut self.effects.found[noted.effect];
            let Some(index) = proof.routes.iter().position(|route| route.span == noted.route).filter(|_| !effect.acts)
            else {
                continue;
            };
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
                // Of many with one pattern, pairs are not proved.
                group.len() <= MAX_COMPARED
                    && group
                        .iter()
                        .all(|&other| other == index || matches!(proof.relation(index, other), Ok(Relation::Disjoint)))
            });
            self.effects.found[effect].acts |= !alone || !proof.sound[index];
        }
    }

    /// Reports what never acts.
    pub(crate) fn report_effects(&mut self) {
        for effect in std::mem::take(&mut self.effects.found) {
            if !effect.acts {
                self.report.add(effect.diagnostic);
            }
        }
    }

    /// Leaving a property out, where it stands as `name=value`.
    pub(crate) fn without(&self, value: Span, name: &str) -> Option<Help> {
        let text = self.sources.text(value.file);
        let before = text.get(..value.start as usize)?.strip_suffix(&format!("{name}="))?;
        let start = before.trim_end_matches([' ', '\t']).len() as u32;
        let edit = Edit { at: Span { start, ..value }, text: String::new() };
        Some(Help::told(format!("leave {name}= out"), vec![edit]))
    }

    /// Lines of one block that another one of it does away with.
    pub(crate) fn field_lines_act(&mut self, items: &[Item]) {
        let mut seen: Vec<(&str, Done, Span)> = Vec::new();
        for Item { what, .. } in items {
            let names: Vec<(&Spanned<String>, Done)> = match what {
                What::HeaderOp(op) => vec![(&op.name, done(&op.kind))],
                What::HeaderRemove(names) => names.iter().map(|name| (name, Done::Removed)).collect(),
                _ => continue,
            };
            for (name, now) in names {
                if let Some((_, before, first)) = seen.iter().rev().find(|(seen, ..)| *seen == name.value) {
                    let (idle, other, label) = match (before, now) {
                        (Done::Removed, Done::Default) => continue,
                        (Done::Removed, Done::Removed | Done::Replaced) => (name.span, *first, "it is removed here"),
                        (Done::Set | Done::Added | Done::Default, Done::Default) => {
                            (name.span, *first, "it has a value here")
                        }
                        (_, Done::Set) => (*first, name.span, "it is set here"),
                        (_, Done::Removed) => (*first, name.span, "it is removed here"),
                        _ => continue,
                    };
                    let message =
                        format!("this line has no effect on `{name}`: another one of this block does away with it");
                    let diagnostic = Diagnostic::error("no-effect", message, idle).also(other, label);
                    self.report.add(diagnostic.help("a second line of a field, beside the first, is made by `add`"));
                }
                seen.push((&name.value, now, name.span));
            }
        }
    }
}

/// With how many of its pattern a route is compared.
const MAX_COMPARED: usize = 64;

/// What a line has done to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Set,
    Added,
    Default,
    Removed,
    Replaced,
}

fn done(kind: &HeaderOpKind) -> Done {
    match kind {
        HeaderOpKind::Set(_) => Done::Set,
        HeaderOpKind::Add(_) => Done::Added,
        HeaderOpKind::Default(_) => Done::Default,
        HeaderOpKind::Replace(..) => Done::Replaced,
    }
}

/// The plain segments that a pattern begins with, as a path.
fn literal_start(pattern: &Pattern) -> String {
    let literal = |segment: &Segment| match segment {
        Segment::Literal(text) | Segment::AnyCase(text) if !text.is_empty() => Some(format!("/{text}")),
        _ => None,
    };
    pattern.segments.iter().map_while(literal).collect()
}
