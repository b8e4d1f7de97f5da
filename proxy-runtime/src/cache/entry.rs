//! An entry of the store ([`CacheEntry`]): a response, in memory or on disk, with its [`CachedHead`]; an index of variants; or a marker for a
//! response that was not stored. And the weight of an entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use quick_cache::Weighter;

use super::body_file::BodyFile;
use super::cached_body::CachedBody;
use super::freshness::Freshness;
use super::purges::Purge;
use super::vary_index::VaryIndex;
use crate::protocol::date::Moment;
use crate::protocol::fields::Fields;

/// The head of a cached response, and its state.
pub(crate) struct CachedHead {
    pub(crate) status: StatusCode,
    /// The fields that are passed on.
    pub(crate) fields: Fields,
    pub(crate) freshness: Freshness,
    /// The URL that it is stored under.
    pub(crate) url: Box<str>,
    /// The request fields that distinguish it from others of this URL, from its `Vary`.
    pub(crate) vary: Box<[Box<str>]>,
    /// The tags that it can be purged by, separated by spaces.
    pub(crate) tags: Box<str>,
    /// The number of group invalidations that it was checked against; see [`super::groups`].
    pub(crate) groups_seen: AtomicU64,
    /// The response was purged softly.
    pub(crate) outdated: AtomicBool,
    /// The last revalidation has failed, and the server is not asked again before this time: the lower half of milliseconds since 1970,
    /// which is unambiguous for seven weeks, and takes no extra space.
    pub(crate) not_before: AtomicU32,
    /// The number of the content; see [`super::number`].
    pub(crate) number: u64,
    pub(crate) order: ResponseOrder,
}

/// The position of a response's request and arrival, among all requests and responses of this process. A response that was read from disk
/// precedes all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResponseOrder {
    pub(crate) asked: u64,
    pub(crate) came: u64,
    /// Its `Date`, if the server has sent one. The time of receipt does not count.
    pub(crate) made: Option<Moment>,
}

impl ResponseOrder {
    /// See [`CachedHead::supersedes`].
    pub(super) fn supersedes(self, stored: ResponseOrder) -> bool {
        let both_made = stored.made.zip(self.made).filter(|(stored, new)| stored != new);
        stored.came < self.asked || both_made.map_or(stored.asked <= self.asked, |(stored, new)| stored < new)
    }
}

impl CachedHead {
    /// Returns whether it replaces a stored response. It does if the stored one arrived before this one was requested; of two
    /// concurrent ones, the one with the later `Date` stays (RFC 9111 section 4), or else the one that was requested later.
    pub(super) fn supersedes(&self, stored: &CachedHead) -> bool {
        self.order.supersedes(stored.order)
    }

    /// Marks it as stale if the `Vary` index of its URL was purged softly since it was received.
    pub(super) fn outdate_by(&self, note: &VaryIndex) {
        if note.outdates(self.freshness.received) {
            self.outdated.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Until when the server is not asked again after a failed revalidation.
    pub(crate) fn failed_until(&self, now: Moment) -> Option<Moment> {
        let left = u64::from(self.not_before.load(Ordering::Relaxed).wrapping_sub(now.0 as u32));
        (1..=PAUSE.as_millis() as u64).contains(&left).then(|| Moment(now.0.saturating_add(left)))
    }
}

/// An entry of the store.
#[derive(Clone)]
pub(super) enum CacheEntry {
    Answer(Arc<CachedHead>, CachedBody),
    /// A response whose body is on disk.
    BodyFile(Arc<CachedHead>, Arc<BodyFile>),
    Varies(Arc<VaryIndex>),
    /// The last response of this URL was not stored.
    Marker(Arc<MissMarker>),
    /// An encoded variant of a response's body.
    Encoded(Arc<CachedHead>, Bytes),
}

impl CacheEntry {
    /// Returns the entry of a response.
    pub(super) fn of(head: &Arc<CachedHead>, content: &CachedBody) -> CacheEntry {
        match content {
            CachedBody::BodyFile(opened) => CacheEntry::BodyFile(Arc::clone(head), Arc::clone(&opened.body_file)),
            content => CacheEntry::Answer(Arc::clone(head), content.clone()),
        }
    }

    /// Returns the head of a response.
    pub(super) fn head(&self) -> Option<&Arc<CachedHead>> {
        match self {
            CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _) => Some(head),
            CacheEntry::Varies(_) | CacheEntry::Marker(_) | CacheEntry::Encoded(..) => None,
        }
    }

    /// Returns whether it is the response with this very head.
    pub(super) fn is_of(&self, head: &Arc<CachedHead>) -> bool {
        self.head().is_some_and(|stored| Arc::ptr_eq(stored, head))
    }

    /// Returns whether it is the very same entry.
    pub(super) fn is_same(&self, other: &CacheEntry) -> bool {
        match (self, other) {
            (CacheEntry::Varies(one), CacheEntry::Varies(other)) => Arc::ptr_eq(one, other),
            (one, other) => other.head().is_some_and(|head| one.is_of(head)),
        }
    }

    pub(super) fn last_fetch(&self, now: Moment) -> LastFetch {
        match self {
            CacheEntry::Marker(marker) => marker.at(now),
            _ => LastFetch::Unknown,
        }
    }

    pub(super) fn outdate(&self, now: Moment) {
        match self {
            CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _) => head.outdated.store(true, Ordering::Relaxed),
            CacheEntry::Varies(varies) => varies.outdated_before.store(now.0 + 1, Ordering::Relaxed),
            CacheEntry::Marker(_) | CacheEntry::Encoded(..) => {}
        }
    }

    pub(super) fn is_meant(&self, purge: &Purge) -> bool {
        match self {
            CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _) | CacheEntry::Encoded(head, _) => {
                purge.means(&head.url, &head.tags)
            }
            CacheEntry::Varies(varies) => purge.means(&varies.url, ""),
            CacheEntry::Marker(marker) => purge.means(&marker.url, ""),
        }
    }
}

/// A short-lived marker for a response that was not stored.
pub(super) struct MissMarker {
    pub(super) url: Box<str>,
    pub(super) until: Moment,
    pub(super) last_fetch: LastFetch,
}

/// How the last fetch of a response that is not cached has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastFetch {
    /// Unknown.
    Unknown,
    /// Hit-for-miss: its response was not shareable. The next one may be, but no request waits for that.
    Unshared,
    /// The server has failed while others waited. The next fetch comes after this time.
    Failed(Moment),
}

/// The pause after a failed fetch that several requests wait for: the server is asked four times a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

impl MissMarker {
    /// Returns its state now.
    fn at(&self, now: Moment) -> LastFetch {
        if self.until > now { self.last_fetch } else { LastFetch::Unknown }
    }
}

/// The memory of an entry beside its own bytes: the table, counters, allocations. Measured; see docs/performance.md.
const OVERHEAD: u64 = 160;

#[derive(Clone)]
pub(super) struct EntryWeighter;

impl Weighter<u128, CacheEntry> for EntryWeighter {
    fn weight(&self, _: &u128, entry: &CacheEntry) -> u64 {
        OVERHEAD
            + match entry {
                CacheEntry::Answer(head, content) => weight(head) + content.weight(),
                CacheEntry::BodyFile(head, _) => weight(head) + size_of::<BodyFile>() as u64,
                CacheEntry::Varies(varies) => varies.weight(),
                CacheEntry::Marker(marker) => (size_of::<MissMarker>() + marker.url.len()) as u64,
                // The encoded variant may be the only one that still holds the head.
                CacheEntry::Encoded(head, bytes) => weight(head) + bytes.len() as u64,
            }
    }
}

fn weight(head: &CachedHead) -> u64 {
    let vary: usize = head.vary.iter().map(|name| name.len() + 32).sum();
    (size_of::<CachedHead>() + head.fields.weight() + head.url.len() + head.tags.len() + vary) as u64
}

/// Returns a number for a cached content, unique in this process.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
