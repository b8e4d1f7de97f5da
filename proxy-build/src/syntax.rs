//! Pass 2, `syntax`: text to KDL nodes with spans, in the shape the next pass wants: [`Node`], [`Leaf`].
//!
//! After this pass it cannot happen that the text is not KDL. What people who come from other languages write is
//! caught before the parser gets confused by it.

pub mod table;

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use crate::lexer::{Kind, tokens};
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
    let wrong = outline(text, file);
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

/// The first error whole, two more short: one mistake can make the parser report several.
fn report_errors(error: &kdl::KdlError, text: &str, file: FileId, report: &mut Report) {
    const SHOWN: usize = 3;
    let context = Context { text, file };
    let more = error.diagnostics.len().saturating_sub(SHOWN);
    for (index, found) in error.diagnostics.iter().take(SHOWN).enumerate() {
        let start = found.span.offset().min(text.len());
        let mut span = context.span(start, found.span.len().min(text.len() - start));
        // An error that spans lines marks far too much: keep to its first line.
        let marked = text.get(start..span.end as usize).unwrap_or_default();
        span.end = span.start + marked.find('\n').unwrap_or(marked.len()) as u32;
        let message = found.message.as_deref().unwrap_or("this is not KDL");
        let mut diagnostic = Diagnostic::error("syntax", lower_first(message), span).maybe_help(found.help.as_deref());
        if let Some(label) = &found.label {
            diagnostic = diagnostic.label(label);
        }
        if index == 0 && more > 0 {
            diagnostic = diagnostic.help(format!("{more} more errors may follow from this one"));
        }
        report.add(diagnostic);
    }
    if error.diagnostics.is_empty() {
        report.add(Diagnostic::error("syntax", "this is not KDL", context.span(0, 0)));
    }
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Mistakes that are plain from the outline, where the parser would point elsewhere or (for depth) fall over.
fn outline(text: &str, file: FileId) -> Vec<Diagnostic> {
    let span = |start: usize, end: usize| Span { file, start: start as u32, end: end as u32 };
    let mut wrong = Vec::new();
    if let Some(nul) = text.find('\0') {
        wrong.push(Diagnostic::error("syntax", "a NUL byte, which KDL text must not have", span(nul, nul + 1)));
        return wrong;
    }
    let mut open: Vec<Span> = Vec::new();
    for token in tokens(text) {
        let here = span(token.start, token.end);
        match token.kind {
            Kind::Open => {
                open.push(here);
                if open.len() > MAX_DEPTH {
                    wrong.push(Diagnostic::error("too-deep", format!("braces nest deeper than {MAX_DEPTH}"), here));
                    return wrong;
                }
            }
            Kind::Close if open.pop().is_none() => {
                wrong.push(Diagnostic::error("syntax", "there is no open brace that this could close", here));
            }
            Kind::String if unclosed(&text[token.start..token.end]) => {
                let line = text[token.start..].find('\n').map_or(text.len(), |at| token.start + at);
                wrong.push(Diagnostic::error(
                    "syntax",
                    "this string is not closed on its line",
                    span(token.start, line),
                ));
                return wrong;
            }
            Kind::BlockComment if comment_depth(&text[token.start..token.end]) > MAX_DEPTH => {
                let message = format!("comments nest deeper than {MAX_DEPTH}");
                wrong.push(Diagnostic::error("too-deep", message, span(token.start, token.start + 2)));
                return wrong;
            }
            Kind::Word => wrong.extend(habit(&text[token.start..token.end], here)),
            _ => {}
        }
    }
    wrong.extend(open.last().map(|brace| Diagnostic::error("syntax", "this brace is never closed", *brace)));
    wrong
}

fn comment_depth(comment: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut pairs = comment.as_bytes();
    while let [first, second, rest @ ..] = pairs {
        match (first, second) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth = depth.saturating_sub(1),
            _ => {
                pairs = &pairs[1..];
                continue;
            }
        }
        deepest = deepest.max(depth);
        pairs = rest;
    }
    deepest
}

/// A string on one line ends on it.
fn unclosed(string: &str) -> bool {
    let quotes = string.trim_start_matches('#');
    !quotes.starts_with("\"\"\"")
        && (string.contains('\n') || quotes.len() < 2 || !string.trim_end_matches('#').ends_with('"'))
}

/// What people write bare out of habit, and how to write it.
fn habit(word: &str, span: Span) -> Option<Diagnostic> {
    // `key=value`, `(type)value`, or the value alone.
    let start = word.rfind(['=', ')']).map_or(0, |at| at + 1);
    let value = &word[start..];
    let at = span.part(start, word.len());
    let mut chars = value.chars();
    let (first, second) = (chars.next()?, chars.next());
    let digit = |char: Option<char>| char.is_some_and(|char| char.is_ascii_digit());
    if matches!(value, "true" | "false" | "null") {
        return Some(
            Diagnostic::error("syntax", format!("`{value}` has a `#` before it"), at).help(format!("write #{value}")),
        );
    }
    let path = first == '/' && second != Some('-');
    let number = first.is_ascii_digit() || (matches!(first, '.' | '-' | '+') && digit(second));
    if path || (number && !is_number(value)) {
        return Some(
            Diagnostic::error("syntax", format!("`{value}` is neither a word nor a number"), at)
                .help(format!("quote it: \"{value}\"")),
        );
    }
    None
}

/// Whether KDL takes a word for a number.
fn is_number(word: &str) -> bool {
    let plain = word.trim_start_matches(['+', '-']).replace('_', "");
    let radix = |prefix: &str, radix| {
        plain.strip_prefix(prefix).is_some_and(|digits| u128::from_str_radix(digits, radix).is_ok())
    };
    let decimal = plain.parse::<f64>().is_ok() && !plain.starts_with('.') && !plain.ends_with('.');
    decimal || radix("0x", 16) || radix("0o", 8) || radix("0b", 2)
}
