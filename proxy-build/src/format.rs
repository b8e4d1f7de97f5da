//! The formatter: changes indentation, blanks and blank lines alone. Every word, string and comment stays as written.
//!
//! It works on the outline of the text (see `lexer`), not on a tree, so that it preserves everything; and it verifies that
//! its output parses to the same tree as its input.

use crate::lexer::{Token, TokenKind, tokens};

const INDENT: &str = "    ";

/// Formats KDL text, whose name in messages is `shown`. Formatting is idempotent.
///
/// # Errors
/// The text is not KDL.
pub fn format(text: &str, shown: &str) -> Result<String, String> {
    let before = parse(text, shown)?;
    let formatted = layout(text);
    if parse(&formatted, shown)? != before {
        return Err("formatting would change the meaning, which is a bug in kiln: nothing was changed".to_owned());
    }
    Ok(formatted)
}

/// Returns the content of a text, independent of its layout.
fn parse(text: &str, shown: &str) -> Result<String, String> {
    let mut sources = crate::source::Sources::default();
    let file = sources.add(shown.into(), shown.to_owned(), text.to_owned());
    let mut report = crate::report::Report::default();
    let nodes = crate::syntax::parse(&sources, file, &mut report);
    if report.has_errors() {
        return Err(format!("not KDL\n{}", report.render(&sources, false).trim_end()));
    }
    let mut out = String::new();
    nodes.iter().for_each(|node| said(node, &mut out));
    Ok(out)
}

fn said(node: &crate::syntax::Node, out: &mut String) {
    use std::fmt::Write as _;
    // A write to a String cannot fail.
    let _ = write!(out, "{:?}", node.name.value);
    for leaf in &node.args {
        let _ = write!(out, " ({:?}){:?}", leaf.ty.as_ref().map(|ty| &ty.value), leaf.value);
    }
    for (name, leaf) in &node.props {
        let _ = write!(out, " {:?}=({:?}){:?}", name.value, leaf.ty.as_ref().map(|ty| &ty.value), leaf.value);
    }
    out.push('{');
    node.children.iter().flatten().for_each(|child| said(child, out));
    out.push('}');
}

fn layout(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line = LineBuilder::default();
    let (mut depth, mut blank_lines) = (0_usize, 0);
    let all: Vec<Token> = tokens(text).collect();
    let mut continued = false;
    for (index, token) in all.iter().enumerate() {
        let word = &text[token.start..token.end];
        match token.kind {
            TokenKind::Newline => {
                if line.text.is_empty() {
                    blank_lines += 1;
                } else {
                    continued = line.text.ends_with('\\');
                    line.end(&mut out);
                }
                continue;
            }
            TokenKind::Blank => {
                line.gap = true;
                continue;
            }
            TokenKind::Close if line.text.is_empty() => {
                depth = depth.saturating_sub(1);
                // No blank line before a closing brace.
                blank_lines = 0;
            }
            _ => {}
        }
        if line.text.is_empty() {
            // At most one blank line, and none at the beginning or after an opening brace.
            if blank_lines > 0 && !out.is_empty() && !out.ends_with("{\n") {
                out.push('\n');
            }
            blank_lines = 0;
            line.begin(depth + usize::from(continued));
            continued = false;
        } else if token.kind == TokenKind::Close {
            depth = depth.saturating_sub(1);
        }
        line.push(token.kind, word, &all[..index]);
        if token.kind == TokenKind::Open {
            depth += 1;
        }
    }
    if !line.text.is_empty() {
        line.end(&mut out);
    }
    out
}

/// A line under construction.
#[derive(Default)]
struct LineBuilder {
    text: String,
    /// Whether there were blanks before the next token.
    gap: bool,
}

impl LineBuilder {
    fn begin(&mut self, depth: usize) {
        self.text = INDENT.repeat(depth);
        self.gap = false;
    }

    fn push(&mut self, kind: TokenKind, word: &str, before: &[Token]) {
        let first = self.text.trim_start().is_empty();
        let after_open = before
            .iter()
            .rev()
            .find(|token| token.kind != TokenKind::Blank)
            .is_some_and(|token| token.kind == TokenKind::Open);
        // Blanks are reduced to one; braces on one line have blanks inside; a semicolon has none before it.
        let spaced = self.gap || matches!(kind, TokenKind::Open | TokenKind::Close) || after_open;
        if spaced && !first && kind != TokenKind::Semicolon {
            self.text.push(' ');
        }
        self.text.push_str(word);
        self.gap = kind == TokenKind::Semicolon;
    }

    fn end(&mut self, out: &mut String) {
        out.push_str(self.text.trim_end());
        out.push('\n');
        self.text.clear();
        self.gap = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(format(text, "a.kdl").unwrap(), expected);
        assert_eq!(format(expected, "a.kdl").unwrap(), expected, "formatting twice");
    }

    #[test]
    fn layouts() {
        check("a   b=1   {\nc\n}\n", "a b=1 {\n    c\n}\n");
        check("\n\n\na\n\n\n\nb", "a\n\nb\n");
        check("a {\n\n\n  b\n\n}\n", "a {\n    b\n}\n");
        check("a { b; c 1 ; }", "a { b; c 1; }\n");
        check("a{b}", "a { b }\n");
        check("// x\na   // y\n  // z\n", "// x\na // y\n// z\n");
        check("a {\n/* one\n   two */\nb\n}", "a {\n    /* one\n   two */\n    b\n}\n");
        check("a \"  two  blanks \" 0x1F 1_000\n", "a \"  two  blanks \" 0x1F 1_000\n");
        check("a \\\n   b\n", "a \\\n    b\n");
        check("a \"\"\"\n  x\n    y\n  \"\"\"\n", "a \"\"\"\n  x\n    y\n  \"\"\"\n");
        check("/- a { b; }\nc", "/- a { b; }\nc\n");
        check("", "");
    }

    #[test]
    fn not_kdl() {
        let error = format("a {", "sites/a.kdl").unwrap_err();
        assert!(error.contains("--> sites/a.kdl:1"), "{error}");
    }
}
