//! The reader of a directive's node: takes the declared arguments and properties, and reports what is left over.

use super::{Directive, Place};
use crate::ast::{Item, What};
use crate::report::{Diagnostic, Edit, Help, Report};
use crate::source::{Sources, Span, Spanned};
use crate::syntax::{Leaf, Node, Scalar};
use crate::value::{Advice, Parsed, Problem};

/// The pass that a node is read by.
pub(crate) trait ReadingPass {
    /// Reads the nodes between a node's braces.
    fn items(&mut self, nodes: &[Node], place: Place) -> Vec<Item>;
    /// What to do about an argument that a directive has no use for.
    fn unexpected(&self, node: &Node, directive: &Directive, leaf: &Leaf, index: usize) -> Help;
    /// A directive in the braces of a node, in place of what is at a place.
    fn with_braces(&self, node: &Node, at: Span, text: &str) -> Help;
    /// The files of the site.
    fn sources(&self) -> &Sources;
    /// What is found.
    fn report(&mut self) -> &mut Report;
}

/// One node being read. Directives take from it what they declare; what is left over is an error.
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
    /// Begins with a node; `failed` where something is wrong with it already.
    pub(crate) fn new(
        reader: &'a mut (dyn ReadingPass + 'r),
        node: &'a Node,
        directive: &'static Directive,
        place: Place,
        failed: bool,
    ) -> Reading<'a, 'r> {
        Reading { reader, node, directive, place, next: 0, failed, taken: Vec::new() }
    }

    /// Where the node stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The span of the node's name.
    pub fn span(&self) -> Span {
        self.node.name.span
    }

    /// The next argument, which must be there.
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

    /// The next argument, if there is one.
    pub fn opt_arg<T>(&mut self, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        let leaf = self.node.args.get(self.next)?;
        self.next += 1;
        self.parse(leaf, parse)
    }

    /// The value of the next argument, unparsed.
    pub fn peek(&self) -> Option<&Leaf> {
        self.node.args.get(self.next)
    }

    /// All arguments that are left.
    pub fn rest<T>(&mut self, parse: impl Fn(&Leaf) -> Parsed<T>) -> Vec<Spanned<T>> {
        let mut values = Vec::new();
        while self.next < self.node.args.len() {
            values.extend(self.opt_arg(&parse));
        }
        values
    }

    /// All arguments that are left, at least one.
    pub fn some<T>(&mut self, usage: &str, parse: impl Fn(&Leaf) -> Parsed<T>) -> Vec<Spanned<T>> {
        let first = self.arg(usage, &parse);
        first.into_iter().chain(self.rest(parse)).collect()
    }

    /// A property, if it is given.
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

    /// A property that must be given.
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

    /// What stands between the braces.
    ///
    /// It is read after the arguments: those that are left by then are too many. Where something else is wrong with the node, there is a
    /// broken item beside it: what seems to be missing may be what was meant.
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
        // All that it can say stands in its braces. (Of an `else`, it is said that it has no handler; `metrics` says enough by itself.)
        let braces_alone = self.directive.args.is_empty()
            && self.directive.props.is_empty()
            && !matches!(self.directive.body, Some(Place::Else | Place::Metrics));
        if empty && braces_alone && !wrong {
            let message = format!("`{}` says nothing", self.directive.name);
            self.add(
                Diagnostic::error("no-effect", message, self.node.name.span)
                    .help(format!("its form is: {}", self.directive.usage())),
            );
        }
        items
    }

    /// Whether the first argument is what it should be: `None` where the second one is, or where it is missing and has a usual value.
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

    /// Holds a directive to having a property, where each of them says something and none need be there.
    pub fn some_property(&mut self) {
        if self.node.props.is_empty() && self.node.args.is_empty() && !self.failed {
            let message = format!("`{}` says nothing", self.directive.name);
            let help = format!("its form is: {}", self.directive.usage());
            self.add(Diagnostic::error("no-effect", message, self.node.name.span).help(help));
            self.failed = true;
        }
    }

    /// Adds a diagnostic of the directive's own.
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

    /// What is advised about the value at a place, as a change of the file.
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

    /// An argument too many, as the property that is missing.
    fn as_property(&self, name: &str) -> Option<Help> {
        let left = self.node.args.get(self.next..)?;
        let [leaf] = left else { return None };
        let text = format!("{name}={}", self.reader.sources().slice(leaf.span));
        Some(Help::write(leaf.span, text))
    }

    /// Whether anything was wrong.
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

/// What is said to who writes a variable of the environment.
const ENVIRONMENT: &str = "variables of the environment are read when the proxy starts, by parameters: param port type=addr default=\":8080\" \
     is the flag --port or the variable PORT, and (param)port its value";

/// Whether a text has a variable in it as shells, Docker or Caddy write them.
fn is_of_the_environment(text: &str) -> bool {
    let name = |rest: &str| rest.starts_with(|char: char| char.is_ascii_uppercase() || char == '_');
    ["${", "{$", "$"].iter().any(|sign| text.split(sign).skip(1).any(name))
}
