//! `files`: where the folder is, and, where it is compiled in, what is in it.

use proxy_runtime::site::{self, Files, Handler, Methods, ParamKind, Setting};

use super::Check;
use super::handlers::is_on;
use super::scope::Scope;
use crate::ast::{self, FileSource, HostPattern, Item, Pattern, Segment, What};
use crate::model::{Folder, list};
use crate::nearest::nearest;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned, Which};
use crate::syntax::quoted;

/// What all folders that are compiled in have together at most, in bytes.
const MAX_BUNDLE: usize = 256 << 20;

impl Check<'_> {
    /// A path of the machine that the proxy runs on.
    pub(crate) fn absolute_path(&mut self, written: &Spanned<ast::Setting<String>>) -> Option<Setting<site::Text>> {
        let path: Setting<site::Text> = match &written.value {
            ast::Setting::Fixed(path) => Setting::Fixed(path.clone().into()),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                Setting::Param(self.param(name, &[ParamKind::String])?)
            }
        };
        if matches!(&path, Setting::Fixed(path) if !path.starts_with('/')) {
            self.report.add(
                Diagnostic::error("relative-path", "where this is depends on where the proxy is started", written.span)
                    .help("an absolute path begins with `/`; (param)NAME has it given at start"),
            );
        }
        Some(path)
    }

    /// A file that is read at start, as the reader has seen to.
    pub(crate) fn own_file(&mut self, file: &FileSource, span: Span, secret: bool) -> Option<u16> {
        match file {
            FileSource::AtStart(path) => {
                Some(self.file_at_start(site::FilePath::Fixed(path.clone().into()), secret, span))
            }
            FileSource::Param(name) => self.file_param(name),
            FileSource::Embedded(_) => None,
        }
    }

    pub(crate) fn files(&mut self, files: &ast::Files, scope: &Scope, hosts: &[HostPattern]) -> Option<Files> {
        let is = |written: &Option<Spanned<bool>>| written.as_ref().is_some_and(|value| value.value);
        let hidden = |name: &str| name.split('/').any(|name| name.starts_with('.'));
        for named in [&files.index, &files.fallback].into_iter().flatten() {
            if hidden(&named.value) && !is(&files.dotfiles) {
                self.report.add(
                    Diagnostic::error("contradiction", "names that begin with a dot are not there", named.span)
                        .help(Help::beside(named.span, "dotfiles=#true")),
                );
            }
        }
        let embed = is(&files.embed);
        let folder = match (&files.folder.value, embed) {
            (ast::Setting::Fixed(path), true) => Setting::Fixed(path.clone().into()),
            (ast::Setting::Param(_) | ast::Setting::Bounded(..), true) => {
                self.report.add(
                    Diagnostic::error(
                        "contradiction",
                        "what is compiled in is known when it is built",
                        files.folder.span,
                    )
                    .help("it is a path relative to this file"),
                );
                return None;
            }
            (_, false) => self.absolute_path(&files.folder)?,
        };
        let index = files.index.as_ref().map_or("index.html", |index| &index.value);
        let mut made = Files {
            folder,
            bundled: None,
            rest: scope.captures.iter().position(|name| name == "*").map(|slot| slot as u8),
            index: index.to_owned().into(),
            fallback: files.fallback.as_ref().map(|fallback| fallback.value.clone().into()),
            listing: is(&files.listing),
            dotfiles: is(&files.dotfiles),
            symlinks: is(&files.symlinks),
            precompressed: files.precompressed.as_ref().map_or(embed, |value| value.value),
            immutable: is(&files.immutable),
            or_else: list(Vec::new()),
        };
        if let (true, ast::Setting::Fixed(path)) = (embed, &files.folder.value) {
            made.bundled = Some(self.bundle(files, path, &made)?);
        }
        if !files.or_else.is_empty() {
            made.or_else = list(vec![self.or_else(files, scope, hosts)?]);
        }
        Some(made)
    }

    /// What a cache would keep of a response that names a file is not what the client gets.
    pub(crate) fn keeps_no_named_files(&mut self, cache: Span, handler: &Handler) {
        let shares = handler.proxy().map(|proxy| proxy.shares.iter()).into_iter().flatten();
        for share in shares {
            let entry = &self.upstreams.entries[usize::from(share.upstream)];
            if !entry.value.send_files.is_empty() {
                let message = "`cache` would keep responses without the files that they name by `send-file`";
                let found = Diagnostic::error("contradiction", message, cache).also(entry.span, "forwarded to here");
                self.report
                    .add(found.help("an upstream without `send-file` may be cached: declare one for these paths"));
                return;
            }
        }
    }

    /// Who answers where there is no file.
    fn or_else(&mut self, files: &ast::Files, scope: &Scope, hosts: &[HostPattern]) -> Option<Handler> {
        let handlers: Vec<&Item> = files.or_else.iter().filter(|item| matches!(item.what, What::Handler(_))).collect();
        self.one_handler(&handlers);
        let item = handlers.first()?;
        let others = [
            ("fallback", files.fallback.as_ref().map(|given| given.span)),
            ("listing", files.listing.as_ref().filter(|given| given.value).map(|given| given.span)),
        ];
        for (name, span) in others.into_iter().filter_map(|(name, span)| Some((name, span?))) {
            let message = format!("`{name}` and `else` both say who answers what is not there");
            let found = Diagnostic::error("contradiction", message, span).also(item.span, "the other one");
            self.report.add(found.maybe_help(self.without(span, name)));
        }
        let What::Handler(written) = &item.what else { return None };
        self.handler(written, item.span, scope, hosts)
    }

    /// Whether a route's methods and paths get to its folder, and, where it is compiled in, to who answers in its place.
    pub(crate) fn files_and_else_are_asked(
        &mut self,
        files: &ast::Files,
        span: Span,
        pattern: &Pattern,
        methods: &Methods,
    ) {
        if methods.mask & Methods::GET_AND_HEAD.mask == 0 {
            let message = "no file is ever sent: this route takes neither GET nor HEAD";
            self.report.add(Diagnostic::error("no-effect", message, span).help("files are for GET and HEAD"));
        }
        let others = methods.mask & !Methods::GET_AND_HEAD.mask != 0 || !methods.others.is_empty();
        let (ast::Setting::Fixed(path), Some(next)) = (&files.folder.value, files.or_else.first()) else { return };
        if !pattern.segments.iter().all(|segment| matches!(segment, Segment::Literal(_))) {
            return;
        }
        let name = pattern.text.trim_start_matches('/');
        let folder =
            self.bundle.iter().rfind(|folder| matches!(&folder.files.folder, Setting::Fixed(one) if one == path));
        let there = folder.is_some_and(|folder| folder.content.iter().any(|(file, _)| file == name));
        if !others && there && is_on(&files.embed) {
            let message = format!("`else` is never asked: `{name}` is in the folder, and all that this route takes");
            self.report.add(Diagnostic::error("no-effect", message, next.span).also(span, "what answers"));
        }
    }

    /// The number of a folder that is compiled in; the same one is compiled in once.
    fn bundle(&mut self, written: &ast::Files, path: &str, files: &Files) -> Option<u16> {
        let span = written.folder.span;
        let content = self.content(path, files, span)?;
        self.bundled_names(written, files, &content);
        let folder = Folder { files: Files { rest: None, ..files.clone() }, content };
        if let Some(number) = self.bundle.iter().position(|other| *other == folder) {
            return u16::try_from(number).ok();
        }
        self.bundle.push(folder);
        let all =
            self.bundle.iter().flat_map(|folder| &folder.content).map(|(_, content)| content.len()).sum::<usize>();
        if all > MAX_BUNDLE {
            let message = format!("more than {} MiB of files would be compiled in", MAX_BUNDLE >> 20);
            self.report.add(
                Diagnostic::error("too-many-files", message, span).help("without `embed` they are read from the disk"),
            );
            return None;
        }
        match u16::try_from(self.bundle.len() - 1) {
            Ok(number) => Some(number),
            Err(_) => {
                self.error("too-many-files", "more than 65,536 folders are compiled in", span);
                None
            }
        }
    }

    fn content(&mut self, path: &str, files: &Files, span: Span) -> Option<Vec<(String, &'static [u8])>> {
        let which = Which { dotfiles: files.dotfiles, symlinks: files.symlinks };
        let read = self.sources.bundle(path, which, span).and_then(|names| {
            let mut all = 0;
            let read = |name: String| {
                let content = self.sources.asset(span.file, &format!("{path}/{name}"));
                let content = content.map_err(|reason| format!("{name}: {reason}"))?;
                all += content.len();
                // Before they are all in memory.
                if all > MAX_BUNDLE {
                    return Err(format!("more than {} MiB of files", MAX_BUNDLE >> 20));
                }
                Ok((name, content))
            };
            names.into_iter().map(read).collect::<Result<Vec<_>, _>>()
        });
        match read {
            Ok(content) if content.is_empty() => {
                self.error("unreadable-file", format!("there is no file in `{path}`: nothing would be served"), span);
                None
            }
            Ok(content) => Some(content),
            Err(reason) => {
                let message = format!("can't read the folder `{path}`: {reason}");
                self.report.add(
                    Diagnostic::error("unreadable-file", message, span)
                        .help("with embed=#true it is compiled in; its path is relative to this file"),
                );
                None
            }
        }
    }

    /// Names that are written out are there.
    fn bundled_names(&mut self, written: &ast::Files, files: &Files, content: &[(String, &'static [u8])]) {
        let names = || content.iter().map(|(name, _)| name.as_str());
        if let Some(fallback) = &written.fallback {
            let wanted = fallback.value.trim_start_matches('/');
            if !names().any(|name| name == wanted) {
                let message = format!("`{}` is not in the folder", fallback.value);
                let near = nearest(wanted, names()).map(|near| Help::write(fallback.span, quoted(&format!("/{near}"))));
                self.report.add(Diagnostic::error("unreadable-file", message, fallback.span).maybe_help(near));
            }
        }
        let last = |name: &str| name.rsplit('/').next().is_some_and(|last| last == &*files.index);
        if let (Some(index), false) = (&written.index, names().any(last)) {
            self.error("unreadable-file", format!("no folder in there has a file `{}`", index.value), index.span);
        }
    }
}
