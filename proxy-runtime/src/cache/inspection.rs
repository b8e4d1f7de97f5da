//! Lists the entries of a store under a URL, for the admin endpoint: [`Store::inspect`]. Not on the hot path.

use std::sync::Arc;

use super::disk::Found;
use super::entry::{Entry, Head};
use super::store::Store;

/// A cached response.
pub(crate) struct Inspected {
    pub(crate) head: Arc<Head>,
    /// The length of its body.
    pub(crate) length: u64,
    /// Its body is on disk alone.
    pub(crate) on_disk: bool,
}

impl Store {
    /// The responses under some URLs, so many at most, and whether there are more. Of a URL with several only those are found that are in
    /// memory, as the names of those on disk are made of the requests for them. Cost: a look-up for each URL; where one has several, a pass
    /// over all entries.
    pub(crate) async fn inspect(&'static self, urls: Vec<String>, most: usize) -> (Vec<Inspected>, bool) {
        let mut found = Vec::new();
        let mut several = Vec::new();
        for url in urls {
            let name = self.name_of_url(&url);
            match self.entries.peek(&name) {
                Some(Entry::Varies(_)) => several.push(url),
                Some(entry) => found.extend(inspected(entry)),
                None => found.extend(self.inspect_file(name).await),
            }
        }
        if !several.is_empty() {
            let pass = move || {
                let is_meant = |head: &Head| several.iter().any(|url| **url == *head.url);
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

    /// What is on disk alone; where that does not respond, nothing.
    async fn inspect_file(&'static self, name: u128) -> Option<Inspected> {
        let disk = self.disks.of(name).filter(|disk| disk.may_have(name))?;
        match disk.pool().run(move || disk.read(name)).await {
            Ok(Some(Found::Answer(head, opened))) => Some(Inspected { head, length: opened.length(), on_disk: true }),
            _ => None,
        }
    }
}

fn inspected(entry: Entry) -> Option<Inspected> {
    match entry {
        Entry::Answer(head, _) if head.is_of_list() => None,
        Entry::Answer(head, content) => Some(Inspected { head, length: content.len(), on_disk: false }),
        Entry::Filed(head, filed) => Some(Inspected { head, length: filed.length, on_disk: true }),
        Entry::Varies(_) | Entry::Marker(_) | Entry::Form(..) => None,
    }
}
