//! Pass 3, `read`: nodes to [`Item`]s, guided by the declarations in `directive`.
//!
//! After this pass it cannot happen that a node, argument or property is unknown, misplaced, doubled or of the wrong
//! type. What a directive does not ask for is an error here, so nothing is accepted and ignored.

mod advice;

use crate::ast::{Item, What};
use crate::directive::aliases::{self, Alias};
use crate::directive::{self, Directive, Place};
use crate::report::{Diagnostic, Edit, Help, Report, nearest};
use crate::source::{FileId, Sources, Span, Spanned};
use crate::syntax::{self, Leaf, Node, Scalar};
use crate::value::{Advice, Parsed, Problem};

/// How deep includes may nest.
const MAX_INCLUDE_DEPTH: usize = 16;

/// Reads a whole file with all it includes.
pub fn read(sources: &mut Sources, file: FileId, report: &mut Report) -> Vec<Item> {
    let nodes = syntax::parse(sources, file, report);
    let mut reader = Reader { sources, report, including: vec![file] };
    reader.items(&nodes, Place::Root)
}

/// What directives read with.
struct Reader<'a> {
    sources: &'a mut Sources,
    report: &'a mut Report,
    /// The files being read, outermost first.
    including: Vec<FileId>,
}

impl Reader<'_> {
    fn items(&mut self, nodes: &[Node], place: Place) -> Vec<Item> {
        let mut items = Vec::with_capacity(nodes.len());
        let mut seen: Vec<(&'static str, Span)> = Vec::new();
        for node in nodes {
            let Some(directive) = self.directive(node, place) else {
                items.push(Item { span: node.name.span, what: What::Unread, broken: true });
                continue;
            };
            // Of alternatives there may be several of one kind.
            if !directive.repeats && place != Place::Any {
                if let Some((_, first)) = seen.iter().find(|(name, _)| *name == directive.name) {
                    let diagnostic = Diagnostic::error(
                        "duplicate-node",
                        format!("`{}` stands here twice, and one of them would be without effect", directive.name),
                        node.name.span,
                    );
                    self.report.add(diagnostic.label("the second").also(*first, "the first"));
                    continue;
                }
                seen.push((directive.name, node.name.span));
            }
            if directive.name == "include" && place == Place::Root {
                items.extend(self.include(node));
            } else if directive.name == "table" {
                items.extend(self.table(node, directive));
            } else {
                items.push(self.item(node, directive, place));
            }
        }
        items
    }

    fn directive(&mut self, node: &Node, place: Place) -> Option<&'static Directive> {
        let name = node.name.value.as_str();
        if let Some(directive) = directive::find(name, place) {
            return Some(directive);
        }
        let here: Vec<_> = directive::within(place).map(|directive| directive.name).collect();
        let elsewhere: Vec<_> = directive::ALL.iter().filter(|directive| directive.name == name).collect();
        let mut diagnostic = Diagnostic::error(
            if elsewhere.is_empty() { "unknown-node" } else { "misplaced-node" },
            format!("there is no `{name}` {}", place.inside()),
            node.name.span,
        );
        if let Some(alias) = aliases::find(name, place) {
            self.report.add(diagnostic.help(self.ours(node, alias, place)));
            return None;
        }
        // What it declares is not missing, only misplaced.
        if let Some(Scalar::Text(name)) = node.args.first().map(|leaf| &leaf.value).filter(|_| !elsewhere.is_empty()) {
            self.report.lose(name);
        }
        let near = nearest(name, here.iter().copied());
        // Of what is ours elsewhere, the singular and the plural are near enough.
        let near = near.filter(|near| elsewhere.is_empty() || near.starts_with(name) || name.starts_with(near));
        if let Some(help) = self.known_otherwise(node, place) {
            diagnostic = diagnostic.help(help);
        } else if let Some(near) = near {
            diagnostic = diagnostic.meant(near);
        } else if !elsewhere.is_empty() {
            let places: Vec<_> = elsewhere.iter().flat_map(|found| found.places).map(|place| place.inside()).collect();
            diagnostic = diagnostic.label(format!("it stands {}", places.join(", ")));
        } else if here.is_empty() {
            diagnostic = diagnostic.label("nothing stands here");
        } else if here.len() <= 12 {
            diagnostic = diagnostic.help(format!("here can stand: {}", here.join(" ")));
        } else {
            diagnostic = diagnostic.help("`kiln reference` has all directives, and where each can stand");
        }
        self.report.add(diagnostic);
        None
    }

    /// What another proxy's word is called here.
    fn ours(&self, node: &Node, alias: &Alias, place: Place) -> Help {
        let Some(directive) = aliases::directive(alias, place) else { return alias.example.into() };
        if !directive.places.contains(&place) {
            let places: Vec<_> = directive.places.iter().map(|place| place.inside()).collect();
            return Help::from(format!("here that is `{}`, {}: {}", directive.name, places.join(", "), alias.example));
        }
        let words = format!("here that is: {}", alias.example);
        let edit = match &node.children {
            None => Edit { at: node.whole(), text: alias.example.to_owned() },
            // What stands between the braces is kept, where ours has braces for the same.
            Some(_) if alias.same && !node.args.is_empty() => {
                Edit { at: node.name.span, text: directive.name.to_owned() }
            }
            Some(_) => return words.into(),
        };
        Help::told(words, vec![edit])
    }

    fn item(&mut self, node: &Node, directive: &'static Directive, place: Place) -> Item {
        if let Some(ty) = &node.ty {
            self.report.add(Diagnostic::error("value-type", "a node has no type annotation", ty.span));
        }
        if let (Some(_), None) = (&node.children, directive.body) {
            let message = format!("`{}` has nothing between braces", directive.name);
            let diagnostic = Diagnostic::error("unexpected-braces", message, node.name.span);
            let help = self.without_braces(node, directive, place);
            self.report.add(diagnostic.maybe_help(help));
            return Item { span: node.name.span, what: What::Unread, broken: true };
        }
        if self.properties_in_braces(node, directive) {
            return Item { span: node.name.span, what: What::Unread, broken: true };
        }
        let mut failed = false;
        for (index, (name, _)) in node.props.iter().enumerate() {
            failed |= !self.property_known(node, directive, place, name, index);
        }
        let mut reading = Reading { reader: self, node, directive, place, next: 0, failed, taken: Vec::new() };
        let what = (directive.read)(&mut reading).unwrap_or(What::Unread);
        let broken = reading.finish();
        if let (true, Place::Root, Some(Scalar::Text(name))) =
            (broken, place, node.args.first().map(|leaf| &leaf.value))
        {
            self.report.lose(name);
        }
        Item { span: node.name.span, what, broken }
    }

    fn property_known(
        &mut self,
        node: &Node,
        directive: &Directive,
        place: Place,
        name: &Spanned<String>,
        index: usize,
    ) -> bool {
        let Some(declared) = directive.props.iter().find(|prop| prop.name == name.value) else {
            let mut diagnostic = Diagnostic::error(
                "unknown-property",
                format!("`{}` has no property `{name}`", directive.name),
                name.span,
            );
            let near = nearest(&name.value, directive.props.iter().map(|prop| prop.name));
            match self.other_property(node, directive, name) {
                Some(help) => diagnostic = diagnostic.help(help),
                None if near.is_some() => diagnostic = diagnostic.meant(near.unwrap_or_default()),
                None if directive.props.is_empty() => {
                    diagnostic = diagnostic.help(format!("its form is: {}", directive.usage()));
                }
                None => {
                    let names: Vec<_> = directive.props.iter().map(|prop| prop.name).collect();
                    diagnostic = diagnostic.help(format!("it has: {}", names.join(" ")));
                }
            }
            self.report.add(diagnostic);
            return false;
        };
        if let Some((first, _)) = node.props[..index].iter().find(|(earlier, _)| earlier.value == name.value) {
            let message = format!("`{name}` is given twice");
            self.report.add(Diagnostic::error("duplicate-property", message, name.span).also(first.span, "the first"));
            return false;
        }
        if !declared.places.is_empty() && !declared.places.contains(&place) {
            let places: Vec<_> = declared.places.iter().map(|place| place.inside()).collect();
            let message = format!("`{name}` has no effect {}", place.inside());
            self.report.add(
                Diagnostic::error("misplaced-property", message, name.span)
                    .help(format!("it acts before that is known: write it {}", places.join(", "))),
            );
            return false;
        }
        true
    }

    /// The path that `include` and `table` name; other files stand in the place of these nodes.
    fn named_file(&mut self, node: &Node, directive: &'static Directive, place: Place) -> Option<Spanned<String>> {
        let mut reading = Reading { reader: self, node, directive, place, next: 0, failed: false, taken: Vec::new() };
        let path = reading.arg("a PATH", crate::value::text);
        reading.finish();
        for (index, (name, _)) in node.props.iter().enumerate() {
            self.property_known(node, directive, place, name, index);
        }
        path
    }

    fn table(&mut self, node: &Node, directive: &'static Directive) -> Vec<Item> {
        let Some(path) = self.named_file(node, directive, Place::Site) else {
            return vec![Item { span: node.name.span, what: What::Unread, broken: true }];
        };
        let from = *self.including.last().expect("a file is being read");
        let (beside, shown) = (self.sources.beside(from, &path.value), self.sources.shown_beside(from, &path.value));
        let Some(file) = self.sources.include(&beside, shown, path.span, self.report) else {
            return vec![Item { span: node.name.span, what: What::Unread, broken: true }];
        };
        let nodes = syntax::table::parse(self.sources, file, self.report);
        self.items(&nodes, Place::Site)
    }

    fn include(&mut self, node: &Node) -> Vec<Item> {
        let directive = directive::find("include", Place::Root).expect("declared");
        let Some(pattern) = self.named_file(node, directive, Place::Root) else { return Vec::new() };
        let from = *self.including.last().expect("a file is being read");
        let mut items = Vec::new();
        for (path, shown) in self.matching(from, &pattern) {
            let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
            let circular = self
                .including
                .iter()
                .any(|&file| self.sources.path(file).canonicalize().is_ok_and(|file| file == canonical));
            if circular || self.including.len() >= MAX_INCLUDE_DEPTH {
                let message =
                    if circular { format!("`{shown}` includes itself") } else { "includes nest too deep".to_owned() };
                self.report.add(Diagnostic::error("include-loop", message, pattern.span));
                continue;
            }
            let Some(file) = self.sources.include(&path, shown, pattern.span, self.report) else { continue };
            let nodes = syntax::parse(self.sources, file, self.report);
            self.including.push(file);
            items.extend(self.items(&nodes, Place::Root));
            self.including.pop();
        }
        items
    }

    /// The files an include names, in the order of their names; an error where there is none.
    fn matching(&mut self, from: FileId, pattern: &Spanned<String>) -> Vec<(std::path::PathBuf, String)> {
        let beside = self.sources.beside(from, &pattern.value);
        let folder = self.sources.path(from).parent().unwrap_or(std::path::Path::new("")).to_owned();
        if !pattern.value.contains(['*', '?', '[']) {
            return vec![(beside, self.sources.shown_beside(from, &pattern.value))];
        }
        if let Some(archived) = self.sources.archived(&self.sources.shown_beside(from, &pattern.value)) {
            return archived.into_iter().map(|name| (name.clone().into(), name)).collect();
        }
        self.sources.includes_by_pattern(&beside, pattern.span);
        let found: Result<Vec<_>, String> = glob::glob(&beside.to_string_lossy())
            .map_err(|error| error.msg.to_owned())
            .and_then(|paths| paths.collect::<Result<_, _>>().map_err(|error| error.to_string()));
        match found {
            Ok(paths) if paths.is_empty() => {
                let message = format!("no file matches `{pattern}`");
                self.report.add(Diagnostic::error("include-empty", message, pattern.span));
                Vec::new()
            }
            Ok(paths) => paths
                .into_iter()
                .map(|path| {
                    let shown = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
                    (path, self.sources.shown_beside(from, &shown))
                })
                .collect(),
            Err(reason) => {
                self.report.add(Diagnostic::error("include-pattern", reason, pattern.span));
                Vec::new()
            }
        }
    }
}

/// One node being read. Directives take from it what they declare; what is left over is an error.
pub struct Reading<'a, 'r> {
    reader: &'a mut Reader<'r>,
    node: &'a Node,
    directive: &'static Directive,
    place: Place,
    next: usize,
    failed: bool,
    taken: Vec<&'static str>,
}

// `Reader` is this pass's own; `Reading` is what directives see of it.
#[allow(private_interfaces)]
impl Reading<'_, '_> {
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
    /// It is read after the arguments: those that are left by then are too many. Where something else is wrong with the node, there is a broken item beside it: what seems to be missing may be what was meant.
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
        // All that it can say stands in its braces. (Of an `else`, it is said that it has no handler.)
        let braces_alone = self.directive.args.is_empty()
            && self.directive.props.is_empty()
            && self.directive.body != Some(Place::Else);
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
        let slice = |leaf: &Leaf| self.reader.sources.slice(leaf.span).to_owned();
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
        self.reader.report.add(diagnostic);
    }

    fn parse<T>(&mut self, leaf: &Leaf, parse: impl Fn(&Leaf) -> Parsed<T>) -> Option<Spanned<T>> {
        if matches!(&leaf.value, Scalar::Text(text) if text.contains("PRIVATE KEY-----")) {
            let message =
                "a private key is written here: it would be in the binary, and in everybody's history of the file";
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
                let variable = matches!(&leaf.value, Scalar::Text(text) if advice::is_of_the_environment(text));
                if variable && help.is_empty() {
                    help.push(advice::ENVIRONMENT.into());
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
                self.reader.with_braces(node, rest, self.reader.sources.slice(rest))
            }
        }
    }

    /// Whether anything was wrong.
    fn finish(mut self) -> bool {
        if let (false, Some(leaf)) = (self.failed, self.node.args.get(self.next)) {
            let message = format!("`{}` has no use for this argument", self.directive.name);
            let help = self.reader.unexpected(self.node, self.directive, leaf, self.next);
            self.reader.report.add(Diagnostic::error("unexpected-argument", message, leaf.span).help(help));
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
