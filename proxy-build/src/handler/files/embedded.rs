//! Reads the folders that `files` embeds.

use proxy_runtime::site::{self, Setting};

use super::Files;
use crate::check::Check;
use crate::model::Folder;
use crate::nearest::nearest;
use crate::report::{Diagnostic, Help};
use crate::source::{FileFilter, Span};
use crate::syntax::quoted;

/// The largest total size of embedded folders, in bytes.
const MAX_BUNDLE: usize = 256 << 20;

/// Returns whether a folder contains a file of this name.
pub(super) fn has(check: &Check<'_>, path: &str, name: &str) -> bool {
    let is = |folder: &&Folder| matches!(&folder.files.folder, Setting::Fixed(one) if one == path);
    let folder = check.bundle.iter().rfind(is);
    folder.is_some_and(|folder| folder.content.iter().any(|(file, _)| file == name))
}

/// Returns the index of an embedded folder; equal ones are embedded once.
pub(super) fn embed(check: &mut Check<'_>, written: &Files, path: &str, files: &site::Files) -> Option<u16> {
    let span = written.folder.span;
    let content = content(check, path, files, span)?;
    check_names(check, written, files, &content);
    let folder = Folder { files: site::Files { rest: None, ..files.clone() }, content };
    if let Some(number) = check.bundle.iter().position(|other| *other == folder) {
        return u16::try_from(number).ok();
    }
    check.bundle.push(folder);
    let all = check.bundle.iter().flat_map(|folder| &folder.content).map(|(_, content)| content.len()).sum::<usize>();
    if all > MAX_BUNDLE {
        let message = format!("more than {} MiB of files would be compiled in", MAX_BUNDLE >> 20);
        check.report.add(
            Diagnostic::error("too-many-files", message, span).help("without `embed` they are read from the disk"),
        );
        return None;
    }
    match u16::try_from(check.bundle.len() - 1) {
        Ok(number) => Some(number),
        Err(_) => {
            check.error("too-many-files", "more than 65,536 folders are compiled in", span);
            None
        }
    }
}

fn content(check: &mut Check<'_>, path: &str, files: &site::Files, span: Span) -> Option<Vec<(String, &'static [u8])>> {
    let which = FileFilter { dotfiles: files.dotfiles, symlinks: files.symlinks };
    let read = check.sources.bundle(path, which, span).and_then(|names| {
        let mut all = 0;
        let read = |name: String| {
            let content = check.sources.asset(span.file, &format!("{path}/{name}"));
            let content = content.map_err(|reason| format!("{name}: {reason}"))?;
            all += content.len();
            // Checked before everything is in memory.
            if all > MAX_BUNDLE {
                return Err(format!("more than {} MiB of files", MAX_BUNDLE >> 20));
            }
            check.compiled_in(&format!("{path}/{name}"), content, span);
            Ok((name, content))
        };
        names.into_iter().map(read).collect::<Result<Vec<_>, _>>()
    });
    match read {
        Ok(content) if content.is_empty() => {
            check.error("unreadable-file", format!("`{path}` has no files: nothing would be served"), span);
            None
        }
        Ok(content) => Some(content),
        Err(reason) => {
            let message = format!("can't read the folder `{path}`: {reason}");
            check.report.add(
                Diagnostic::error("unreadable-file", message, span)
                    .help("with embed=#true it is compiled in; its path is relative to this file"),
            );
            None
        }
    }
}

/// Checks that files with explicit names exist.
fn check_names(check: &mut Check<'_>, written: &Files, files: &site::Files, content: &[(String, &'static [u8])]) {
    let names = || content.iter().map(|(name, _)| name.as_str());
    if let Some(fallback) = &written.fallback {
        let wanted = fallback.value.trim_start_matches('/');
        if !names().any(|name| name == wanted) {
            let message = format!("`{}` is not in the folder", fallback.value);
            let near = nearest(wanted, names()).map(|near| Help::write(fallback.span, quoted(&format!("/{near}"))));
            check.report.add(Diagnostic::error("unreadable-file", message, fallback.span).maybe_help(near));
        }
    }
    let last = |name: &str| name.rsplit('/').next().is_some_and(|last| last == &*files.index);
    if let (Some(index), false) = (&written.index, names().any(last)) {
        check.error("unreadable-file", format!("no folder in it has a file `{}`", index.value), index.span);
    }
}
