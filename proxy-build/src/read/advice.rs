//! Proposes what to write instead of a node that is known, but misplaced or in another form: properties in braces, braces for
//! properties, arguments that are properties, and the words of other configurations.

use super::Reader;
use crate::declaration::{Directive, Place};
use crate::directive;
use crate::lexer::{TokenKind, tokens};
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{Span, Spanned};
use crate::syntax::{Leaf, Node, Scalar, quoted};
use crate::value;

/// Properties with other names elsewhere: the directive, the foreign name, and Kiln's.
const PROPERTIES: &[(&str, &str, &str)] = &[
    ("rate-limit", "key", "by"),
    ("concurrency-limit", "key", "by"),
    ("split", "key", "by"),
    ("server", "max_conns", "max-connections"),
    ("server", "maxconn", "max-connections"),
];

impl Reader<'_> {
    /// Proposes a directive for a node that is none here.
    pub(super) fn known_otherwise(&self, node: &Node, place: Place) -> Option<Help> {
        let name = node.name.value.as_str();
        let edit = |text: String| vec![Edit { at: node.name.span, text }];
        match place {
            // A Caddyfile begins with hosts or ports.
            Place::Root if node.children.is_some() => {
                if let Some(port) = name.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
                {
                    let words = format!("write: listen \":{port}\", and beside it a site for any host: site *");
                    return Some(Help::told(words, edit(format!("listen \":{port}\"; site *"))));
                }
                let leaf = Leaf { value: Scalar::Text(name.to_owned()), ty: None, span: node.name.span, inner: None };
                let host = (name == "localhost" || name.contains('.')) && value::host(&leaf).is_ok();
                host.then(|| Help::told(format!("for a host, write: site {name}"), edit(format!("site {name}"))))
            }
            Place::Headers => {
                let field = |name: &str| http::HeaderName::from_bytes(name.as_bytes()).is_ok();
                if let (Some(name), true) = (name.strip_prefix(['-', '+']), node.props.is_empty()) {
                    let verb = if node.args.is_empty() { "remove" } else { "add" };
                    return field(name)
                        .then(|| Help::told(format!("write {verb} {name}"), edit(format!("{verb} {name}"))));
                }
                let sets = node.args.len() == 1 && field(name) && name.contains('-');
                sets.then(|| Help::told(format!("write set {name}"), edit(format!("set {name}"))))
            }
            _ => None,
        }
    }

    /// Returns the braces of a node: from the opening one to after the closing one.
    fn braces(&self, node: &Node) -> Option<Span> {
        let whole = node.whole();
        let open = self.sources.inside(Span { start: whole.end, ..whole })?.start - 1;
        let mut depth = 0_usize;
        let text = self.sources.text(whole.file).get(open as usize..)?;
        for token in tokens(text) {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close if depth == 1 => {
                    return Some(Span { start: open, end: open + token.end as u32, ..whole });
                }
                TokenKind::Close => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// Converts nodes to properties, if each has a single value.
    fn as_properties(&self, nodes: &[&Node]) -> Option<String> {
        let property = |node: &&Node| match (node.args.as_slice(), &node.children) {
            ([value], None) if node.props.is_empty() => {
                Some(format!("{}={}", node.name.value, self.sources.slice(value.span)))
            }
            _ => None,
        };
        nodes.iter().map(property).collect::<Option<Vec<_>>>().map(|found| found.join(" "))
    }

    /// Help for a directive with unexpected braces: they contain its properties, a placeholder, or neighbouring
    /// directives.
    pub(super) fn without_braces(&self, node: &Node, directive: &Directive, place: Place) -> Option<Help> {
        let children: Vec<_> = node.children.as_ref()?.iter().collect();
        let braces = self.braces(node)?;
        if children.is_empty() {
            return Some(Help::told("leave them out", vec![Edit { at: braces, text: String::new() }]));
        }
        if children.iter().all(|child| directive.props.iter().any(|prop| prop.name == child.name.value)) {
            let properties = self.as_properties(&children)?;
            let words = format!("write {} {properties}", directive.name);
            return Some(Help::told(words, vec![Edit { at: braces, text: properties }]));
        }
        if children.iter().all(|child| directive::find(&child.name.value, place).is_some()) {
            let inner = Span { start: braces.start + 1, end: braces.end - 1, ..braces };
            let text = format!("; {}", self.sources.slice(inner).trim());
            let words = format!("`{}` belongs beside it, {}", children[0].name.value, place.inside());
            return Some(Help::told(words, vec![Edit { at: braces, text }]));
        }
        let [child] = children.as_slice() else { return None };
        if !child.args.is_empty() || !child.props.is_empty() || node.args.is_empty() {
            return None;
        }
        Some(Help::write(braces, format!("\"{{{}}}\"", child.name.value)))
    }

    /// Reports properties that are written as directives in the braces; returns whether there are any.
    pub(super) fn properties_in_braces(&mut self, node: &Node, directive: &Directive) -> bool {
        let (Some(children), Some(body)) = (&node.children, directive.body) else { return false };
        let is_property = |child: &&Node| {
            let known = directive.props.iter().any(|prop| prop.name == child.name.value);
            known && directive::find(&child.name.value, body).is_none()
        };
        let wrong: Vec<_> = children.iter().filter(is_property).collect();
        let Some(first) = wrong.first() else { return false };
        let message = format!("`{}` is a property of `{}`", first.name.value, directive.name);
        let diagnostic = Diagnostic::error("unknown-node", message, first.name.span);
        let help = self.as_properties(&wrong).zip(self.braces(node)).map(|(properties, braces)| {
            let whole = node.whole();
            let behind = Span { start: whole.end, ..whole };
            let mut edits = vec![Edit { at: behind, text: format!(" {properties}") }];
            if wrong.len() == children.len() {
                edits.push(Edit { at: braces, text: String::new() });
            } else {
                edits.extend(wrong.iter().map(|node| Edit { at: node.whole(), text: String::new() }));
            }
            Help::told(format!("write {} {properties}", directive.name), edits)
        });
        self.report.add(diagnostic.maybe_help(help));
        true
    }

    /// Help for an unknown property: it has another name, or is a directive for the braces.
    pub(super) fn other_property(&self, node: &Node, directive: &Directive, name: &Spanned<String>) -> Option<Help> {
        let theirs = |known: &&(&str, &str, &str)| known.0 == directive.name && known.1 == name.value;
        if let Some((.., ours)) = PROPERTIES.iter().find(theirs) {
            return Some(Help::write(name.span, *ours));
        }
        let (_, value) = node.props.iter().find(|(found, _)| found.span == name.span)?;
        let inner = directive::find(&name.value, directive.body?)?;
        let written = self.sources.slice(value.span);
        // An optional argument is not the property's value.
        let text = match inner.args.is_empty() || inner.args.ends_with('?') {
            _ if matches!(value.value, Scalar::Bool(true)) => inner.name.to_owned(),
            false => format!("{} {written}", inner.name),
            true => return Some(format!("put it in braces: {} {{ {}; }}", directive.name, inner.usage()).into()),
        };
        let property = Span { end: value.span.end, ..name.span };
        Some(self.with_braces(node, property, &text))
    }

    /// Proposes a directive in the braces of a node, in place of the text at `at`.
    pub(super) fn with_braces(&self, node: &Node, at: Span, text: &str) -> Help {
        let insert = |at: u32, text: String| Edit { at: Span { start: at, end: at, ..node.name.span }, text };
        let words = format!("write in its braces: {text}");
        // Including the blank before it.
        let remove = Edit { at: Span { start: at.start - 1, ..at }, text: String::new() };
        let edits = match (self.braces(node), &node.children) {
            (Some(braces), Some(_)) => vec![remove, insert(braces.start + 1, format!(" {text};"))],
            (None, None) => vec![remove, insert(node.whole().end, format!(" {{ {text}; }}"))],
            _ => return words.into(),
        };
        Help::told(words, edits)
    }

    /// Help for an unexpected argument: a matcher, handler or policy after its route or site.
    pub(super) fn unexpected(&self, node: &Node, directive: &Directive, leaf: &Leaf, index: usize) -> Help {
        let form = || Help::from(format!("its form is: {}", directive.usage()));
        let Scalar::Text(word) = &leaf.value else { return form() };
        let first = directive.props.iter().find(|prop| prop.name == word && prop.value == "BOOL");
        if let Some(flag) = first {
            return Help::write(leaf.span, format!("{}=#true", flag.name));
        }
        if let ("rewrite", [from, to]) = (directive.name, node.args.as_slice()) {
            let text =
                format!("rewrite regex={} replace={}", self.sources.slice(from.span), self.sources.slice(to.span));
            return Help::told(format!("write {text}"), vec![Edit { at: node.whole(), text }]);
        }
        let Some(body) = directive.body else { return form() };
        let inner = directive::find(word, body).is_some();
        let whole = node.whole();
        if inner && node.children.is_none() && node.args[index..].iter().all(|arg| arg.span.start >= leaf.span.start) {
            let text = self.sources.slice(Span { end: whole.end, ..leaf.span }).to_owned();
            return self.with_braces(node, Span { end: whole.end, ..leaf.span }, &text);
        }
        // A server, a tunnel or the like, given by its address alone.
        match (directive.name, node.args.get(index + 1)) {
            ("upstream", None) => self.with_braces(node, leaf.span, &format!("server {}", quoted(word))),
            _ => form(),
        }
    }
}
