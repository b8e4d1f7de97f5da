//! Pass 2, `syntax`: text to KDL nodes with spans, in the shape the next pass wants: [`Node`], [`Leaf`].
//!
//! After this pass it cannot happen that the text is not KDL. What people who come from other languages write is
//! caught before the parser gets confused by it.

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use crate::report::{Diagnostic, Report};
use crate::source::{FileId, Sources, Span, Spanned};

/// How deep braces may nest. The KDL parser recurses, and a stack overflow has no message.
pub const MAX_DEPTH: usize = 64;

/// A node: `name arg... key=value... { nodes }`.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name; the span is what diagnostics point at.
    pub name: Spanned<String>,
    /// A type annotation before the name, which no node has a use for.
    pub ty: Option<Spanned<String>>,
    /// Its arguments.
    pub args: Vec<Leaf>,
    /// Its properties, in the order written, duplicates included.
    pub props: Vec<(Spanned<String>, Leaf)>,
    /// What stands between its braces; `None` without braces.
    pub children: Option<Vec<Node>>,
}

/// An argument, or the value of a property.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The value.
    pub value: Scalar,
    /// The type annotation, as in `(file)"path"`.
    pub ty: Option<Spanned<String>>,
    /// The whole of it, annotation included.
    pub span: Span,
    /// Where the text of a string stands literally in the source (no escapes), for spans into it.
    pub inner: Option<Span>,
}

/// A KDL value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Text, quoted or bare.
    Text(String),
    /// A whole number, and how it was written.
    Integer(i128, String),
    /// Another number.
    Float(f64),
    /// `#true` or `#false`.
    Bool(bool),
    /// `#null`.
    Null,
}

/// Parses a file. On a syntax error some nodes may be missing; the report then has errors.
pub fn parse(sources: &Sources, file: FileId, report: &mut Report) -> Vec<Node> {
    let text = sources.text(file);
    if let Some(diagnostic) = too_deep(text, file).or_else(|| nul_byte(text, file)) {
        report.add(diagnostic);
        return Vec::new();
    }
    match KdlDocument::parse(text) {
        Ok(document) => convert_nodes(&document, &Context { text, file }),
        Err(error) => {
            report_errors(&error, text, file, report);
            Vec::new()
        }
    }
}

/// Turns the parser's tree into ours.
struct Context<'a> {
    text: &'a str,
    file: FileId,
}

impl Context<'_> {
    /// The parser counts in bytes.
    fn span(&self, start: usize, len: usize) -> Span {
        Span { file: self.file, start: start as u32, end: (start + len) as u32 }
    }
}

fn convert_nodes(document: &KdlDocument, context: &Context<'_>) -> Vec<Node> {
    document.nodes().iter().map(|node| convert_node(node, context)).collect()
}

fn convert_node(node: &KdlNode, context: &Context<'_>) -> Node {
    let identifier = |name: &kdl::KdlIdentifier| Spanned {
        value: name.value().to_owned(),
        span: context.span(name.span().offset(), name.span().len()),
    };
    let (mut args, mut props) = (Vec::new(), Vec::new());
    for entry in node.entries() {
        let leaf = convert_entry(entry, context);
        match entry.name() {
            Some(name) => props.push((identifier(name), leaf)),
            None => args.push(leaf),
        }
    }
    Node {
        name: identifier(node.name()),
        ty: node.ty().map(identifier),
        args,
        props,
        children: node.children().map(|children| convert_nodes(children, context)),
    }
}

fn convert_entry(entry: &KdlEntry, context: &Context<'_>) -> Leaf {
    let (start, end) = (entry.span().offset(), entry.span().offset() + entry.span().len());
    // The parser has no span for a property's value alone: it is the end of the entry.
    let repr = entry.format().map_or("", |format| format.value_repr.as_str());
    let value_start = end.saturating_sub(repr.len()).max(start);
    let ty = entry.ty().map(|ty| Spanned { value: ty.value().to_owned(), span: context.span(ty.span().offset(), ty.span().len()) });
    let begin = match (&ty, entry.name()) {
        (Some(ty), _) => (ty.span.start as usize).saturating_sub(1),
        (None, None) => start,
        (None, Some(_)) => value_start,
    };
    let value = match entry.value() {
        KdlValue::String(text) => Scalar::Text(text.clone()),
        KdlValue::Integer(number) => Scalar::Integer(*number, repr.to_owned()),
        KdlValue::Float(number) => Scalar::Float(*number),
        KdlValue::Bool(value) => Scalar::Bool(*value),
        KdlValue::Null => Scalar::Null,
    };
    let inner = match &value {
        Scalar::Text(text) if !text.is_empty() => context.text.get(value_start..end).and_then(|repr| {
            let offset = repr.find(text.as_str())?;
            Some(context.span(value_start + offset, text.len()))
        }),
        _ => None,
    };
    Leaf { value, ty, span: context.span(begin, end.saturating_sub(begin)), inner }
}

/// The first error whole, two more short: one missing brace makes the parser report four.
fn report_errors(error: &kdl::KdlError, text: &str, file: FileId, report: &mut Report) {
    let context = Context { text, file };
    let mut shown: Vec<Span> = Vec::new();
    for found in &error.diagnostics {
        let start = found.span.offset().min(text.len());
        let mut span = context.span(start, found.span.len().min(text.len() - start));
        // An error that spans lines marks far too much: keep to its first line.
        if let Some(line) = context.text.get(span.start as usize..span.end as usize).and_then(|text| text.find('\n')) {
            span.end = span.start + line.max(1) as u32;
        }
        if shown.iter().any(|seen| seen.start == span.start) || shown.len() == 3 {
            continue;
        }
        shown.push(span);
        let message = found.message.as_deref().unwrap_or("this is not KDL");
        let mut diagnostic = Diagnostic::error("syntax", lower_first(message), span);
        if let Some(label) = &found.label {
            diagnostic = diagnostic.label(label);
        }
        let word = word_at(text, start);
        diagnostic = match habit(word) {
            Some(help) => diagnostic.help(help),
            None => diagnostic.maybe_help(found.help.as_deref()),
        };
        report.add(diagnostic);
    }
    let more = error.diagnostics.len() - shown.len();
    if shown.is_empty() {
        report.add(Diagnostic::error("syntax", "this is not KDL", context.span(0, 0)));
    } else if more > 0 {
        // The last one says that the others may be echoes of the first.
        let note = format!("{more} more syntax errors, which may follow from these");
        report.add(Diagnostic::error("syntax", note, shown[shown.len() - 1].part(0, 0)));
    }
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn word_at(text: &str, offset: usize) -> &str {
    let from = text[..offset].rfind(|char: char| char.is_whitespace() || "=(){};\"".contains(char)).map_or(0, |at| at + 1);
    let rest = text.get(from..).unwrap_or_default();
    rest.split(|char: char| char.is_whitespace() || "=(){};\"".contains(char)).next().unwrap_or_default()
}

/// What people write out of habit, and what to write instead.
fn habit(word: &str) -> Option<String> {
    let first = word.chars().next()?;
    match word {
        "true" | "false" | "null" => Some(format!("write `#{word}`")),
        _ if first.is_ascii_digit() || first == '/' || (first == '.' && word.len() > 1) => {
            Some(format!("quote this value: \"{word}\""))
        }
        _ => None,
    }
}

/// Finds the opening brace that is one too deep. Strings and comments are followed as far as needed for that.
fn too_deep(text: &str, file: FileId) -> Option<Diagnostic> {
    let mut depth = 0_usize;
    for token in crate::lexer::tokens(text) {
        match token.kind {
            crate::lexer::Kind::Open => depth += 1,
            crate::lexer::Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let span = Span { file, start: token.start as u32, end: token.end as u32 };
            return Some(Diagnostic::error("too-deep", format!("braces nest deeper than {MAX_DEPTH}"), span));
        }
    }
    None
}

fn nul_byte(text: &str, file: FileId) -> Option<Diagnostic> {
    let nul = text.find('\0')?;
    let span = Span { file, start: nul as u32, end: nul as u32 + 1 };
    Some(Diagnostic::error("syntax", "a NUL byte, which KDL text must not have", span))
}
