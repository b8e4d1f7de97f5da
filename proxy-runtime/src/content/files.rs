//! `files`: maps a path to a file, and builds the head of its response. Pure.
//!
//! `files::disk` opens and reads files, `files::recent` remembers them for a second, embedded files are in a `site::bundle`; `serve::files` combines them.

#[cfg(feature = "serve")]
pub(crate) mod disk;
#[cfg(feature = "serve")]
pub(crate) mod listing;
#[cfg(feature = "serve")]
pub(crate) mod recent;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::canonical;
use crate::protocol::fields::Fields;
use crate::protocol::media;
use crate::protocol::names::KnownField;
use crate::site::Files;
pub use crate::site::bundle::ENCODINGS;

/// A path below a folder: names joined by slashes, none of which is empty, `.` or `..`, or contains a slash or NUL. Empty for
/// the folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// Returns the file path for the relevant part of a canonical URL path. `None` if no file may have this name.
    ///
    /// Decodes once, after all decisions were made on the encoded path: the escapes in a normalized path can't be
    /// separators, dots or NUL (see `canonical`), and are refused here if they are, for example because `limits
    /// encoded-slash` accepts them. Compare CVE-2021-41773 and CVE-2021-42013 (Apache: `.%2e/`, `%%32%65`), CVE-2018-7490
    /// (uWSGI: `..%2f`), CVE-2013-4547 (nginx: an unencoded blank and NUL).
    pub fn of(path: &str, files: &Files) -> Option<RelativePath> {
        let mut below = Vec::with_capacity(path.len());
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(RelativePath(below));
        }
        for segment in path.split('/') {
            let start = below.len();
            canonical::decode(segment, &mut below);
            if !may_be_name(&below[start..], files) {
                return None;
            }
            below.push(b'/');
        }
        below.pop();
        Some(RelativePath(below))
    }

    /// Returns the file path for a path of the file system, in which nothing is encoded.
    pub fn plain(path: &[u8], files: &Files) -> Option<RelativePath> {
        path.split(|&byte| byte == b'/').all(|name| may_be_name(name, files)).then(|| RelativePath(path.to_owned()))
    }

    /// Returns the path for system calls.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the last name.
    pub fn name(&self) -> String {
        let last = self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        String::from_utf8_lossy(last).into_owned()
    }

    /// Returns a name in this folder.
    pub fn join(&self, name: &str) -> RelativePath {
        let mut joined = self.0.clone();
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name.as_bytes());
        RelativePath(joined)
    }

    /// Returns the path with a suffix.
    pub fn with(&self, suffix: &str) -> RelativePath {
        RelativePath([&self.0, suffix.as_bytes()].concat())
    }
}

/// Returns whether a file in a folder may have this name.
fn may_be_name(name: &[u8], files: &Files) -> bool {
    let hidden = name.first() == Some(&b'.') && !files.dotfiles;
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0) && !hidden
}

/// Returns the entity tag of a file on disk: its modification time in nanoseconds, and its length. Weak if it was modified less
/// than two seconds ago, as it might be modified again within the resolution of the file system's clock (RFC 9110 section
/// 8.8.1).
pub fn entity_tag(changed: SystemTime, length: u64, encoding: &str, now: SystemTime) -> String {
    let nanos = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let fresh = now.duration_since(changed).is_ok_and(|age| age.as_secs() >= 2);
    let mut tag = String::with_capacity(40);
    // A write to a String cannot fail.
    let _ = write!(tag, "{}\"{nanos:x}-{length:x}", if fresh { "" } else { "W/" });
    if !encoding.is_empty() {
        let _ = write!(tag, "-{encoding}");
    }
    tag.push('"');
    tag
}

/// Returns the response fields for a file of this name, in one encoding. `varies`: there are other encodings. `room` is the
/// space to reserve for more, in bytes and lines.
pub fn fields(
    files: &Files,
    name: &str,
    (tag, encoding): (&str, &str),
    varies: bool,
    modified: Option<&str>,
    room: (usize, usize),
) -> Fields {
    let mut fields = Fields::with_capacity(256 + room.0, 6 + room.1);
    fields.add_known(KnownField::CONTENT_TYPE, media::of(name).as_bytes());
    fields.add_known(KnownField::ETAG, tag.as_bytes());
    if let Some(modified) = modified {
        fields.add_known(KnownField::LAST_MODIFIED, modified.as_bytes());
    }
    fields.add(b"accept-ranges", b"bytes");
    if !encoding.is_empty() {
        fields.add_known(KnownField::CONTENT_ENCODING, encoding.as_bytes());
    }
    if varies {
        fields.add_known(KnownField::VARY, b"Accept-Encoding");
    }
    if files.immutable && is_hashed(name) {
        // RFC 8246; a year is the longest customary lifetime.
        fields.add_known(KnownField::CACHE_CONTROL, b"public, max-age=31536000, immutable");
    }
    fields
}

/// Returns whether a name contains a content hash, as bundlers write them: `app-3f9ac01b.js`, `main.BkZ5sX3a.css`. The last
/// part before the extension has eight characters or more, including a letter and a digit.
pub fn is_hashed(name: &str) -> bool {
    let Some((stem, _)) = name.rsplit_once('.') else { return false };
    let Some((_, hash)) = stem.rsplit_once(['-', '.']) else { return false };
    hash.len() >= 8
        && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && hash.bytes().any(|byte| byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::site::{NormalForm, Setting};

    fn files(dotfiles: bool) -> Files {
        Files {
            folder: Setting::Fixed("".into()),
            bundled: None,
            rest: None,
            index: "".into(),
            fallback: None,
            listing: false,
            dotfiles,
            symlinks: false,
            precompressed: false,
            immutable: false,
            or_else: std::borrow::Cow::Borrowed(&[]),
        }
    }

    /// Checks the file for a path as received: normalization, then the file name.
    fn check(path: &str, expected: Option<&str>) {
        for encoded_slash in [false, true] {
            let form = NormalForm { encoded_slash, merge_slashes: true, refuse_parameters: false };
            let below = canonical::path(path, form).ok().and_then(|path| RelativePath::of(&path, &files(false)));
            let below = below.as_ref().map(|below| String::from_utf8_lossy(below.as_bytes()));
            assert_eq!(below.as_deref(), expected, "{path}, encoded-slash={encoded_slash}");
        }
    }

    #[test]
    fn paths() {
        check("/", Some(""));
        check("/a/b.txt", Some("a/b.txt"));
        check("/a/", Some("a"));
        check("/a%20b", Some("a b"));
        check("/%C3%A4", Some("ä"));
        check("/a/./b/../c", Some("a/c"));
        check("/..hidden", None);
        check("/.git/config", None);
        check("/a/.env", None);
        check("/%2egit/config", None);
        check("/...", None);
    }

    #[test]
    fn traversal() {
        for path in [
            // CVE-2021-41773 and CVE-2021-42013.
            "/cgi-bin/.%2e/.%2e/etc/passwd",
            "/cgi-bin/%%32%65%%32%65/etc/passwd",
            "/icons/.%%32%65/.%%32%65/etc/passwd",
            // CVE-2018-7490.
            "/..%2f..%2fetc/passwd",
            // CVE-2017-14849 (Node.js), CVE-2015-3337 (Elasticsearch), CVE-2019-11510.
            "/../../../../etc/passwd",
            "/static/../../a/../../etc/passwd",
            // Double encoding, backslashes, overlong UTF-8 (CVE-2000-0884), full-width forms.
            "/..\\..\\etc\\passwd",
            "/..%5c..%5cetc%5cpasswd",
            "/a%2f..%2f..%2fb",
            // NUL (CVE-2013-4547 and many others).
            "/a.php%00.txt",
            "/a\0b",
        ] {
            check(path, None);
        }
        // Encoded twice, or not UTF-8: ordinary names, which no file has.
        check("/%252e%252e/etc/passwd", Some("%2e%2e/etc/passwd"));
        check("/%c0%ae%c0%ae/etc", Some("\u{fffd}\u{fffd}\u{fffd}\u{fffd}/etc"));
    }

    #[test]
    fn tags() {
        let changed = UNIX_EPOCH + Duration::from_nanos(0x1234);
        let at = |seconds| changed + Duration::from_secs(seconds);
        assert_eq!(entity_tag(changed, 255, "", at(2)), "\"1234-ff\"");
        assert_eq!(entity_tag(changed, 255, "br", at(9)), "\"1234-ff-br\"");
        assert_eq!(entity_tag(changed, 255, "", at(1)), "W/\"1234-ff\"");
        assert_eq!(entity_tag(at(5), 255, "", changed), format!("W/\"{:x}-ff\"", 0x1234 + 5_000_000_000_u64));
    }

    #[test]
    fn hashed() {
        let check = |name: &str, expected: bool| assert_eq!(is_hashed(name), expected, "{name}");
        check("app-3f9ac01b.js", true);
        check("index-BkZ5sX3a.css", true);
        check("main.8f7e5c3a91.chunk.js", false);
        check("chunk.8f7e5c3a91.js", true);
        check("report-20260101.pdf", false);
        check("jquery-3.7.1.js", false);
        check("photo-holidays.jpg", false);
        check("3f9ac01b.js", false);
        check("app", false);
    }
}
