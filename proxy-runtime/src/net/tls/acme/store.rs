//! The persistent state: [`StateFolder`], with the account, and for each certificate the chain with its key, and the pause before the next
//! order, if there is one.
//!
//! Files are readable only by their owner, and replaced as a whole. An unreadable or malformed file counts as missing: its content is
//! obtained again.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::schedule::Pause;

/// The folder `state` of `acme`.
#[derive(Debug, Clone)]
pub(crate) struct StateFolder(PathBuf);

impl StateFolder {
    pub(crate) fn new(path: &str) -> StateFolder {
        StateFolder(PathBuf::from(path))
    }

    /// Creates the folder, and checks whether files can be written.
    ///
    /// # Errors
    /// The folder is unusable.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let probe = self.0.join(".writable");
        let tried = std::fs::create_dir_all(self.0.join("certificates"))
            .and_then(|()| write(&probe, b""))
            .and_then(|()| std::fs::remove_file(&probe));
        tried.map_err(|error| format!("can't keep certificates in `{}`: {error}", self.0.display()))
    }

    /// Returns the path of a certificate with its key, by the name of its `tls`.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.of_certificate(name, "pem")
    }

    /// Returns the path of an authority's account.
    pub(crate) fn account(&self, directory: &str) -> PathBuf {
        let name: String =
            directory.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
        self.0.join(format!("account-{name}.json"))
    }

    /// Reads the pause before the next order.
    pub(crate) fn pause(&self, name: &str) -> Option<Pause> {
        let text = std::fs::read(self.of_certificate(name, "pause")).ok()?;
        let found: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let number = |field: &str| found.get(field)?.as_u64();
        let failures = u32::try_from(number("failures")?).unwrap_or(u32::MAX);
        Some(Pause { failures, until: number("until")?, wait: number("wait")? })
    }

    /// Stores a pause, or removes it.
    pub(crate) fn keep_pause(&self, name: &str, pause: Option<Pause>) -> std::io::Result<()> {
        let path = self.of_certificate(name, "pause");
        let Some(Pause { failures, until, wait }) = pause else {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        write(&path, serde_json::json!({ "failures": failures, "until": until, "wait": wait }).to_string().as_bytes())
    }

    /// Hosts consist of letters, digits, dots and hyphens; other characters, such as the `*` of a wildcard and the colons of an
    /// address, become `_`.
    fn of_certificate(&self, name: &str, kind: &str) -> PathBuf {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-');
        let name: String = name.chars().map(|char| if plain(char) { char } else { '_' }).collect();
        self.0.join("certificates").join(format!("{name}.{kind}"))
    }
}

/// Writes a file that only its owner can read, replacing it as a whole.
pub(crate) fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
