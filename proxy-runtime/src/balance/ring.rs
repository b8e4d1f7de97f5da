//! `hash`: each server has points on a ring, a key belongs to the first point at or after its hash (consistent hashing,
//! Karger et al. 1997, with points as in libketama). O(log n) per choice. Adding or removing a server moves only the keys of its
//! own points; shares are even within a few percent.

use super::candidates::{Candidates, PickContext, hash};

/// The points with their servers, sorted.
#[derive(Debug)]
pub struct Ring {
    points: Vec<(u64, u16)>,
}

/// The points of a server of weight 1, among up to a thousand servers.
const POINTS: u64 = 160;

/// The most points of all servers together.
const ALL: u64 = 1 << 18;

impl Ring {
    pub(super) fn new(servers: &[(&str, u32)]) -> Ring {
        let total: u64 = servers.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let each = POINTS.min(ALL / total.max(1)).max(1);
        let mut points: Vec<(u64, u16)> = Vec::new();
        for ((name, weight), position) in servers.iter().zip(0_u16..) {
            points.extend((0..each * u64::from(*weight)).map(|point| (hash(name.as_bytes(), point + 1), position)));
        }
        points.sort_unstable();
        Ring { points }
    }

    pub(super) fn choose(&self, servers: &impl Candidates, PickContext { key, .. }: PickContext<'_>) -> Option<usize> {
        let start = self.points.partition_point(|&(point, _)| point < key);
        let (before, after) = self.points.split_at(start);
        // A long run of unavailable servers ends in one look at each.
        let near = after.iter().chain(before).take(servers.count().max(16));
        let near = near.map(|&(_, position)| usize::from(position)).find(|&position| servers.eligible(position));
        near.or_else(|| servers.from((key % servers.count().max(1) as u64) as usize))
    }
}
