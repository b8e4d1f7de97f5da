//! The file system of an image ([`RootFiles`]): the binary, and the few files that it needs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use proxy_build::deploy::image::{AUTHORITIES, BINARY, GROUP, PASSWD};
use tar::{Builder, EntryType, Header};

/// What is in the image.
pub(super) struct RootFiles<'a> {
    pub(super) binary: &'a [u8],
    /// The certificates of authorities.
    pub(super) ca: Option<&'a [u8]>,
    /// The folders that the process writes to.
    pub(super) writable: &'a [String],
    /// The names of its user and group.
    pub(super) names: (&'a str, &'a str),
    /// The numbers of user and group.
    pub(super) ids: (u32, u32),
}

/// A file or folder.
struct Entry<'a> {
    mode: u32,
    /// The content; `None` for a folder.
    content: Option<&'a [u8]>,
    owner: (u32, u32),
}

/// The owner of what the process only reads.
const ROOT: (u32, u32) = (0, 0);

impl RootFiles<'_> {
    /// Returns the layer as an archive, without compression: entries sorted by their paths, and without times.
    ///
    /// # Errors
    /// A path is too long for an archive.
    pub(super) fn layer(&self) -> io::Result<Vec<u8>> {
        let (uid, gid) = self.ids;
        let (user, group) = self.names;
        let passwd = format!("root:x:0:0:root:/:/sbin/nologin\n{user}:x:{uid}:{gid}:{user}:/:/sbin/nologin\n");
        let group = format!("root:x:0:\n{group}:x:{gid}:\n");
        let mut entries = BTreeMap::new();
        let file = |mode, content| Entry { mode, content: Some(content), owner: ROOT };
        entries.insert(in_archive(BINARY), file(0o555, self.binary));
        entries.insert(in_archive(PASSWD), file(0o444, passwd.as_bytes()));
        entries.insert(in_archive(GROUP), file(0o444, group.as_bytes()));
        if let Some(ca) = self.ca {
            entries.insert(in_archive(AUTHORITIES), file(0o444, ca));
        }
        for folder in self.writable {
            entries.insert(in_archive(folder), Entry { mode: 0o750, content: None, owner: self.ids });
        }
        // The folders above.
        let above = |path: &String| {
            Path::new(path).ancestors().skip(1).filter_map(Path::to_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let folders: Vec<String> = entries.keys().flat_map(above).filter(|path| !path.is_empty()).collect();
        for folder in folders {
            entries.entry(folder).or_insert(Entry { mode: 0o755, content: None, owner: ROOT });
        }
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &entries {
            append(&mut archive, path, entry)?;
        }
        archive.into_inner()
    }
}

/// Returns the name of a file or folder in an archive.
fn in_archive(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, entry: &Entry<'_>) -> io::Result<()> {
    let content = entry.content.unwrap_or_default();
    let mut header = header(entry.mode, content.len());
    header.set_uid(entry.owner.0.into());
    header.set_gid(entry.owner.1.into());
    match entry.content {
        Some(_) => archive.append_data(&mut header, path, content),
        None => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), content)
        }
    }
}

/// Returns the header of a file that root owns, without a time.
pub(super) fn header(mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_owned() {
        let content = RootFiles {
            binary: b"elf",
            ca: Some(b"pem"),
            writable: &["/run/shop", "/var/lib/shop/acme"].map(str::to_owned),
            names: ("web", "www"),
            ids: (65532, 65532),
        };
        let layer = content.layer().expect("a layer");
        assert!(layer == content.layer().expect("a layer"), "the same bytes");
        let mut archive = tar::Archive::new(&layer[..]);
        let shown = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!(header.mtime().expect("a time"), 0);
            let path = entry.path().expect("a path").display().to_string();
            format!("{path} {:o} {}", header.mode().expect("a mode"), header.uid().expect("an owner"))
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "etc/ 755 0",
                "etc/group 444 0",
                "etc/passwd 444 0",
                "etc/ssl/ 755 0",
                "etc/ssl/certs/ 755 0",
                "etc/ssl/certs/ca-certificates.crt 444 0",
                "proxy 555 0",
                "run/ 755 0",
                "run/shop/ 750 65532",
                "var/ 755 0",
                "var/lib/ 755 0",
                "var/lib/shop/ 755 0",
                "var/lib/shop/acme/ 750 65532",
            ]
        );
    }
}
