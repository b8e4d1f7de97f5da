//! The files that a worker has looked up within the last second: [`RecentFiles`]. A request for one of them costs no system call for the file
//! system, or a single one if the file is large.
//!
//! All entries are dropped together, a second after the first of them was made. There is no other rule: nothing is compared,
//! evicted or watched (inotify sees no changes of network file systems, and would need a watch on every folder and link of
//! a path). A renamed, replaced or deleted file is therefore served for a second at most, a large one not at all, and what
//! does not exist is never remembered.
//!
//! Length, validators and bytes always belong together: small files are kept whole. Of large ones the descriptor is kept,
//! and looked at again before each use ([`FileStamp::holds`]). A file that was changed in the last two seconds isn't kept:
//! it may just be written, and its times can't tell one version from the next.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::disk::FileStamp;
use crate::net::descriptors::CountedFile;
use crate::protocol::fields::Fields;
use crate::site::Files;

/// How long an entry is used: nobody reloads faster, and a lookup once a second costs nothing.
const LIFE: Duration = Duration::from_secs(1);

/// The most entries of a worker.
const ENTRIES: usize = 1024;

/// The most bytes in the entries of a worker.
const BYTES: usize = 4 << 20;

/// The recently looked up files of a worker.
pub(crate) struct RecentFiles(RefCell<RecentEntries>);

struct RecentEntries {
    /// When the first entry was made.
    since: Instant,
    entries: HashMap<Box<[u8]>, RecentFile>,
    bytes: usize,
    /// The buffer for keys.
    key: Vec<u8>,
}

/// What a request asks a folder for, as far as the response depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecentKey<'a> {
    pub(crate) files: &'static Files,
    /// The part of the URL path that is relative to the folder.
    pub(crate) path: &'a str,
    /// The whole path ends with a slash.
    pub(crate) folder: bool,
    /// The encodings that the client accepts.
    pub(crate) taken: [bool; 3],
}

/// A file, and the header fields of its response.
pub(crate) struct RecentFile {
    pub(crate) fields: Fields,
    pub(crate) content: FileContent,
    pub(crate) stamp: FileStamp,
}

/// The content of a file.
#[derive(Clone)]
pub(crate) enum FileContent {
    /// In memory.
    Here(Bytes),
    /// In an open file.
    On(Arc<CountedFile>),
}

impl RecentFiles {
    pub(crate) fn new() -> RecentFiles {
        RecentFiles(RefCell::new(RecentEntries {
            since: Instant::now(),
            entries: HashMap::new(),
            bytes: 0,
            key: Vec::new(),
        }))
    }

    /// Returns the header fields of a file, with space for `room` more (bytes and lines), its length and content. Allocates
    /// nothing in the long run: the memory of fields is used again.
    pub(crate) fn get(
        &self,
        key: RecentKey<'_>,
        now: Instant,
        room: (usize, usize),
    ) -> Option<(Fields, u64, FileContent)> {
        let recent = &mut *self.0.borrow_mut();
        recent.drop_old(now);
        key.write(&mut recent.key);
        let file = recent.entries.get(&*recent.key)?;
        if let FileContent::On(open) = &file.content
            && !file.stamp.holds(open)
        {
            recent.entries.remove(&*recent.key);
            return None;
        }
        Some((file.fields.with_room(room.0, room.1), file.stamp.length, file.content.clone()))
    }

    /// Keeps a file that is settled (see [`super::disk::OpenedFile::is_settled`]), if there is room.
    pub(crate) fn keep(&self, key: RecentKey<'_>, now: Instant, file: RecentFile) {
        let recent = &mut *self.0.borrow_mut();
        recent.drop_old(now);
        key.write(&mut recent.key);
        let content = match &file.content {
            FileContent::Here(content) => content.len(),
            FileContent::On(_) => 0,
        };
        let bytes = recent.bytes + content + file.fields.weight() + recent.key.len();
        if recent.entries.len() >= ENTRIES || bytes > BYTES {
            return;
        }
        if recent.entries.is_empty() {
            recent.since = now;
        }
        recent.bytes = bytes;
        recent.entries.insert(recent.key.as_slice().into(), file);
    }

    /// Drops old entries, so that an idle worker holds neither memory nor descriptors for them.
    pub(crate) fn sweep(&self, now: Instant) {
        let recent = &mut *self.0.borrow_mut();
        recent.drop_old(now);
        if recent.entries.is_empty() {
            recent.entries.shrink_to_fit();
        }
    }
}

impl RecentEntries {
    fn drop_old(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= LIFE && !self.entries.is_empty() {
            self.entries.clear();
            self.bytes = 0;
        }
    }
}

impl RecentKey<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&std::ptr::from_ref(self.files).addr().to_ne_bytes());
        out.extend(self.taken.map(u8::from));
        out.push(u8::from(self.folder));
        out.extend_from_slice(self.path.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;
    use crate::content::files::disk::{self, FileLookup, FileQuery, OpenedFile, Patience};
    use crate::content::files::{RelativePath, fields};
    use crate::net::descriptors::DescriptorBudget;
    use crate::site::Setting;

    fn files() -> &'static Files {
        Box::leak(Box::new(Files {
            folder: Setting::Fixed("".into()),
            bundled: None,
            rest: None,
            index: "index.html".into(),
            fallback: Some("/app.html".into()),
            listing: false,
            dotfiles: false,
            symlinks: false,
            precompressed: false,
            immutable: false,
            or_else: std::borrow::Cow::Borrowed(&[]),
        }))
    }

    /// A folder of its own, which is removed in the end.
    struct Folder(&'static str);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("kiln-recent-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("made");
            Folder(path.to_str().expect("text").to_owned().leak())
        }

        fn write(&self, name: &str, content: &[u8]) {
            std::fs::write(format!("{}/{name}", self.0), content).expect("written");
        }

        fn open(&self, files: &'static Files, path: &str) -> OpenedFile {
            let below = RelativePath::of(path, files).expect("a path");
            let query = FileQuery { files, root: self.0, below, folder: false, taken: [false; 3] };
            match disk::find(&query, Patience::Any) {
                FileLookup::File(file) => file,
                _ => panic!("{path} is not found"),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(self.0).expect("removed");
        }
    }

    fn key(files: &'static Files, path: &'static str) -> RecentKey<'static> {
        RecentKey { files, path, folder: false, taken: [false; 3] }
    }

    fn in_memory(content: &'static [u8], opened: &OpenedFile) -> RecentFile {
        let fields = fields(files(), "a.txt", ("\"1\"", ""), false, None, (0, 0));
        let content = FileContent::Here(Bytes::from_static(content));
        RecentFile { fields, content, stamp: opened.stamp }
    }

    fn on_disk(opened: OpenedFile) -> RecentFile {
        let OpenedFile { file, stamp, .. } = opened;
        let held = DescriptorBudget::ample().take().expect("a descriptor");
        let content = FileContent::On(Arc::new(CountedFile::new(file, held)));
        RecentFile { fields: Fields::new(), content, stamp }
    }

    /// Entries are found by everything that a response depends on, and dropped a second after the first.
    #[test]
    fn life() {
        let folder = Folder::new("life");
        folder.write("a.txt", b"a");
        let (one, other) = (files(), files());
        let opened = folder.open(one, "a.txt");
        let (recent, now) = (RecentFiles::new(), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        let get = |key: RecentKey<'_>, millis| match recent.get(key, at(millis), (10, 2)) {
            Some((fields, 1, FileContent::Here(content))) => Some((fields.get("etag").map(<[u8]>::to_vec), content)),
            Some(_) => panic!("another file"),
            None => None,
        };
        let found = |content: &'static [u8]| Some((Some(b"\"1\"".to_vec()), Bytes::from_static(content)));
        recent.keep(key(one, "a.txt"), at(5000), in_memory(b"a", &opened));
        recent.keep(key(one, "b.txt"), at(5900), in_memory(b"b", &opened));
        assert_eq!(get(key(one, "a.txt"), 5999), found(b"a"));
        assert_eq!(get(key(one, "b.txt"), 5999), found(b"b"));
        for other in [
            key(other, "a.txt"),
            key(one, "a.tx"),
            RecentKey { folder: true, ..key(one, "a.txt") },
            RecentKey { taken: [true, false, false], ..key(one, "a.txt") },
        ] {
            assert_eq!(get(other, 5999), None);
        }
        assert_eq!((get(key(one, "a.txt"), 6000), get(key(one, "b.txt"), 6000)), (None, None));
        recent.keep(key(one, "a.txt"), at(9000), in_memory(b"c", &opened));
        recent.sweep(at(9999));
        assert_eq!(get(key(one, "a.txt"), 9999), found(b"c"));
        recent.sweep(at(10_000));
        assert_eq!(recent.0.borrow().entries.capacity(), 0);
        assert_eq!(recent.0.borrow().bytes, 0);
    }

    /// Neither many names nor large contents exceed the bounds, and what is kept stays usable.
    #[test]
    fn bounds() {
        let folder = Folder::new("bounds");
        folder.write("a.txt", b"a");
        let files = files();
        let opened = folder.open(files, "a.txt");
        let (recent, now) = (RecentFiles::new(), Instant::now());
        for number in 0..2 * ENTRIES {
            recent.keep(key(files, format!("{number}").leak()), now, in_memory(b"a", &opened));
        }
        assert_eq!(recent.0.borrow().entries.len(), ENTRIES);
        assert!(recent.get(key(files, "0"), now, (0, 0)).is_some());
        let recent = RecentFiles::new();
        let large: &'static [u8] = vec![b'x'; 64 << 10].leak();
        for number in 0..100 {
            recent.keep(key(files, format!("{number}").leak()), now, in_memory(large, &opened));
        }
        let kept = recent.0.borrow().entries.len();
        assert!((50..64).contains(&kept), "{kept}");
        assert!(recent.0.borrow().bytes <= BYTES);
    }

    /// The length of an open file never meets other bytes: a file that was changed, replaced or deleted isn't used again.
    #[test]
    fn changes() {
        let folder = Folder::new("changes");
        folder.write("large", b"before");
        let files = files();
        let (recent, now) = (RecentFiles::new(), Instant::now());
        let keep = || recent.keep(key(files, "large"), now, on_disk(folder.open(files, "large")));
        let get = || recent.get(key(files, "large"), now, (0, 0));
        keep();
        assert!(get().is_some_and(|(_, length, _)| length == 6));
        folder.write("large", b"longer than before");
        assert!(get().is_none() && get().is_none());
        keep();
        // The inode of a file that is replaced or deleted changes as well.
        folder.write("next", b"next");
        std::fs::rename(format!("{}/next", folder.0), format!("{}/large", folder.0)).expect("renamed");
        assert!(get().is_none());
        // The same length, and the same time of the last modification.
        keep();
        let written = File::options().write(true).open(format!("{}/large", folder.0)).expect("opened");
        let modified = written.metadata().and_then(|about| about.modified()).expect("a time");
        let changed = || written.metadata().map(|about| std::os::unix::fs::MetadataExt::ctime_nsec(&about));
        let before = changed().expect("a time");
        // The kernel's clock for files has ticks of milliseconds.
        while changed().expect("a time") == before {
            folder.write("large", b"text");
            written.set_modified(modified).expect("set");
        }
        assert!(recent.get(key(files, "large"), now, (0, 0)).is_none());
    }

    /// What was just changed, or is being changed, isn't kept; nor a file in place of another.
    #[test]
    fn settled() {
        let folder = Folder::new("settled");
        folder.write("a.txt", b"a");
        folder.write("app.html", b"app");
        let files = files();
        let opened = folder.open(files, "a.txt");
        let now = SystemTime::now();
        assert!(!opened.is_settled(now));
        assert!(!opened.is_settled(now - Duration::from_secs(60)));
        assert!(opened.is_settled(now + Duration::from_secs(4)));
        let fallback = folder.open(files, "missing.txt");
        assert!(!fallback.is_settled(now + Duration::from_secs(4)));
        folder.write("a.txt", b"another");
        assert!(!opened.is_settled(now + Duration::from_secs(4)));
    }
}
