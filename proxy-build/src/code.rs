//! Kinds of findings that have a page of their own: the lints with their levels, and the proofs about a site.
//!
//! [`all`] drives `lint`, `kiln explain CODE`, the manual's list and the tests, which compile both examples of each.

mod lints;
mod proofs;

use crate::report::nearest;

/// A kind of finding.
pub struct Code {
    /// Its name, as it stands in brackets before a message.
    pub name: &'static str,
    /// The level of a lint where the site says nothing; `None` for what makes a site wrong and is always an error.
    pub level: Option<Level>,
    /// What it is, in a sentence.
    pub what: &'static str,
    /// Why it matters, and what to do.
    pub why: &'static str,
    /// A site that has it.
    pub wrong: &'static str,
    /// The same without, or meant.
    pub right: &'static str,
}

/// What becomes of a lint's finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Allow,
    /// It is shown.
    Warn,
    /// It stops the build.
    Deny,
}

impl Level {
    /// Their names in `lint`.
    pub const NAMES: &'static [(&'static str, Level)] =
        &[("allow", Level::Allow), ("warn", Level::Warn), ("deny", Level::Deny)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Level::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// All pages: lints, then proofs.
pub fn all() -> impl Iterator<Item = &'static Code> {
    lints::LINTS.iter().chain(proofs::PROOFS)
}

/// The code of a name.
pub fn find(name: &str) -> Option<&'static Code> {
    all().find(|code| code.name == name)
}

/// The lints.
pub fn lints() -> impl Iterator<Item = &'static Code> {
    lints::LINTS.iter()
}

/// The page of a code, as `kiln explain` prints it.
///
/// # Errors
/// There is none; says which there are.
pub fn page(name: &str) -> Result<String, String> {
    let Some(code) = find(name) else {
        let names: Vec<_> = all().map(|code| code.name).collect();
        let near = nearest(name, names.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        return Err(format!("there is no page `{name}`{}\nthere are: {}", near.unwrap_or_default(), names.join(" ")));
    };
    let level = match code.level {
        Some(level) => format!("A lint; the level is `{}` unless the site says `lint LEVEL {name}`.", level.name()),
        None => "An error: the site would be wrong.".to_owned(),
    };
    let example = |text: &str| text.trim().lines().map(|line| format!("    {line}\n")).collect::<String>();
    Ok(format!(
        "{name}\n\n{}\n\n{}\n\n{level}\n\nWrong:\n\n{}\nRight:\n\n{}",
        code.what,
        code.why.trim(),
        example(code.wrong),
        example(code.right)
    ))
}
