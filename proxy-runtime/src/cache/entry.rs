//! An entry of the store ([`Entry`]): a response, in memory or on disk, with its [`Head`]; a note that there are several; or a note that there
//! is none. And the weight of an entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use quick_cache::Weighter;

use super::content::Content;
use super::filed::Filed;
use super::freshness::Life;
use super::purges::Purge;
use super::varies::Varies;
use crate::protocol::date::Moment;
use crate::protocol::fields::Fields;

/// The head of a cached response, and what is known of it.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// As they are passed on.
    pub(crate) fields: Fields,
    pub(crate) life: Life,
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
    pub(crate) order: Order,
}

/// When a response was asked for and when it came, among all requests and responses of this process. One that was read from disk came before
/// all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    pub(crate) asked: u64,
    pub(crate) came: u64,
    /// Its `Date`, where the server sent one. The time at which it was received says nothing.
    pub(crate) made: Option<Moment>,
}

impl Order {
    /// See [`Head::supersedes`].
    pub(super) fn supersedes(self, stored: Order) -> bool {
        let both_made = stored.made.zip(self.made).filter(|(stored, new)| stored != new);
        stored.came < self.asked || both_made.map_or(stored.asked <= self.asked, |(stored, new)| stored < new)
    }
}

impl Head {
    /// Whether it replaces a stored response. It does if that had come before this one was asked for; of two that were on their way at
    /// once, the one with the later `Date` stays (RFC 9111 section 4), or else the one that was asked for later.
    pub(super) fn supersedes(&self, stored: &Head) -> bool {
        self.order.supersedes(stored.order)
    }

    /// It is stale if the note of its URL was declared so since it was received.
    pub(super) fn outdate_by(&self, note: &Varies) {
        if note.outdates(self.life.received) {
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
pub(super) enum Entry {
    Answer(Arc<Head>, Content),
    /// One whose body is on disk.
    Filed(Arc<Head>, Arc<Filed>),
    Varies(Arc<Varies>),
    /// The last response to this was not kept.
    Marker(Arc<Marker>),
    /// The body of a response, compressed.
    Form(Arc<Head>, Bytes),
}

impl Entry {
    /// A response.
    pub(super) fn of(head: &Arc<Head>, content: &Content) -> Entry {
        match content {
            Content::Filed(opened) => Entry::Filed(Arc::clone(head), Arc::clone(&opened.filed)),
            content => Entry::Answer(Arc::clone(head), content.clone()),
        }
    }

    /// The head of a response.
    pub(super) fn head(&self) -> Option<&Arc<Head>> {
        match self {
            Entry::Answer(head, _) | Entry::Filed(head, _) => Some(head),
            Entry::Varies(_) | Entry::Marker(_) | Entry::Form(..) => None,
        }
    }

    /// Whether it is the response with this very head.
    pub(super) fn is_of(&self, head: &Arc<Head>) -> bool {
        self.head().is_some_and(|stored| Arc::ptr_eq(stored, head))
    }

    /// Whether it is that very entry.
    pub(super) fn is_same(&self, other: &Entry) -> bool {
        match (self, other) {
            (Entry::Varies(one), Entry::Varies(other)) => Arc::ptr_eq(one, other),
            (one, other) => other.head().is_some_and(|head| one.is_of(head)),
        }
    }

    pub(super) fn lately(&self, now: Moment) -> Lately {
        match self {
            Entry::Marker(marker) => marker.at(now),
            _ => Lately::Unknown,
        }
    }

    pub(super) fn outdate(&self, now: Moment) {
        match self {
            Entry::Answer(head, _) | Entry::Filed(head, _) => head.outdated.store(true, Ordering::Relaxed),
            Entry::Varies(varies) => varies.outdated_before.store(now.0 + 1, Ordering::Relaxed),
            Entry::Marker(_) | Entry::Form(..) => {}
        }
    }

    pub(super) fn is_meant(&self, purge: &Purge) -> bool {
        match self {
            Entry::Answer(head, _) | Entry::Filed(head, _) | Entry::Form(head, _) => purge.means(&head.url, &head.tags),
            Entry::Varies(varies) => purge.means(&varies.url, ""),
            Entry::Marker(marker) => purge.means(&marker.url, ""),
        }
    }
}

/// A short-lived marker for a response that was not stored.
pub(super) struct Marker {
    pub(super) url: Box<str>,
    pub(super) until: Moment,
    pub(super) lately: Lately,
}

/// How the last fetch of what is not there has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lately {
    /// Nothing is known.
    Unknown,
    /// Hit-for-miss: its response was not for others. The next one may be, but nobody waits to see.
    Unshared,
    /// The server has failed while others waited. The next fetch is for after this moment.
    Failed(Moment),
}

/// How long a server that has failed is not asked again, where several wait: it is asked four times a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

impl Marker {
    /// What it says now.
    fn at(&self, now: Moment) -> Lately {
        if self.until > now { self.lately } else { Lately::Unknown }
    }
}

/// What an entry takes beside its own bytes: the table, counts, allocations. Measured; see docs/performance.md.
const OVERHEAD: u64 = 160;

#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<u128, Entry> for ByBytes {
    fn weight(&self, _: &u128, entry: &Entry) -> u64 {
        OVERHEAD
            + match entry {
                Entry::Answer(head, content) => weight(head) + content.weight(),
                Entry::Filed(head, _) => weight(head) + size_of::<Filed>() as u64,
                Entry::Varies(varies) => varies.weight(),
                Entry::Marker(marker) => (size_of::<Marker>() + marker.url.len()) as u64,
                // Its head may be there on its account alone.
                Entry::Form(head, bytes) => weight(head) + bytes.len() as u64,
            }
    }
}

fn weight(head: &Head) -> u64 {
    let vary: usize = head.vary.iter().map(|name| name.len() + 32).sum();
    (size_of::<Head>() + head.fields.weight() + head.url.len() + head.tags.len() + vary) as u64
}

/// A number for what is kept, which nothing else has had since the process began.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
