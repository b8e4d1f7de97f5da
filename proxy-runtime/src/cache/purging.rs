//! Purges of a store: at once in memory ([`Store::purge`]), then durably ([`Purging::carry_out`]).

use std::io;
use std::sync::Arc;

use super::disk::{Disk, Purged};
use super::freshness::Moment;
use super::purges::Purge;
use super::store::{Entry, Store};
use crate::file_pool::Unavailable;

impl Store {
    /// Removes what is kept under a URL, whose resource has changed. Looks at memory alone: files go behind it.
    pub(crate) fn invalidate(&self, url: String, now: Moment) {
        drop(self.purge(&Purge::Url(url), false, now));
    }

    /// Purges, for all who ask from now on. Looks at memory alone; what is left to do on disk is [`Purging::carry_out`]. Cost: a
    /// look-up for a URL, a pass over all entries for all else.
    pub(crate) fn purge(&self, purge: &Purge, soft: bool, now: Moment) -> Purging {
        // Before anything is removed: what comes from now on is held against it.
        self.purges.add(purge.clone(), soft);
        self.flights.purge(purge);
        let found = self.purge_memory(purge, soft, now);
        let filed = self.disk.as_ref().map(|disk| {
            let name = match purge {
                Purge::Url(url) => self.name_of([url.as_bytes(), b"", b""]),
                _ => 0,
            };
            let (count, purged) = disk.purge(purge, soft, name, now);
            (Arc::clone(disk), count, purged)
        });
        Purging { found, filed }
    }

    fn purge_memory(&self, purge: &Purge, soft: bool, now: Moment) -> usize {
        match purge {
            Purge::Url(url) => {
                let name = self.name_of([url.as_bytes(), b"", b""]);
                match self.entries.peek(&name) {
                    None => 0,
                    Some(entry) if soft => {
                        entry.outdate(now);
                        1
                    }
                    Some(_) => self.entries.remove(&name).map_or(0, |(_, entry)| {
                        self.forget_forms(&entry);
                        1
                    }),
                }
            }
            purge if soft => {
                let counts = |entry: &Entry| !matches!(entry, Entry::Form(..)) && entry.is_meant(purge);
                self.entries.iter().map(|(_, entry)| entry).filter(counts).map(|entry| entry.outdate(now)).count()
            }
            purge => {
                let count = std::cell::Cell::new(0);
                self.entries.retain(|_, entry| {
                    let meant = entry.is_meant(purge);
                    let counts = meant && matches!(entry, Entry::Answer(..) | Entry::Filed(..));
                    count.set(count.get() + usize::from(counts));
                    !meant
                });
                count.get()
            }
        }
    }
}

/// A purge that holds in memory.
#[must_use = "it is not durable yet"]
pub(crate) struct Purging {
    /// How many entries it was about.
    pub(super) found: usize,
    filed: Option<(Arc<Disk>, usize, Purged)>,
}

impl Purging {
    /// Makes it durable. Gives how many entries it was about.
    ///
    /// # Errors
    /// It is forgotten with a restart.
    pub(crate) async fn carry_out(self) -> io::Result<usize> {
        let Some((disk, known, purged)) = self.filed else { return Ok(self.found) };
        let pool = disk.pool();
        let carried = pool.run(move || disk.carry_out(&purged)).await;
        let removed = carried.map_err(|_: Unavailable| io::ErrorKind::TimedOut)??;
        Ok(self.found.max(known).max(removed))
    }
}
