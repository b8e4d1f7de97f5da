//! Caches as JSON: the counters and sizes of the stores ([`list`]), and the responses that are cached under a URL
//! ([`entry`]).

use std::time::Duration;

use serde::Serialize;

use super::members::Members;
use super::table;
use crate::cache::{CacheStore, InspectedResponse, StoreStats, groups};
use crate::protocol::date::Moment;
use crate::protocol::escape;

/// A store with its counters and sizes.
#[derive(Serialize)]
pub(super) struct OfStore<'s> {
    name: &'s str,
    #[serde(flatten)]
    figures: StoreStats,
}

/// Returns all stores.
pub(super) fn list(stores: &[CacheStore]) -> Vec<OfStore<'_>> {
    stores.iter().map(|store| OfStore { name: &store.name, figures: store.figures() }).collect()
}

/// Returns stores as a table, for people.
pub(super) fn table(stores: &[OfStore<'_>]) -> String {
    let row = |OfStore { name, figures }: &OfStore<'_>| {
        let figures = [figures.entries, figures.bytes, figures.capacity, figures.fetching];
        [(*name).to_owned()].into_iter().chain(figures.map(|figure| figure.to_string())).collect()
    };
    let heads = ["STORE", "RESPONSES", "BYTES", "CAPACITY", "FETCHING"];
    table::write(&heads, stores.iter().map(row).collect())
}

/// The responses that are cached under a URL.
#[derive(Serialize)]
pub(super) struct CachedEntry {
    store: String,
    responses: Vec<Cached>,
    /// Whether there are more than are shown.
    more: bool,
}

/// A cached response; times are in seconds. Its header fields tell it from the others under its URL.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cached {
    url: String,
    /// `memory` or `disk`.
    on: &'static str,
    status: u16,
    bytes: u64,
    age: i64,
    ttl: i64,
    stale_while_revalidate: i64,
    stale_if_error: i64,
    purged_softly: bool,
    vary: Vec<String>,
    tags: Vec<String>,
    more_tags: bool,
    groups: Vec<String>,
    fields: Members<String>,
}

/// The most cached responses that are shown of a URL.
const MOST_SHOWN: usize = 64;

/// The most tags and groups that are shown of a response.
const MOST_TAGS: usize = 128;

/// Returns the responses that are cached under these URLs, which are equivalent.
pub(super) async fn entry(store: &'static CacheStore, urls: Vec<String>) -> CachedEntry {
    let (found, more) = store.inspect(urls, MOST_SHOWN).await;
    let now = Moment::now();
    CachedEntry { store: store.name.to_string(), responses: found.iter().map(|one| cached(one, now)).collect(), more }
}

fn cached(InspectedResponse { head, length, on_disk }: &InspectedResponse, now: Moment) -> Cached {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let (mut tags, mut groups) = (Vec::new(), Vec::new());
    let mut all = head.tags.split(' ').filter(|tag| !tag.is_empty());
    for tag in all.by_ref().take(MOST_TAGS) {
        match groups::group_of(tag) {
            Some(group) => groups.push(group),
            None => tags.push(tag.to_owned()),
        }
    }
    let fields = ["content-type", "content-language", "content-encoding", "etag", "last-modified"];
    Cached {
        url: head.url.to_string(),
        on: if *on_disk { "disk" } else { "memory" },
        status: head.status.as_u16(),
        bytes: *length,
        age: seconds(head.freshness.age_at(now)),
        ttl: match head.freshness.left_at(now) {
            // As in `Cache-Status`.
            Ok(left) => seconds(if head.is_outdated() { Duration::ZERO } else { left }),
            Err(stale) => -seconds(stale),
        },
        stale_while_revalidate: seconds(head.freshness.while_revalidate),
        stale_if_error: seconds(head.freshness.if_error),
        purged_softly: head.is_outdated(),
        vary: head.vary.iter().map(ToString::to_string).collect(),
        tags,
        more_tags: all.next().is_some(),
        groups,
        fields: fields
            .into_iter()
            .filter_map(|name| Some((name, escape::shown(head.fields.get(name)?).into_owned())))
            .collect(),
    }
}
