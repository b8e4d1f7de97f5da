//! Copies large tables into large pages.
//!
//! A site of 100,000 hosts has megabytes of tables, and a lookup reads a few scattered cache lines. In the binary they
//! are in pages of 4 KiB, which exceed the processor's TLB: each line then also costs a walk through the page tables.
//! They are therefore copied at start into memory that the kernel is asked to back with pages of 2 MiB (see
//! `madvise(2)`, `MADV_HUGEPAGE`). If it has none, all works the same, at the previous cost.

use std::borrow::Cow;
use std::ops::Range;

use memmap2::{Advice, MmapMut};

use crate::router::regex::Joint;
use crate::site::Site;

/// The smallest size that is worth a copy, in bytes.
pub const WORTHWHILE: usize = 1 << 20;

/// A large page, in bytes.
const PAGE: usize = 2 << 20;

/// A cache line, in bytes.
const LINE: usize = 64;

/// Returns the site with its tables in large pages, if they have at least `worthwhile` bytes; the unchanged site otherwise.
/// Costs a copy of the tables.
pub fn settle(site: &'static Site, worthwhile: usize) -> &'static Site {
    settled(site, worthwhile).map_or(site, |site| Box::leak(Box::new(site)))
}

fn settled(site: &'static Site, worthwhile: usize) -> Option<Site> {
    let mut site = site.clone();
    let size: usize = parts(&mut site).iter().map(|part| part.len().next_multiple_of(LINE)).sum();
    let joint: usize = site.tables.joint.iter().map(|joint| joint.bytes().len().next_multiple_of(LINE)).sum();
    if size + joint < worthwhile {
        return None;
    }
    // One more, as the mapping need not begin at a large page.
    let mut map = MmapMut::map_anon(size + joint + PAGE).ok()?;
    // A failure has no effect here.
    let _ = map.advise(Advice::HugePage);
    let mut end = map.as_ptr().align_offset(PAGE);
    let mut copy = |bytes: &[u8]| -> Option<Range<usize>> {
        let range = end..end.checked_add(bytes.len())?;
        map.get_mut(range.clone())?.copy_from_slice(bytes);
        end = range.end.next_multiple_of(LINE);
        Some(range)
    };
    let ranges: Vec<_> = parts(&mut site).iter().map(|part| copy(part)).collect::<Option<_>>()?;
    let joint: Vec<_> = site.tables.joint.iter().map(|joint| copy(joint.bytes())).collect::<Option<_>>()?;
    let map: &'static [u8] = Box::leak(Box::new(map.make_read_only().ok()?));
    for (part, range) in parts(&mut site).into_iter().zip(ranges) {
        *part = Cow::Borrowed(&map[range]);
    }
    site.tables.joint = joint.into_iter().map(|range| Joint::new(Cow::Borrowed(&map[range]))).collect();
    Some(site)
}

/// Returns the tables that a lookup reads, except joint expressions.
fn parts(site: &mut Site) -> [&mut Cow<'static, [u8]>; 11] {
    let tables = &mut site.tables;
    [
        tables.hosts.disps.bytes_mut(),
        &mut tables.hosts.slots,
        tables.exact.disps.bytes_mut(),
        &mut tables.exact.slots,
        tables.segments.disps.bytes_mut(),
        &mut tables.segments.slots,
        tables.captures.bytes_mut(),
        tables.leaves.bytes_mut(),
        tables.expressions.bytes_mut(),
        tables.plain.bytes_mut(),
        site.routes.rows.bytes_mut(),
    ]
}
