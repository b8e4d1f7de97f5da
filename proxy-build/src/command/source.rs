//! Kiln's own source, which sites are compiled with: the source embedded in `kiln` (see `build.rs`), or a checkout that
//! `KILN_SOURCE` names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use proxy_build::source::sha256;

use super::failed;

/// Alternating names and contents of files, each preceded by its length, compressed.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/source"));

/// A folder with the runtime's source, its lock file, and the manifest of its workspace.
pub(crate) struct Source {
    folder: PathBuf,
    /// Identifies the source: a hash of the content, or the path of a checkout, whose content may change.
    digest: String,
}

impl Source {
    /// Returns the source to use; the embedded one is unpacked into the cache, if it is not there, or was changed.
    ///
    /// # Errors
    /// The cache can't be written, or `KILN_SOURCE` is invalid.
    pub(crate) fn find(cache: &Path) -> Result<Source, String> {
        match checkout()? {
            Some(folder) => Ok(Source { digest: sha256(folder.as_os_str().as_encoded_bytes()), folder }),
            None => {
                let digest = sha256(PACKED);
                let folder = cache.join("source").join(&digest[..16]);
                let files = unpacked()?;
                if !is_intact(&folder, &files) {
                    unpack(&folder, &files)?;
                }
                Ok(Source { folder, digest })
            }
        }
    }

    /// Returns the folder of the runtime's crate.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.join("proxy-runtime")
    }

    /// Returns the name of the runtime's folder within a site's crate. Cargo identifies crates by it, and treats an older one as
    /// unchanged, so different sources must have different names.
    pub(crate) fn name(&self) -> String {
        format!("kiln-{}", &self.digest[..16])
    }

    /// Returns the versions of all dependencies.
    ///
    /// # Errors
    /// Fails if `Cargo.lock` can't be read.
    pub(crate) fn lock(&self) -> Result<Vec<u8>, String> {
        std::fs::read(self.folder.join("Cargo.lock")).map_err(failed("can't read Kiln's Cargo.lock"))
    }

    /// Returns the sections of the workspace's manifest that the runtime's manifest inherits.
    ///
    /// # Errors
    /// Fails if the manifest can't be read.
    pub(crate) fn inherited(&self) -> Result<String, String> {
        let manifest = std::fs::read_to_string(self.folder.join("Cargo.toml"));
        Ok(sections(&manifest.map_err(failed("can't read Kiln's Cargo.toml"))?))
    }
}

/// Returns the checkout of Kiln that `KILN_SOURCE` names, if it is set.
///
/// # Errors
/// Fails if the folder is not a checkout.
pub(crate) fn checkout() -> Result<Option<PathBuf>, String> {
    let Some(named) = std::env::var_os("KILN_SOURCE").filter(|named| !named.is_empty()) else { return Ok(None) };
    let folder = std::path::absolute(named).map_err(failed("KILN_SOURCE"))?;
    if folder.join("proxy-runtime/Cargo.toml").is_file() {
        return Ok(Some(folder));
    }
    Err(format!("KILN_SOURCE={}: no source of Kiln is there", folder.display()))
}

/// Returns the sections `[workspace.…]` of a manifest.
fn sections(manifest: &str) -> String {
    let mut inherited = false;
    let lines = manifest.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') {
            inherited = line.starts_with("[workspace.");
        }
        inherited
    });
    lines.collect()
}

/// Returns the embedded files, by their paths.
fn unpacked() -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let mut packed = Vec::new();
    DeflateDecoder::new(PACKED).read_to_end(&mut packed).map_err(failed("this kiln is damaged"))?;
    let (mut rest, mut files) = (&packed[..], BTreeMap::new());
    while let Some((name, content)) = next(&mut rest).and_then(|name| Some((name, next(&mut rest)?))) {
        files.insert(PathBuf::from(OsStr::from_bytes(name)), content.to_owned());
    }
    Ok(files)
}

/// Whether a folder has these files, and no others: cargo would run a `build.rs`.
fn is_intact(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> bool {
    let same = |(name, content): (&PathBuf, &Vec<u8>)| {
        let path = folder.join(name);
        path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == content.len() as u64)
            && std::fs::read(path).is_ok_and(|found| found == *content)
    };
    files.iter().all(same) && names(folder).is_some_and(|names| names == files.len())
}

/// Returns how many files, or what else is no folder, are below a folder.
fn names(folder: &Path) -> Option<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        count += if entry.file_type().ok()?.is_dir() { names(&entry.path())? } else { 1 };
    }
    Some(count)
}

/// Unpacks the source atomically, because another build may be about to use it.
fn unpack(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let beside = folder.with_extension(std::process::id().to_string());
    let wrong = || failed(format!("can't write Kiln's source to {}", beside.display()));
    for (name, content) in files {
        let path = beside.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&beside)).map_err(wrong())?;
        std::fs::write(&path, content).map_err(wrong())?;
    }
    if folder.symlink_metadata().is_ok() && !is_intact(folder, files) {
        anstream::eprintln!("{} was changed: it is unpacked again", folder.display());
        std::fs::remove_dir_all(folder).map_err(failed(format!("can't remove {}", folder.display())))?;
    }
    match std::fs::rename(&beside, folder) {
        // Another process was faster, with the same content.
        Err(_) if is_intact(folder, files) => std::fs::remove_dir_all(&beside).map_err(wrong()),
        renamed => renamed.map_err(wrong()),
    }
}

/// Returns the next piece of a list of pieces with their lengths.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (piece, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_sections() {
        let check = |manifest: &str, expected: &str| assert_eq!(sections(manifest), expected, "{manifest}");
        check("[package]\nname = \"a\"\n[lints.clippy]\n", "");
        check(
            "[workspace]\nmembers = [\"a\"]\n\n[workspace.package]\nversion = \"1\"\n[profile.dev]\nlto = \"fat\"\n\
             [workspace.lints.rust]\na = \"warn\"\n",
            "[workspace.package]\nversion = \"1\"\n[workspace.lints.rust]\na = \"warn\"\n",
        );
    }

    #[test]
    fn embedded_source_is_the_runtime() {
        let folder = std::env::temp_dir().join(format!("kiln-source-{}", std::process::id()));
        let (files, there) = (unpacked().expect("files"), folder.join("0123"));
        assert!(!is_intact(&there, &files));
        unpack(&there, &files).expect("unpacked");
        // Again, like another build at the same time.
        unpack(&there, &files).expect("unpacked");
        assert!(is_intact(&there, &files));
        let check = |name: &str, change: fn(&Path)| {
            change(&there.join("proxy-runtime").join(name));
            assert!(!is_intact(&there, &files), "{name}");
            unpack(&there, &files).expect("unpacked");
            assert!(is_intact(&there, &files), "{name}");
        };
        check("src/serve.rs", |path| std::fs::write(path, "").expect("written"));
        check("src/lib.rs", |path| std::fs::remove_file(path).expect("removed"));
        check("build.rs", |path| std::fs::write(path, "fn main() {}").expect("written"));
        check(".cargo", |path| std::os::unix::fs::symlink("/", path).expect("linked"));
        let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy-runtime");
        for name in ["Cargo.toml", "src/lib.rs", "src/serve.rs"] {
            let own = std::fs::read(runtime.join(name)).expect("a file");
            assert_eq!(std::fs::read(folder.join("0123/proxy-runtime").join(name)).expect("unpacked"), own, "{name}");
        }
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "no other files are left");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
