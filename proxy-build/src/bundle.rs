//! Builds the embedded files, as the bytes of a `proxy_runtime::site::bundle::Bundle`: each unencoded, and compressed if
//! that makes it smaller. Compressed files are cached for the next build, by a hash of the content.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proxy_runtime::content::files::{self, ENCODINGS};
use proxy_runtime::protocol::fields::Fields;
use proxy_runtime::protocol::media;
use proxy_runtime::router::table::NONE;
use proxy_runtime::site::Compress;
use proxy_runtime::site::bundle::{self, FILE, FOLDER, FORMS};

use crate::lower::table;
use crate::model::{Folder, Site};
use crate::source::sha256;

/// The compression effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Fast, for trying out a site.
    Quick,
    /// Best compression, as the result is sent many times.
    Most,
}

impl Effort {
    /// Returns the compression levels for [`ENCODINGS`].
    fn levels(self) -> [i32; ENCODINGS.len()] {
        match self {
            Effort::Quick => [3, 3, 5],
            Effort::Most => [11, 19, 9],
        }
    }
}

/// Builds the bundle of a site. `kept` is a folder for cached compressed files; `progress` is called with the number of completed
/// files and their total, from several threads.
///
/// # Errors
/// The folder can't be used, or the bundle would have more than 4 GiB.
pub fn bundle(site: &Site, kept: &Path, effort: Effort, progress: impl Fn(usize, usize) + Sync) -> io::Result<Vec<u8>> {
    let forms = compress(site, kept, effort, progress)?;
    let mut out = Writer::default();
    for (number, folder) in site.bundle.iter().enumerate() {
        out.folder(number as u32, folder, &forms);
    }
    let entries = out.paths.iter().map(|(folder, path, row)| (*folder, path.as_str(), *row)).collect();
    let written = bundle::write(&table(entries), &out.forms.into_iter().collect(), &out.content);
    written.ok_or_else(|| io::Error::other("the files have more than 4 GiB"))
}

/// A file's content in each of [`ENCODINGS`] that makes it smaller, and its hash.
struct Compressed {
    digest: String,
    forms: [Option<Vec<u8>>; ENCODINGS.len()],
}

/// The distinct contents, each of which may have several paths.
type Contents = HashMap<&'static [u8], Compressed>;

fn compress(site: &Site, kept: &Path, effort: Effort, progress: impl Fn(usize, usize) + Sync) -> io::Result<Contents> {
    std::fs::create_dir_all(kept)?;
    // Whether compression is worth it, by content; the largest first, so that no thread ends with a long one.
    let mut worth: BTreeMap<(usize, &'static [u8]), bool> = BTreeMap::new();
    for Folder { files, content } in &site.bundle {
        for (name, content) in content {
            let suits = files.precompressed && Compress::is_worth_it(media::of(name).as_bytes());
            *worth.entry((usize::MAX - content.len(), content)).or_default() |= suits;
        }
    }
    let jobs: Vec<_> = worth.into_iter().map(|((_, content), worth)| (content, worth)).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> io::Result<Vec<(&'static [u8], Compressed)>> {
        let mut made = Vec::new();
        while let Some(&(content, worth)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            made.push((content, forms(content, worth, kept, effort)?));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
        Ok(made)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a compressor panicked")))
        };
        threads.into_iter().map(join).collect::<io::Result<Vec<_>>>()
    })?;
    let contents: Contents = made.into_iter().flatten().collect();
    forget(kept, effort, &contents)?;
    Ok(contents)
}

fn forms(content: &'static [u8], worth: bool, kept: &Path, effort: Effort) -> io::Result<Compressed> {
    let digest = sha256(content);
    let mut forms = [const { None }; ENCODINGS.len()];
    for (index, form) in forms.iter_mut().enumerate().filter(|_| worth) {
        let path = kept_at(kept, &digest, index, effort);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) => {
                let made = encode(ENCODINGS[index].0, effort.levels()[index], content)?;
                // If the result is not smaller, an empty file records that.
                let made = if made.len() < content.len() { made } else { Vec::new() };
                // Written atomically: another build may read it, or this one may be interrupted.
                let beside = path.with_extension(std::process::id().to_string());
                std::fs::write(&beside, &made)?;
                std::fs::rename(&beside, &path)?;
                made
            }
        };
        *form = (!bytes.is_empty()).then_some(bytes);
    }
    Ok(Compressed { digest, forms })
}

fn kept_at(kept: &Path, digest: &str, index: usize, effort: Effort) -> PathBuf {
    let (_, suffix) = ENCODINGS[index];
    kept.join(format!("{digest}-{}{suffix}", effort.levels()[index]))
}

/// Removes cached files that are not needed any more.
fn forget(kept: &Path, effort: Effort, contents: &Contents) -> io::Result<()> {
    let used: HashSet<PathBuf> = contents
        .values()
        .flat_map(|content| (0..ENCODINGS.len()).map(|index| kept_at(kept, &content.digest, index, effort)))
        .collect();
    for entry in std::fs::read_dir(kept)? {
        let path = entry?.path();
        // Those of the other effort stay: both kinds of builds may alternate.
        let levels = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.rsplit_once('-'));
        let own = levels.is_some_and(|(_, level)| effort.levels().iter().any(|own| own.to_string() == level));
        if own && !used.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn encode(encoding: &str, level: i32, content: &[u8]) -> io::Result<Vec<u8>> {
    match encoding {
        "br" => {
            let mut out = Vec::new();
            let params = brotli::enc::BrotliEncoderParams {
                quality: level,
                size_hint: content.len(),
                ..brotli::enc::BrotliEncoderParams::default()
            };
            brotli::BrotliCompress(&mut &*content, &mut out, &params)?;
            Ok(out)
        }
        "zstd" => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
            // 8 MiB, the largest window that browsers accept (RFC 9659).
            encoder.window_log(23)?;
            encoder.set_pledged_src_size(Some(content.len() as u64))?;
            encoder.write_all(content)?;
            encoder.finish()
        }
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level as u32));
            encoder.write_all(content)?;
            encoder.finish()
        }
    }
}

/// A key for equal entries: a head, the original content, and its encoding.
type PlacedContent = (Vec<u8>, &'static [u8], usize);

/// The parts of a bundle under construction.
#[derive(Default)]
struct Writer {
    paths: Vec<(u32, String, [u32; 3])>,
    forms: Vec<u32>,
    content: Vec<u8>,
    /// The positions of entries: a file may have several paths.
    places: HashMap<PlacedContent, [u32; 3]>,
}

impl Writer {
    fn folder(&mut self, number: u32, folder: &Folder, contents: &Contents) {
        // The names in each folder.
        let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::from([("", Vec::new())]);
        for (path, content) in &folder.content {
            self.file(number, (path, content), folder, &contents[content]);
            let (mut parent, mut name) = path.rsplit_once('/').map_or(("", path.clone()), |(p, n)| (p, n.to_owned()));
            loop {
                let new = !names.contains_key(parent);
                names.entry(parent).or_default().push(name);
                if !new || parent.is_empty() {
                    break;
                }
                (parent, name) =
                    parent.rsplit_once('/').map_or(("", format!("{parent}/")), |(p, n)| (p, format!("{n}/")));
            }
        }
        for (path, mut names) in names {
            names.sort_by_key(|name| (!name.ends_with('/'), name.clone()));
            let start = self.content.len() as u32;
            for name in names.iter().filter(|_| folder.files.listing) {
                self.content.extend_from_slice(name.as_bytes());
                self.content.push(0);
            }
            self.paths.push((number, path.to_owned(), [FOLDER, start, self.content.len() as u32 - start]));
        }
    }

    fn file(&mut self, number: u32, (path, content): (&str, &'static [u8]), folder: &Folder, made: &Compressed) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let varies = made.forms.iter().any(Option::is_some);
        // The first 128 bits suffice to distinguish versions.
        let tag = |encoding: &str| format!("\"{}{encoding}\"", &made.digest[..32]);
        let said = |tag: &str, encoding| files::fields(&folder.files, name, (tag, encoding), varies, None, (0, 0));
        let place = (self.forms.len() / (3 * FORMS)) as u32;
        self.paths.push((number, path.to_owned(), [FILE, place, 0]));
        let row = self.form(said(&tag(""), ""), content, (content, 0));
        self.forms.extend(row);
        for (index, (form, (encoding, _))) in made.forms.iter().zip(ENCODINGS).enumerate() {
            let fields = || said(&tag(&format!("-{encoding}")), encoding);
            let row = form.as_ref().map_or([NONE; 3], |form| self.form(fields(), form, (content, 1 + index)));
            self.forms.extend(row);
        }
    }

    fn form(&mut self, fields: Fields, body: &[u8], (of, form): (&'static [u8], usize)) -> [u32; 3] {
        *self.places.entry((fields.packed(), of, form)).or_insert_with_key(|(head, ..)| {
            let begins = self.content.len() as u32;
            self.content.extend_from_slice(head);
            let body_begins = self.content.len() as u32;
            self.content.extend_from_slice(body);
            [begins, body_begins, self.content.len() as u32]
        })
    }
}

#[cfg(test)]
mod tests {
    use proxy_runtime::site::bundle::{Bundle, Entry, Form};
    use proxy_runtime::site::{Files, Setting};

    use super::*;

    fn site(content: &[(&str, &'static [u8])], listing: bool) -> Site {
        let mut site = crate::compile_text("site.kdl".as_ref(), "site.kdl", "site * {\n respond 200\n}").model;
        let files = Files {
            folder: Setting::Fixed("public".into()),
            bundled: None,
            rest: None,
            index: "index.html".into(),
            fallback: None,
            listing,
            dotfiles: false,
            symlinks: false,
            precompressed: true,
            immutable: true,
            or_else: std::borrow::Cow::Borrowed(&[]),
        };
        let content = content.iter().map(|(path, content)| ((*path).to_owned(), *content)).collect();
        site.as_mut().expect("a site").bundle = vec![Folder { files, content }];
        site.expect("a site")
    }

    fn made(site: &Site, kept: &Path) -> Bundle {
        let bytes = bundle(site, kept, Effort::Quick, |_, _| {}).expect("a bundle");
        Bundle::new(bytes.leak())
    }

    /// Returns a folder for one test.
    fn kept(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kiln-bundle-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn names(bundle: &Bundle, path: &str) -> Option<Vec<&'static str>> {
        match bundle.get(0, path.as_bytes())? {
            Entry::Folder(names) => Some(names.split_terminator('\0').collect()),
            Entry::File(_) => None,
        }
    }

    fn form(bundle: &Bundle, path: &str, form: usize) -> Option<Form> {
        match bundle.get(0, path.as_bytes())? {
            Entry::File(forms) => forms[form],
            Entry::Folder(_) => None,
        }
    }

    #[test]
    fn bundles_contain_their_files() {
        let long = "a name that is longer than any slot of the table, so that it is kept beside it.txt";
        let text: &[u8] = "the same words again and again, ".repeat(100).leak().as_bytes();
        let content: &[(&str, &'static [u8])] =
            &[("a/b/c.txt", text), ("a/d.png", b"picture"), ("index.html", b"<p>"), (long, b"long")];
        let (folder, site) = (kept("roundtrip"), site(content, true));
        let found = made(&site, &folder);
        assert_eq!(names(&found, ""), Some(vec!["a/", long, "index.html"]));
        assert_eq!(names(&found, "a"), Some(vec!["b/", "d.png"]));
        assert_eq!(names(&found, "a/b"), Some(vec!["c.txt"]));
        assert_eq!(names(&found, "a/b/c.txt"), None);
        assert_eq!((found.get(0, b"a/b/c"), found.get(1, b"index.html")), (None, None));
        for (path, content) in content {
            assert_eq!(form(&found, path, 0).map(|form| form.body), Some(*content), "{path}");
        }
        // Only compressed if that is smaller, and the media type is suitable.
        let lengths = |path: &str| [1, 2, 3].map(|index| form(&found, path, index).map(|form| form.body.len()));
        assert!(lengths("a/b/c.txt").iter().all(|length| length.is_some_and(|length| length < 100)));
        assert_eq!((lengths("a/d.png"), lengths("index.html")), ([None; 3], [None; 3]));
        let head = |index| {
            let mut head = Vec::new();
            Fields::unpacked(form(&found, "a/b/c.txt", index).expect("a form").head, (0, 0)).write(&mut head);
            String::from_utf8_lossy(&head).into_owned()
        };
        let tag = &sha256(text)[..32];
        assert_eq!(
            head(1),
            format!(
                "content-type: text/plain; charset=utf-8\r\netag: \"{tag}-br\"\r\naccept-ranges: bytes\r\n\
                content-encoding: br\r\nvary: Accept-Encoding\r\n"
            )
        );
        assert!(!head(0).contains("content-encoding") && head(0).contains("vary"), "{}", head(0));
        let mut plain = Vec::new();
        let gzip = form(&found, "a/b/c.txt", 3).expect("a form").body;
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gzip), &mut plain).expect("gzip");
        assert_eq!(plain, text);

        // The same site produces the same bytes; cached files are reused, and unneeded ones are removed.
        let bytes = || bundle(&site, &folder, Effort::Quick, |_, _| {}).expect("a bundle");
        let count = || std::fs::read_dir(&folder).expect("the folder").count();
        assert!(bytes() == bytes());
        assert_eq!(count(), 9);
        made(&tests::site(&[("index.html", b"<p>")], false), &folder);
        assert_eq!(count(), 3);
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn names_of_listed_folders() {
        let folder = kept("listing");
        assert_eq!(names(&made(&site(&[("a/b.txt", b"b")], false), &folder), "a"), Some(vec![]));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
