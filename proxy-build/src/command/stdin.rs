//! A site on standard input: `-` in place of a file.

use std::io::Read as _;
use std::path::Path;

use proxy_build::source::MAX_SOURCE;

use super::failed;

/// Its name in messages. Includes are relative to the current folder.
pub(crate) const NAME: &str = "<stdin>";

/// Returns whether a file is standard input.
pub(crate) fn is(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Reads all of it.
pub(crate) fn read() -> Result<String, String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_SOURCE + 1).read_to_string(&mut text);
    read.map_err(failed("can't read standard input"))?;
    if text.len() as u64 > MAX_SOURCE {
        return Err(format!("standard input is larger than {} MiB", MAX_SOURCE >> 20));
    }
    Ok(text)
}
