//! Renders diagnostics as text, with their source lines: with `annotate-snippets`, in rustc's layout, with colour for `kiln`, plain
//! inside `compile_error!`.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::report::{Diagnostic, Report, Severity};
use crate::source::Sources;
use crate::span::Span;

/// The most diagnostics that are rendered; the others are counted.
const SHOWN: usize = 50;

impl Report {
    /// Returns all diagnostics as text, with terminal colours or plain; empty if there are none.
    pub fn render(&self, sources: &Sources, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let sorted = self.sorted();
        let mut out = String::new();
        for diagnostic in sorted.iter().take(SHOWN) {
            out.push_str(&diagnostic.render(sources, &renderer));
            out.push_str("\n\n");
        }
        if let Some(more) = sorted.len().checked_sub(SHOWN).filter(|&more| more > 0) {
            out.push_str(&format!("... and {more} more\n\n"));
        }
        out
    }

    /// Returns all warnings, one per line with their locations.
    pub fn warnings<'a>(&'a self, sources: &'a Sources) -> impl Iterator<Item = String> + 'a {
        let warnings = self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning);
        warnings.map(|Diagnostic { code, message, at, .. }| {
            format!("{}:{}: {message} [{code}]", sources.shown(at.file), sources.line(*at))
        })
    }
}

impl Diagnostic {
    fn render(&self, sources: &Sources, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning | Severity::Lint => Level::WARNING,
        };
        let mut files = vec![self.at.file];
        for (span, _) in &self.also {
            if !files.contains(&span.file) {
                files.push(span.file);
            }
        }
        let mut group = Group::with_title(level.primary_title(&self.message).id(self.code));
        for file in files {
            let text = sources.text(file);
            let mut snippet = Snippet::source(text).path(sources.shown(file)).fold(true);
            let range = |span: Span| span.start as usize..(span.end as usize).clamp(span.start as usize, text.len());
            if self.at.file == file {
                let annotation = AnnotationKind::Primary.span(range(self.at));
                let label = (!self.label.is_empty()).then_some(self.label.as_str());
                snippet = snippet.annotation(annotation.label(label));
            }
            for (span, label) in self.also.iter().filter(|(span, _)| span.file == file) {
                snippet = snippet.annotation(AnnotationKind::Context.span(range(*span)).label(label.as_str()));
            }
            group = group.element(snippet);
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(help.text.as_str()));
        }
        renderer.render(&[group])
    }
}
