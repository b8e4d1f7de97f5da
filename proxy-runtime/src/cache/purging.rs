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

/// How long a purge may take to be written, and then to reach other processes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is seen whether others hold to a purge.
const LOOK: Duration = Duration::from_millis(3);

/// How often the journal is looked at where others have the folder, as while a binary takes over from the one before.
const SHARED: Duration = Duration::from_millis(10);

/// How often where nobody else has it, as far as is known: well within what another process waits.
const ALONE: Duration = Duration::from_millis(250);

/// What is freed for the journal on a full disk, in bytes.
const ROOM: u64 = 64 << 10;

impl CacheStore {
    /// Removes what is kept under a URL, whose resource has changed. Looks at memory alone: files go behind it, and other processes
    /// with the folder are told behind it.
    pub(crate) fn invalidate(&'static self, url: String, now: Moment) {
        let purge = Purge::Url(url);
        let name = self.name_of_purged(&purge);
        let disk = self.disks.of(name);
        let forget = || disk.map(|disk| disk.forget(name));
        // Before: nobody reads it back from now on. Behind: what was just being written goes, too.
        forget();
        self.purge_loaded(&purge, false, now);
        forget();
        for disk in self.disks.iter() {
            // Where so many wait, the disk hangs, and others can't be told anything.
            self.order(disk, QueuedPurge { purges: vec![(purge.clone(), false)], told: None });
        }
    }

    /// Responses in these groups have changed: none that was asked for before is used any more. Looks at memory alone, and not at each entry;
    /// the disk and other processes are told behind it.
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

    /// As [`CacheStore::purge_loaded`], of what is in groups: it goes when it is looked up.
    fn invalidate_loaded(&self, purge: &Purge) {
        self.purges.add(purge.clone(), false);
        self.flights.purge(purge);
        if let Purge::Tags(groups) = purge {
            // Behind `purges`: a response that is taken to have come later was not on its way meanwhile.
            self.groups.invalidate(groups);
        }
    }

    /// Purges, for all who ask from now on. Looks at memory alone; what is left to do is [`PendingPurge::carry_out`]. Cost: a look-up for a
    /// URL and each of its variants, a pass over all entries for all else.
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

    /// Purges in this process. Gives how many entries it was about.
    fn purge_here(&self, purge: &Purge, soft: bool, now: Moment) -> usize {
        // The disk first: what is read from there from now on is held against it.
        let name = self.name_of_purged(purge);
        let on_disk = self.disks.iter().map(|disk| disk.purge(purge, soft, name)).sum();
        self.purge_loaded(purge, soft, now).max(on_disk)
    }

    /// The name of what is kept under a URL that is purged.
    fn name_of_purged(&self, purge: &Purge) -> u128 {
        match purge {
            Purge::Url(url) => self.name_of_url(url),
            _ => 0,
        }
    }

    /// Has an order written. If there is no room for it, whoever waits is told by its end.
    fn order(&'static self, disk: &'static Arc<Disk>, order: QueuedPurge) {
        let mut orders = disk.orders.locked();
        if orders.len() < MOST_ORDERS {
            orders.push(order);
            // Whoever came before has begun it.
            if orders.len() == 1 {
                drop(disk.pool().begin(|| self.write_orders(disk)));
            }
        }
    }

    /// Blocks.
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
            // Once more, now that it has its place: meanwhile a file of another process may have been read, which had followed further.
            let so_far = locked.follow(&mut |ban| self.follow(disk, ban))?;
            if let Err(error) = locked.compact(|| disk.bans.all()) {
                notice(&format!("cache: the folder's journal can't be rewritten: {error}"));
            }
            Ok(so_far)
        });
        let written = written.map_err(Arc::new);
        for told in orders.into_iter().filter_map(|order| order.told) {
            // Who does not wait any more has said that it was not carried out.
            let _ = told.send(written.clone());
        }
    }

    /// Holds to what another process has purged.
    fn follow_other(&self, disk: &Disk, ban: &Ban) {
        disk.unlist(&ban.purge, ban.soft, self.name_of_purged(&ban.purge));
        self.follow(disk, ban);
    }

    /// Holds to a purge in the journal.
    fn follow(&self, disk: &Disk, ban: &Ban) {
        disk.bans.add(ban);
        match &ban.purge {
            Purge::Tags(tags) if !ban.soft && groups::are_all(tags) => self.invalidate_loaded(&ban.purge),
            purge => drop(self.purge_loaded(purge, ban.soft, Moment::now())),
        }
    }

    /// Purges what is in memory, and on its way there. Gives how many entries it was about.
    fn purge_loaded(&self, purge: &Purge, soft: bool, now: Moment) -> usize {
        // In this order: what comes from now on is held against it; nobody joins what is on its way; what has come goes.
        self.purges.add(purge.clone(), soft);
        self.flights.purge(purge);
        self.purge_memory(purge, soft, now)
    }

    /// What follows the purges of other processes that have its folders, for ever: for each folder a function that blocks.
    pub(crate) fn followers(&'static self) -> impl Iterator<Item = impl FnOnce() + Send> {
        self.disks.iter().map(move |disk| move || self.keep_following(disk))
    }

    /// Blocks, for ever.
    fn keep_following(&self, disk: &Arc<Disk>) {
        let mut alone = true;
        loop {
            std::thread::sleep(if alone { ALONE } else { SHARED });
            // Who does not follow does not say so either: whoever purges is told that it does not hold everywhere.
            let _ = disk.journal.follow(&mut |ban| self.follow_other(disk, ban));
            let before = std::mem::replace(&mut alone, disk.journal.is_alone().unwrap_or(false));
            if alone && !before {
                // What others have written is this process's to count now.
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

/// Purges that hold in this process.
#[must_use = "they are not durable yet"]
pub(crate) struct PendingPurge {
    /// How many entries they were about.
    pub(super) found: usize,
    /// For each disk: another process, with other disks beside it, may have any response there.
    on_disk: Vec<DiskPurge>,
}

struct DiskPurge {
    disk: &'static Arc<Disk>,
    written: oneshot::Receiver<AppendResult>,
    /// Files to remove.
    names: Vec<u128>,
}

impl PendingPurge {
    /// Makes them durable, and waits until all processes that have the folder hold to them. Gives how many entries they were about.
    ///
    /// # Errors
    /// They are forgotten with a restart, or do not hold in another process.
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
    /// The same on one disk. Gives how many files are gone.
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
        // Nobody writes them again: what was asked for before is not kept any more.
        let remove = move || names.iter().map(|name| disk.remove(*name)).collect::<io::Result<Vec<bool>>>();
        let removed = disk.pool().run(remove).await.map_err(refused)??;
        Ok(removed.into_iter().filter(|removed| *removed).count())
    }
}
