//! `send-file`: sends a file that a server names in place of the response's body (nginx's `X-Accel-Redirect`; `X-Sendfile`
//! of Apache and lighttpd).
//!
//! A server is trusted only as far as the site says: it may name files in declared folders only, by unambiguous
//! paths. Everything else is refused, and the fields themselves are not forwarded (see `forward::received`).

use http::StatusCode;

use super::files;
use crate::client::Client;
use crate::client::record::Record;
use crate::content::files::RelativePath;
use crate::content::files::disk::{FileLookup, FileQuery};
use crate::content::respond::Answer;
use crate::context::settings::Settings;
use crate::failure::Failure;
use crate::http1::MessageHead;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::site::{Files, SendFile, Upstream};

/// A file in a declared folder.
pub(super) type FolderFile = (&'static Files, RelativePath);

/// Returns the file that a response names; `None` if it names none, or the upstream has no `send-file`.
///
/// # Errors
/// The named file may not be sent.
pub(super) fn named(
    upstream: &'static Upstream,
    head: &MessageHead<StatusCode>,
    settings: &Settings,
) -> Result<Option<FolderFile>, Failure> {
    let folders: &'static [SendFile] = &upstream.send_files;
    if folders.is_empty() {
        return Ok(None);
    }
    let by = |field: KnownField| head.fields.all(field).map(move |value| (field, value));
    let mut all = by(KnownField::X_ACCEL_REDIRECT).chain(by(KnownField::X_SENDFILE));
    let Some((field, value)) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Failure::SendFileRefused("the response names several files"));
    }
    if head.start != StatusCode::OK {
        return Err(Failure::SendFileRefused("the response's status is not 200"));
    }
    let found = match field {
        KnownField::X_ACCEL_REDIRECT => by_url(folders, value),
        _ => by_path(folders, value, settings),
    };
    found.map(Some).ok_or(Failure::SendFileRefused("the path is no plain one in a declared folder"))
}

/// Resolves a URL path below a declared prefix: percent-encoded, without a query.
fn by_url<'f>(folders: &'f [SendFile], value: &[u8]) -> Option<(&'f Files, RelativePath)> {
    let path = match std::str::from_utf8(value) {
        Ok(path) if !path.contains(['?', '#', '\\']) && !path.ends_with('/') => path,
        _ => return None,
    };
    let within =
        |folder: &'f SendFile| Some((folder, path.strip_prefix(&**folder.prefix.as_ref()?)?.strip_prefix('/')?));
    let (folder, rest) = folders.iter().filter_map(within).min_by_key(|(_, rest)| rest.len())?;
    // An empty first segment would be taken for the leading slash of a path.
    let plain = !rest.is_empty() && !rest.starts_with('/');
    Some((&folder.files, RelativePath::of(rest, &folder.files).filter(|_| plain)?))
}

/// Resolves a path of the local file system in a declared folder, without decoding.
fn by_path<'f>(folders: &'f [SendFile], value: &[u8], settings: &Settings) -> Option<(&'f Files, RelativePath)> {
    let within = |folder: &'f SendFile| {
        let root = folder.files.folder.get(settings).trim_end_matches('/');
        let rest = value.strip_prefix(root.as_bytes())?.strip_prefix(b"/")?;
        folder.prefix.is_none().then_some((folder, rest))
    };
    let (folder, rest) = folders.iter().filter_map(within).min_by_key(|(_, rest)| rest.len())?;
    Some((&folder.files, RelativePath::plain(rest, &folder.files)?))
}

/// Returns the response with the file as its body. The server's fields stay, such as its media type, except those that described the
/// original body, which are replaced by the file's.
///
/// # Errors
/// There is no such file, or it can't be read.
pub(super) async fn answer(
    client: &Client,
    record: &Record,
    (files, below): FolderFile,
    mut fields: Fields,
) -> Result<Answer<Body>, Failure> {
    let root = files.folder.get(client.worker.settings);
    let file = match files::find(FileQuery { files, root, below, folder: false, taken: [false; 3] }).await? {
        FileLookup::File(file) => file,
        FileLookup::Unreadable | FileLookup::WouldWait => return Err(Failure::FileUnreadable),
        FileLookup::Folder | FileLookup::Listing(_) | FileLookup::Nothing => return Err(Failure::NoFile),
    };
    const OF_BODY: [&str; 8] = [
        "accept-ranges",
        "content-digest",
        "content-encoding",
        "content-md5",
        "content-range",
        "digest",
        "etag",
        "last-modified",
    ];
    OF_BODY.iter().for_each(|name| fields.remove(name));
    for (name, value) in files::said(files, &file).raw() {
        if !fields.raw().any(|(found, _)| found.eq_ignore_ascii_case(name)) {
            fields.add(name, value);
        }
    }
    files::opened(client, record, file, fields).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Setting;

    fn folder(prefix: Option<&'static str>, path: &'static str) -> SendFile {
        let files = Files {
            folder: Setting::Fixed(path.into()),
            bundled: None,
            rest: None,
            index: "".into(),
            fallback: None,
            listing: false,
            dotfiles: false,
            symlinks: false,
            precompressed: false,
            immutable: false,
            or_else: std::borrow::Cow::Borrowed(&[]),
        };
        SendFile { prefix: prefix.map(Into::into), files }
    }

    #[test]
    fn places() {
        let folders = [
            folder(Some("/protected"), "/srv/a"),
            folder(Some("/protected/deep"), "/srv/deep"),
            folder(None, "/srv/b/"),
            folder(None, "/srv/b/c"),
        ];
        let settings = Settings::default();
        let check = |field: KnownField, value: &[u8], expected: Option<(&str, &[u8])>| {
            let found = match field {
                KnownField::X_ACCEL_REDIRECT => by_url(&folders, value),
                _ => by_path(&folders, value, &settings),
            };
            let found = found.as_ref().map(|(files, below)| (files.folder.get(&settings), below.as_bytes()));
            assert_eq!(found, expected, "{field:?}: {}", String::from_utf8_lossy(value));
        };
        let url = |value: &str, expected: Option<(&str, &[u8])>| {
            check(KnownField::X_ACCEL_REDIRECT, value.as_bytes(), expected)
        };
        url("/protected/x.pdf", Some(("/srv/a", b"x.pdf")));
        url("/protected/a/b%20c.pdf", Some(("/srv/a", b"a/b c.pdf")));
        url("/protected/a b.pdf", Some(("/srv/a", b"a b.pdf")));
        url("/protected/100%.pdf", Some(("/srv/a", b"100%.pdf")));
        url("/protected/deep/x", Some(("/srv/deep", b"x")));
        url("/protected/deeper", Some(("/srv/a", b"deeper")));
        for refused in [
            "",
            "/",
            "/protected",
            "/protected/",
            "/protected/a/",
            "/protectedx/a",
            "/other/a",
            "protected/a",
            "//protected/a",
            "/%70rotected/a",
            "/protected//a",
            "/protected/./a",
            "/protected/../a",
            "/protected/a/../../etc/passwd",
            "/protected/%2e%2e/etc/passwd",
            "/protected/..%2fetc/passwd",
            "/protected/a%2fb",
            "/protected/a%00",
            "/protected/.env",
            "/protected/%2eenv",
            "/protected/a/.git/config",
            "/protected/a?b",
            "/protected/a#b",
            "/protected/..\\a",
            "http://a.test/protected/a",
            "/srv/b/x",
            "@app",
        ] {
            url(refused, None);
        }
        check(KnownField::X_ACCEL_REDIRECT, b"/protected/\xFF", None);
        let path =
            |value: &str, expected: Option<(&str, &[u8])>| check(KnownField::X_SENDFILE, value.as_bytes(), expected);
        path("/srv/b/x.pdf", Some(("/srv/b/", b"x.pdf")));
        path("/srv/b/c/x", Some(("/srv/b/c", b"x")));
        path("/srv/b/a%20b", Some(("/srv/b/", b"a%20b")));
        check(KnownField::X_SENDFILE, b"/srv/b/\xFF", Some(("/srv/b/", b"\xFF")));
        for refused in [
            "",
            "/",
            "/srv/b",
            "/srv/b/",
            "/srv/bc/x",
            "/srv/a/x",
            "srv/b/x",
            "/srv/b//x",
            "/srv/b/./x",
            "/srv/b/../a/x",
            "/srv/b/.env",
            "/srv/b/x/",
            "/protected/x",
            "/etc/passwd",
        ] {
            path(refused, None);
        }
    }
}
