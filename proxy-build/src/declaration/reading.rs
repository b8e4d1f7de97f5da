//! The reader of a directive's node: takes the declared arguments and properties, and reports unexpected ones.

use super::{Directive, Place};
use crate::ast::{Item, What};
use crate::report::{Diagnostic, Edit, Help, Report};
use crate::source::{Sources, Span, Spanned};
use crate::syntax::{Leaf, Node, Scalar};
use crate::value::{Advice, Parsed, Problem};

/// The pass that reads nodes.
pub(crate) trait ReadingPass {
    /// Reads the nodes in a node's braces.
    fn items(&mut self, nodes: &[Node], place: Place) -> Vec<Item>;
    /// Returns the help for an unexpected argument.
    fn unexpected(&self, node: &Node, directive: &Directive, leaf: &Leaf, index: usize) -> Help;
    /// Proposes a directive in the braces of a node, in place of the text at a span.
    fn with_braces(&self, node: &Node, at: Span, text: &str) -> Help;
    /// Returns the source files.
    fn sources(&self) -> &Sources;
    /// Returns the report.
    fn report(&mut self) -> &mut Report;
}

/// A node that is being read. A directive takes its declared parts; anything left over is an error.
pub struct Reading<'a, 'r> {
    reader: &'a mut (dyn ReadingPass + 'r),
    node: &'a Node,
    directive: &'static Directive,
    place: Place,
    next: usize,
    failed: bool,
    taken: Vec<&'static str>,
}

impl<'a, 'r> Reading<'a, 'r> {
    /// Begins with a node; `failed` if it has an error already.
    pub(crate) fn new(
        reader: &'a mut (dyn ReadingPass + 'r),
        node: &'a Node,
        directive: &'static Directive,
        place: Place,
        failed: bool,
    ) -> Reading<'a, 'r> {
        Reading { reader, node, directive, place, next: 0, failed, taken: Vec::new() }
    }

    /// Returns the place of the node.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Returns the span of the node's name.
    pub fn span(&self) -> Span {
        self.node.name.span
    }

    /// Returns the next argument, which is required.
    pub fn arg<T>(&mut self, usage: &str, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        if self.next >= self.node.args.len() {
            if !self.failed {
                let message = format!("`{}` needs {usage}", self.directive.name);
                let help = format!("its form is: {}", self.directive.usage());
                self.add(Diagnostic::error("missing-argument", message, self.node.name.span).help(help));
            }
            self.failed = true;
            return None;
        }
        self.opt_arg(parse)
    }

    /// Returns the next argument, if there is one.
    pub fn opt_arg<T>(&mut self, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        let leaf = self.node.args.get(self.next)?;
        self.next += 1;
        self.parse(leaf, parse)
    }

    /// Returns the value of the next argument, unparsed.
    pub fn peek(&self) -> Option<&Leaf> {
        self.node.args.get(self.next)
    }

    /// Returns all remaining arguments.
    pub fn rest<T>(&mut self, parse: impl Fn(&Leaf) -> Parsed<T>) -> Vec<Spanned<T>> {
        let mut values = Vec::new();
        while self.next < self.node.args.len() {
            values.extend(self.opt_arg(&parse));
        }
        values
    }

    /// Returns all remaining arguments, at least one.
    pub fn some<T>(&mut self, usage: &str, parse: impl Fn(&Leaf) -> Parsed<T>) -> Vec<Spanned<T>> {
        let first = self.arg(usage, &parse);
        first.into_iter().chain(self.rest(parse)).collect()
    }

    /// Returns a property, if it is given.
    pub fn prop<T>(&mut self, name: &'static str, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        debug_assert!(
            self.directive.props.iter().any(|prop| prop.name == name),
            "`{}` reads `{name}` without declaring it",
            self.directive.name
        );
        self.taken.push(name);
        let (_, leaf) = self.node.props.iter().find(|(found, _)| found.value == name)?;
        self.parse(leaf, parse)
    }

    /// Returns a required property.
    pub fn required<T>(&mut self, name: &'static str, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        if !self.node.props.iter().any(|(found, _)| found.value == name) {
            let message = format!("`{}` needs `{name}=`", self.directive.name);
            let help =
                self.as_property(name).unwrap_or_else(|| format!("its form is: {}", self.directive.usage()).into());
            self.add(Diagnostic::error("missing-property", message, self.node.name.span).help(help));
            self.failed = true;
        }
        self.prop(name, parse)
    }

    /// Reads the content of the braces.
    ///
    /// Must be called after the arguments were read: remaining ones are unexpected. If the node has another error, a broken item is
    /// added: a part that seems to be missing may have been meant.
    pub fn body(&mut self) -> Vec<Item> {
        let mut items = match (&self.node.children, self.directive.body) {
            (Some(children), Some(place)) => self.reader.items(children, place),
            _ => Vec::new(),
        };
        let wrong = self.failed || self.next < self.node.args.len();
        if wrong {
            items.push(Item { span: self.node.name.span, what: What::Unread, broken: true });
        }
        let empty = self.node.children.as_ref().is_none_or(Vec::is_empty);
        // All that it can say stands in its braces. (Of an `else`, it is said that it has no handler; `metrics` and `tap` say enough by themselves.)
        let braces_alone = self.directive.args.is_empty()
            && self.directive.props.is_empty()
            && !matches!(self.directive.body, Some(Place::Else | Place::Metrics | Place::Tap));
        if empty && braces_alone && !wrong {
            let message = format!("`{}` says nothing", self.directive.name);
            self.add(
                Diagnostic::error("no-effect", message, self.node.name.span)
                    .help(format!("its form is: {}", self.directive.usage())),
            );
        }
        items
    }

    /// Checks the order of arguments: `None` if the second one comes first, or the first one is missing and has a usual value.
    pub fn in_order(&mut self, is_first: impl Fn(&Leaf) -> bool, usual: Option<&str>) -> Option<()> {
        let node = self.node;
        let first = match node.args.as_slice() {
            [first, ..] if !is_first(first) && matches!(first.value, Scalar::Text(_)) => first,
            _ => return Some(()),
        };
        let slice = |leaf: &Leaf| self.reader.sources().slice(leaf.span).to_owned();
        let (message, help) = match (node.args.get(1), usual) {
            (Some(second), _) if is_first(second) => {
                let (here, there) = (slice(first), slice(second));
                let words = format!("write {} {there} {here}", self.directive.name);
                let edits = vec![Edit { at: first.span, text: there }, Edit { at: second.span, text: here }];
                ("these two stand in the other order", Help::told(words, edits))
            }
            // Not in a table, whose columns have no order.
            (None, Some(usual)) if first.ty.is_none() && !slice(first).starts_with(['/', 'h']) => {
                let text = format!("{usual} {}", slice(first));
                ("something is missing before this", Help::write(first.span, text))
            }
            _ => return Some(()),
        };
        let at = first.span;
        self.add(Diagnostic::error("value-type", message, at).help(help));
        self.failed = true;
        None
    }

    /// Requires at least one property, if all of them are optional.
    pub fn some_property(&mut self) {
        if self.node.props.is_empty() && self.node.args.is_empty() && !self.failed {
            let message = format!("`{}` says nothing", self.directive.name);
            let help = format!("its form is: {}", self.directive.usage());
            self.add(Diagnostic::error("no-effect", message, self.node.name.span).help(help));
            self.failed = true;
        }
    }

    /// Adds a diagnostic of the directive itself.
    pub fn add(&mut self, diagnostic: Diagnostic) {
        self.reader.report().add(diagnostic);
    }

    fn parse<T>(&mut self, leaf: &Leaf, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        if matches!(&leaf.value, Scalar::Text(text) if text.contains("PRIVATE KEY-----")) {
            let message =
                "a private key is written here: it would be in the binary, and in the version history of the file";
            let help =
                "a key stays in a file of its own, which the proxy reads when it starts: (file)\"/etc/site/site.key\"";
            self.add(Diagnostic::error("private-key", message, leaf.span).help(help));
            self.failed = true;
            return None;
        }
        match parse(leaf) {
            Ok(value) => Some(Spanned { value, span: leaf.span }),
            Err(Problem { code, message, mut help, part }) => {
                if help.contains(&Advice::Inside) {
                    self.next = self.node.args.len();
                }
                let variable = matches!(&leaf.value, Scalar::Text(text) if is_of_the_environment(text));
                if variable && help.is_empty() {
                    help.push(ENVIRONMENT.into());
                }
                let span = match (part, leaf.inner) {
                    (Some((start, end)), Some(inner)) => inner.part(start, end),
                    _ => leaf.span,
                };
                let advised = help.into_iter().map(|advice| self.advised(leaf.span, advice));
                let found = advised.fold(Diagnostic::error(code, message, span), Diagnostic::help);
                self.add(found);
                self.failed = true;
                None
            }
        }
    }

    /// Returns the advice for the value at a span, as a change of the file.
    fn advised(&self, at: Span, advice: Advice) -> Help {
        let node = self.node;
        let insert = |at: u32, text: String| Edit { at: Span { start: at, end: at, ..node.name.span }, text };
        match advice {
            Advice::Words(words) => words.into(),
            Advice::Write(text) => Help::write(at, text),
            Advice::WriteWith(text, beside) => {
                let words = format!("write {text}, and beside it: {beside}");
                let edits = vec![insert(node.name.span.start, format!("{beside}; ")), Edit { at, text }];
                Help::told(words, edits)
            }
            Advice::WriteInside(text, inside) => {
                let words = format!("write {text}, and in it: {inside}");
                let first = node.children.as_ref().and_then(|children| children.first());
                let edits = first.map(|first| vec![Edit { at, text }, insert(first.start(), format!("{inside}; "))]);
                Help::told(words, edits.unwrap_or_default())
            }
            Advice::Node(text) => Help::told(format!("write: {text}"), vec![Edit { at: node.whole(), text }]),
            Advice::Inside => {
                let rest = Span { end: node.whole().end, ..at };
                self.reader.with_braces(node, rest, self.reader.sources().slice(rest))
            }
        }
    }

    /// Proposes to write an unexpected argument as the missing property.
    fn as_property(&self, name: &str) -> Option<Help> {
        let left = self.node.args.get(self.next..)?;
        let [leaf] = left else { return None };
        let text = format!("{name}={}", self.reader.sources().slice(leaf.span));
        Some(Help::write(leaf.span, text))
    }

    /// Reports unexpected parts; returns whether there was any error.
    pub(crate) fn finish(mut self) -> bool {
        if let (false, Some(leaf)) = (self.failed, self.node.args.get(self.next)) {
            let message = format!("`{}` has no use for this argument", self.directive.name);
            let help = self.reader.unexpected(self.node, self.directive, leaf, self.next);
            self.reader.report().add(Diagnostic::error("unexpected-argument", message, leaf.span).help(help));
            self.failed = true;
        }
        debug_assert!(
            self.failed || self.directive.props.iter().all(|prop| self.taken.contains(&prop.name)),
            "`{}` declares a property that it does not read",
            self.directive.name
        );
        self.failed
    }
}

/// The help for variables of the environment.
const ENVIRONMENT: &str = "variables of the environment are read when the proxy starts, by parameters: param port type=addr default=\":8080\" \
     is the flag --port or the variable PORT, and (param)port its value";

/// Returns whether a text contains a variable as in shells, Docker or Caddy.
fn is_of_the_environment(text: &str) -> bool {
    let name = |rest: &str| rest.starts_with(|char: char| char.is_ascii_uppercase() || char == '_');
    ["${", "{$", "$"].iter().any(|sign| text.split(sign).skip(1).any(name))
}
