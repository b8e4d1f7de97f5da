//! An entry of the store ([`CacheEntry`]): a response, in memory or on disk, with its [`CachedHead`]; a note that there are several; or a note that there
//! is none. And the weight of an entry.

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

/// The head of a cached response, and what is known of it.
pub(crate) struct CachedHead {
    pub(crate) status: StatusCode,
    /// As they are passed on.
    pub(crate) fields: Fields,
    pub(crate) freshness: Freshness,
    /// The URL it is kept under.
    pub(crate) url: Box<str>,
    /// What tells it from others under this URL, as a response's `Vary` has it.
    pub(crate) vary: Box<[Box<str>]>,
    /// By what names it can be purged, parted by spaces.
    pub(crate) tags: Box<str>,
    /// How many invalidations of groups it is known to have outlived; see [`super::groups`].
    pub(crate) groups_seen: AtomicU64,
    /// Somebody has declared it stale.
    pub(crate) outdated: AtomicBool,
    /// The server, asked about it, has failed, and is not asked again before this: the lower half of milliseconds since 1970, which tells a
    /// moment that is near from all others for seven weeks, and takes no room.
    pub(crate) not_before: AtomicU32,
    /// The content's own; see [`super::number`].
    pub(crate) number: u64,
    pub(crate) order: ResponseOrder,
}

/// When a response was asked for and when it came, among all requests and responses of this process. One that was read from disk came before
/// all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResponseOrder {
    pub(crate) asked: u64,
    pub(crate) came: u64,
    /// Its `Date`, where the server sent one. The time at which it was received says nothing.
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
    /// Whether it replaces a stored response. It does if that had come before this one was asked for; of two that were on their way at
    /// once, the one with the later `Date` stays (RFC 9111 section 4), or else the one that was asked for later.
    pub(super) fn supersedes(&self, stored: &CachedHead) -> bool {
        self.order.supersedes(stored.order)
    }

    /// It is stale if the note of its URL was declared so since it was received.
    pub(super) fn outdate_by(&self, note: &VaryIndex) {
        if note.outdates(self.freshness.received) {
            self.outdated.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Until when the server is left alone that has failed when it was asked about this.
    pub(crate) fn failed_until(&self, now: Moment) -> Option<Moment> {
        let left = u64::from(self.not_before.load(Ordering::Relaxed).wrapping_sub(now.0 as u32));
        (1..=PAUSE.as_millis() as u64).contains(&left).then(|| Moment(now.0.saturating_add(left)))
    }
}

/// An entry under a name.
#[derive(Clone)]
pub(super) enum CacheEntry {
    Answer(Arc<CachedHead>, CachedBody),
    /// One whose body is on disk.
    BodyFile(Arc<CachedHead>, Arc<BodyFile>),
    Varies(Arc<VaryIndex>),
    /// The last response to this was not kept.
    Marker(Arc<MissMarker>),
    /// The body of a response, compressed.
    Encoded(Arc<CachedHead>, Bytes),
}

impl CacheEntry {
    /// A response.
    pub(super) fn of(head: &Arc<CachedHead>, content: &CachedBody) -> CacheEntry {
        match content {
            CachedBody::BodyFile(opened) => CacheEntry::BodyFile(Arc::clone(head), Arc::clone(&opened.body_file)),
            content => CacheEntry::Answer(Arc::clone(head), content.clone()),
        }
    }

    /// The head of a response.
    pub(super) fn head(&self) -> Option<&Arc<CachedHead>> {
        match self {
            CacheEntry::Answer(head, _) | CacheEntry::BodyFile(head, _) => Some(head),
            CacheEntry::Varies(_) | CacheEntry::Marker(_) | CacheEntry::Encoded(..) => None,
        }
    }

    /// Whether it is the response with this very head.
    pub(super) fn is_of(&self, head: &Arc<CachedHead>) -> bool {
        self.head().is_some_and(|stored| Arc::ptr_eq(stored, head))
    }

    /// Whether it is that very entry.
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

/// How the last fetch of what is not there has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastFetch {
    /// Nothing is known.
    Unknown,
    /// Hit-for-miss: its response was not for others. The next one may be, but nobody waits to see.
    Unshared,
    /// The server has failed while others waited. The next fetch is for after this moment.
    Failed(Moment),
}

/// How long a server that has failed is not asked again, where several wait: it is asked four times a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

impl MissMarker {
    /// What it says now.
    fn at(&self, now: Moment) -> LastFetch {
        if self.until > now { self.last_fetch } else { LastFetch::Unknown }
    }
}

/// What an entry takes beside its own bytes: the table, counts, allocations. Measured; see docs/performance.md.
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
                // Its head may be there on its account alone.
                CacheEntry::Encoded(head, bytes) => weight(head) + bytes.len() as u64,
            }
    }
}

fn weight(head: &CachedHead) -> u64 {
    let vary: usize = head.vary.iter().map(|name| name.len() + 32).sum();
    (size_of::<CachedHead>() + head.fields.weight() + head.url.len() + head.tags.len() + vary) as u64
}

/// A number for what is kept, which nothing else has had since the process began.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
