//! Diagnostics: errors and warnings about a site, with place, reason and help. Passes add to one [`Report`] and carry on, so
//! that every error of a run is shown at once.
//! `render` makes text of them.

use crate::code;
use crate::span::Span;

/// Something wrong (or doubtful) with a site.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Whether it stops the build.
    pub severity: Severity,
    /// A stable kebab-case name of this kind of mistake.
    pub code: &'static str,
    /// What is wrong, in the user's words.
    pub message: String,
    /// Where.
    pub at: Span,
    /// A word at the underline.
    pub label: String,
    /// Other places that belong to it.
    pub also: Vec<(Span, String)>,
    /// What to write in place of `at`, where the label proposes that.
    pub meant: Option<Edit>,
    /// What to do, or an example request; one line each.
    pub help: Vec<Help>,
}

/// A change of a site's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty where something is inserted.
    pub at: Span,
    /// By what.
    pub text: String,
}

/// A line of help; where it proposes a change, with the change itself, which the line is made of. Applied together, the edits
/// give a site without this mistake (a test applies those of all fixtures).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Help {
    /// As it is shown.
    pub text: String,
    /// What to change; none where a person has to decide.
    pub edits: Vec<Edit>,
}

impl<T: Into<String>> From<T> for Help {
    fn from(text: T) -> Help {
        Help { text: text.into(), edits: Vec::new() }
    }
}

impl Help {
    /// Other text for what is at a place.
    pub fn write(at: Span, text: impl Into<String>) -> Help {
        let text = text.into();
        Help { text: format!("write {text}"), edits: vec![Edit { at, text }] }
    }

    /// A property behind an argument or a property.
    pub fn beside(at: Span, property: &str) -> Help {
        let at = Span { start: at.end, ..at };
        Help { text: format!("write {property} beside it"), edits: vec![Edit { at, text: format!(" {property}") }] }
    }

    /// A change that these words tell.
    pub fn told(text: impl Into<String>, edits: Vec<Edit>) -> Help {
        Help { text: text.into(), edits }
    }
}

/// Whether a diagnostic stops the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Stops it.
    Error,
    /// Is shown.
    Warning,
    /// As the lint's level is.
    Lint,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, at: Span) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            at,
            label: String::new(),
            also: Vec::new(),
            meant: None,
            help: Vec::new(),
        }
    }

    /// A finding of a lint at a place; how serious it is, the report knows.
    pub fn lint(code: &'static str, message: impl Into<String>, at: Span) -> Diagnostic {
        Diagnostic { severity: Severity::Lint, ..Diagnostic::error(code, message, at) }
    }

    /// The word at the underline.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Another place that belongs to it.
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Diagnostic {
        self.also.push((at, label.into()));
        self
    }

    /// What was most likely meant in place of what is underlined.
    pub fn meant(mut self, text: &str) -> Diagnostic {
        self.meant = Some(Edit { at: self.at, text: text.to_owned() });
        self.label(format!("did you mean `{text}`?"))
    }

    /// The same, where other text than the word that is proposed stands in its place.
    pub fn meant_by(mut self, text: String) -> Diagnostic {
        self.meant = Some(Edit { at: self.at, text });
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<Help>) -> Diagnostic {
        self.help.push(help.into());
        self
    }

    /// The same, where there is something to say.
    pub fn maybe_help(self, help: Option<impl Into<Help>>) -> Diagnostic {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// The changes that are proposed, each by itself.
    pub fn fixes(&self) -> impl Iterator<Item = &[Edit]> {
        let helps = self.help.iter().map(|help| help.edits.as_slice()).filter(|edits| !edits.is_empty());
        self.meant.iter().map(std::slice::from_ref).chain(helps)
    }
}

/// All diagnostics of a run.
#[derive(Debug, Default)]
pub struct Report {
    pub(crate) diagnostics: Vec<Diagnostic>,
    levels: Vec<(&'static str, code::Level)>,
    /// Names that something declares which could not be read.
    lost: Vec<String>,
}

impl Report {
    /// The level of a lint from here on.
    pub fn set_level(&mut self, code: &'static str, level: code::Level) {
        self.levels.push((code, level));
    }

    /// The level of a lint: as the site says, or its own.
    pub fn level(&self, code: &str) -> code::Level {
        let said = self.levels.iter().find(|(known, _)| *known == code).map(|(_, level)| *level);
        said.or_else(|| code::find(code)?.level).unwrap_or(code::Level::Deny)
    }

    /// Adds one.
    pub fn add(&mut self, mut diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Lint {
            diagnostic.severity = match self.level(diagnostic.code) {
                code::Level::Allow => return,
                code::Level::Warn => Severity::Warning,
                code::Level::Deny => Severity::Error,
            };
        }
        // The same words at the same place twice (a preset used by two routes, say) are one mistake.
        let same = |seen: &Diagnostic| seen.at == diagnostic.at && seen.message == diagnostic.message;
        if !self.diagnostics.iter().rev().take(200).any(same) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Makes errors of all warnings.
    pub fn deny_warnings(&mut self) {
        self.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.severity = Severity::Error);
    }

    /// Something declares this name, and could not be read.
    pub fn lose(&mut self, name: &str) {
        self.lost.push(name.to_owned());
    }

    /// Whether what has this name could not be read: that it is missing would be said for the same mistake.
    pub fn is_lost(&self, name: &str) -> bool {
        self.lost.iter().any(|lost| lost == name)
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// Whether the build must stop.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The diagnostics in the order of their places, errors of the main file first.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<_> = self.diagnostics.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.at);
        sorted
    }

    /// "2 errors, 1 warning"; `None` where there is nothing.
    pub fn summary(&self) -> Option<String> {
        let count = |severity, one: &str| {
            let n = self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
            (n > 0).then(|| format!("{n} {one}{}", if n == 1 { "" } else { "s" }))
        };
        let parts: Vec<_> =
            [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
