//! Finds secrets that would be in the binary: private keys, and the files that the site itself keeps secret.

use std::path::{Path, PathBuf};

use proxy_runtime::site::FilePath;

use super::Check;
use crate::report::Diagnostic;
use crate::source::{FileId, Span};

/// The common suffix of the first PEM line of all kinds of private keys (RFC 7468).
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// A file that is compiled in.
pub(crate) struct EmbeddedFile {
    path: PathBuf,
    shown: String,
    span: Span,
}

impl Check<'_> {
    /// Takes note of a file that is compiled in, and looks for a private key in it.
    pub(crate) fn compiled_in(&mut self, path: &str, bytes: &[u8], span: Span) {
        self.embedded.push(EmbeddedFile { path: self.sources.beside(span.file, path), shown: path.to_owned(), span });
        if contains_key(bytes) {
            let message = format!("there is a private key in `{path}`, and the file is compiled in");
            let found = Diagnostic::lint("secret-in-file", message, span);
            self.report.add(found.help(self.allowed("if it may be public", "secret-in-file")));
        }
    }

    /// Looks for private keys in the site's own files, which the binary prints (`--config`). Those in values have been found; this is about comments.
    pub(crate) fn keys_in_site(&mut self) {
        if self.report.has_errors() {
            return;
        }
        let found = self.sources.site_files().enumerate().filter_map(|(index, (_, text))| {
            let start = text.find(PRIVATE_KEY)? as u32;
            Some(Span { file: FileId(index as u16), start, end: start + PRIVATE_KEY.len() as u32 })
        });
        for span in found.collect::<Vec<_>>() {
            let found = Diagnostic::lint("secret-in-file", "a private key would be in the binary", span);
            self.report.add(found.help(self.allowed("if it may be public", "secret-in-file")));
        }
    }

    /// Compares the files that are compiled in with those that the site reads as secrets: keys, and lists of users.
    pub(crate) fn secrets_compiled_in(&mut self) {
        let secret = |path: &FilePath| match path {
            FilePath::Fixed(path) => Some(path.clone()),
            FilePath::Param(index) => self.params.entries.get(usize::from(*index))?.value.default.clone(),
        };
        // Relative to this folder, as they will be to that of the proxy.
        let secrets = self.files.iter().filter(|file| file.secret).filter_map(|file| secret(&file.path));
        let secrets: Vec<PathBuf> = secrets.filter_map(|path| Path::new(&*path).canonicalize().ok()).collect();
        if secrets.is_empty() {
            return;
        }
        for EmbeddedFile { path, shown, span } in std::mem::take(&mut self.embedded) {
            if path.canonicalize().is_ok_and(|path| secrets.contains(&path)) {
                let message = format!("`{shown}` is a secret of this site, and would be compiled in");
                self.report.add(Diagnostic::error("embedded-secret", message, span).help(
                    "anybody can read what is in the binary, and may be served it: keep the file in another folder",
                ));
            }
        }
    }
}

fn contains_key(bytes: &[u8]) -> bool {
    bytes.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY.as_bytes())
}
