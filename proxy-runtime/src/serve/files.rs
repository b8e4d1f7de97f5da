//! `files`: a path, a file, and as much of it as the request wants.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::selected::{self, Multipart, ROOM, Selected};
use crate::body::Body;
use crate::connection::Client;
use crate::encodings;
use crate::failure::Failure;
use crate::fields::Fields;
use crate::file_reader::{FileReader, From};
use crate::files::disk::{self, Asked, Found, Opened, Patience};
use crate::files::{self, Below, ENCODINGS, listing};
use crate::handler::{self, Answer};
use crate::media;
use crate::observe::Record;
use crate::route::MethodSet;
use crate::site::Files;

/// Parts of a large file are sent together if all of them have no more than this, in bytes; else the whole file is.
const TOGETHER: u64 = 1 << 20;

/// Answers with a file.
///
/// # Errors
/// There is none, or it can't be read; or the request is to change it.
pub(super) async fn answer(client: &Client, record: &Record, files: &'static Files) -> Result<Answer<Body>, Failure> {
    if !matches!(record.method, Method::GET | Method::HEAD) {
        return Err(Failure::MethodNotAllowed(MethodSet::of(&handler::GET_AND_HEAD)));
    }
    let facts = record.facts();
    let path = files.rest.map_or(facts.path, |slot| facts.captures.get(usize::from(slot), facts.path));
    let folder = facts.path.ends_with('/');
    let below = Below::of(path, files).ok_or(Failure::NoFile)?;
    let taken = ENCODINGS.map(|(encoding, _)| files.precompressed && encodings::accepts(&record.fields, encoding));
    let root = files.folder.get(client.worker.settings);
    let asked = Asked { files, root, below, folder, taken };
    let found = match disk::find(&asked, Patience::None) {
        // To wait for a disk must not hold up others.
        Found::WouldWait => tokio::task::spawn_blocking(move || disk::find(&asked, Patience::Any)).await,
        found => Ok(found),
    };
    match found.map_err(|_| Failure::Internal)? {
        Found::File(opened) => send(record, files, opened).await,
        Found::Folder => {
            let mut answer = Answer::new(StatusCode::PERMANENT_REDIRECT, Body::Bytes(Bytes::new()));
            answer.fields.add(b"location", handler::with_slash(&facts).as_bytes());
            Ok(answer)
        }
        Found::Listing(names) => {
            let top = path.trim_matches('/').is_empty();
            let page = listing::page(facts.path, &names, top);
            let mut answer = Answer::new(StatusCode::OK, Body::Bytes(page.into()));
            answer.fields.add(b"content-type", b"text/html; charset=utf-8");
            Ok(answer)
        }
        Found::Nothing => Err(Failure::NoFile),
        Found::Unreadable | Found::WouldWait => Err(Failure::FileUnreadable),
    }
}

/// As much of a file as the request wants.
async fn send(record: &Record, files: &Files, opened: Opened) -> Result<Answer<Body>, Failure> {
    let (fields, length) = (fields(files, &opened), opened.length);
    let (status, fields, body) = match selected::select(record, &fields, Some(length)) {
        Selected::Whole => (StatusCode::OK, fields, part(opened, 0..length)),
        Selected::Failed => return Err(Failure::PreconditionFailed),
        Selected::Unmodified => return Ok(selected::unmodified(&fields)),
        Selected::Nothing(length) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, selected::nothing(length), Body::Bytes(Bytes::new()))
        }
        Selected::Part(range) => {
            let mut fields = fields;
            fields.set("content-range", selected::content_range(&range, length).as_bytes());
            (StatusCode::PARTIAL_CONTENT, fields, part(opened, range))
        }
        Selected::Parts(parts) if parts.iter().map(|part| part.end - part.start).sum::<u64>() > TOGETHER => {
            (StatusCode::OK, fields, part(opened, 0..length))
        }
        Selected::Parts(parts) => {
            let mut fields = fields;
            let multipart = Multipart::new(record, &mut fields, length);
            let pieces = tokio::task::spawn_blocking(move || pieces(&opened, &parts, &multipart)).await;
            let pieces = pieces.map_err(|_| Failure::Internal)?.map_err(|_| Failure::FileUnreadable)?;
            (StatusCode::PARTIAL_CONTENT, fields, Body::Pieces(pieces))
        }
    };
    Ok(Answer { status, fields, body })
}

fn fields(files: &Files, opened: &Opened) -> Fields {
    let mut fields = Fields::with_capacity(256 + ROOM, 8);
    fields.add(b"content-type", media::of(&opened.name).as_bytes());
    let tag = files::entity_tag(opened.changed, opened.length, opened.encoding, SystemTime::now());
    fields.add(b"etag", tag.as_bytes());
    fields.add(b"last-modified", httpdate::fmt_http_date(opened.changed).as_bytes());
    fields.add(b"accept-ranges", b"bytes");
    if !opened.encoding.is_empty() {
        fields.add(b"content-encoding", opened.encoding.as_bytes());
    }
    if files.precompressed {
        fields.add(b"vary", b"Accept-Encoding");
    }
    if files.immutable && files::is_hashed(&opened.name) {
        // RFC 8246; a year is the most that HTTP knows for ever.
        fields.add(b"cache-control", b"public, max-age=31536000, immutable");
    }
    fields
}

fn part(opened: Opened, range: Range<u64>) -> Body {
    match opened.content {
        Some(content) => Body::Bytes(content.slice(range.start as usize..range.end as usize)),
        None => Body::File(Box::new(FileReader::new(From::Plain(Arc::new(opened.file)), range))),
    }
}

/// Several parts. Blocks.
fn pieces(opened: &Opened, parts: &[Range<u64>], multipart: &Multipart) -> std::io::Result<VecDeque<Bytes>> {
    let mut all = VecDeque::with_capacity(2 * parts.len() + 1);
    for part in parts {
        all.push_back(multipart.before(part).into());
        let content = disk::read(&opened.file, part.start, part.end - part.start, Patience::Any)?;
        if content.len() as u64 != part.end - part.start {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        all.push_back(content);
    }
    all.push_back(multipart.behind().into());
    Ok(all)
}
