//! Cache groups (RFC 9875): a server puts responses into groups (`Cache-Groups`), and the response to a POST or a similar
//! request names the groups that have changed (`Cache-Group-Invalidation`).
//!
//! A group is a tag that includes its origin, so the code that purges tags also purges groups: on disk, in the journal, and in-flight
//! fetches. In memory a purge of tags is a pass over all entries, which is too expensive for a response to a POST. Responses in groups are
//! therefore compared with [`Groups`] when they are looked up: a hit compares two numbers, and looks at its groups once after each
//! invalidation. Other hits cost nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sfv::{BareItem, List, ListEntry, Parser};

use super::entry::CachedHead;
use crate::protocol::fields::Fields;

/// The group invalidations of a store.
#[derive(Default)]
pub(super) struct Groups {
    /// The number of invalidations so far.
    count: AtomicU64,
    known: Mutex<KnownGroups>,
}

#[derive(Default)]
struct KnownGroups {
    /// The number of the last invalidation of each group.
    last: HashMap<Box<str>, u64>,
    /// The highest number among dropped groups.
    forgotten: u64,
    bytes: usize,
}

/// The most bytes of groups that are kept.
const MOST: usize = 1 << 20;

/// The memory of a group beside its text.
const OVERHEAD: usize = 64;

/// The first character of a group's tag, which no other tag has, as commas separate tags.
const MARK: char = ',';

/// The state of a response without groups: no invalidation applies to it.
const IN_NONE: u64 = u64::MAX;

impl Groups {
    /// Returns the number of invalidations so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Invalidates groups: responses in them that were requested before are not used any more.
    pub(super) fn invalidate(&self, groups: &[String]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.count.load(Ordering::Relaxed) + 1;
        for group in groups {
            if let Some(last) = known.last.get_mut(group.as_str()) {
                *last = number;
                continue;
            }
            known.bytes += group.len() + OVERHEAD;
            known.last.insert(group.as_str().into(), number);
        }
        if known.bytes > MOST {
            known.forget_older();
        }
        self.count.store(number, Ordering::Release);
    }

    /// Returns whether a group of a response was invalidated since the last check. Costs only a comparison if the response has no groups, or
    /// there was no invalidation since.
    pub(super) fn have_changed(&self, head: &CachedHead) -> bool {
        let seen = head.groups_seen.load(Ordering::Relaxed);
        if seen == IN_NONE {
            return false;
        }
        let count = self.count();
        if seen == count {
            return false;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_later = |tag: &str| known.last.get(tag).is_some_and(|&last| last > seen);
        if known.forgotten > seen || head.tags.split(' ').any(is_later) {
            return true;
        }
        head.groups_seen.store(count, Ordering::Relaxed);
        false
    }
}

impl KnownGroups {
    /// Drops the older half: what was in any group before the last of these counts as invalidated.
    fn forget_older(&mut self) {
        let mut all: Vec<u64> = self.last.values().copied().collect();
        let middle = all.len() / 2;
        let (_, &mut newest, _) = all.select_nth_unstable(middle);
        self.forgotten = self.forgotten.max(newest);
        let bytes = &mut self.bytes;
        self.last.retain(|group, last| {
            let is_kept = *last > newest;
            if !is_kept {
                *bytes -= group.len() + OVERHEAD;
            }
            is_kept
        });
    }
}

/// Returns the groups that a field lists, as tags. A field that is not a list of strings lists none (RFC 9875 section 2, RFC 9651
/// section 4.2); parameters are ignored.
pub(crate) fn of(fields: &Fields, name: &'static str, origin: &str) -> Vec<String> {
    listed(fields, name).unwrap_or_default().iter().map(|group| tag(group, origin)).collect()
}

/// Returns the groups that a field lists. `None`: it is not a list of strings.
pub(crate) fn listed(fields: &Fields, name: &'static str) -> Option<Vec<String>> {
    let lines: Vec<&[u8]> = fields.all(name).collect();
    if lines.is_empty() {
        return Some(Vec::new());
    }
    let list: List = Parser::new(&lines.join(b", ".as_slice())).parse().ok()?;
    list.iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::String(group) => Some(group.as_str().to_owned()),
                _ => None,
            },
            ListEntry::InnerList(_) => None,
        })
        .collect()
}

/// Returns the tag of an origin's group. Groups are compared by character (section 2.1); tags are separated by blanks, so
/// these are escaped.
pub(crate) fn tag(group: &str, origin: &str) -> String {
    format!("{MARK}{origin}{MARK}{}", group.replace('%', "%25").replace(' ', "%20"))
}

#[cfg(any(feature = "admin", test))]
/// Returns the group of a tag.
pub(crate) fn group_of(tag: &str) -> Option<String> {
    let (_, group) = tag.strip_prefix(MARK)?.split_once(MARK)?;
    Some(group.replace("%20", " ").replace("%25", "%"))
}

/// Returns whether a response of this URL may have a tag: a group belongs to one origin.
pub(super) fn may_have(url: &str, tag: &str) -> bool {
    let origin = tag.strip_prefix(MARK).and_then(|rest| rest.split_once(MARK)).map(|(origin, _)| origin);
    origin.is_none_or(|origin| url.starts_with(origin))
}

/// Returns the initial state of a response with these tags, after `count` invalidations: all are known, if a tag is a
/// group.
pub(super) fn seen(tags: &str, count: u64) -> u64 {
    if tags.contains(MARK) { count } else { IN_NONE }
}

/// Returns whether all tags are groups.
pub(super) fn are_all(tags: &[String]) -> bool {
    tags.iter().all(|tag| tag.starts_with(MARK))
}

/// Returns the origin (RFC 9110 section 4.3.1) of a cache key's URL.
pub(crate) fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', ';']).map_or(url.len(), |end| host + end);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::store::tests::head;
    use super::*;

    #[test]
    fn lists() {
        let check = |lines: &[&str], expected: &[&str]| {
            let fields: Fields = lines.iter().map(|line| ("cache-groups", *line)).collect();
            assert_eq!(of(&fields, "cache-groups", "http://a"), expected, "{lines:?}");
            let said: Vec<_> = expected.iter().filter_map(|tag| group_of(tag)).collect();
            assert_eq!(listed(&fields, "cache-groups").unwrap_or_default(), said);
        };
        check(&[], &[]);
        check(&["\"a\", \"b\";x=1"], &[",http://a,a", ",http://a,b"]);
        check(&["\"a b\"", "\"100%\", \"%20\""], &[",http://a,a%20b", ",http://a,100%25", ",http://a,%2520"]);
        check(&["\"q\\\"\\\\,\""], &[",http://a,q\"\\,"]);
        // Invalid lists have no groups.
        check(&["a"], &[]);
        check(&["\"a\", b"], &[]);
        check(&["\"a\", (\"b\")"], &[]);
        check(&["\"a"], &[]);
        check(&["\"\u{e9}\""], &[]);
        let many: Vec<String> = (0..100).map(|number| format!("\"{number:0>64}\"")).collect();
        let fields: Fields = [("cache-groups", many.join(",").as_str())].into_iter().collect();
        assert_eq!(of(&fields, "cache-groups", "").len(), 100, "section 2 requires 32 of 32 characters");
    }

    #[test]
    fn origins() {
        let check = |url: &str, expected: &str| assert_eq!(origin_of(url), expected);
        check("http://a.test/x;y", "http://a.test");
        check("https://a.test:8443;2/", "https://a.test:8443");
        check("https://[::1]:8443/?/", "https://[::1]:8443");
        assert!(may_have("http://a.test;2/x", &tag("g", "http://a.test")) && may_have("http://a.test/", "g"));
        assert!(!may_have("http://b.test/x", &tag("g", "http://a.test")));
    }

    #[test]
    fn changed() {
        let groups = Groups::default();
        let tags = |group: &str| vec![tag(group, "http://a")];
        let stored = |tags: &str, count: u64| {
            let head = head("http://a/x", &[], tags);
            head.groups_seen.store(seen(tags, count), Ordering::Relaxed);
            head
        };
        groups.invalidate(&tags("one"));
        let before = groups.count();
        let (one, two, none) =
            (stored(&tags("one")[0], before), stored(&format!("t {}", tags("two")[0]), before), stored("t", before));
        assert!([&one, &two, &none].into_iter().all(|head| !groups.have_changed(head)), "nothing was invalidated yet");
        groups.invalidate(&tags("two"));
        assert!(!groups.have_changed(&one) && groups.have_changed(&two) && groups.have_changed(&two));
        groups.invalidate(&tags("one"));
        assert!(groups.have_changed(&one) && !groups.have_changed(&none));
        // The number of groups is bounded, and invalidated responses stay so.
        let old = stored(&tags("0")[0], groups.count());
        let new: Vec<Arc<CachedHead>> = (0..20_000)
            .map(|number| {
                groups.invalidate(&tags(&number.to_string()));
                stored(&tags(&number.to_string())[0], groups.count())
            })
            .collect();
        assert!(groups.known.lock().expect("a lock").bytes <= MOST && groups.have_changed(&old));
        assert!(!groups.have_changed(&new[19_999]) && groups.have_changed(&new[0]));
    }
}
