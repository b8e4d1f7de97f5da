//! `admin`: what those may ask for who operate the proxy. Its listener serves no site.

use http::{Method, Version};

use super::cached;
use super::stop::Stop;
use crate::cache::{Figures, Inspected, OnDisk, Store, groups};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::protocol::date::Moment;
use crate::protocol::escape;
use crate::protocol::target::Target;
use crate::serve::body::Body;

/// Answers a request to the listener of `admin`.
pub(super) async fn answer(client: &Client, record: &mut Record, target: Target) -> Result<Answer<Body>, Stop> {
    record.target = Some(target);
    if record.method.as_str() == cached::PURGE {
        return Ok(cached::purge_any(client, record).await?);
    }
    match (&record.method, record.path()) {
        (&Method::GET, "/stores") => Ok(cached::json(list(client.worker.stores.iter().map(store)))),
        (&Method::GET, "/entry") => Ok(cached::json(entry(client, record).await?)),
        _ => Err(Failure::NoRoute.into()),
    }
}

/// A member of an object.
enum Value<'v> {
    Text(&'v str),
    Number(i64),
    Is(bool),
    /// Already JSON.
    Json(Vec<u8>),
}

fn object(members: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in members {
        out.push(if out.is_empty() { b'{' } else { b',' });
        escape::json_text(name, &mut out);
        out.push(b':');
        match value {
            Value::Text(text) => escape::json_text(text, &mut out),
            Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Is(is) => out.extend_from_slice(is.to_string().as_bytes()),
            Value::Json(json) => out.extend_from_slice(json),
        }
    }
    out.push(b'}');
    out
}

fn array(members: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let members: Vec<_> = members.collect();
    [b"[", members.join(b",".as_slice()).as_slice(), b"]"].concat()
}

fn list(members: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    [array(members).as_slice(), b"\n"].concat()
}

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    escape::json_text(text, &mut out);
    out
}

fn number(number: u64) -> Value<'static> {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What a store has, and has done.
fn store(store: &Store) -> Vec<u8> {
    let Figures {
        entries,
        bytes,
        capacity,
        files,
        disk_bytes,
        disks,
        fetching,
        requests,
        stored,
        evicted,
        disk_evicted,
    } = store.figures();
    let requests = object(&[
        ("hit", number(requests.hit)),
        ("stale", number(requests.stale)),
        ("revalidated", number(requests.revalidated)),
        ("joined", number(requests.joined)),
        ("miss", number(requests.miss)),
        ("pass", number(requests.pass)),
    ]);
    object(&[
        ("name", Value::Text(&store.name)),
        ("entries", number(entries)),
        ("bytes", number(bytes)),
        ("capacity", number(capacity)),
        ("files", number(files)),
        ("disk-bytes", number(disk_bytes)),
        ("disks", Value::Json(array(disks.iter().map(disk)))),
        ("fetching", number(fetching)),
        ("requests", Value::Json(requests)),
        ("stored", number(stored)),
        ("evicted", number(evicted)),
        ("disk-evicted", number(disk_evicted)),
    ])
}

fn disk(disk: &OnDisk) -> Vec<u8> {
    object(&[
        ("folder", Value::Text(&disk.folder)),
        ("files", number(disk.files)),
        ("bytes", number(disk.bytes)),
        ("capacity", number(disk.capacity)),
        ("evicted", number(disk.evicted)),
        ("works", Value::Is(disk.works)),
    ])
}

/// So many cached responses are shown of one URL at most.
const MOST_SHOWN: usize = 64;

/// So many tags and groups are shown of one response at most.
const MOST_TAGS: usize = 128;

/// What is cached under the URL behind `url=`.
async fn entry(client: &Client, record: &mut Record) -> Result<Vec<u8>, Failure> {
    let url = record.target.as_ref().and_then(Target::query).and_then(|query| query.strip_prefix("url="));
    let url = url.filter(|url| url.contains("://")).ok_or(Failure::BadRequest)?.to_owned();
    // A target that is a URL has its host in it, and needs the field all the same (RFC 9112 section 3.2.2).
    let host = [("host", "admin")].into_iter().collect();
    record.target = Some(Target::parse(url, &host, Version::HTTP_11).map_err(|_| Failure::BadRequest)?);
    let (store, urls) = cached::place_of(client, record).ok_or(Failure::NoRoute)?;
    let (found, more) = store.inspect(urls, MOST_SHOWN).await;
    let now = Moment::now();
    let responses = array(found.iter().map(|one| response(one, now)));
    let mut out = object(&[
        ("store", Value::Text(&store.name)),
        ("responses", Value::Json(responses)),
        ("more", Value::Is(more)),
    ]);
    out.push(b'\n');
    Ok(out)
}

/// A cached response; times are in seconds. What tells it from others under its URL is seen from its fields.
fn response(Inspected { head, length, on_disk }: &Inspected, now: Moment) -> Vec<u8> {
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let ttl = match head.life.left_at(now) {
        // As `Cache-Status` has it.
        Ok(left) => seconds(if head.is_outdated() { std::time::Duration::ZERO } else { left }),
        Err(stale) => -seconds(stale),
    };
    let (groups, tags): (Vec<_>, Vec<_>) = head
        .tags
        .split(' ')
        .filter(|tag| !tag.is_empty())
        .take(MOST_TAGS)
        .map(|tag| groups::group_of(tag).ok_or(tag))
        .partition(Result::is_ok);
    let fields = ["content-type", "content-language", "content-encoding", "etag", "last-modified"];
    let fields: Vec<_> =
        fields.iter().filter_map(|name| Some((*name, escape::shown(head.fields.get(name)?)))).collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, Value::Text(value))).collect();
    object(&[
        ("url", Value::Text(&head.url)),
        ("on", Value::Text(if *on_disk { "disk" } else { "memory" })),
        ("status", number(head.status.as_u16().into())),
        ("bytes", number(*length)),
        ("age", Value::Number(seconds(head.life.age_at(now)))),
        ("ttl", Value::Number(ttl)),
        ("stale-while-revalidate", Value::Number(seconds(head.life.while_revalidate))),
        ("stale-if-error", Value::Number(seconds(head.life.if_error))),
        ("purged-softly", Value::Is(head.is_outdated())),
        ("vary", Value::Json(array(head.vary.iter().map(|name| text(name))))),
        ("tags", Value::Json(array(tags.into_iter().filter_map(Result::err).map(text)))),
        ("groups", Value::Json(array(groups.into_iter().flatten().map(|group| text(&group))))),
        ("fields", Value::Json(object(&fields))),
    ])
}
