//! The codes and reasons of the compiler and the proxy, each with its meaning and remedy: lints with their levels and
//! proofs about a site ([`all`]), which have examples; other errors, and the reasons in logs ([`reasons`]).
//!
//! Used by `lint`, `kiln explain CODE`, the manual's list, docs/reasons.md and the tests, which compile the examples and look for
//! words that are missing here.

mod lints;
mod proofs;
pub mod reasons;

use crate::nearest::nearest;

/// A kind of finding.
pub struct Code {
    /// Its name, in brackets before a message.
    pub name: &'static str,
    /// The default level of a lint; `None` for errors.
    pub level: Option<Level>,
    /// Its meaning, in a sentence.
    pub what: &'static str,
    /// Why it matters, and the remedy.
    pub why: &'static str,
    /// A site with the finding.
    pub wrong: &'static str,
    /// The site without it, or with it allowed.
    pub right: &'static str,
}

/// The level of a lint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Not reported.
    Allow,
    /// A warning.
    Warn,
    /// An error, which stops the build.
    Deny,
}

impl Level {
    /// The names of levels in `lint`.
    pub const NAMES: &'static [(&'static str, Level)] =
        &[("allow", Level::Allow), ("warn", Level::Warn), ("deny", Level::Deny)];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Level::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// Returns all pages: lints, then proofs.
pub fn all() -> impl Iterator<Item = &'static Code> {
    lints::LINTS.iter().chain(proofs::PROOFS)
}

/// Returns the code of a name.
pub fn find(name: &str) -> Option<&'static Code> {
    all().find(|code| code.name == name)
}

/// Returns the lints.
pub fn lints() -> impl Iterator<Item = &'static Code> {
    lints::LINTS.iter()
}

/// Returns the pages of a word, for `kiln explain`: it may be both an error of the compiler and a reason in the log.
///
/// # Errors
/// There is no such word.
pub fn page(name: &str) -> Result<String, String> {
    let with_examples = find(name).map(Code::page);
    let others = reasons::all().filter(|reason| reason.name == name).map(|reason| reason.page());
    let pages: Vec<String> = with_examples.into_iter().chain(others).collect();
    if pages.is_empty() {
        let names = all().map(|code| code.name).chain(reasons::all().map(|reason| reason.name));
        let near = nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
        return Err(format!("there is no page `{name}`{}", near.unwrap_or_default()));
    }
    Ok(pages.join("\n"))
}

/// Returns the meaning of a code: in a sentence, and at length.
pub fn meaning(name: &str) -> Option<(&'static str, &'static str)> {
    let code = find(name).map(|code| (code.what, code.why.trim()));
    code.or_else(|| {
        let mut errors = reasons::all().filter(|reason| reason.kind == reasons::ReasonKind::Error);
        errors.find(|reason| reason.name == name).map(|reason| (reason.what, reason.advice))
    })
}

impl Code {
    fn page(&self) -> String {
        let Code { name, what, why, .. } = self;
        let level = match self.level {
            Some(level) => format!("A lint; the level is `{}` unless the site says `lint LEVEL {name}`.", level.name()),
            None => "An error; it has no level.".to_owned(),
        };
        let example = |text: &str| text.trim().lines().map(|line| format!("    {line}\n")).collect::<String>();
        let (wrong, right) = (example(self.wrong), example(self.right));
        format!("{name}\n\n{what}\n\n{}\n\n{level}\n\nWrong:\n\n{wrong}\nRight:\n\n{right}", why.trim())
    }
}

/// Renders docs/reasons.md.
pub fn manual() -> String {
    let mut out = "\
# Reasons, errors and lints

Generated from the table that `kiln explain CODE` prints from. It has every code that the compiler prints in
brackets, every `reason`, `cache` and `cache-reason` of an access log, and every `detail` of `Cache-Status`.
"
    .to_owned();
    let mut section = |title: &str, intro: &str, columns: &str, rows: Vec<Vec<String>>| {
        out += &format!("\n## {title}\n\n{intro}\n\n| {columns} |\n|");
        out += &"---|".repeat(columns.split('|').count());
        out += "\n";
        rows.iter().for_each(|row| out += &format!("| {} |\n", row.join(" | ").replace('\n', " ")));
    };
    let of_kind = |kind| {
        let reasons = reasons::all().filter(move |reason| reason.kind == kind);
        reasons.map(|reason| {
            let status = reason.status.map(|status| if status == "*" { "as set" } else { status });
            let words = [Some(format!("`{}`", reason.name)), status.map(str::to_owned), Some(reason.what.to_owned())];
            words.into_iter().flatten().chain([reason.advice.to_owned()]).collect::<Vec<_>>()
        })
    };
    section(
        "Reasons in the log",
        "The causes of the proxy's own error responses, and of closed connections: `reason` in an access log. If a response has begun already, the\nstatus is the server's.",
        "reason | status | meaning | what to do",
        of_kind(reasons::ReasonKind::Log).collect(),
    );
    section(
        "What the cache did",
        "`cache` and `cache-reason` in an access log; see `cache` in [reference.md](reference.md#cache).",
        "word | meaning | what to do",
        of_kind(reasons::ReasonKind::Cache).collect(),
    );
    let with_examples = |codes: &[Code]| {
        let row = |code: &Code| {
            let level = code.level.map(|level| level.name().to_owned());
            let words = [Some(format!("`{}`", code.name)), level, Some(code.what.to_owned())];
            words.into_iter().flatten().chain([code.why.trim().to_owned()]).collect::<Vec<_>>()
        };
        codes.iter().map(row).collect::<Vec<_>>()
    };
    section(
        "Lints",
        "`lint LEVEL CODE` sets the level; `kiln explain CODE` has an example of each.",
        "code | level | meaning | why, and what to do",
        with_examples(lints::LINTS),
    );
    section(
        "Proofs",
        "Errors that the compiler finds by reasoning about all requests; `kiln explain CODE` has an example of each.",
        "code | meaning | why, and what to do",
        with_examples(proofs::PROOFS),
    );
    section(
        "Errors",
        "The site does not compile.",
        "code | meaning | what to do",
        of_kind(reasons::ReasonKind::Error).collect(),
    );
    out
}
