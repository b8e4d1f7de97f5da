//! The purges of a folder of cached responses: [`Bans`]. A file is compared with them when it is read, so a purge looks at no file. The
//! lookup uses the URL, the host, the paths above it and the tags, whatever the number of purges. Only patterns are tried one after
//! another, so their number is limited: if there are too many, the older half is widened to all of their hosts. Pure, except for a lock.
//!
//! Files and purges are ordered by sequence numbers of the folder's [journal](super::journal): a purge applies to all files that were
//! written before it. The number of purges is bounded: the older half is widened to a purge of everything that was written before.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pattern::{Pattern, parts_of};
use super::purges::Purge;

/// The purges of a folder.
pub(super) struct Bans {
    known: Mutex<KnownBans>,
    /// The most bytes that are kept.
    most: usize,
}

#[derive(Default)]
struct KnownBans {
    urls: HashMap<Box<str>, LastPurge>,
    below: HashMap<Box<str>, LastPurge>,
    /// The lengths of the URLs in `below`, with the number of URLs of each length.
    lengths: BTreeMap<usize, usize>,
    tags: HashMap<Box<str>, LastPurge>,
    /// Purges of whole hosts.
    hosts: HashMap<Box<str>, LastPurge>,
    /// At most [`MOST_PATTERNS`].
    patterns: Vec<(Pattern, LastPurge)>,
    all: LastPurge,
    bytes: usize,
}

/// The sequence numbers of the last purge of something, and of the last soft one; 0 if there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LastPurge {
    hard: u64,
    soft: u64,
}

/// A purge with its sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ban {
    pub(super) sequence: u64,
    pub(super) soft: bool,
    pub(super) purge: Purge,
}

/// The most bytes that are kept by default.
const MOST: usize = 8 << 20;

/// The memory of a purge beside its text.
const OVERHEAD: usize = 64;

/// The most patterns that are tried for a file: some microseconds.
const MOST_PATTERNS: usize = 64;

impl Bans {
    /// Creates an empty list of at most `most` bytes.
    pub(super) fn new(most: u64) -> Bans {
        Bans { known: Mutex::default(), most: usize::try_from(most).unwrap_or(MOST).min(MOST) }
    }

    fn locked(&self) -> MutexGuard<'_, KnownBans> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a purge.
    pub(super) fn add(&self, ban: &Ban) {
        let mut known = self.locked();
        known.add(ban);
        if known.bytes > self.most {
            known.widen_older();
        }
    }

    /// Returns whether a file written after `sequence` purges was purged, and whether softly. Costs a lookup for each distinct
    /// length of purged paths, for the host and for each tag, and a match of the URL with each later pattern.
    pub(super) fn mean(&self, url: &str, tags: &str, sequence: u64) -> Option<bool> {
        self.locked().mean(url, tags, sequence)
    }

    /// Returns all purges, in order.
    pub(super) fn all(&self) -> Vec<Ban> {
        let known = self.locked();
        let mut bans = Vec::new();
        let mut list = |purge: Purge, marks: &LastPurge| {
            for (sequence, soft) in [(marks.hard, false), (marks.soft, true)] {
                if sequence > 0 {
                    bans.push(Ban { sequence, soft, purge: purge.clone() });
                }
            }
        };
        known.urls.iter().for_each(|(url, marks)| list(Purge::Url(url.to_string()), marks));
        known.below.iter().for_each(|(url, marks)| list(Purge::Below(url.to_string()), marks));
        known.tags.iter().for_each(|(tag, marks)| list(Purge::Tags(vec![tag.to_string()]), marks));
        known.hosts.iter().for_each(|(host, marks)| list(Purge::Pattern(Pattern::of_host(host)), marks));
        known.patterns.iter().for_each(|(pattern, marks)| list(Purge::Pattern(pattern.clone()), marks));
        list(Purge::All, &known.all);
        bans.sort_by_key(|ban| ban.sequence);
        bans
    }
}

impl LastPurge {
    fn add(&mut self, sequence: u64, soft: bool) {
        let mark = if soft { &mut self.soft } else { &mut self.hard };
        *mark = (*mark).max(sequence);
    }

    /// Combines two entries.
    fn merge(&mut self, other: LastPurge) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
    }

    fn last(&self) -> u64 {
        self.hard.max(self.soft)
    }

    fn mean(&self, sequence: u64) -> Option<bool> {
        match (self.hard > sequence, self.soft > sequence) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
        }
    }
}

impl KnownBans {
    fn add(&mut self, ban: &Ban) {
        let Ban { sequence, soft, purge } = ban;
        let bytes = &mut self.bytes;
        let mut mark = |map: &mut HashMap<Box<str>, LastPurge>, text: &str| {
            if let Some(marks) = map.get_mut(text) {
                marks.add(*sequence, *soft);
                return false;
            }
            *bytes += text.len() + OVERHEAD;
            map.entry(text.into()).or_default().add(*sequence, *soft);
            true
        };
        match purge {
            Purge::Url(url) => {
                mark(&mut self.urls, url);
            }
            Purge::Below(url) => {
                if mark(&mut self.below, url) {
                    *self.lengths.entry(url.len()).or_default() += 1;
                }
            }
            Purge::Pattern(pattern) => match pattern.host() {
                Some((host, true)) => {
                    mark(&mut self.hosts, host);
                }
                _ => self.add_pattern(pattern, *sequence, *soft),
            },
            Purge::Tags(tags) => {
                for tag in tags {
                    mark(&mut self.tags, tag);
                }
            }
            Purge::All => self.all.add(*sequence, *soft),
        }
    }

    fn add_pattern(&mut self, pattern: &Pattern, sequence: u64, soft: bool) {
        if let Some((_, marks)) = self.patterns.iter_mut().find(|(known, _)| known == pattern) {
            return marks.add(sequence, soft);
        }
        let mut marks = LastPurge::default();
        marks.add(sequence, soft);
        self.bytes += pattern.as_str().len() + OVERHEAD;
        self.patterns.push((pattern.clone(), marks));
        if self.patterns.len() > MOST_PATTERNS {
            self.widen_patterns();
        }
    }

    /// Widens the older half of the patterns to purges of their hosts; a pattern for several hosts, to a purge of
    /// everything.
    fn widen_patterns(&mut self) {
        self.patterns.sort_by_key(|(_, marks)| marks.last());
        for (pattern, marks) in self.patterns.drain(..MOST_PATTERNS / 2) {
            self.bytes -= pattern.as_str().len() + OVERHEAD;
            match pattern.host() {
                Some((host, _)) => {
                    let bytes = &mut self.bytes;
                    let kept = self.hosts.entry(host.into()).or_insert_with(|| {
                        *bytes += host.len() + OVERHEAD;
                        LastPurge::default()
                    });
                    kept.merge(marks);
                }
                None => self.all.merge(marks),
            }
        }
    }

    fn mean(&self, url: &str, tags: &str, sequence: u64) -> Option<bool> {
        let of = |map: &HashMap<Box<str>, LastPurge>, text: &str| map.get(text).and_then(|marks| marks.mean(sequence));
        // The conditions of `Purge::means`.
        let above = self.lengths.keys().filter_map(|&length| {
            let (above, rest) = (url.get(..length)?, url.get(length..)?);
            let is_above = rest.is_empty() || above.ends_with('/') || rest.starts_with(['/', '?']);
            if is_above { of(&self.below, above) } else { None }
        });
        let tags = tags.split(' ').filter(|tag| !tag.is_empty()).filter_map(|tag| of(&self.tags, tag));
        let matching = self.patterns.iter().filter_map(|(pattern, marks)| {
            let softly = marks.mean(sequence)?;
            pattern.means(url).then_some(softly)
        });
        let host = of(&self.hosts, parts_of(url).0);
        let looked_up = [of(&self.urls, url), host, self.all.mean(sequence)].into_iter().flatten();
        looked_up.chain(above).chain(tags).chain(matching).min()
    }

    /// Drops the older half of the purges. The files of a purged URL are gone already; other purges are widened.
    fn widen_older(&mut self) {
        let maps = [&self.urls, &self.below, &self.tags, &self.hosts];
        let mut all: Vec<u64> = maps.iter().flat_map(|map| map.values().map(LastPurge::last)).collect();
        let middle = all.len() / 2;
        let (_, &mut newest, _) = all.select_nth_unstable(middle);
        let (widened, bytes) = (&mut self.all, &mut self.bytes);
        let mut keep = |text: &str, marks: &LastPurge, has_files: bool| {
            let kept = marks.last() > newest;
            if !kept {
                *bytes -= text.len() + OVERHEAD;
                widened.add(marks.soft, true);
                if has_files {
                    widened.add(marks.hard, false);
                }
            }
            kept
        };
        self.urls.retain(|text, marks| keep(text, marks, false));
        self.below.retain(|text, marks| keep(text, marks, true));
        self.tags.retain(|text, marks| keep(text, marks, true));
        self.hosts.retain(|text, marks| keep(text, marks, true));
        self.lengths.clear();
        for text in self.below.keys() {
            *self.lengths.entry(text.len()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purge(kind: u8, text: &str) -> Purge {
        match kind {
            0 => Purge::Url(text.to_owned()),
            1 => Purge::Below(text.to_owned()),
            2 => Purge::Tags(vec![text.to_owned(), "t".to_owned()]),
            3 => Purge::Pattern(Pattern::of(&format!("h/{}", text.replace('a', "*"))).expect("a pattern")),
            4 => Purge::Pattern(Pattern::of(&format!("*/{}", text.replace('a', "*"))).expect("a pattern")),
            _ => Purge::All,
        }
    }

    proptest! {
        /// The lookup finds what a comparison with each purge would find.
        #[test]
        fn lookup_matches_each_purge(
            purges in prop::collection::vec((0..6_u8, "(h/|h)?[ab/?]{0,4}", any::<bool>()), 0..12),
            // The URL of a cached response has a path.
            url in "h?[ab?]{0,1}/[ab/?]{0,4}",
            tags in "[abt ]{0,5}",
            sequence in 0..14_u64,
        ) {
            let bans = Bans::new(u64::MAX);
            let mut expected = None;
            for ((kind, text, soft), number) in purges.iter().zip(1..) {
                let purge = purge(*kind, text);
                if number > sequence && purge.means(&url, &tags) {
                    expected = Some(expected.map_or(*soft, |before: bool| before && *soft));
                }
                bans.add(&Ban { sequence: number, soft: *soft, purge });
            }
            prop_assert_eq!(bans.mean(&url, &tags, sequence), expected);
            // The same after a rewrite of the journal.
            let again = Bans::new(u64::MAX);
            bans.all().iter().for_each(|ban| again.add(ban));
            prop_assert_eq!(again.mean(&url, &tags, sequence), expected);
        }
    }

    /// The number of purges is bounded, and a purged response is never taken for fresh, except one whose URL was purged, as its file is
    /// gone.
    #[test]
    fn purges_are_bounded() {
        let check = |of: fn(String) -> Purge, soft: bool, expected: Option<bool>| {
            const MOST: usize = 100_000;
            let bans = Bans::new(MOST as u64);
            let count = (3 * MOST / 100) as u64;
            let url = |number: u64| format!("http://a/{number:0>64}");
            for number in 1..=count {
                bans.add(&Ban { sequence: number, soft, purge: of(url(number)) });
                assert!(bans.locked().bytes <= MOST);
            }
            let means = |number: u64, sequence| bans.mean(&url(number), &url(number), sequence);
            assert_eq!(means(1, 0), expected);
            assert_eq!(means(count, 0), Some(soft));
            assert_eq!(means(count + 1, count - 1), None, "newer files are not purged");
            let (urls, below, tags) = {
                let known = bans.locked();
                (known.urls.len(), known.below.len(), known.tags.len())
            };
            assert!(urls + below + tags > MOST / 400);
        };
        check(Purge::Url, false, None);
        check(Purge::Url, true, Some(true));
        check(Purge::Below, false, Some(false));
        check(|tag| Purge::Tags(vec![tag]), false, Some(false));
        check(|tag| Purge::Tags(vec![tag]), true, Some(true));
    }

    /// The number of patterns is bounded, and a purged response is never taken for fresh.
    #[test]
    fn patterns_are_few() {
        let check = |text: fn(u64) -> String, url: fn(u64) -> String, other: Option<bool>| {
            let bans = Bans::new(u64::MAX);
            for number in 1..=1000 {
                let purge = Purge::Pattern(Pattern::of(&text(number)).expect("a pattern"));
                bans.add(&Ban { sequence: number, soft: false, purge });
                assert!(bans.locked().patterns.len() <= MOST_PATTERNS);
            }
            assert!((1..=1000).all(|number| bans.mean(&url(number), "", number - 1) == Some(false)));
            assert_eq!(bans.mean(&url(1000), "", 1000), None, "written later");
            assert_eq!(bans.mean("http://other/", "", 0), other);
        };
        // The older ones are widened to their hosts, or to everything.
        check(|number| format!("a/*/{number}"), |number| format!("http://a/x/{number}?q"), None);
        check(|number| format!("*.a/*/{number}"), |number| format!("https://b.a:8443/x/{number}"), Some(false));
        // Purges of whole hosts are looked up, however many hosts there are.
        check(|number| format!("h{number}/*"), |number| format!("http://h{number}/x"), None);
    }
}
