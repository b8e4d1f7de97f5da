//! Leaf parsers of files and of media types.

use super::{Parsed, problem, text};
use crate::ast::FileSource;
use crate::source::Spanned;
use crate::syntax::{Leaf, quoted};

/// Parses the path of an embedded file, `(file)PATH`, or `(param)NAME`.
pub fn file_source(leaf: &Leaf) -> Parsed<FileSource> {
    let plain = Leaf { ty: None, ..leaf.clone() };
    let name = text(&plain)?;
    match leaf.ty.as_ref().map(|ty| ty.value.as_str()) {
        None => Ok(FileSource::Embedded(name)),
        Some("file") => Ok(FileSource::AtStart(name)),
        Some("param") => Ok(FileSource::Param(Spanned { value: name, span: leaf.span })),
        Some(_) => text(leaf).map(FileSource::Embedded),
    }
}

/// Parses a file that is read at start and can't be embedded.
pub fn file_at_start(leaf: &Leaf) -> Parsed<FileSource> {
    match file_source(leaf)? {
        // A line of a password file, `name:hash`.
        FileSource::Embedded(line) if line.contains(':') && !line.starts_with('/') => Err(problem(
            "value-type",
            "credentials are read from a file when the proxy starts: here they would be in the binary",
        )
        .write("(file)\"/etc/site/users\"")
        .help("each line of that file is a name, a colon, and a hash as `htpasswd -B` makes it")),
        FileSource::Embedded(path) => {
            Err(problem("value-type", "this is read when the proxy starts, and never compiled in")
                .write(format!("(file){}", quoted(&path)))
                .help("(param)NAME is a path that is given at start"))
        }
        source => Ok(source),
    }
}

/// Parses a file that is read at start: a path, or a parameter.
pub fn own_file(leaf: &Leaf) -> Parsed<FileSource> {
    match leaf.ty.as_ref().map(|ty| ty.value.as_str()) {
        Some("param") => {
            let name = text(&Leaf { ty: None, ..leaf.clone() })?;
            Ok(FileSource::Param(Spanned { value: name, span: leaf.span }))
        }
        Some("file") => text(&Leaf { ty: None, ..leaf.clone() }).map(FileSource::AtStart),
        _ => text(leaf).map(FileSource::AtStart),
    }
}

/// Parses a media type in the runtime's form: a complete type, `text/` for `text/*`, `+json` for `*+json`.
pub fn media(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?.to_ascii_lowercase();
    let token =
        |word: &str| !word.is_empty() && http::Method::from_bytes(word.as_bytes()).is_ok() && !word.contains('*');
    if let Some(suffix) = found.strip_prefix("*+").filter(|suffix| token(suffix)) {
        return Ok(format!("+{suffix}"));
    }
    match found.split_once('/') {
        Some((kind, "*")) if token(kind) => Ok(format!("{kind}/")),
        Some((kind, name)) if token(kind) && token(name) => Ok(found),
        _ => {
            let wrong = problem("bad-type", format!("`{found}` is not a media type"));
            let bare = found.split(';').next().unwrap_or_default().trim();
            Err(match bare.split_once('/') {
                Some((kind, name)) if bare != found && token(kind) && token(name) => wrong.write_text(bare),
                _ => wrong.help("types are written as \"text/html\", \"text/*\" or \"*+json\""),
            })
        }
    }
}
