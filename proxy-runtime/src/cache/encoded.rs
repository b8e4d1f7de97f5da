//! Encoded variants of cached responses: compressed once, and cached beside the original.
//!
//! A variant is a separate entry, which is weighed and evicted like others, under a key with a number that belongs to one
//! content. It is therefore not found any more once the content changes; a purge of a response also purges its variants.

use std::sync::Arc;

use bytes::Bytes;

use super::entry::CacheEntry;
use super::entry::CachedHead;
use super::store::CacheStore;
use crate::site::Coding;

/// The encoded variants of one content.
pub(crate) struct EncodedVariants {
    store: &'static CacheStore,
    head: Arc<CachedHead>,
}

impl EncodedVariants {
    /// Returns the variants of the response with this head.
    pub(crate) fn of(store: &'static CacheStore, head: &Arc<CachedHead>) -> EncodedVariants {
        EncodedVariants { store, head: Arc::clone(head) }
    }

    /// Returns the largest variant, in bytes.
    pub(crate) fn largest(&self) -> usize {
        usize::try_from(self.store.max_object).unwrap_or(usize::MAX)
    }

    /// Returns the variant of this coding, if it is cached.
    pub(crate) fn get(&self, coding: Coding) -> Option<Bytes> {
        match self.store.entries.get(&self.store.name_of_form(self.head.number, coding))? {
            CacheEntry::Encoded(_, bytes) => Some(bytes),
            CacheEntry::Answer(..) | CacheEntry::BodyFile(..) | CacheEntry::Varies(_) | CacheEntry::Marker(_) => None,
        }
    }

    /// Stores a variant.
    pub(crate) fn keep(&self, coding: Coding, bytes: Vec<u8>) {
        let name = self.store.name_of_form(self.head.number, coding);
        self.store.entries.insert(name, CacheEntry::Encoded(Arc::clone(&self.head), bytes.into_boxed_slice().into()));
    }
}

impl CacheStore {
    fn name_of_form(&self, number: u64, coding: Coding) -> u128 {
        self.name_of([b"form ", &number.to_be_bytes(), coding.name().as_bytes()])
    }

    /// Removes the variants of a response that is removed.
    pub(super) fn forget_forms(&self, entry: &CacheEntry) {
        if let CacheEntry::Answer(head, _) = entry {
            for coding in [Coding::Zstd, Coding::Brotli, Coding::Gzip] {
                self.entries.remove(&self.name_of_form(head.number, coding));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cached_body::CachedBody;
    use super::super::purges::Purge;
    use super::super::store::tests;
    use super::*;
    use crate::protocol::date::Moment;

    /// Returns a response with an encoded variant.
    fn kept(url: &str) -> (&'static CacheStore, EncodedVariants) {
        let store = tests::store(1 << 20);
        let head = tests::head(url, &[], "a");
        let name = store.name_of([url.as_bytes(), b"", b""]);
        store.keep(name, Arc::clone(&head), CachedBody::One(Bytes::from_static(b"text")), 0).expect("kept");
        let variants = EncodedVariants::of(store, &head);
        variants.keep(Coding::Gzip, b"txt".to_vec());
        assert_eq!(variants.get(Coding::Gzip).as_deref(), Some(b"txt".as_slice()));
        assert_eq!(variants.get(Coding::Brotli), None);
        (store, variants)
    }

    #[test]
    fn variants_are_removed_with_the_original() {
        let purges = [Purge::All, Purge::Url("u".to_owned()), Purge::Tags(vec!["a".to_owned()])];
        for purge in purges {
            let (store, variants) = kept("u");
            assert_eq!(
                store.purge(std::slice::from_ref(&purge), true, Moment(1)).found,
                1,
                "a form is no answer of its own"
            );
            assert!(variants.get(Coding::Gzip).is_some(), "a stale response may still be valid");
            assert_eq!(store.purge(&[purge], false, Moment(1)).found, 1);
            assert_eq!(variants.get(Coding::Gzip), None);
        }
        let (store, variants) = kept("u");
        store.forget(store.name_of_url("u"), |_| true);
        assert_eq!(variants.get(Coding::Gzip), None);
        // Another content of the same URL has its own variants.
        assert_eq!(EncodedVariants::of(store, &tests::head("u", &[], "")).get(Coding::Gzip), None);
    }
}
