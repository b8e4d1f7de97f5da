//! Parses the regular expressions of a site: text → [`Hir`], with the syntax of the binary
//! ([`proxy_runtime::router::regex::syntax`]). All code of the compiler that analyses an expression uses this.

use proxy_runtime::router::regex::syntax;
mod table;

use regex_automata::util::syntax::parse_with;
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{self, Ast, Flag, Flags, GroupKind, Visitor};
use regex_syntax::hir::Hir;

pub(crate) use self::table::{Table, TableCache, table};

/// Parses an expression; the error is one line.
pub(crate) fn parse(pattern: &str) -> Result<Hir, String> {
    let parsed = parse_with(pattern, &syntax()).map_err(|error| reason(&error.to_string()));
    // With this flag, the result would depend on the Unicode tables in this build of the engine.
    if pattern.contains("(?") && turns_unicode_on(pattern) {
        return Err("the flag `u` (Unicode) is not supported".to_owned());
    }
    parsed
}

/// Returns an expression without the slashes of a JavaScript literal.
pub(crate) fn of_javascript(value: &str) -> Option<String> {
    let (inner, flags) = value.strip_prefix("/^")?.rsplit_once('/')?;
    let inner = inner.replace("\\/", "/");
    match flags {
        "" => Some(format!("^{inner}")),
        "i" => Some(format!("(?i)^{inner}")),
        _ => None,
    }
}

/// Returns the reason in the engine's multi-line message: its last line.
pub(crate) fn reason(error: &str) -> String {
    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Returns whether an expression contains `(?u)` or `(?u:...)`, with or without other flags; not `(?-u)`.
fn turns_unicode_on(pattern: &str) -> bool {
    Parser::new().parse(pattern).is_ok_and(|ast| ast::visit(&ast, UnicodeFlag(false)).unwrap_or(true))
}

struct UnicodeFlag(bool);

impl Visitor for UnicodeFlag {
    type Output = bool;
    type Err = ();

    fn finish(self) -> Result<bool, ()> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        let on = |flags: &Flags| flags.flag_state(Flag::Unicode) == Some(true);
        self.0 |= match ast {
            Ast::Flags(set) => on(&set.flags),
            Ast::Group(group) => matches!(&group.kind, GroupKind::NonCapturing(flags) if on(flags)),
            _ => false,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: Result<(), &str>) {
        assert_eq!(parse(pattern).map(drop), expected.map_err(str::to_owned), "{pattern}");
        // Accepted expressions are accepted by the binary and by the table's builder.
        if expected.is_ok() {
            proxy_runtime::router::regex::compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            table(pattern, false).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        }
    }

    #[test]
    fn expressions() {
        for good in [
            "(?i)curl",
            r"^/\d+/\w*\s?$",
            r"\bfoo\B",
            r"[\D\W\S]",
            "(?i:k)",
            "(?i)é",
            "é",
            r"\xE9",
            "(?-u)a",
            "(?s-u:.)",
            "[[:alpha:]]",
            "(?i)[a-z&&[^k]]",
            "",
            "(?<a>x)|(?P<b>y)",
            r"\u00e9",
            "(?x) a # (?u)",
        ] {
            check(good, Ok(()));
        }
        for (flag, unicode) in ["(?u)a", r"(?u:\w)", "(?iu)k", "a(b(?u-i:c))", "[a](?su)."].into_iter().zip(0..) {
            check(flag, Err("the flag `u` (Unicode) is not supported"));
            assert!(turns_unicode_on(flag), "{unicode}");
        }
        for class in [r"\p{Greek}", "[é]", r"[\u{e9}-\u{ff}]", r"\pL"] {
            check(class, Err("Unicode not allowed here"));
        }
        check("(", Err("unclosed group"));
    }
}
