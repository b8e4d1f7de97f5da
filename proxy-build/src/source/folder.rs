//! The content of an embedded folder: the names of its files, in order.

use std::fs::{FileType, read_dir};
use std::path::Path;

/// A filter for the files of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFilter {
    /// Whether names with a leading dot are included.
    pub dotfiles: bool,
    /// Whether symbolic links that stay in the folder are followed.
    pub symlinks: bool,
}

/// The maximum depth of folders.
const DEEPEST: usize = 64;

/// Returns the sorted paths of the files below a folder, at most `most`. Special files are ignored.
///
/// # Errors
/// The path that can't be read or served, and the reason.
pub(super) fn files(folder: &Path, which: FileFilter, most: usize) -> Result<Vec<String>, String> {
    let top = folder.canonicalize().map_err(|error| error.to_string())?;
    if !top.is_dir() {
        return Err("not a folder".to_owned());
    }
    let (mut found, mut folders) = (Vec::new(), 0);
    let mut open = vec![(top.clone(), String::new(), 0)];
    while let Some((path, below, depth)) = open.pop() {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        for entry in read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(format!("the name of {} is not UTF-8", entry.path().display()));
            };
            if name.starts_with('.') && !which.dotfiles {
                continue;
            }
            let Some((kind, path)) = behind_links(&top, &entry.path(), entry.file_type().map_err(failed)?, which)
            else {
                continue;
            };
            if kind.is_dir() && depth == DEEPEST {
                return Err(format!("folders are more than {DEEPEST} deep at {}", path.display()));
            }
            if kind.is_dir() {
                folders += 1;
                open.push((path, format!("{below}{name}/"), depth + 1));
            } else if kind.is_file() {
                found.push(format!("{below}{name}"));
            }
            // Links may form cycles.
            if found.len() > most || folders > most {
                return Err(format!("more than {most} files or folders"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the target of a name; `None` for an ignored link.
fn behind_links(top: &Path, path: &Path, kind: FileType, which: FileFilter) -> Option<(FileType, std::path::PathBuf)> {
    if !kind.is_symlink() {
        return Some((kind, path.to_owned()));
    }
    let target = path.canonicalize().ok().filter(|target| which.symlinks && target.starts_with(top))?;
    Some((target.metadata().ok()?.file_type(), target))
}
