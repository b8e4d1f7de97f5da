//! Combines many expressions on paths into as few tables as possible: [`join`].
//!
//! Usually one table contains all expressions that begin at the start of the path, however many: their states are a tree of
//! prefixes; and another one those that end with it. Expressions that may match anywhere multiply each other's states, so these
//! are combined only as long as the table grows no faster than their text; otherwise halves are tried.

use std::collections::{HashMap, HashSet};

use proxy_runtime::router::regex::Joint;
use regex_automata::MatchKind;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_syntax::hir::{Dot, Hir, Look, Repetition};

use self::encode::{Encoded, encode};
use crate::expression;

mod encode;

/// The most memory, in bytes, that the tables of one site may take.
pub(crate) const TABLES_LIMIT: usize = 64 << 20;

/// The size in bytes up to which a table is minimized; for larger ones that would take minutes, and for many that may match
/// anywhere seconds.
const MINIMISED: usize = 128 << 10;

/// How many expressions that may match anywhere are tried in one table.
const FEW: usize = 6;

/// How much a table may exceed the size of its text; expressions that multiply each other's states soon exceed it.
const SLACK: usize = 1 << 20;

/// The tables with all expressions.
#[derive(Debug, Clone, Default)]
pub struct JointTables {
    /// The tables.
    pub tables: Vec<Joint>,
    /// Whether all of a table's expressions begin at the start of the path.
    pub anchored: Vec<bool>,
    /// Per table, the sets of expressions that match a common path, as sorted numbers; singletons are omitted.
    pub sharing: Vec<HashSet<Vec<u32>>>,
    /// The position of each expression: its table, and its number in it.
    pub places: HashMap<String, (u32, u32)>,
}

/// An expression that is too large for a table, with the size at which the attempt ended.
#[derive(Debug)]
pub(crate) struct TooLarge {
    /// The expression.
    pub(crate) pattern: String,
    /// The size in bytes.
    pub(crate) size: usize,
}

/// An expression that is being added to a table.
struct Member<'a> {
    pattern: &'a str,
    hir: Hir,
}

/// Combines distinct expressions into tables. Linear in their text, except for those that don't fit together.
///
/// # Errors
/// A single expression is too large, or all of them together.
pub(crate) fn join<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<JointTables, TooLarge> {
    let (mut anchored, mut at_end, mut anywhere) = (Vec::new(), Vec::new(), Vec::new());
    for pattern in patterns {
        // An expression that can't be parsed has been reported already.
        let Ok(hir) = expression::parse(pattern) else { continue };
        let looks = hir.properties();
        let (starts, ends) =
            (looks.look_set_prefix().contains(Look::Start), looks.look_set_suffix().contains(Look::End));
        let member = Member { pattern, hir };
        match (starts, ends) {
            (true, _) => anchored.push(member),
            (false, true) => at_end.push(member),
            (false, false) => anywhere.push(member),
        }
    }
    // Expressions with a common beginning (or end) are adjacent, and stay together in halves.
    let by_text = |members: &mut Vec<Member<'_>>| members.sort_by(|a, b| a.pattern.cmp(b.pattern));
    [&mut anchored, &mut at_end, &mut anywhere].into_iter().for_each(by_text);
    let mut joined = JointTables::default();
    joined.add(&anchored, true, true)?;
    joined.add(&at_end, false, true)?;
    // Each of these may have matched or not at any point of the path, so each one doubles the states.
    let minimised = anywhere.len() <= FEW * FEW;
    for few in anywhere.chunks(FEW) {
        joined.add(few, false, minimised)?;
    }
    Ok(joined)
}

impl JointTables {
    /// Returns the total size of all tables in bytes.
    pub fn size(&self) -> usize {
        self.tables.iter().map(|table| table.bytes().len()).sum()
    }

    fn add(&mut self, members: &[Member<'_>], anchored: bool, minimised: bool) -> Result<(), TooLarge> {
        let Some(first) = members.first() else { return Ok(()) };
        let text: usize = members.iter().map(|member| member.pattern.len()).sum();
        let budget = SLACK + 256 * text;
        if let Some(table) = table(members, anchored, minimised, budget) {
            let size = self.size() + table.joint.bytes().len();
            if size > TABLES_LIMIT {
                return Err(TooLarge { pattern: first.pattern.to_owned(), size });
            }
            let number = self.tables.len() as u32;
            self.tables.push(table.joint);
            self.anchored.push(anchored);
            self.sharing.push(table.sharing);
            let places = members.iter().zip(0..).map(|(member, at)| (member.pattern.to_owned(), (number, at)));
            self.places.extend(places);
            return Ok(());
        }
        if members.len() == 1 {
            return Err(TooLarge { pattern: first.pattern.to_owned(), size: budget });
        }
        let (left, right) = members.split_at(members.len() / 2);
        self.add(left, anchored, minimised)?;
        self.add(right, anchored, minimised)
    }
}

fn table(members: &[Member<'_>], anchored: bool, minimised: bool, budget: usize) -> Option<Encoded> {
    // Each expression is extended to the end of the text: the end of a walk lists all that have matched.
    let rest = Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub: Box::new(Hir::dot(Dot::AnyByte)) });
    let hirs: Vec<Hir> = members.iter().map(|member| Hir::concat(vec![member.hir.clone(), rest.clone()])).collect();
    let config =
        thompson::Config::new().which_captures(thompson::WhichCaptures::None).nfa_size_limit(Some(16 * budget));
    let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(&hirs).ok()?;
    let config = |minimize| {
        dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(if anchored { StartKind::Anchored } else { StartKind::Unanchored })
            .dfa_size_limit(Some(budget))
            .determinize_size_limit(Some(4 * budget))
            .minimize(minimize)
    };
    let build = |minimize| dense::Builder::new().configure(config(minimize)).build_from_nfa(&nfa).ok();
    let plain = build(false)?;
    let small = if minimised && plain.memory_usage() <= MINIMISED { build(true)? } else { plain };
    // Byte classes: ranges of bytes that no expression distinguishes.
    let mut classes: Vec<(u8, u8)> = Vec::new();
    for byte in 0..=u8::MAX {
        match classes.last_mut() {
            Some((from, to)) if small.byte_classes().get(*from) == small.byte_classes().get(byte) => *to = byte,
            _ => classes.push((byte, byte)),
        }
    }
    encode(&small, &classes, anchored)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the expressions that match a path.
    fn check(patterns: &[&str], path: &str, expected: &[&str]) {
        check_joined(&join(patterns.iter().copied()).expect("they fit"), path, expected);
    }

    fn check_joined(joined: &JointTables, path: &str, expected: &[&str]) {
        let mut found: Vec<&str> = Vec::new();
        for (table, joint) in joined.tables.iter().enumerate() {
            for number in joint.matched(joint.end(path.as_bytes())) {
                let place = (table as u32, number);
                found.extend(joined.places.iter().find(|(_, at)| **at == place).map(|(pattern, _)| pattern.as_str()));
            }
        }
        found.sort_unstable();
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn matching() {
        let patterns = ["^/a/[0-9]+$", "^/a/", "[.]png$", "b", "(?i)^/A/x", "(?x) ^/c # a comment"];
        check(&patterns, "/a/1", &["^/a/", "^/a/[0-9]+$"]);
        check(&patterns, "/a/x.png", &["(?i)^/A/x", "[.]png$", "^/a/"]);
        check(&patterns, "/abc", &["b"]);
        check(&patterns, "/c", &["(?x) ^/c # a comment"]);
        check(&patterns, "/", &[]);
    }

    /// Compares with each expression alone, on texts that match or nearly match.
    #[test]
    fn tables_match_like_single_expressions() {
        let patterns = [
            "^/section000001/[0-9]+$",
            "^/section000002/[0-9]+$",
            "^/section000012$",
            "^/section",
            "^/s(e|x)+c",
            "^/[a-f]*/",
            "^/(ab|abc|abcd)$",
            "^/.*/edit$",
            "^$",
            "^/a.c.e",
            "[0-9]{3}$",
            "/edit$",
            "x",
            "^/[^/]+/[^/]+$",
            "^/\\xFF",
            "(?-u:^/\\x80)",
        ];
        let joined = join(patterns).expect("they fit");
        let syntax = proxy_runtime::router::regex::syntax();
        let alone = patterns.map(|pattern| {
            (pattern, regex_automata::meta::Builder::new().syntax(syntax).build(pattern).expect("a pattern"))
        });
        let pieces = ["/", "section", "00000", "1", "2", "12", "ab", "cd", "abc", "/edit", "x", "e", "\u{FF}", "s"];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..6 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text += pieces.get((seed >> 33) as usize % (2 * pieces.len())).copied().unwrap_or_default();
            }
            let matching = alone.iter().filter(|(_, regex)| regex.is_match(&text));
            let mut expected: Vec<&str> = matching.map(|(pattern, _)| *pattern).collect();
            expected.sort_unstable();
            check_joined(&joined, &text, &expected);
        }
    }

    #[test]
    fn multiplying_expressions_are_separated() {
        let patterns: Vec<String> = (0..24).map(|n| format!("x{n}[a-m]*y{n}")).collect();
        let joined = join(patterns.iter().map(String::as_str)).expect("they fit");
        assert!(joined.tables.len() > 1 && joined.size() < 8 << 20, "{} {}", joined.tables.len(), joined.size());
    }

    #[test]
    fn exploding_expressions_are_rejected() {
        let TooLarge { pattern, size } = join(["^/fine$", "(?:a|b)*a(?:a|b){24}"]).expect_err("too large");
        assert!(pattern.starts_with("(?:a|b)*") && size < 8 << 20, "{pattern} {size}");
    }

    #[test]
    fn expressions_that_share_paths() {
        let joined = join(["^/a", "^/ab$", "^/c"]).expect("they fit");
        assert_eq!(joined.sharing[0].len(), 1);
    }
}
