//! Pass 3, `read`: nodes to [`Item`]s, guided by their declarations, which `directive` lists.
//!
//! After this pass it cannot happen that a node, argument or property is unknown, misplaced, duplicated or of the wrong
//! type. Everything that a directive does not read is an error here, so nothing is accepted and ignored.

mod advice;

use crate::ast::{Item, What};
use crate::declaration::{Directive, Place, Reading, ReadingPass};
use crate::directive;
use crate::directive::aliases::{self, Alias};
use crate::nearest::nearest;
use crate::report::{Diagnostic, Edit, Help, Report};
use crate::source::{FileId, Sources, Span, Spanned};
use crate::syntax::{self, Leaf, Node, Scalar};

/// The maximum nesting of includes.
const MAX_INCLUDE_DEPTH: usize = 16;

/// Reads a file with all of its includes.
pub fn read(sources: &mut Sources, file: FileId, report: &mut Report) -> Vec<Item> {
    let nodes = syntax::parse(sources, file, report);
    let mut reader = Reader { sources, report, including: vec![file] };
    reader.items(&nodes, Place::Root)
}

/// The state of the pass.
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
            // In `any`, several of one kind are allowed.
            if !directive.repeats && place != Place::Any {
                if let Some((_, first)) = seen.iter().find(|(name, _)| *name == directive.name) {
                    let diagnostic = Diagnostic::error(
                        "duplicate-node",
                        format!("`{}` is written twice here, and one of them would have no effect", directive.name),
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
        // A name that it declares is not missing, only misplaced.
        if let Some(Scalar::Text(name)) = node.args.first().map(|leaf| &leaf.value).filter(|_| !elsewhere.is_empty()) {
            self.report.lose(name);
        }
        let near = nearest(name, here.iter().copied());
        // For a misplaced directive, only singular and plural count as similar.
        let near = near.filter(|near| elsewhere.is_empty() || near.starts_with(name) || name.starts_with(near));
        if let Some(help) = self.known_otherwise(node, place) {
            diagnostic = diagnostic.help(help);
        } else if let Some(near) = near {
            diagnostic = diagnostic.meant(near);
        } else if !elsewhere.is_empty() {
            let places: Vec<_> = elsewhere.iter().flat_map(|found| found.places).map(|place| place.inside()).collect();
            diagnostic = diagnostic.label(format!("it is allowed {}", places.join(", ")));
        } else if here.is_empty() {
            diagnostic = diagnostic.label("nothing is allowed here");
        } else if here.len() <= 12 {
            diagnostic = diagnostic.help(format!("allowed here: {}", here.join(" ")));
        } else {
            diagnostic = diagnostic.help("`kiln reference` has all directives, and where each is allowed");
        }
        self.report.add(diagnostic);
        None
    }

    /// Help for another proxy's word.
    fn ours(&self, node: &Node, alias: &Alias, place: Place) -> Help {
        let Some(directive) = aliases::directive(alias, place) else { return alias.example.into() };
        if !directive.places.contains(&place) {
            let places: Vec<_> = directive.places.iter().map(|place| place.inside()).collect();
            return Help::from(format!("here that is `{}`, {}: {}", directive.name, places.join(", "), alias.example));
        }
        let words = format!("here that is: {}", alias.example);
        let edit = match &node.children {
            None => Edit { at: node.whole(), text: alias.example.to_owned() },
            // The content of the braces is kept, if the equivalent has the same.
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
            let help = match (directive.name, place) {
                ("http", Place::Root) => Some(aliases::NO_BLOCK.into()),
                _ => self.without_braces(node, directive, place),
            };
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
        let mut reading = Reading::new(self, node, directive, place, failed);
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
                    .help(format!("it acts before this is known: write it {}", places.join(", "))),
            );
            return false;
        }
        true
    }

    /// Returns the path that `include` or `table` names; the file's items replace the node.
    fn named_file(&mut self, node: &Node, directive: &'static Directive, place: Place) -> Option<Spanned<String>> {
        let mut reading = Reading::new(self, node, directive, place, false);
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

    /// Returns the files that an include matches, sorted by name; an error if there are none.
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

impl ReadingPass for Reader<'_> {
    fn items(&mut self, nodes: &[Node], place: Place) -> Vec<Item> {
        Reader::items(self, nodes, place)
    }

    fn unexpected(&self, node: &Node, directive: &Directive, leaf: &Leaf, index: usize) -> Help {
        Reader::unexpected(self, node, directive, leaf, index)
    }

    fn with_braces(&self, node: &Node, at: Span, text: &str) -> Help {
        Reader::with_braces(self, node, at, text)
    }

    fn sources(&self) -> &Sources {
        self.sources
    }

    fn report(&mut self) -> &mut Report {
        self.report
    }
}
