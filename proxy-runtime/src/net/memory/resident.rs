//! The bound of the process's resident memory, above which it refuses requests ([`ResidentMemory`]).
//!
//! What is bounded by itself (caches, clients that do not read, connections) stays below it if it is well chosen. This is for what nobody
//! has counted: a refusal for seconds is better than the end of the process, by the kernel, with all of its requests. The main thread
//! measures; workers read a flag.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::trim::allocator;
use crate::context::settings::{self, Settings};
use crate::observe::{announce, notice};
use crate::site::Site;

/// Whether the process uses more memory than it may.
#[derive(Debug, Default)]
pub(crate) struct ResidentMemory {
    exceeded: AtomicBool,
}

/// The interval between measurements.
const EVERY: Duration = Duration::from_millis(250);

/// While requests are refused, free memory is returned at each so many measurements: workers may wait for that.
const TRIMMED: u32 = 8;

impl ResidentMemory {
    /// Whether requests are refused now.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Measures for as long as the process runs, if it has a limit, in bytes.
    pub(crate) async fn keep_measuring(&self, limit: Option<u64>) {
        let Some(limit) = limit else { return };
        let mut refusing = 0_u32;
        loop {
            if self.measured(limit, used()) {
                // Before clients are refused, memory that is free and was kept for later is returned.
                if refusing.is_multiple_of(TRIMMED) {
                    allocator::trim();
                }
                refusing = refusing.wrapping_add(1);
                let used = used();
                if self.measured(limit, used) && !self.exceeded.swap(true, Ordering::Relaxed) {
                    let (used, allowed) = (used >> 20, settings::size_text(limit));
                    notice(&format!("{used}MiB of memory are in use, and {allowed} allowed: requests are refused"));
                }
            } else {
                refusing = 0;
                if self.exceeded.swap(false, Ordering::Relaxed) {
                    announce("memory is available again: requests are accepted");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Whether so much memory is too much. Once it was, it must fall a little below the limit.
    fn measured(&self, limit: u64, used: u64) -> bool {
        used > if self.is_exceeded() { limit - limit / 20 } else { limit }
    }
}

/// Returns the limit of the process, if it has one: the site's, or nine tenths of its control group's.
pub(crate) fn limit(site: &Site, settings: &Settings) -> Option<u64> {
    match &site.process.memory_limit {
        Some(limit) => Some(limit.get(settings)).filter(|limit| *limit != u64::MAX),
        None => group_limit(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").ok()?),
    }
}

/// Warns if what caches and clients may use is more than the process may: once caches are full, requests would be refused for ever.
pub(crate) fn warn(site: &Site, settings: &Settings, limit: Option<u64>) {
    let stores = site.stores.iter().map(|store| store.memory.get(settings)).fold(0, u64::saturating_add);
    let wanted = stores.saturating_add(site.root.limits.memory.get(settings));
    if let Some(limit) = limit.filter(|limit| wanted > *limit) {
        let (wanted, limit) = (settings::size_text(wanted), settings::size_text(limit));
        notice(&format!(
            "memory: `cache-store memory=` and `limits memory` allow {wanted} together, and the process {limit} (`memory-limit`, or nine \
             tenths of its control group)"
        ));
    }
}

/// Returns nine tenths of the smallest `memory.max` of a group and of those that contain it (cgroups(7), version 2). `groups` is the text of
/// /proc/PID/cgroup.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let within = Path::new(group).ancestors().map(|group| root.join(group).join("memory.max"));
    let limits = within.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    limits.min().map(|limit| limit - limit / 10)
}

/// Returns the resident memory in bytes: the second field of statm (proc(5)), in pages; 0 if that can't be read.
fn used() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_groups() {
        let root = std::env::temp_dir().join(format!("kiln-groups-{}", std::process::id()));
        fs::create_dir_all(root.join("a.slice/b.service")).expect("a folder");
        for (group, max) in [("a.slice", "max"), ("a.slice/b.service", "1000")] {
            fs::write(root.join(group).join("memory.max"), format!("{max}\n")).expect("written");
        }
        let check = |groups: &str, expected| assert_eq!(group_limit(&root, groups), expected, "{groups}");
        check("0::/a.slice/b.service\n", Some(900));
        check("1:memory:/x\n0::/a.slice/b.service\n", Some(900));
        check("0::/a.slice\n", None);
        check("0::/\n", None);
        check("1:memory:/a.slice/b.service\n", None);
        check("", None);
        // In a container, its own group is the root; and a limit of the slice also limits the service.
        fs::write(root.join("memory.max"), "2000").expect("written");
        check("0::/\n", Some(1800));
        fs::write(root.join("a.slice/memory.max"), "500").expect("written");
        check("0::/a.slice/b.service\n", Some(450));
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn exceeded_until_there_is_room() {
        let memory = ResidentMemory::default();
        let check = |used: u64, expected| assert_eq!(memory.measured(1000, used), expected, "{used}");
        check(1000, false);
        check(1001, true);
        memory.exceeded.store(true, Ordering::Relaxed);
        check(951, true);
        check(950, false);
        assert!(used() > 1 << 16);
    }
}
