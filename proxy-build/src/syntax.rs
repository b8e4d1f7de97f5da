//! Pass 2, `syntax`: text to KDL nodes with spans, in the form that the next pass uses: [`Node`], [`Leaf`].
//!
//! After this pass it cannot happen that the text is not KDL. Habits from other languages are found before they confuse
//! the parser (`habits`).

mod habits;
pub mod table;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use crate::report::{Diagnostic, Report};
use crate::source::{FileId, Sources, Span, Spanned};

/// The maximum nesting of braces. The KDL parser is recursive, and a stack overflow has no message.
pub const MAX_DEPTH: usize = 64;

/// A node: `name arg... key=value... { nodes }`.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name; the span is what diagnostics point at.
    pub name: Spanned<String>,
    /// A type annotation before the name, which is always an error.
    pub ty: Option<Spanned<String>>,
    /// Its arguments.
    pub args: Vec<Leaf>,
    /// Its properties, in the order written, duplicates included.
    pub props: Vec<(Spanned<String>, Leaf)>,
    /// The content of its braces; `None` without braces.
    pub children: Option<Vec<Node>>,
}

impl Node {
    /// Returns its first byte.
    pub fn start(&self) -> u32 {
        // A type annotation is in parentheses.
        self.ty.as_ref().map_or(self.name.span.start, |ty| ty.span.start.saturating_sub(1))
    }

    /// Returns the span from its name to its last argument or property, without its braces.
    pub fn whole(&self) -> Span {
        let leaves = self.args.iter().chain(self.props.iter().map(|(_, leaf)| leaf));
        let end = leaves.map(|leaf| leaf.span.end).fold(self.name.span.end, u32::max);
        Span { start: self.start(), end, ..self.name.span }
    }
}

/// An argument, or the value of a property.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The value.
    pub value: Scalar,
    /// The type annotation, such as in `(file)"path"`.
    pub ty: Option<Spanned<String>>,
    /// The span, including the annotation.
    pub span: Span,
    /// The span of a string's text, if it is literal (without escapes), for spans within it.
    pub inner: Option<Span>,
}

/// A KDL value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Text, quoted or bare.
    Text(String),
    /// A whole number, with its source text.
    Integer(i128, String),
    /// Another number.
    Float(f64),
    /// `#true` or `#false`.
    Bool(bool),
    /// `#null`.
    Null,
}

/// Returns a string literal: raw if the text has backslashes, as expressions do.
pub fn raw_or_quoted(text: &str) -> String {
    match text.contains('\\') && !text.contains('"') {
        true => format!("#\"{text}\"#"),
        false => quoted(text),
    }
}

/// Returns a text in quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// Parses a file. On a syntax error some nodes may be missing; the report then has errors.
pub fn parse(sources: &Sources, file: FileId, report: &mut Report) -> Vec<Node> {
    let text = sources.text(file);
    let wrong = habits::find(text, file);
    if !wrong.is_empty() {
        wrong.into_iter().for_each(|diagnostic| report.add(diagnostic));
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

/// Converts the parser's tree.
struct Context<'a> {
    text: &'a str,
    file: FileId,
}

impl Context<'_> {
    /// Parser offsets are in bytes.
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
    let ty = entry
        .ty()
        .map(|ty| Spanned { value: ty.value().to_owned(), span: context.span(ty.span().offset(), ty.span().len()) });
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

/// Reports one error, as later ones follow from it. Of several for the same text, the one with the smallest span is the most
/// precise.
fn report_errors(error: &kdl::KdlError, text: &str, file: FileId, report: &mut Report) {
    let context = Context { text, file };
    let found = error.diagnostics.iter().min_by_key(|found| (found.span.len().max(1), found.span.offset()));
    let (start, len) = found.map_or((0, 0), |found| (found.span.offset().min(text.len()), found.span.len()));
    let mut span = context.span(start, len.min(text.len() - start));
    // An error over several lines has too large a span: use its first line.
    let marked = text.get(start..span.end as usize).unwrap_or_default();
    span.end = span.start + marked.find('\n').unwrap_or(marked.len()) as u32;
    let diagnostic = Diagnostic::error("syntax", "this can't be read", span)
        .help("a line is a directive and its values, as in: respond 200 \"a text\" type=\"text/plain\"")
        .help("quote a value that has blanks or one of ( ) { } [ ] / \\ # ; = in it");
    report.add(match found.and_then(|found| found.message.as_deref()) {
        Some(message) => diagnostic.label(lower_first(message)),
        None => diagnostic,
    });
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
