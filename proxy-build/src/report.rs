//! Diagnostics: errors and warnings about a site, with location, reason and help. Passes add to one [`Report`] and continue,
//! so that every error of a run is shown at once. `render` converts them to text.

use crate::code;
use crate::span::Span;

/// An error or warning.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Whether it stops the build.
    pub severity: Severity,
    /// A stable kebab-case name of this kind of mistake.
    pub code: &'static str,
    /// The message, in terms of the language.
    pub message: String,
    /// The span.
    pub at: Span,
    /// A short text at the underline.
    pub label: String,
    /// Other relevant spans, with their labels.
    pub also: Vec<(Span, String)>,
    /// The replacement of `at`, if the label proposes one.
    pub meant: Option<Edit>,
    /// Help lines: a remedy, or an example request.
    pub help: Vec<Help>,
}

/// An edit of a site's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The replaced span; empty for an insertion.
    pub at: Span,
    /// The new text.
    pub text: String,
}

/// A help line; if it proposes a change, with its edits, from which the line is made. Applied together, the edits produce a
/// site without this mistake (a test applies those of all fixtures).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Help {
    /// Its text.
    pub text: String,
    /// The edits; empty if a person has to decide.
    pub edits: Vec<Edit>,
}

impl<T: Into<String>> From<T> for Help {
    fn from(text: T) -> Help {
        Help { text: text.into(), edits: Vec::new() }
    }
}

impl Help {
    /// Proposes another text for a span.
    pub fn write(at: Span, text: impl Into<String>) -> Help {
        let text = text.into();
        Help { text: format!("write {text}"), edits: vec![Edit { at, text }] }
    }

    /// Proposes a property after an argument or a property.
    pub fn beside(at: Span, property: &str) -> Help {
        let at = Span { start: at.end, ..at };
        Help { text: format!("write {property} beside it"), edits: vec![Edit { at, text: format!(" {property}") }] }
    }

    /// Proposes edits that a text describes.
    pub fn told(text: impl Into<String>, edits: Vec<Edit>) -> Help {
        Help { text: text.into(), edits }
    }
}

/// Whether a diagnostic stops the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The diagnostic stops the build.
    Error,
    /// The diagnostic does not stop the build.
    Warning,
    /// Depends on the lint's level.
    Lint,
}

impl Diagnostic {
    /// Returns an error at a span.
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

    /// Returns a lint at a span; the report determines its severity.
    pub fn lint(code: &'static str, message: impl Into<String>, at: Span) -> Diagnostic {
        Diagnostic { severity: Severity::Lint, ..Diagnostic::error(code, message, at) }
    }

    /// Sets the label at the underline.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Adds another relevant span.
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Diagnostic {
        self.also.push((at, label.into()));
        self
    }

    /// Proposes a replacement for the underlined text.
    pub fn meant(mut self, text: &str) -> Diagnostic {
        self.meant = Some(Edit { at: self.at, text: text.to_owned() });
        self.label(format!("did you mean `{text}`?"))
    }

    /// Proposes a replacement whose text differs from the proposed word.
    pub fn meant_by(mut self, text: String) -> Diagnostic {
        self.meant = Some(Edit { at: self.at, text });
        self
    }

    /// Adds a help line.
    pub fn help(mut self, help: impl Into<Help>) -> Diagnostic {
        self.help.push(help.into());
        self
    }

    /// Adds an optional help line.
    pub fn maybe_help(self, help: Option<impl Into<Help>>) -> Diagnostic {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Returns the proposed changes.
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
    /// Names whose declarations could not be read.
    lost: Vec<String>,
}

impl Report {
    /// Sets the level of a lint.
    pub fn set_level(&mut self, code: &'static str, level: code::Level) {
        self.levels.push((code, level));
    }

    /// Returns the level of a lint: as the site says, or the default.
    pub fn level(&self, code: &str) -> code::Level {
        let said = self.levels.iter().find(|(known, _)| *known == code).map(|(_, level)| *level);
        said.or_else(|| code::find(code)?.level).unwrap_or(code::Level::Deny)
    }

    /// Adds a diagnostic.
    pub fn add(&mut self, mut diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Lint {
            diagnostic.severity = match self.level(diagnostic.code) {
                code::Level::Allow => return,
                code::Level::Warn => Severity::Warning,
                code::Level::Deny => Severity::Error,
            };
        }
        // The same message at the same span (for example of a preset used by two routes) is a single mistake.
        let same = |seen: &Diagnostic| seen.at == diagnostic.at && seen.message == diagnostic.message;
        if !self.diagnostics.iter().rev().take(200).any(same) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Turns all warnings into errors.
    pub fn deny_warnings(&mut self) {
        self.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.severity = Severity::Error);
    }

    /// Records a name whose declaration could not be read.
    pub fn lose(&mut self, name: &str) {
        self.lost.push(name.to_owned());
    }

    /// Returns whether the declaration of a name could not be read: its absence would be reported for the same mistake.
    pub fn is_lost(&self, name: &str) -> bool {
        self.lost.iter().any(|lost| lost == name)
    }

    /// Returns the number of errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// Returns whether the build must stop.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Returns the diagnostics sorted by span, errors of the main file first.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<_> = self.diagnostics.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.at);
        sorted
    }

    /// "2 errors, 1 warning"; `None` if there are none.
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
