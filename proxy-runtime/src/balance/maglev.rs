//! `maglev`: looks up a key's hash in a table in which every server has its share of slots (Eisenbud et al.,
//! "Maglev", NSDI 2016). One look-up per choice, shares even within a percent. Adding or removing a server moves its own keys,
//! and a few percent of others.

use super::candidates::{Candidates, PickContext, hash};

/// The table: the server of each slot.
#[derive(Debug)]
pub struct Maglev {
    table: Vec<u16>,
}

/// The table size of the paper: a prime, much larger than any number of servers.
const PLACES: usize = 65_537;

/// How many other slots a key tries if its server is unavailable.
const LOOKS: u64 = 32;

impl Maglev {
    pub(super) fn new(servers: &[(&str, u32)]) -> Maglev {
        struct Filler {
            position: u16,
            weight: u64,
            /// The next slot that it prefers, and the step to the one after that.
            next: u64,
            skip: u64,
            /// The server takes a slot in a round for each full `largest`.
            earned: u64,
        }
        let largest = servers.iter().map(|(_, weight)| u64::from(*weight)).max().unwrap_or_default();
        let mut fillers: Vec<Filler> = (0_u16..)
            .zip(servers)
            .filter(|(_, (_, weight))| *weight > 0)
            .map(|(position, (name, weight))| Filler {
                position,
                weight: u64::from(*weight),
                next: hash(name.as_bytes(), 1) % PLACES as u64,
                skip: hash(name.as_bytes(), 2) % (PLACES as u64 - 1) + 1,
                earned: 0,
            })
            .collect();
        if fillers.is_empty() {
            return Maglev { table: Vec::new() };
        }
        const FREE: u16 = u16::MAX;
        let (mut table, mut filled) = (vec![FREE; PLACES], 0);
        while filled < PLACES {
            for filler in &mut fillers {
                filler.earned += filler.weight;
                if filler.earned < largest || filled == PLACES {
                    continue;
                }
                filler.earned -= largest;
                // A prime size and a smaller step: every slot is visited once.
                while table[filler.next as usize] != FREE {
                    filler.next = (filler.next + filler.skip) % PLACES as u64;
                }
                table[filler.next as usize] = filler.position;
                filled += 1;
            }
        }
        Maglev { table }
    }

    pub(super) fn choose(&self, servers: &impl Candidates, PickContext { key, .. }: PickContext<'_>) -> Option<usize> {
        let places = self.table.len().max(1) as u64;
        // The key's own slot; then others that depend on the key alone, so that its next server is always the same.
        let looks = (0..LOOKS).map(|look| if look == 0 { key } else { hash(&key.to_le_bytes(), look) });
        let mut looked = looks.filter_map(|place| self.table.get((place % places) as usize)).map(|&at| usize::from(at));
        let found = looked.find(|&position| servers.eligible(position));
        found.or_else(|| servers.from((key % servers.count().max(1) as u64) as usize))
    }
}
