//! Pass 1, `source`: path to text. It owns the files of a compilation, and the map from offsets to lines.
//!
//! After this pass it cannot happen that a file is unreadable, too large, or not UTF-8.
//! Spans are byte offsets into one file and are available in all passes; see [`Span`].

mod folder;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use self::folder::FileFilter;
use crate::lexer::{TokenKind, tokens};
use crate::report::{Diagnostic, Report};
pub use crate::span::{FileId, Span, Spanned};

/// The largest site file, in bytes.
pub const MAX_SOURCE: u64 = 64 << 20;

/// The most files of one site.
pub const MAX_FILES: usize = 4096;

/// The most files of an embedded folder.
pub const MAX_BUNDLED: usize = 50_000;

/// All files of a compilation.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<File>,
    /// Files whose bytes are part of the result without being site files (`respond file=`, error pages). Read once and
    /// leaked, however many routes use them, as the compiler is short-lived.
    assets: HashMap<PathBuf, &'static [u8]>,
    /// The names of these files in messages, and the digests of their content.
    asset_names: BTreeMap<String, String>,
    /// Files that are read from here instead of the disk, with digests in place of assets: for a comparison with another
    /// site.
    archive: Option<Archive>,
    /// Folders that an include's pattern searches, or that are embedded.
    folders: Vec<PathBuf>,
    /// Whether the result names files relative to the folder of the main one.
    portable: bool,
    /// The spans of the first include by a pattern, and of the first embedded folder.
    pattern: Option<Span>,
    bundled: Option<Span>,
}

/// The sources that a site was built from.
#[derive(Debug, Default)]
pub struct Archive {
    /// The text of each file, by its name in messages. Empty: files are read from the disk.
    pub files: BTreeMap<String, String>,
    /// The digest of each asset.
    pub assets: BTreeMap<String, String>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    shown: String,
    text: String,
    /// The offset of each line.
    lines: Vec<u32>,
}

impl Sources {
    /// Sources with assets as digests, which are read from an archive if it has files.
    pub fn for_comparison(archive: Archive) -> Sources {
        Sources { archive: Some(archive), ..Sources::default() }
    }

    /// Sources whose names in the result don't depend on where the site's folder is.
    pub fn portable() -> Sources {
        Sources { portable: true, ..Sources::default() }
    }

    /// Returns whether assets are represented by digests.
    pub fn compares(&self) -> bool {
        self.archive.is_some()
    }

    fn text_of(&self, path: &Path, shown: &str) -> Result<String, String> {
        match &self.archive {
            Some(archive) if !archive.files.is_empty() => archive
                .files
                .get(shown)
                .cloned()
                .ok_or_else(|| "not among the files that the binary was built from".to_owned()),
            _ => read_text(path),
        }
    }

    /// Returns the files of an archive whose names match a pattern; `None` if files are on disk.
    pub fn archived(&self, pattern: &str) -> Option<Vec<String>> {
        let archive = self.archive.as_ref().filter(|archive| !archive.files.is_empty())?;
        let pattern = glob::Pattern::new(pattern).ok()?;
        Some(archive.files.keys().filter(|name| pattern.matches(name)).cloned().collect())
    }

    /// Returns the assets by their names in the result, with the digests of their content.
    pub fn assets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.asset_names.iter().map(|(name, digest)| (name.as_str(), digest.as_str()))
    }

    /// Reads the main file. `shown` is its name in messages.
    pub fn read(&mut self, path: &Path, shown: &str, report: &mut Report) -> Option<FileId> {
        match self.text_of(path, shown) {
            Ok(text) => Some(self.add(path.to_owned(), shown.to_owned(), text)),
            Err(reason) => {
                // There is no text to point at: use an empty one.
                let file = self.add(path.to_owned(), shown.to_owned(), String::new());
                let span = Span { file, start: 0, end: 0 };
                report.add(Diagnostic::error("unreadable-file", format!("can't read `{shown}`: {reason}"), span));
                None
            }
        }
    }

    /// Reads a file that an `include` at `span` names.
    pub fn include(&mut self, path: &Path, shown: String, at: Span, report: &mut Report) -> Option<FileId> {
        if self.files.len() >= MAX_FILES {
            report.add(Diagnostic::error("too-many-files", format!("more than {MAX_FILES} files"), at));
            return None;
        }
        match self.text_of(path, &shown) {
            Ok(text) => Some(self.add(path.to_owned(), shown, text)),
            Err(reason) => {
                report.add(
                    Diagnostic::error("unreadable-file", format!("can't read `{shown}`: {reason}"), at)
                        .label("included here"),
                );
                None
            }
        }
    }

    /// Records that the include at `span` has a pattern.
    pub fn includes_by_pattern(&mut self, pattern: &Path, span: Span) {
        self.pattern.get_or_insert(span);
        self.folders.extend(pattern.parent().map(Path::to_owned));
    }

    /// Returns the span of the first include by a pattern.
    pub fn pattern(&self) -> Option<Span> {
        self.pattern
    }

    /// Returns the paths of the files in an embedded folder, relative to the file with `span`.
    ///
    /// # Errors
    /// The reason why they can't be read.
    pub fn bundle(&mut self, path: &str, which: FileFilter, span: Span) -> Result<Vec<String>, String> {
        self.bundled.get_or_insert(span);
        if let Some(archive) = self.archive.as_ref().filter(|archive| !archive.files.is_empty()) {
            let prefix = self.shown_beside(span.file, &format!("{path}/"));
            let below = archive.assets.keys().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned));
            let seen = |name: &String| which.dotfiles || !name.split('/').any(|name| name.starts_with('.'));
            return Ok(below.filter(seen).collect());
        }
        let folder = self.beside(span.file, path);
        let files = folder::files(&folder, which, MAX_BUNDLED)?;
        self.folders.push(folder);
        Ok(files)
    }

    /// Returns the span of the first embedded folder.
    pub fn bundled(&self) -> Option<Span> {
        self.bundled
    }

    /// Returns the folders that includes search, and the embedded ones.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Adds a text that is in memory.
    pub fn add(&mut self, path: PathBuf, shown: String, text: String) -> FileId {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        self.files.push(File { path, shown, text, lines });
        FileId(u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX))
    }

    /// Returns the bytes of an asset, whose path is relative to the file that names it.
    ///
    /// # Errors
    /// The reason why it can't be read.
    pub fn asset(&mut self, named_in: FileId, path: &str) -> Result<&'static [u8], String> {
        let (shown, path) = (self.shown_beside(named_in, path), self.beside(named_in, path));
        if let Some(bytes) = self.assets.get(&path) {
            return Ok(bytes);
        }
        let archived = self.archive.as_ref().and_then(|archive| archive.assets.get(&shown).cloned());
        let mut bytes = match archived {
            Some(digest) => digest.into_bytes(),
            None => read_asset(&path)?,
        };
        if let Some(archive) = &self.archive {
            if archive.files.is_empty() {
                bytes = sha256(&bytes).into_bytes();
            }
        } else {
            let name = self.portable_name(&shown).to_owned();
            self.asset_names.insert(name, sha256(&bytes));
        }
        let bytes: &'static [u8] = bytes.leak();
        self.assets.insert(path, bytes);
        Ok(bytes)
    }

    /// Returns the name in messages of a path in `file`.
    pub fn shown_beside(&self, file: FileId, path: &str) -> String {
        let folder = Path::new(self.shown(file)).parent().unwrap_or(Path::new(""));
        folder.join(path).display().to_string()
    }

    /// Returns a path in `file`, resolved relative to that file's folder.
    pub fn beside(&self, file: FileId, path: &str) -> PathBuf {
        self.path(file).parent().unwrap_or(Path::new("")).join(path)
    }

    /// Returns the beginning of the main file.
    pub fn start(&self) -> Span {
        Span { file: FileId(0), start: 0, end: 0 }
    }

    /// Returns the path of a file.
    pub fn path(&self, file: FileId) -> &Path {
        &self.files[usize::from(file.0)].path
    }

    /// Returns the name of a file in messages.
    pub fn shown(&self, file: FileId) -> &str {
        &self.files[usize::from(file.0)].shown
    }

    /// Returns the text of a file.
    pub fn text(&self, file: FileId) -> &str {
        &self.files[usize::from(file.0)].text
    }

    /// Returns the text of a span.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Returns the insertion point in the braces that open after a span, on the same line; `None` if there are none.
    pub fn inside(&self, before: Span) -> Option<Span> {
        let start = before.end as usize;
        let mut tokens = tokens(self.text(before.file).get(start..)?);
        let open = tokens.find(|token| {
            matches!(token.kind, TokenKind::Open | TokenKind::Close | TokenKind::Newline | TokenKind::Semicolon)
        })?;
        let at = (start + open.end) as u32;
        (open.kind == TokenKind::Open).then_some(Span { start: at, end: at, ..before })
    }

    /// Returns the end of the last value of a directive without braces, one of whose words is at a span.
    pub fn end_of_directive(&self, word: Span) -> Span {
        let start = word.end as usize;
        let ends = |kind| {
            matches!(kind, TokenKind::Close | TokenKind::Newline | TokenKind::Semicolon | TokenKind::LineComment)
        };
        let line = tokens(self.text(word.file).get(start..).unwrap_or_default()).take_while(|token| !ends(token.kind));
        let last = line.filter(|token| matches!(token.kind, TokenKind::Word | TokenKind::String)).last();
        let at = word.end + last.map_or(0, |token| token.end as u32);
        Span { start: at, end: at, ..word }
    }

    /// Returns the span from a directive's name to the end of its line.
    pub fn rest_of_line(&self, name: Span) -> Span {
        let text = self.text(name.file);
        let rest = text.get(name.start as usize..).unwrap_or_default();
        let len = rest.find(['\n', '\r']).unwrap_or(rest.len());
        Span { end: name.start + len as u32, ..name }
    }

    /// Returns the span of the first argument after a directive's name, if it is a word.
    pub fn argument(&self, name: Span) -> Option<Span> {
        let start = name.end as usize;
        let mut tokens = tokens(self.text(name.file).get(start..)?).filter(|token| token.kind != TokenKind::Blank);
        let word = tokens.next().filter(|token| token.kind == TokenKind::Word)?;
        Some(Span { start: (start + word.start) as u32, end: (start + word.end) as u32, ..name })
    }

    /// Returns the line of an offset, counted from 1.
    pub fn line(&self, span: Span) -> u32 {
        let lines = &self.files[usize::from(span.file.0)].lines;
        lines.partition_point(|&start| start <= span.start) as u32
    }

    /// Returns the line and (in characters) the column of an offset; both counted from 1.
    pub fn position(&self, file: FileId, offset: u32) -> (u32, u32) {
        let File { text, lines, .. } = &self.files[usize::from(file.0)];
        let offset = offset.min(text.len() as u32);
        let line = lines.partition_point(|&start| start <= offset);
        let before = text.get(lines[line - 1] as usize..offset as usize).unwrap_or_default();
        (line as u32, before.chars().count() as u32 + 1)
    }

    /// Returns the location of a span for messages at run time.
    pub fn place(&self, span: Span) -> proxy_runtime::site::Place {
        proxy_runtime::site::Place {
            file: self.portable_name(self.shown(span.file)).to_owned().into(),
            line: self.line(span),
        }
    }

    /// Returns the site files, in the order they were read: their names in the result, and their text.
    pub fn site_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (self.portable_name(&file.shown), file.text.as_str()))
    }

    /// Returns the name in the result of a file with this name in messages.
    fn portable_name<'a>(&self, shown: &'a str) -> &'a str {
        let folder = self.files.first().and_then(|main| Path::new(&main.shown).parent());
        let within = folder.filter(|_| self.portable).and_then(|folder| Path::new(shown).strip_prefix(folder).ok());
        within.and_then(Path::to_str).unwrap_or(shown)
    }

    /// Returns all files that the result depends on.
    pub fn dependencies(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path()).chain(self.assets.keys().map(PathBuf::as_path))
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_asset(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() {
        return Err("not a file".to_owned());
    }
    if size.len() > proxy_runtime::context::settings::MAX_FILE {
        return Err(format!("larger than {} MiB", proxy_runtime::context::settings::MAX_FILE >> 20));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// Returns the text of a file.
///
/// # Errors
/// The reason why it can't be read.
pub fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() {
        return Err("not a file".to_owned());
    }
    if size.len() > MAX_SOURCE {
        return Err(format!("larger than {} MiB", MAX_SOURCE >> 20));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}
