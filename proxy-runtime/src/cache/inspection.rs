//! Lists the entries of a store under a URL, for the admin endpoint: [`CacheStore::inspect`]. Not on the hot path.

use std::sync::Arc;

use super::disk::DiskLookup;
use super::entry::{CacheEntry, CachedHead};
use super::store::CacheStore;

/// A cached response.
pub(crate) struct InspectedResponse {
    pub(crate) head: Arc<CachedHead>,
    /// The length of its body.
    pub(crate) length: u64,
    /// Its body is only on disk.
    pub(crate) on_disk: bool,
}

impl CacheStore {
    /// Lists the responses under some URLs, at most `most`, and returns whether there are more. Of a URL with variants, only those in
    /// memory are found, as the names of those on disk are derived from requests. Costs a lookup for each URL; for a URL with variants, a
    /// pass over all entries.
    pub(crate) async fn inspect(&'static self, urls: Vec<String>, most: usize) -> (Vec<InspectedResponse>, bool) {
        let mut found = Vec::new();
        let mut several = Vec::new();
        for url in urls {
            let name = self.name_of_url(&url);
            match self.entries.peek(&name) {
                Some(CacheEntry::Varies(_)) => several.push(url),
                Some(entry) => found.extend(inspected(entry)),
                None => found.extend(self.inspect_file(name).await),
            }
        }
        if !several.is_empty() {
            let pass = move || {
                let is_meant = |head: &CachedHead| several.iter().any(|url| **url == *head.url);
                let all = self.entries.iter().filter_map(|(_, entry)| inspected(entry));
                all.filter(|one| is_meant(&one.head)).take(most + 1).collect::<Vec<_>>()
            };
            found.extend(tokio::task::spawn_blocking(pass).await.unwrap_or_default());
        }
        found.retain(|one| !self.groups.have_changed(&one.head));
        let more = found.len() > most;
        found.truncate(most);
        (found, more)
    }

    /// Reads an entry that is only on disk; `None` if the disk does not respond.
    async fn inspect_file(&'static self, name: u128) -> Option<InspectedResponse> {
        let disk = self.disks.of(name).filter(|disk| disk.may_have(name))?;
        match disk.pool().run(move || disk.read(name)).await {
            Ok(Some(DiskLookup::Answer(head, opened))) => {
                Some(InspectedResponse { head, length: opened.length(), on_disk: true })
            }
            _ => None,
        }
    }
}

fn inspected(entry: CacheEntry) -> Option<InspectedResponse> {
    match entry {
        CacheEntry::Answer(head, _) if head.is_of_list() => None,
        CacheEntry::Answer(head, content) => Some(InspectedResponse { head, length: content.len(), on_disk: false }),
        CacheEntry::BodyFile(head, body_file) => {
            Some(InspectedResponse { head, length: body_file.length, on_disk: true })
        }
        CacheEntry::Varies(_) | CacheEntry::Marker(_) | CacheEntry::Encoded(..) => None,
    }
}
