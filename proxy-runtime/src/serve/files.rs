//! `files`: serves a file, or the requested ranges of it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;

use super::selected::{self, Multipart, ROOM, Selected};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::file_reader::{FileReader, FileSource};
use crate::content::files::disk::{self, FileLookup, FileQuery, LISTED, Listing, OpenedFile, Patience};
use crate::content::files::{self, ENCODINGS, RelativePath, listing};
use crate::content::respond::{self, Answer};
use crate::context::facts::Facts;
use crate::failure::Failure;
use crate::file_pool::{self, Unavailable};
use crate::net::descriptors::CountedFile;
use crate::observe::notice;
use crate::protocol::encodings;
use crate::protocol::fields::Fields;
use crate::router::route::MethodSet;
use crate::serve::body::Body;
use crate::site::bundle::{Entry, Form};
use crate::site::{Files, Handler, Methods};

/// Parts of a large file are sent together if all of them have no more than this, in bytes; else the whole file is.
const TOGETHER: u64 = 1 << 20;

/// The handler that answers in place of a folder.
///
/// # Errors
/// There is none: the request asks for no file that is there, or is to change it.
pub(super) fn instead(record: &Record, files: &'static Files) -> Result<&'static Handler, Failure> {
    let refused = || match Methods::GET_AND_HEAD.contains(&record.method) {
        true => Failure::NoFile,
        false => Failure::MethodNotAllowed(MethodSet::of(&Methods::GET_AND_HEAD)),
    };
    files.or_else.first().ok_or_else(refused)
}

/// Answers a GET or HEAD with a file of a folder; `None` where there is none.
///
/// # Errors
/// It can't be read, or is not to be sent.
pub(super) async fn answer(
    client: &Client,
    record: &Record,
    files: &'static Files,
) -> Result<Option<Answer<Body>>, Failure> {
    let facts = record.facts();
    let Some(FileRequest { path, folder, below, taken }) = asks(record, &facts, files) else { return Ok(None) };
    let root = files.folder.get(client.worker.settings);
    match find(FileQuery { files, root, below, folder, taken }).await? {
        FileLookup::File(file) => {
            let fields = said(files, &file);
            opened(client, record, file, fields).await.map(Some)
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

/// Finds a file.
///
/// # Errors
/// The disk does not respond.
pub(super) async fn find(asked: FileQuery) -> Result<FileLookup, Failure> {
    match disk::find(&asked, Patience::None) {
        // To wait for a disk must not hold up others.
        FileLookup::WouldWait => {
            let found = file_pool::run_static(move || disk::find(&asked, Patience::Any)).await;
            found.map_err(|_: Unavailable| Failure::DiskUnavailable)
        }
        found => Ok(found),
    }
}

/// As much of a file as the request wants, with these fields.
///
/// # Errors
/// It can't be read, or is not to be sent.
pub(super) async fn opened(
    client: &Client,
    record: &Record,
    opened: OpenedFile,
    fields: Fields,
) -> Result<Answer<Body>, Failure> {
    let length = opened.length;
    let content = match opened.content {
        Some(content) => FileContent::Here(content),
        None => {
            let held = client.worker.descriptors.files.take().ok_or(Failure::NoDescriptors)?;
            FileContent::On(Arc::new(CountedFile::new(opened.file, held)))
        }
    };
    if !Methods::GET_AND_HEAD.contains(&record.method) {
        // Conditions and ranges are about what a GET would be answered with (RFC 9110 sections 13.2.1 and 14.2).
        return Ok(Answer { status: StatusCode::OK, fields, body: content.part(0..length) });
    }
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

/// Answers a GET or HEAD with a file that is compiled in; `None` where there is none.
///
/// # Errors
/// It is not to be sent.
pub(super) fn bundled(
    client: &Client,
    record: &Record,
    files: &'static Files,
    number: u16,
) -> Result<Option<Answer<Body>>, Failure> {
    let facts = record.facts();
    let Some(FileRequest { path, folder, below, taken }) = asks(record, &facts, files) else { return Ok(None) };
    let get = |path: &[u8]| client.worker.site.bundle.get(number, path);
    let index = || match get(below.join(&files.index).as_bytes()) {
        Some(Entry::File(forms)) => Some(forms),
        _ => None,
    };
    let forms = match get(below.as_bytes()) {
        Some(Entry::File(forms)) if !folder => Some(forms),
        // With `else`, a folder without an index is not there.
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

/// What a request asks for.
struct FileRequest<'a> {
    /// The part of its path that is a path in the folder.
    path: &'a str,
    /// It ends with a slash.
    folder: bool,
    below: RelativePath,
    /// The encodings that the client takes.
    taken: [bool; ENCODINGS.len()],
}

/// `None` where no file can have this name.
fn asks<'a>(record: &Record, facts: &Facts<'a>, files: &Files) -> Option<FileRequest<'a>> {
    let rest = files.rest.map(|slot| facts.captures.get(usize::from(slot), facts.path));
    // `*` binds whole segments of a path, which is UTF-8; anything else names no file.
    let path = rest.map_or(Ok(facts.path), std::str::from_utf8).ok()?;
    let takes = files.precompressed && record.fields.contains("accept-encoding");
    Some(FileRequest {
        path,
        folder: facts.path.ends_with('/'),
        below: RelativePath::of(path, files)?,
        taken: ENCODINGS.map(|(encoding, _)| takes && encodings::accepts(&record.fields, encoding)),
    })
}

/// Redirects a request for a folder to its path with a slash.
fn to_folder(facts: &Facts<'_>) -> Answer<Body> {
    let mut answer = Answer::new(StatusCode::PERMANENT_REDIRECT, Body::Bytes(Bytes::new()));
    answer.fields.add(b"location", respond::with_slash(facts).as_bytes());
    answer
}

/// Says that a folder has more names than are listed, once for each `files`: clients can ask for it again and again.
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
    answer.fields.add(b"content-type", b"text/html; charset=utf-8");
    answer
}

/// Where a file's content is.
enum FileContent {
    Here(Bytes),
    On(Arc<CountedFile>),
}

/// What was made of a file.
enum FileResponse {
    Answer(Answer<Body>),
    /// Parts that are to be read, and the response that they go into.
    Parts(Arc<CountedFile>, Vec<Range<u64>>, Answer<()>, Multipart),
}

/// As much of a file as the request wants.
fn send(record: &Record, mut fields: Fields, length: u64, content: FileContent) -> Result<FileResponse, Failure> {
    let (status, body) = match selected::select(record, &fields, Some(length)) {
        Selected::Whole => (StatusCode::OK, content.part(0..length)),
        Selected::Failed => return Err(Failure::PreconditionFailed),
        Selected::Unmodified => return Ok(FileResponse::Answer(selected::unmodified(record, &fields, Some(length)))),
        Selected::Nothing(length) => {
            fields = selected::nothing(length);
            (StatusCode::RANGE_NOT_SATISFIABLE, Body::Bytes(Bytes::new()))
        }
        Selected::Part(range) => {
            fields.set("content-range", selected::content_range(&range, length).as_bytes());
            (StatusCode::PARTIAL_CONTENT, content.part(range))
        }
        Selected::Parts(parts) if parts.iter().map(|part| part.end - part.start).sum::<u64>() > TOGETHER => {
            (StatusCode::OK, content.part(0..length))
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

impl FileContent {
    fn part(self, range: Range<u64>) -> Body {
        match self {
            FileContent::Here(content) => Body::Bytes(slice(&content, &range)),
            FileContent::On(file) => Body::File(Box::new(FileReader::new(FileSource::Plain(file), range))),
        }
    }
}

fn slice(content: &Bytes, range: &Range<u64>) -> Bytes {
    content.slice(range.start as usize..range.end as usize)
}

fn read(file: &File, part: &Range<u64>) -> io::Result<Bytes> {
    let content = disk::read(file, part.start, part.end - part.start, Patience::Any)?;
    if content.len() as u64 == part.end - part.start { Ok(content) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What is said of a file on disk.
pub(super) fn said(files: &Files, opened: &OpenedFile) -> Fields {
    let tag = files::entity_tag(opened.changed, opened.length, opened.encoding, SystemTime::now());
    let modified = httpdate::fmt_http_date(opened.changed);
    files::fields(files, &opened.name, (&tag, opened.encoding), files.precompressed, Some(&modified), (ROOM, 2))
}

/// Several parts as one body.
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
