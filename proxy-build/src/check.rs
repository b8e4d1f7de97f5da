//! The context of pass 4: `Check` knows what the file declares, and has a method for each thing to look up, resolve or
//! prove. `sites` walks through the file with it.

mod acme;
mod anonymous;
mod cache;
pub(crate) mod effects;
pub(crate) mod fields;
mod foreign;
pub(crate) mod listeners;
pub mod matchers;
pub mod overlap;
mod params;
mod paths;
mod process;
pub mod regex;
pub(crate) mod scope;
mod secrets;
mod site_tests;
mod slices;
mod streams;
pub(crate) mod text;
pub(crate) mod tls;
mod versions;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proxy_runtime::site::Bytes;
use proxy_runtime::site::{self, FilePath, FileRef, ParamKind, Place, TrustedHeader};

use crate::ast::{self, FileSource, HostPattern, Item};
use crate::expression::TableCache;
use crate::model::{self, list};
use crate::nearest::nearest;
use crate::report::{Diagnostic, Edit, Help, Report};
use crate::source::{Sources, Span, Spanned};

/// A `listen` of the top level.
pub(crate) struct ListenItem {
    pub(crate) span: Span,
    pub(crate) listen: ast::Listen,
    pub(crate) broken: bool,
}

/// The context of the pass.
pub(crate) struct Check<'a> {
    pub(crate) sources: &'a mut Sources,
    pub(crate) report: &'a mut Report,
    pub(crate) params: Names<site::Param>,
    pub(crate) upstreams: Names<site::Upstream>,
    pub(crate) tls: Names<tls::DeclaredTls>,
    pub(crate) stores: Names<site::Store>,
    pub(crate) warmed: Vec<model::Warmed>,
    /// The number of routes whose responses are distinguished by route.
    pub(crate) zones: u32,
    /// Network rules with lists in files.
    pub(crate) listed: Vec<site::Listed>,
    /// The indices of directives that are counted or switched as written, by directive and span.
    pub(crate) numbers: HashMap<&'static str, HashMap<Span, u32>>,
    /// The distinct sets of `block`s.
    pub(crate) blocks: Vec<Vec<site::Block>>,
    /// The distinct sets of `response-body` replacements.
    pub(crate) replacements: Vec<Vec<(site::Text, site::Text)>>,
    /// The sources of token keys.
    pub(crate) key_sources: Vec<site::KeySource>,
    /// Where access logs go, and where that is written.
    pub(crate) outputs: Vec<(site::LogOutput, Span)>,
    /// The embedded folders.
    pub(crate) bundle: Vec<model::Folder>,
    /// All files that are compiled in.
    pub(crate) embedded: Vec<secrets::EmbeddedFile>,
    /// How many days before its expiry `cert-expiry` reports a certificate.
    pub(crate) expiring: u64,
    /// The hosts with certificates of an authority, with the spans that say so.
    pub(crate) acme_hosts: Vec<(Spanned<HostPattern>, Span)>,
    /// The `tls` of the current site.
    pub(crate) site_tls: Option<usize>,
    /// The field of `trusted-proxies`.
    pub(crate) trusted_header: TrustedHeader,
    /// The fields that servers are told the trace in, where there is `trace`.
    pub(crate) trace_fields: Option<Vec<&'static str>>,
    /// Whether field names may contain `_` at the current position.
    pub(crate) underscores: bool,
    /// The versions of listeners with TLS that don't say others, and whether there is such a listener.
    pub(crate) default_http: Option<ast::HttpLine>,
    pub(crate) default_http_used: bool,
    /// Whether some listener uses HTTP/2.
    pub(crate) http2_spoken: bool,
    /// Whether a listener speaks HTTP/3.
    pub(crate) http3_spoken: bool,
    pub(crate) presets: Names<(Span, Vec<Item>)>,
    pub(crate) files: Vec<FileRef>,
    pub(crate) made: Rc<TableCache>,
    /// The first span of each expression on paths.
    pub(crate) expressions: HashMap<String, Span>,
    /// Routes with an error in the report.
    pub(crate) unsound: HashSet<Span>,
    /// Settings that may have no effect.
    pub(crate) effects: effects::Effects,
}

/// Returns whether a property is given and `#true`.
pub(crate) fn is_on(written: &Option<Spanned<bool>>) -> bool {
    written.as_ref().is_some_and(|value| value.value)
}

/// Named declarations: declared once, looked up, and reported if they are unused.
pub(crate) struct Names<T> {
    pub(crate) index: HashMap<String, usize>,
    pub(crate) entries: Vec<Named<T>>,
}

pub(crate) struct Named<T> {
    pub(crate) span: Span,
    pub(crate) used: bool,
    pub(crate) value: T,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names { index: HashMap::new(), entries: Vec::new() }
    }
}

impl<T> Names<T> {
    pub(crate) fn declare(&mut self, kind: &str, name: &Spanned<String>, value: T, report: &mut Report) {
        if let Some(&first) = self.index.get(&name.value) {
            let first = self.entries[first].span;
            let message = format!("the {kind} `{name}` is declared twice");
            report.add(Diagnostic::error("duplicate-name", message, name.span).also(first, "the first"));
            return;
        }
        self.index.insert(name.value.clone(), self.entries.len());
        self.entries.push(Named { span: name.span, used: false, value });
    }

    /// Adds a value without a name.
    pub(crate) fn anonymous(&mut self, span: Span, value: T) -> usize {
        self.entries.push(Named { span, used: true, value });
        self.entries.len() - 1
    }

    pub(crate) fn look_up(&mut self, kind: &'static str, name: &Spanned<String>, report: &mut Report) -> Option<usize> {
        if let Some(&index) = self.index.get(&name.value) {
            self.entries[index].used = true;
            return Some(index);
        }
        if report.is_lost(&name.value) {
            return None;
        }
        let diagnostic = Diagnostic::error("unknown-name", format!("there is no {kind} `{name}`"), name.span);
        report.add(match nearest(&name.value, self.index.keys().map(String::as_str)) {
            // A parameter's span includes the type before its name.
            Some(near) if kind == "param" => diagnostic.meant(near).meant_by(format!("(param){near}")),
            Some(near) => diagnostic.meant(near),
            None => diagnostic,
        });
        None
    }

    pub(crate) fn into_values(self) -> Vec<T> {
        self.entries.into_iter().map(|entry| entry.value).collect()
    }
}

impl<'a> Check<'a> {
    /// Creates an empty context.
    pub(crate) fn new(sources: &'a mut Sources, report: &'a mut Report) -> Check<'a> {
        Check {
            sources,
            report,
            params: Names::default(),
            upstreams: Names::default(),
            tls: Names::default(),
            stores: Names::default(),
            warmed: Vec::new(),
            zones: 0,
            listed: Vec::new(),
            numbers: HashMap::new(),
            expiring: tls::DAYS,
            blocks: Vec::new(),
            replacements: Vec::new(),
            key_sources: Vec::new(),
            outputs: Vec::new(),
            bundle: Vec::new(),
            embedded: Vec::new(),
            site_tls: None,
            acme_hosts: Vec::new(),
            trusted_header: TrustedHeader::XForwardedFor,
            trace_fields: None,
            underscores: false,
            http2_spoken: false,
            http3_spoken: false,
            default_http: None,
            default_http_used: false,
            presets: Names::default(),
            files: Vec::new(),
            expressions: HashMap::new(),
            made: Rc::default(),
            unsound: HashSet::new(),
            effects: effects::Effects::default(),
        }
    }
}

impl Check<'_> {
    /// Proposes a directive inside the one whose name, or one of whose arguments, is at a span.
    pub(crate) fn inside(&self, directive: Span, node: &str) -> Help {
        let edit = match self.sources.inside(directive) {
            Some(at) => Edit { at, text: format!(" {node};") },
            None => Edit { at: self.sources.end_of_directive(directive), text: format!(" {{ {node}; }}") },
        };
        Help::told(format!("write in it: {node}"), vec![edit])
    }

    /// Proposes a directive at the top level.
    pub(crate) fn at_top(&self, node: &str) -> Help {
        let edit = Edit { at: self.sources.start(), text: format!("{node}\n") };
        Help::told(format!("write at the top level: {node}"), vec![edit])
    }

    /// Proposes to allow a lint.
    pub(crate) fn allowed(&self, when: &str, lint: &str) -> Help {
        let edit = Edit { at: self.sources.start(), text: format!("lint allow {lint}\n") };
        Help::told(format!("{when}, write at the top level: lint allow {lint}"), vec![edit])
    }

    /// Proposes a secret parameter in place of a value.
    pub(crate) fn as_secret(&self, value: Span) -> Help {
        let name = (1..).map(|n| if n == 1 { "secret".to_owned() } else { format!("secret{n}") });
        let name = name.into_iter().find(|name| !self.params.index.contains_key(name)).unwrap_or_default();
        let declared = Edit { at: self.sources.start(), text: format!("param {name} type=secret\n") };
        Help::told(
            format!("write (param){name}, and at the top level: param {name} type=secret"),
            vec![declared, Edit { at: value, text: format!("(param){name}") }],
        )
    }

    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>, at: Span) {
        self.report.add(Diagnostic::error(code, message, at));
    }

    /// Returns the index of a directive at a span, among all of its kind.
    pub(crate) fn number(&mut self, directive: &'static str, span: Span) -> u32 {
        let known = self.numbers.entry(directive).or_default();
        let next = known.len() as u32;
        *known.entry(span).or_insert(next)
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        self.sources.place(span)
    }

    /// Returns the index of a file that is read at start.
    pub(crate) fn file_at_start(&mut self, path: FilePath, secret: bool, span: Span) -> u16 {
        if let Some(index) = self.files.iter().position(|file| file.path == path) {
            self.files[index].secret |= secret;
            return index as u16;
        }
        let place = self.place(span);
        self.files.push(FileRef { path, secret, place });
        if self.files.len() > usize::from(u16::MAX) {
            self.error("too-many-files", "more than 65535 files are read at start", span);
        }
        (self.files.len() - 1) as u16
    }

    pub(crate) fn file_param(&mut self, name: &Spanned<String>) -> Option<u16> {
        let index = self.param(name, &[ParamKind::File, ParamKind::Secret])?;
        let secret = self.params.entries[usize::from(index)].value.kind == ParamKind::Secret;
        Some(self.file_at_start(FilePath::Param(index), secret, name.span))
    }

    /// Returns the bytes of a `file=` or a page, and the name that determines its media type.
    pub(crate) fn bytes(&mut self, file: &Spanned<FileSource>) -> Option<(Bytes, String)> {
        match &file.value {
            FileSource::Embedded(path) => match self.sources.asset(file.span.file, path) {
                Ok(bytes) => {
                    self.compiled_in(path, bytes, file.span);
                    Some((Bytes::Fixed(bytes.into()), path.clone()))
                }
                Err(reason) => {
                    let diagnostic =
                        Diagnostic::error("unreadable-file", format!("can't read `{path}`: {reason}"), file.span);
                    self.report.add(
                        diagnostic.help("a file is compiled in; to read it when the proxy starts, write (file)\"...\""),
                    );
                    None
                }
            },
            FileSource::AtStart(path) => {
                let index = self.file_at_start(FilePath::Fixed(path.clone().into()), false, file.span);
                Some((Bytes::File(index), path.clone()))
            }
            FileSource::Param(name) => self.file_param(name).map(|index| (Bytes::File(index), String::new())),
        }
    }

    /// Applies the levels of lints.
    pub(crate) fn lint_levels(&mut self, lints: Vec<ast::Lint>) {
        let mut seen: Vec<Spanned<&str>> = Vec::new();
        for lint in lints {
            for code in lint.codes {
                if let Some(first) = seen.iter().find(|first| first.value == code.value) {
                    let message = format!("the level of `{code}` is set twice");
                    let diagnostic = Diagnostic::error("duplicate-lint", message, code.span);
                    self.report.add(diagnostic.also(first.span, "the first"));
                    continue;
                }
                if let Some(days) = &lint.days {
                    if code.value == "cert-expiry" {
                        self.expiring = days.value;
                    } else {
                        self.error("no-effect", "`days` has no effect: it belongs to `cert-expiry`", days.span);
                    }
                }
                self.report.set_level(code.value, lint.level);
                seen.push(code);
            }
        }
    }

    pub(crate) fn unused(&mut self, listeners: &listeners::Listeners) {
        // An error may be the reason why something is unused.
        if self.report.has_errors() {
            return;
        }
        fn collect<T>(found: &mut Vec<(&'static str, Span)>, kind: &'static str, names: &Names<T>) {
            found.extend(names.entries.iter().filter(|entry| !entry.used).map(|entry| (kind, entry.span)));
        }
        let mut found = Vec::new();
        collect(&mut found, "param", &self.params);
        collect(&mut found, "upstream", &self.upstreams);
        collect(&mut found, "preset", &self.presets);
        collect(&mut found, "tls", &self.tls);
        collect(&mut found, "cache-store", &self.stores);
        found.extend(listeners.unused.iter().map(|span| ("listener", *span)));
        for (kind, span) in found {
            let message = format!("nothing uses this {kind}");
            self.report.add(Diagnostic::lint("unused", message, span).help("remove it, or use it"));
        }
    }
}
