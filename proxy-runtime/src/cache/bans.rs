//! What was purged of a folder of answers without looking at each: [`Bans`]. A file is held against them when it is read, so a
//! purge costs a line, and survives a restart as a line of a file of its own.
//!
//! They are few: once there are [`MOST`], who keeps the folder looks through it and removes what they mean.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::freshness::Moment;
use super::purges::Purge;
use super::store::Head;

/// See above.
pub(super) struct Bans {
    list: Mutex<Vec<Ban>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ban {
    /// It is about what was received before.
    at: Moment,
    soft: bool,
    purge: Purge,
}

/// So many are kept.
pub(super) const MOST: usize = 256;

impl Bans {
    /// Those that a folder has.
    pub(super) fn of(folder: &Path) -> Bans {
        let text = fs::read_to_string(folder.join("purges")).unwrap_or_default();
        // A line that was not written to its end is none.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        Bans { list: Mutex::new(lines.filter_map(Ban::read).collect()) }
    }

    /// Adds one, which holds from now on. Gives its line, and how many there are.
    pub(super) fn add(&self, purge: &Purge, soft: bool, at: Moment) -> (String, usize) {
        let ban = Ban { at, soft, purge: purge.clone() };
        let line = ban.line();
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(ban);
        (line, list.len())
    }

    /// Writes a line, so that it holds after a restart. Blocks.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn write(folder: &Path, line: &str) -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(folder.join("purges"))?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// Forgets the first so many: nothing is left that they mean.
    pub(super) fn forget(&self, folder: &Path, count: usize) -> io::Result<()> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(list.len());
        list.drain(..count);
        let text: String = list.iter().map(Ban::line).collect();
        let new = folder.join("new").join(format!("purges-{}", std::process::id()));
        fs::write(&new, text)?;
        fs::rename(new, folder.join("purges"))
    }

    /// Whether an answer was purged; and softly.
    pub(super) fn mean(&self, head: &Head) -> Option<bool> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = list.iter().filter(|ban| head.life.received < ban.at && ban.purge.means(&head.url, &head.tags));
        meant.map(|ban| ban.soft).min()
    }
}

impl Ban {
    fn line(&self) -> String {
        let (kind, text) = match &self.purge {
            Purge::Url(url) => ("url", url.clone()),
            Purge::Below(url) => ("below", url.clone()),
            Purge::Tags(tags) => ("tags", tags.join(" ")),
            Purge::All => ("all", String::new()),
        };
        // URLs are in normal form and tags come from a field: neither has a line end. If one had, the line would be torn.
        let text = text.replace(['\n', '\r'], "");
        format!("{} {} {kind} {text}\n", self.at.0, u8::from(self.soft))
    }

    fn read(line: &str) -> Option<Ban> {
        let mut parts = line.splitn(4, ' ');
        let at = Moment(parts.next()?.parse().ok()?);
        let soft = match parts.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let (kind, text) = (parts.next()?, parts.next()?.to_owned());
        let purge = match kind {
            "url" => Purge::Url(text),
            "below" => Purge::Below(text),
            "tags" => Purge::Tags(text.split(' ').map(str::to_owned).collect()),
            "all" => Purge::All,
            _ => return None,
        };
        Some(Ban { at, soft, purge })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for purge in [
            Purge::Url("http://a/x?a b".to_owned()),
            Purge::Below("http://a/x".to_owned()),
            Purge::Tags(vec!["one".to_owned(), "two".to_owned()]),
            Purge::All,
        ] {
            let ban = Ban { at: Moment(7), soft: purge == Purge::All, purge };
            assert_eq!(Ban::read(ban.line().trim_end_matches('\n')), Some(ban));
        }
        for odd in ["", "x", "7", "7 2 all ", "7 1 some x", "7 1"] {
            assert_eq!(Ban::read(odd), None, "{odd}");
        }
    }
}
