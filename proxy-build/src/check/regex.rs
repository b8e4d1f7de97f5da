//! Checks expressions: whether they can match a path, and their groups.

use std::rc::Rc;

use proxy_runtime::protocol::canonical;
use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_syntax::hir::Look;

use super::Check;
use crate::expression::{self, Table};
use crate::joint::{JointTables, TABLES_LIMIT, TooLarge, join};
use crate::model::Host;
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;
use crate::syntax::quoted;

impl Check<'_> {
    /// Builds the joint tables of all routes' expressions on paths.
    pub(crate) fn join(&mut self, hosts: &[Host]) -> JointTables {
        let routes = hosts.iter().flat_map(|host| &host.routes).filter(|route| !self.unsound.contains(&route.span));
        let mut expressions: Vec<&str> = routes.filter_map(|route| route.expression().0).collect();
        expressions.sort_unstable();
        expressions.dedup();
        join(expressions).unwrap_or_else(|TooLarge { pattern, size }| {
            if let Some(&span) = self.expressions.get(&pattern) {
                let message = format!("the tables of the site's expressions would exceed {} MiB", TABLES_LIMIT >> 20);
                self.report.add(
                    Diagnostic::error("tables-too-large", message, span)
                        .label(format!("with this one, more than {} KiB", size >> 10))
                        .help("begin expressions with ^/, use [^/]+ in place of .*, or patterns in their place"),
                );
            }
            JointTables::default()
        })
    }
}

impl Check<'_> {
    /// Builds the table of an expression; reports an error if it is too large.
    pub(crate) fn table_fits(&mut self, pattern: &Spanned<String>) -> Option<Rc<Table>> {
        match self.made.table(&pattern.value) {
            Ok(table) => Some(table),
            Err(reason) => {
                // Unicode classes and similar features are rejected here, too: requests are bytes.
                self.report.add(
                    Diagnostic::error("regex-too-large", "no table can be made of this expression", pattern.span)
                        .help(reason.lines().last().unwrap_or_default().trim().to_owned())
                        .help("bounded repetitions multiply; `[^/]+` is cheaper than `.*`, and a pattern of the route cheaper still"),
                );
                None
            }
        }
    }

    /// Reports an expression that can't match any path, as paths begin with `/` (`^api/`, most often).
    pub(crate) fn never_matches_path(&mut self, pattern: &Spanned<String>) {
        let Some(table) = self.table_fits(pattern) else { return };
        if can_match_path(&table) == Some(false) {
            let mut diagnostic =
                Diagnostic::error("regex-never-matches", "this expression can't match any path", pattern.span);
            if let Some(rest) = pattern.value.strip_prefix('^').filter(|rest| !rest.starts_with('/')) {
                let meant = format!("^/{rest}");
                if self.made.table(&meant).is_ok_and(|table| can_match_path(&table) == Some(true)) {
                    diagnostic =
                        diagnostic.help("a path begins with `/`").help(Help::write(pattern.span, quoted(&meant)));
                }
            }
            if let Some(char) = pattern.value.chars().find(|char| !char.is_ascii() || "\"<>`".contains(*char)) {
                let encoded = canonical::encoded_path(char.to_string());
                diagnostic = diagnostic.help(format!("paths are in canonical form: write `{char}` as {encoded}"));
            }
            self.report.add(diagnostic);
        }
    }
}

impl Check<'_> {
    /// Reports an expression on paths that is not anchored.
    pub(crate) fn anchored(&mut self, pattern: &Spanned<String>) {
        let Ok(hir) = expression::parse(&pattern.value) else { return };
        let (before, after) = (hir.properties().look_set_prefix(), hir.properties().look_set_suffix());
        if !before.contains(Look::Start) && !after.contains(Look::End) {
            self.report.add(
                Diagnostic::lint("unanchored-expression", "this matches anywhere in a path", pattern.span)
                    .help(Help::write(pattern.span, quoted(&from_the_start(&pattern.value))))
                    .help(self.allowed("if it should match anywhere", "unanchored-expression")),
            );
        }
    }
}

/// Returns an equivalent expression that is anchored at the beginning of the path. An alternation is parenthesized, as otherwise
/// only its first part would be anchored.
fn from_the_start(expression: &str) -> String {
    let rest = expression.trim_start_matches("^/").trim_start_matches('^');
    // `.*` in front means "anywhere" already.
    let rest = rest.strip_prefix(".*").unwrap_or(rest);
    let alternatives =
        matches!(expression::parse(rest).map(|hir| hir.into_kind()), Ok(regex_syntax::hir::HirKind::Alternation(_)));
    match alternatives && !rest.starts_with('(') {
        true => format!("^/(?:{})", rest.trim_start_matches('/').replace("|/", "|")),
        false => format!("^/{}", rest.trim_start_matches('/')),
    }
}

/// Returns whether a match is reachable for inputs that begin with `/`. `None` if that can't be decided.
fn can_match_path(table: &Table) -> Option<bool> {
    let config = start::Config::new().anchored(Anchored::No);
    let start = table.start_state(&config).ok()?;
    // The raw bytes of canonical paths, and `%`.
    let stands = |byte: u8| byte == b'%' || canonical::encoded_path(char::from(byte).to_string()).len() == 1;
    let classes = table.byte_classes();
    let mut bytes: Vec<u8> = (b'!'..=b'~').filter(|&byte| stands(byte)).collect();
    bytes.sort_by_key(|&byte| classes.get(byte));
    bytes.dedup_by_key(|byte| classes.get(*byte));
    let mut open: Vec<StateID> = vec![table.next_state(start, b'/')];
    let mut seen = std::collections::HashSet::new();
    while let Some(state) = open.pop() {
        if !seen.insert(state) {
            continue;
        }
        if table.is_match_state(state) || table.is_match_state(table.next_eoi_state(state)) {
            return Some(true);
        }
        if !table.is_dead_state(state) {
            open.extend(bytes.iter().map(|&byte| table.next_state(state, byte)));
        }
    }
    Some(false)
}

/// Returns the groups in a replacement: `$1`, `$name`, `${name}`; `$$` is a dollar.
pub(crate) fn groups_used(replacement: &str) -> Vec<&str> {
    let mut groups = Vec::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            groups.push(name);
            rest = after;
        } else {
            let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
            if end > 0 {
                groups.push(&rest[..end]);
            }
            rest = &rest[end..];
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |pattern, expected| {
            assert_eq!(can_match_path(&expression::table(pattern, false).unwrap()), Some(expected), "{pattern}")
        };
        check("^/api/", true);
        check("api/", true);
        check("^api/", false);
        check("^$", false);
        check("[.]php$", true);
        check("^/a$ b", false);
        check("^/a b$", false);
    }

    #[test]
    fn groups() {
        assert_eq!(groups_used("/$1/${name}x$$2$last"), ["1", "name", "last"]);
    }
}
