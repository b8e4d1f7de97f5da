//! Receives a body for a store: in a separate task, for all followers, without a client.
//!
//! The body is stored in memory if it fits, else on disk, else not at all; followers receive it in any case.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use crate::body::source::Source as _;
use crate::cache::freshness::NotStored;
use crate::cache::{CacheStore, CachedBody, CachedHead, DiskWrite, FetchGuard, Reservation, StoreLocation, parts};
use crate::client::Client;
use crate::exchange::UpstreamExchange;
use crate::net::clock::after;
use crate::site;

/// The destination of a response that is being received.
pub(super) struct StoreDestination {
    pub(super) policy: &'static site::Cache,
    pub(super) store: &'static CacheStore,
    pub(super) place: StoreLocation,
    pub(super) head: Arc<CachedHead>,
    pub(super) since: u64,
    pub(super) reserved: Reservation,
    /// The name of the parts list to add it to, if it is a part.
    pub(super) list: Option<u128>,
}

/// The memory that a chunk takes beside its bytes.
const CHUNK: u64 = 96;

/// How a received body is stored.
enum StorageMode {
    /// In memory.
    Memory,
    /// On disk, because it is too large for memory.
    Disk(DiskWrite),
    /// Not stored: only passed on to current followers.
    Not,
}

/// How long a body is received without followers: it may be stored, but it may also never end.
const ALONE: Duration = Duration::from_secs(60);

/// Receives a body for all followers, and stores it if it is complete.
pub(super) async fn receive(
    client: Rc<Client>,
    mut call: Box<UpstreamExchange>,
    mut guard: FetchGuard,
    mut destination: StoreDestination,
) {
    let _running = client.worker.running();
    let length = call.length();
    let received = pin!(async {
        let (mut size, mut chunks, mut mode, mut alone) = (0, 0, StorageMode::Memory, None);
        loop {
            let filled = std::future::poll_fn(|cx| {
                alone = if guard.is_read() { None } else { alone.or_else(|| Some(Instant::now())) };
                if client.timer.over(alone.and_then(|since| after(since, ALONE))) {
                    return Poll::Ready(None);
                }
                // A body for the disk is received even without followers; otherwise they set the pace.
                if !ready!(guard.poll_room(cx)) && !matches!(mode, StorageMode::Disk(_)) {
                    return Poll::Ready(None);
                }
                call.poll_fill(cx).map(Some)
            });
            match filled.await {
                Some(Ok(true)) => {
                    let mut chunk = Bytes::new();
                    call.take(|data| {
                        chunk = Bytes::copy_from_slice(data);
                        data.len()
                    });
                    (size, chunks) = (size + chunk.len() as u64, chunks + 1);
                    let last = length == Some(size) && matches!(mode, StorageMode::Memory);
                    if last && destination.fits(size, chunks) && is_over(&mut call).await {
                        // Stored before the last chunk is passed on: a client that has all of it finds it in the cache.
                        destination.ends(&guard, mode, Some(chunk.clone())).await;
                        guard.push(chunk);
                        return guard.ends(Ok(()));
                    }
                    guard.push(chunk.clone());
                    mode = destination.more(&mut guard, mode, (size, chunks), chunk).await;
                }
                Some(Ok(false)) => {
                    destination.ends(&guard, mode, None).await;
                    return guard.ends(Ok(()));
                }
                Some(Err(failure)) => {
                    if matches!(mode, StorageMode::Memory) {
                        destination.is_cut_short(&guard, (size, length));
                    }
                    guard.is_unkept(NotStored::Truncated);
                    return guard.ends(Err(failure));
                }
                None => return,
            }
        }
    });
    client.timer.run(received).await;
}

/// Returns whether a body is known to have ended, without waiting.
async fn is_over(call: &mut UpstreamExchange) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(matches!(call.poll_fill(cx), Poll::Ready(Ok(false))))).await
}

impl StoreDestination {
    /// Adds a received chunk; returns how the body is stored from now on.
    async fn more(
        &mut self,
        guard: &mut FetchGuard,
        mode: StorageMode,
        (size, chunks): (u64, u64),
        chunk: Bytes,
    ) -> StorageMode {
        let store = self.store;
        match mode {
            StorageMode::Not => StorageMode::Not,
            StorageMode::Memory if size <= store.max_object => {
                if self.fits(size, chunks) {
                    return StorageMode::Memory;
                }
                guard.passes_on(Some(NotStored::NoRoom));
                StorageMode::Not
            }
            StorageMode::Memory if size <= store.largest() => {
                let (name, head, come) = (self.place.own, Arc::clone(&self.head), guard.chunks());
                let begun = store.begin(name, head, come).await;
                guard.passes_on(begun.is_none().then_some(NotStored::TooLarge));
                begun.map_or(StorageMode::Not, StorageMode::Disk)
            }
            StorageMode::Disk(filing) if size <= store.largest() => store
                .file(filing, chunk)
                .await
                .map_or_else(|| self.given_up(guard, NotStored::NoRoom), StorageMode::Disk),
            StorageMode::Memory | StorageMode::Disk(_) => self.given_up(guard, NotStored::TooLarge),
        }
    }

    /// Returns whether the memory for this size is available.
    fn fits(&mut self, size: u64, chunks: u64) -> bool {
        size <= self.store.max_object && self.reserved.grow(size + CHUNK * chunks)
    }

    fn given_up(&self, guard: &mut FetchGuard, why: NotStored) -> StorageMode {
        guard.passes_on(Some(why));
        StorageMode::Not
    }

    /// Stores the complete body, whose `last` chunk was not passed on yet.
    async fn ends(self, guard: &FetchGuard, mode: StorageMode, last: Option<Bytes>) {
        let StoreDestination { store, place: StoreLocation { own: name, .. }, head, since, list, .. } = self;
        let kept = match mode {
            StorageMode::Memory => {
                let chunks: Vec<Bytes> = guard.chunks().into_iter().chain(last).collect();
                store.keep(name, Arc::clone(&head), CachedBody::of(&chunks), since)
            }
            StorageMode::Disk(filing) => store.finish(filing, name, Arc::clone(&head), since).await,
            StorageMode::Not => return,
        };
        match (kept, list) {
            (Ok(()), Some(list)) => store.list_part(list, &head, since),
            (Ok(()), None) => {}
            (Err(unkept), _) => guard.is_unkept(unkept),
        }
    }

    /// Handles a body that was cut short after `size` bytes. With a strong validator it is stored as a part (RFC 9111 section 3.3), so
    /// that only the rest is fetched.
    fn is_cut_short(&self, guard: &FetchGuard, (size, length): (u64, Option<u64>)) {
        let Some(total) = length.filter(|&length| (1..length).contains(&size)) else { return };
        // Slices are not listed, and have fixed boundaries.
        let is_listed = self.policy.slice.is_none() && self.head.status == StatusCode::OK;
        if !is_listed || parts::validator(&self.head.fields).is_none() {
            return;
        }
        let part = 0..size;
        let head = Arc::new(self.head.part(&part, total));
        let place = |part: &str| self.store.part_of_whole(&self.policy.key, self.place, &head, part);
        let Some((part, list)) = place(&parts::label(&part)).zip(place(parts::LIST)) else { return };
        if self.store.keep(part.own, Arc::clone(&head), CachedBody::of(&guard.chunks()), self.since).is_ok() {
            self.store.list_part(list.own, &head, self.since);
        }
    }
}
