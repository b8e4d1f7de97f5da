//! `files`: serves a file, or the requested ranges of it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::selected::{self, Multipart, ROOM, Selected};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::file_reader::{FileReader, FileSource};
use crate::content::files::disk::{self, FileLookup, FileQuery, LISTED, Listing, OpenedFile, Patience};
use crate::content::files::recent::{FileContent, RecentFile, RecentKey};
use crate::content::files::{self, ENCODINGS, RelativePath, listing};
use crate::content::respond::{self, Answer};
use crate::context::facts::Facts;
use crate::failure::Failure;
use crate::file_pool::{self, Unavailable};
use crate::net::descriptors::CountedFile;
use crate::observe::notice;
use crate::protocol::encodings;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::router::route::MethodSet;
use crate::serve::body::Body;
use crate::site::bundle::{Entry, Form};
use crate::site::{Files, Handler, Methods};

/// The largest total size, in bytes, of the parts of a large file in one response; beyond it, the whole file is sent.
const TOGETHER: u64 = 1 << 20;

/// Returns the handler to use if no file was found (`else`).
///
/// # Errors
/// There is no such handler, or the method is neither GET nor HEAD.
pub(super) fn instead(record: &Record, files: &'static Files) -> Result<&'static Handler, Failure> {
    let refused = || match Methods::GET_AND_HEAD.contains(&record.method) {
        true => Failure::NoFile,
        false => Failure::MethodNotAllowed(MethodSet::of(&Methods::GET_AND_HEAD)),
    };
    files.or_else.first().ok_or_else(refused)
}

/// Responds to a GET or HEAD with a file of a folder; `None` if there is no such file.
///
/// # Errors
/// The file can't be read, or may not be sent.
pub(super) async fn answer(
    client: &Client,
    record: &Record,
    files: &'static Files,
) -> Result<Option<Answer<Body>>, Failure> {
    let facts = record.facts();
    let Some(asked) = asks(record, &facts, files) else { return Ok(None) };
    let RecentKey { path, folder, taken, .. } = asked;
    let Some(below) = RelativePath::of(path, files) else { return Ok(None) };
    let root = files.folder.get(client.worker.settings);
    match find(FileQuery { files, root, below, folder, taken }).await? {
        FileLookup::File(file) => {
            let fields = said(files, &file);
            let settled = file.is_settled(SystemTime::now());
            let stamp = file.stamp;
            let content = content(client, file)?;
            if settled && (matches!(content, FileContent::Here(_)) || client.worker.descriptors.files.has_spare()) {
                let (fields, content) = (fields.clone(), content.clone());
                client.worker.files.keep(asked, Instant::now(), RecentFile { fields, content, stamp });
            }
            respond_with(record, fields, stamp.length, content).await.map(Some)
        }
        FileLookup::Folder => Ok(Some(to_folder(&facts))),
        FileLookup::Listing(Listing { names, cut }) => {
            if cut {
                tell_of_cut(files, &facts);
            }
            Ok(Some(listed(&facts, path, names.iter().map(String::as_str), cut)))
        }
        FileLookup::Nothing => Ok(None),
        FileLookup::Unreadable | FileLookup::WouldWait => Err(Failure::FileUnreadable),
    }
}

/// Responds to a GET or HEAD with a file that was looked up within the last second; `None` if there is none, or the response takes more.
///
/// # Errors
/// The file may not be sent.
pub(super) fn recent(client: &Client, record: &Record, files: &'static Files) -> Result<Option<Answer<Body>>, Failure> {
    let facts = record.facts();
    let Some(asked) = asks(record, &facts, files) else { return Ok(None) };
    let Some((fields, length, content)) = client.worker.files.get(asked, Instant::now(), (ROOM, 2)) else {
        return Ok(None);
    };
    Ok(match send(record, fields, length, content)? {
        FileResponse::Answer(answer) => Some(answer),
        FileResponse::Parts(..) => None,
    })
}

/// Looks up a file.
///
/// # Errors
/// The disk does not respond.
pub(super) async fn find(asked: FileQuery) -> Result<FileLookup, Failure> {
    match disk::find(&asked, Patience::None) {
        // A slow disk must not block the worker's other tasks.
        FileLookup::WouldWait => {
            let found = file_pool::run_static(move || disk::find(&asked, Patience::Any)).await;
            found.map_err(|_: Unavailable| Failure::DiskUnavailable)
        }
        found => Ok(found),
    }
}

/// Responds with an opened file, or the requested ranges of it, and these fields.
///
/// # Errors
/// The file can't be read, or may not be sent.
pub(super) async fn opened(
    client: &Client,
    record: &Record,
    opened: OpenedFile,
    fields: Fields,
) -> Result<Answer<Body>, Failure> {
    let length = opened.stamp.length;
    let content = content(client, opened)?;
    if !Methods::GET_AND_HEAD.contains(&record.method) {
        // Conditions and ranges apply to the response to a GET (RFC 9110 sections 13.2.1 and 14.2).
        return Ok(Answer { status: StatusCode::OK, fields, body: part(content, 0..length) });
    }
    respond_with(record, fields, length, content).await
}

/// Returns the content of an opened file: as it was read, or the file itself, counted.
///
/// # Errors
/// Too many files are open.
fn content(client: &Client, opened: OpenedFile) -> Result<FileContent, Failure> {
    if let Some(content) = opened.content {
        return Ok(FileContent::Here(content));
    }
    let held = client.worker.descriptors.files.take().ok_or(Failure::NoDescriptors)?;
    Ok(FileContent::On(Arc::new(CountedFile::new(opened.file, held))))
}

/// Responds to a GET or HEAD with a file, or the requested ranges of it.
///
/// # Errors
/// The file can't be read, or may not be sent.
async fn respond_with(
    record: &Record,
    fields: Fields,
    length: u64,
    content: FileContent,
) -> Result<Answer<Body>, Failure> {
    match send(record, fields, length, content)? {
        FileResponse::Answer(answer) => Ok(answer),
        FileResponse::Parts(file, parts, answer, multipart) => {
            let pieces = file_pool::run_static(move || pieces(&parts, &multipart, |part| read(&file, part)));
            let pieces = pieces.await.map_err(|_: Unavailable| Failure::DiskUnavailable)?;
            let pieces = pieces.map_err(|_| Failure::FileUnreadable)?;
            Ok(answer.map(|()| Body::Pieces(pieces)))
        }
    }
}

/// Responds to a GET or HEAD with a file that is compiled in; `None` if there is no such file.
///
/// # Errors
/// The file may not be sent.
pub(super) fn bundled(
    client: &Client,
    record: &Record,
    files: &'static Files,
    number: u16,
) -> Result<Option<Answer<Body>>, Failure> {
    let facts = record.facts();
    let Some(RecentKey { path, folder, taken, .. }) = asks(record, &facts, files) else { return Ok(None) };
    let Some(below) = RelativePath::of(path, files) else { return Ok(None) };
    let get = |path: &[u8]| client.worker.site.bundle.get(number, path);
    let index = || match get(below.join(&files.index).as_bytes()) {
        Some(Entry::File(forms)) => Some(forms),
        _ => None,
    };
    let forms = match get(below.as_bytes()) {
        Some(Entry::File(forms)) if !folder => Some(forms),
        // With `else`, a folder without an index counts as not found.
        Some(Entry::Folder(_)) if !folder && (files.or_else.is_empty() || index().is_some()) => {
            return Ok(Some(to_folder(&facts)));
        }
        Some(Entry::Folder(names)) if folder => match index() {
            None if files.listing => return Ok(Some(listed(&facts, path, names.split_terminator('\0'), false))),
            forms => forms,
        },
        _ => None,
    };
    let fallback = || match get(files.fallback.as_ref()?.trim_start_matches('/').as_bytes())? {
        Entry::File(forms) => Some(forms),
        Entry::Folder(_) => None,
    };
    let Some([plain, compressed @ ..]) = forms.or_else(fallback) else { return Ok(None) };
    let taken = compressed.iter().zip(taken).find_map(|(form, taken)| form.filter(|_| taken));
    let Form { head, body } = taken.or(plain).ok_or(Failure::Internal)?;
    let (fields, length) = (Fields::unpacked(head, (ROOM, 2)), body.len() as u64);
    match send(record, fields, length, FileContent::Here(Bytes::from_static(body)))? {
        FileResponse::Answer(answer) => Ok(Some(answer)),
        FileResponse::Parts(..) => Err(Failure::Internal),
    }
}

/// Parses what the request asks for; `None` if no file can have this name.
fn asks<'a>(record: &Record, facts: &Facts<'a>, files: &'static Files) -> Option<RecentKey<'a>> {
    let rest = files.rest.map(|slot| facts.captures.get(usize::from(slot), facts.path));
    // `*` binds whole segments of a path, which is UTF-8; other values name no file.
    let path = rest.map_or(Ok(facts.path), std::str::from_utf8).ok()?;
    let takes = files.precompressed && record.fields.contains(KnownField::ACCEPT_ENCODING);
    Some(RecentKey {
        files,
        path,
        folder: facts.path.ends_with('/'),
        taken: ENCODINGS.map(|(encoding, _)| takes && encodings::accepts(&record.fields, encoding)),
    })
}

/// Redirects a request for a folder to its path with a slash.
fn to_folder(facts: &Facts<'_>) -> Answer<Body> {
    let mut answer = Answer::new(StatusCode::PERMANENT_REDIRECT, Body::Bytes(Bytes::new()));
    answer.fields.add_known(KnownField::LOCATION, respond::with_slash(facts).as_bytes());
    answer
}

/// Logs that a listing is truncated, once for each `files` handler, as clients can request it repeatedly.
fn tell_of_cut(files: &'static Files, facts: &Facts<'_>) {
    static TOLD: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    let handler = std::ptr::from_ref(files).addr();
    if TOLD.lock().is_ok_and(|mut told| told.insert(handler)) {
        let (host, path) = (facts.host, facts.path);
        notice(&format!("files: the listing of {host}{path} is incomplete: it has no more than {LISTED} names"));
    }
}

fn listed<'n>(facts: &Facts<'_>, path: &str, names: impl Iterator<Item = &'n str>, cut: bool) -> Answer<Body> {
    let top = path.trim_matches('/').is_empty();
    let page = listing::page(facts.path, names, top, cut);
    let mut answer = Answer::new(StatusCode::OK, Body::Bytes(page.into()));
    answer.fields.add_known(KnownField::CONTENT_TYPE, b"text/html; charset=utf-8");
    answer
}

/// The response for a file.
enum FileResponse {
    Answer(Answer<Body>),
    /// A response whose body is parts of a file that must still be read.
    Parts(Arc<CountedFile>, Vec<Range<u64>>, Answer<()>, Multipart),
}

/// Selects the part of a file that the request wants.
fn send(record: &Record, mut fields: Fields, length: u64, content: FileContent) -> Result<FileResponse, Failure> {
    let (status, body) = match selected::select(record, &fields, Some(length)) {
        Selected::Whole => (StatusCode::OK, part(content, 0..length)),
        Selected::Failed => return Err(Failure::PreconditionFailed),
        Selected::Unmodified => return Ok(FileResponse::Answer(selected::unmodified(record, &fields, Some(length)))),
        Selected::Nothing(length) => {
            fields = selected::nothing(length);
            (StatusCode::RANGE_NOT_SATISFIABLE, Body::Bytes(Bytes::new()))
        }
        Selected::Part(range) => {
            fields.set(KnownField::CONTENT_RANGE, selected::content_range(&range, length).as_bytes());
            (StatusCode::PARTIAL_CONTENT, part(content, range))
        }
        Selected::Parts(parts) if parts.iter().map(|part| part.end - part.start).sum::<u64>() > TOGETHER => {
            (StatusCode::OK, part(content, 0..length))
        }
        Selected::Parts(parts) => {
            let multipart = Multipart::new(record, &mut fields, length);
            let content = match content {
                FileContent::Here(content) => content,
                FileContent::On(file) => {
                    let answer = Answer { status: StatusCode::PARTIAL_CONTENT, fields, body: () };
                    return Ok(FileResponse::Parts(file, parts, answer, multipart));
                }
            };
            let pieces = pieces(&parts, &multipart, |part| Ok(slice(&content, part)));
            (StatusCode::PARTIAL_CONTENT, Body::Pieces(pieces.map_err(|_| Failure::Internal)?))
        }
    };
    Ok(FileResponse::Answer(Answer { status, fields, body }))
}

fn part(content: FileContent, range: Range<u64>) -> Body {
    match content {
        FileContent::Here(content) => Body::Bytes(slice(&content, &range)),
        FileContent::On(file) => Body::File(Box::new(FileReader::new(FileSource::Plain(file), range))),
    }
}

fn slice(content: &Bytes, range: &Range<u64>) -> Bytes {
    content.slice(range.start as usize..range.end as usize)
}

fn read(file: &File, part: &Range<u64>) -> io::Result<Bytes> {
    let content = disk::read(file, part.start, part.end - part.start, Patience::Any)?;
    if content.len() as u64 == part.end - part.start { Ok(content) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Returns the response fields for a file on disk.
pub(super) fn said(files: &Files, opened: &OpenedFile) -> Fields {
    let tag = files::entity_tag(opened.stamp.modified(), opened.stamp.length, opened.encoding, SystemTime::now());
    let modified = httpdate::fmt_http_date(opened.changed);
    files::fields(files, &opened.name, (&tag, opened.encoding), files.precompressed, Some(&modified), (ROOM, 2))
}

/// Builds a multipart body.
fn pieces(
    parts: &[Range<u64>],
    multipart: &Multipart,
    read: impl Fn(&Range<u64>) -> io::Result<Bytes>,
) -> io::Result<VecDeque<Bytes>> {
    let mut all = VecDeque::with_capacity(2 * parts.len() + 1);
    for part in parts {
        all.push_back(multipart.before(part).into());
        all.push_back(read(part)?);
    }
    all.push_back(multipart.behind().into());
    Ok(all)
}
