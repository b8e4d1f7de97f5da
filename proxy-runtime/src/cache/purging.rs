//! Purges a store: at once in memory ([`CacheStore::purge`]), then durably and in all processes with its folders
//! ([`PendingPurge::carry_out`]); and follows the purges of other processes ([`CacheStore::keep_following`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::bans::Ban;
use super::disk::Disk;
use super::entry::CacheEntry;
use super::groups;
use super::purge_queue::{AppendResult, MOST_ORDERS, QueuedPurge};
use super::purges::Purge;
use super::store::CacheStore;
use crate::file_pool::Unavailable;
use crate::observe::notice;
use crate::protocol::date::Moment;

/// The time-out for writing a purge, and then for it to reach other processes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often other processes are checked for a purge.
const LOOK: Duration = Duration::from_millis(3);

/// How often the journal is read while other processes use the folder, for example during an upgrade of the binary.
const SHARED: Duration = Duration::from_millis(10);

/// How often it is read if no other process is known to use the folder: well within the time-out of another process.
const ALONE: Duration = Duration::from_millis(250);

/// The space that is freed for the journal on a full disk, in bytes.
const ROOM: u64 = 64 << 10;

impl CacheStore {
    /// Removes the responses of a URL whose resource has changed. Uses only memory: files are removed, and other processes
    /// notified, in the background.
    pub(crate) fn invalidate(&'static self, url: String, now: Moment) {
        let purge = Purge::Url(url);
        let name = self.name_of_purged(&purge);
        let disk = self.disks.of(name);
        let forget = || disk.map(|disk| disk.forget(name));
        // Before, so that the file is not loaded again; and after, to include a file that was just being written.
        forget();
        self.purge_loaded(&purge, false, now);
        forget();
        for disk in self.disks.iter() {
            // If the queue is full, the disk hangs, and other processes can't be notified.
            self.order(disk, QueuedPurge { purges: vec![(purge.clone(), false)], told: None });
        }
    }

    /// Invalidates groups: responses in them that were requested before are not used any more. Uses only memory, without a pass over the
    /// entries; the disk and other processes are updated in the background.
    pub(crate) fn invalidate_groups(&'static self, groups: Vec<String>) {
        let purge = Purge::Tags(groups);
        for disk in self.disks.iter() {
            disk.purge(&purge, false, 0);
        }
        self.invalidate_loaded(&purge);
        for disk in self.disks.iter() {
            self.order(disk, QueuedPurge { purges: vec![(purge.clone(), false)], told: None });
        }
    }

    /// Like [`CacheStore::purge_loaded`], for groups: their responses are removed when they are looked up.
    fn invalidate_loaded(&self, purge: &Purge) {
        self.purges.add(purge.clone(), false);
        self.flights.purge(purge);
        if let Purge::Tags(groups) = purge {
            // After `purges`: a response that counts as later must not have been in flight at that time.
            self.groups.invalidate(groups);
        }
    }

    /// Purges for all later requests. Uses only memory; the rest is done by [`PendingPurge::carry_out`]. Costs a lookup for a URL and each
    /// of its variants, and a pass over all entries for other purges.
    pub(crate) fn purge(&'static self, purges: &[Purge], soft: bool, now: Moment) -> PendingPurge {
        let found = purges.iter().map(|purge| self.purge_here(purge, soft, now)).sum();
        let on_disk = self.disks.iter().map(|disk| {
            let (told, written) = oneshot::channel();
            let purges_in_order = purges.iter().map(|purge| (purge.clone(), soft)).collect();
            self.order(disk, QueuedPurge { purges: purges_in_order, told: Some(told) });
            let urls = purges.iter().filter(|purge| !soft && matches!(purge, Purge::Url(_)));
            DiskPurge { disk, written, names: urls.map(|url| self.name_of_purged(url)).collect() }
        });
        PendingPurge { found, on_disk: on_disk.collect() }
    }

    /// Purges in this process. Returns how many entries were affected.
    fn purge_here(&self, purge: &Purge, soft: bool, now: Moment) -> usize {
        // The disk first: files that are read from now on are compared with the purge.
        let name = self.name_of_purged(purge);
        let on_disk = self.disks.iter().map(|disk| disk.purge(purge, soft, name)).sum();
        self.purge_loaded(purge, soft, now).max(on_disk)
    }

    /// Returns the name of the entry of a URL to purge.
    fn name_of_purged(&self, purge: &Purge) -> u128 {
        match purge {
            Purge::Url(url) => self.name_of_url(url),
            _ => 0,
        }
    }

    /// Queues a purge for the journal. If the queue is full, the purge is dropped, which the waiting task notices.
    fn order(&'static self, disk: &'static Arc<Disk>, order: QueuedPurge) {
        let mut orders = disk.orders.locked();
        if orders.len() < MOST_ORDERS {
            orders.push(order);
            // Otherwise the write has been started already.
            if orders.len() == 1 {
                drop(disk.pool().begin(|| self.write_orders(disk)));
            }
        }
    }

    /// Writes the queued purges. Blocks.
    fn write_orders(&'static self, disk: &Disk) {
        let locked = disk.journal.lock(&mut |ban| self.follow_other(disk, ban));
        let mut orders = std::mem::take(&mut *disk.orders.locked());
        if disk.journal.is_alone().is_ok_and(|alone| alone) {
            orders.retain(|order| !order.is_done_here());
        }
        if orders.is_empty() {
            return;
        }
        let purges: Vec<_> = orders.iter().flat_map(|order| order.purges.iter().cloned()).collect();
        let written = locked.and_then(|mut locked| {
            disk.with_room(ROOM, || locked.append(&purges))?;
            // Once more, with its final position: meanwhile another process's file that had followed further may have been read.
            let so_far = locked.follow(&mut |ban| self.follow(disk, ban))?;
            if let Err(error) = locked.compact(|| disk.bans.all()) {
                notice(&format!("cache: the folder's journal can't be rewritten: {error}"));
            }
            Ok(so_far)
        });
        let written = written.map_err(Arc::new);
        for told in orders.into_iter().filter_map(|order| order.told) {
            // A task that no longer waits has reported a failure.
            let _ = told.send(written.clone());
        }
    }

    /// Applies a purge of another process.
    fn follow_other(&self, disk: &Disk, ban: &Ban) {
        disk.unlist(&ban.purge, ban.soft, self.name_of_purged(&ban.purge));
        self.follow(disk, ban);
    }

    /// Applies a purge from the journal.
    fn follow(&self, disk: &Disk, ban: &Ban) {
        disk.bans.add(ban);
        match &ban.purge {
            Purge::Tags(tags) if !ban.soft && groups::are_all(tags) => self.invalidate_loaded(&ban.purge),
            purge => drop(self.purge_loaded(purge, ban.soft, Moment::now())),
        }
    }

    /// Purges memory and in-flight fetches. Returns how many entries were affected.
    fn purge_loaded(&self, purge: &Purge, soft: bool, now: Moment) -> usize {
        // In this order: later arrivals are compared with the purge; no request joins earlier fetches; stored responses
        // are removed.
        self.purges.add(purge.clone(), soft);
        self.flights.purge(purge);
        self.purge_memory(purge, soft, now)
    }

    /// Functions that follow the purges of other processes for as long as the process runs; each blocks, and is for one
    /// folder.
    pub(crate) fn followers(&'static self) -> impl Iterator<Item = impl FnOnce() + Send> {
        self.disks.iter().map(move |disk| move || self.keep_following(disk))
    }

    /// Blocks for as long as the process runs.
    fn keep_following(&self, disk: &Arc<Disk>) {
        let mut alone = true;
        loop {
            std::thread::sleep(if alone { ALONE } else { SHARED });
            // After a failure, this process does not confirm the purge, so the other one reports that it is not in
            // effect everywhere.
            let _ = disk.journal.follow(&mut |ban| self.follow_other(disk, ban));
            let before = std::mem::replace(&mut alone, disk.journal.is_alone().unwrap_or(false));
            if alone && !before {
                // From now on, this process must count the files of the others.
                drop(disk.pool().begin(self.disks.scan(disk)));
            }
        }
    }

    fn purge_memory(&self, purge: &Purge, soft: bool, now: Moment) -> usize {
        match purge {
            Purge::Url(url) => {
                let name = self.name_of_url(url);
                let found_by_rule = usize::from(self.forget_rule(url));
                match self.entries.peek(&name) {
                    None => found_by_rule,
                    Some(entry) if soft => {
                        entry.outdate(now);
                        1
                    }
                    Some(_) => self.entries.remove(&name).map_or(0, |(_, entry)| {
                        self.release(&entry);
                        1
                    }),
                }
            }
            purge if soft => {
                let counts = |entry: &CacheEntry| !matches!(entry, CacheEntry::Encoded(..)) && entry.is_meant(purge);
                self.entries.iter().map(|(_, entry)| entry).filter(counts).map(|entry| entry.outdate(now)).count()
            }
            purge => {
                let count = std::cell::Cell::new(0);
                self.entries.retain(|_, entry| {
                    let meant = entry.is_meant(purge);
                    let counts = meant && matches!(entry, CacheEntry::Answer(..) | CacheEntry::BodyFile(..));
                    count.set(count.get() + usize::from(counts));
                    !meant
                });
                count.get()
            }
        }
    }
}

/// Purges that are in effect in this process.
#[must_use = "they are not durable yet"]
pub(crate) struct PendingPurge {
    /// How many entries were affected.
    pub(super) found: usize,
    /// For each disk, because another process with other disks may have any response there.
    on_disk: Vec<DiskPurge>,
}

struct DiskPurge {
    disk: &'static Arc<Disk>,
    written: oneshot::Receiver<AppendResult>,
    /// The names of files to remove.
    names: Vec<u128>,
}

impl PendingPurge {
    /// Makes the purges durable, and waits until all processes with the folder have applied them. Returns how many entries were
    /// affected.
    ///
    /// # Errors
    /// Fails if the purges will be lost with a restart, or are not in effect in another process.
    pub(crate) async fn carry_out(self) -> io::Result<usize> {
        let began = Instant::now();
        let (mut removed, mut failed) = (0, None);
        for on_disk in self.on_disk {
            match on_disk.carry_out(began).await {
                Ok(count) => removed += count,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(self.found.max(removed)), Err)
    }
}

impl DiskPurge {
    /// Does so for one disk. Returns how many files were removed.
    async fn carry_out(self, began: Instant) -> io::Result<usize> {
        let DiskPurge { disk, written, names } = self;
        let refused = |_: Unavailable| io::Error::new(io::ErrorKind::TimedOut, "the disk does not respond");
        let written = timeout_at(began + PATIENCE, written).await.map_err(|_| refused(Unavailable::TimedOut))?;
        let written = written.map_err(|_| io::Error::other("too many purges wait to be written"))?;
        let so_far = written.map_err(|error| io::Error::new(error.kind(), error))?;
        while !disk.pool().run(move || disk.journal.is_followed(so_far)).await.map_err(refused)?? {
            if Instant::now() >= began + 2 * PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process with the folder does not follow"));
            }
            sleep(LOOK).await;
        }
        // The files are not written again: responses requested before are not stored any more.
        let remove = move || names.iter().map(|name| disk.remove(*name)).collect::<io::Result<Vec<bool>>>();
        let removed = disk.pool().run(remove).await.map_err(refused)??;
        Ok(removed.into_iter().filter(|removed| *removed).count())
    }
}
