//! `first`: the first available server, in the order of the file. With `max-connections` they fill up one after
//! another, and those at the end can be switched off.

use super::candidates::Candidates;

pub(super) fn choose(servers: &impl Candidates) -> Option<usize> {
    servers.from(0)
}
