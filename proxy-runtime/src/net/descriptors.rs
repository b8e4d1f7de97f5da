//! The budget of file descriptors: [`Descriptors`], their number, and its division.
//!
//! The soft limit is raised to the hard one at start, as nginx's `worker_rlimit_nofile` and HAProxy's `ulimit-n` do. A reserve for the process
//! itself is set aside; the rest is divided, as HAProxy computes `maxconn`, so that an accepted connection can be served: each has one
//! descriptor for itself and one for a server.
//!
//! ```text
//! limit ─┬─ reserve: listeners, event loops, health checks, short-lived files
//!        ├─ client connections: `limits connections`, or as many as there is room for
//!        ├─ connections to servers, at work and idle
//!        └─ files: static ones that are being sent or were a second ago, cached responses that are read or written
//! ```
//!
//! Taking one is an atomic addition. Idle connections to servers are closed when a descriptor is needed ([`Descriptors::press`]).

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptor budgets.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) budgets: Budgets,
    pub(crate) servers: DescriptorBudget,
    pub(crate) files: DescriptorBudget,
    /// How often there was no free descriptor.
    pressed: AtomicUsize,
}

/// The number of descriptors for each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budgets {
    pub(crate) limit: usize,
    pub(crate) clients: usize,
    pub(crate) servers: usize,
    pub(crate) files: usize,
}

/// The most open files, if there are enough descriptors.
const MOST_FILES: usize = 1024;

impl Budgets {
    /// Divides a limit, after `reserve`. If `clients` would leave too few for other uses, it is reduced. `None`: nothing is left to
    /// divide.
    fn of(limit: usize, reserve: usize, clients: usize) -> Option<Budgets> {
        let free = limit.checked_sub(reserve)?;
        let files = (free / 8).clamp(1, MOST_FILES);
        let clients = clients.min(free.checked_sub(files)? / 2);
        (clients > 0).then(|| Budgets { limit, clients, servers: free - files - clients, files })
    }

    /// Returns the smallest limit that allows this many clients.
    fn needed(reserve: usize, clients: usize) -> usize {
        let all = (1..=MOST_FILES).map(|files| clients.saturating_mul(2).saturating_add(files).saturating_add(reserve));
        let mut enough =
            all.filter(|&limit| Budgets::of(limit, reserve, clients).is_some_and(|all| all.clients == clients));
        enough.next().unwrap_or(usize::MAX)
    }
}

impl Descriptors {
    /// Raises the limit, and divides it. The second value is a notice for the operator.
    ///
    /// # Errors
    /// The limit is too small to serve clients.
    pub(crate) fn new(reserve: usize, clients: usize) -> Result<(Descriptors, Option<String>), String> {
        let limit = raise();
        let budgets = Budgets::of(limit, reserve, clients).ok_or_else(|| {
            format!(
                "{limit} file descriptors (`ulimit -n`) are too few: at least {} are needed",
                Budgets::needed(reserve, 1)
            )
        })?;
        let told = (budgets.clients < clients).then(|| {
            format!(
                "limits: {limit} file descriptors (`ulimit -n`) leave room for {} client connections, {} connections to servers and {} \
                 open files; `limits connections={clients}` needs {}",
                budgets.clients,
                budgets.servers,
                budgets.files,
                Budgets::needed(reserve, clients)
            )
        });
        Ok((Descriptors::of(budgets), told))
    }

    pub(crate) fn of(budgets: Budgets) -> Descriptors {
        Descriptors {
            budgets,
            servers: DescriptorBudget::of(budgets.servers),
            files: DescriptorBudget::of(budgets.files),
            pressed: AtomicUsize::new(0),
        }
    }

    /// There was no free descriptor: idle connections to servers should be closed.
    pub(crate) fn press(&self) {
        self.pressed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often there was no free descriptor.
    pub(crate) fn pressed(&self) -> usize {
        self.pressed.load(Ordering::Relaxed)
    }
}

/// Raises the soft limit to the hard one, and returns the new limit.
fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    // Without a limit, the system's own is far beyond any number of connections.
    current.map_or(1 << 24, |limit| usize::try_from(limit).unwrap_or(usize::MAX)).min(1 << 24)
}

/// Returns whether the process or the system has no descriptors left.
pub(crate) fn are_exhausted(error: &io::Error) -> bool {
    /// `ENFILE` and `EMFILE` on Linux.
    const NONE_LEFT: [i32; 2] = [23, 24];
    error.raw_os_error().is_some_and(|code| NONE_LEFT.contains(&code))
}

/// Returns the error if a budget is used up: the same as at the limit itself.
pub(crate) fn exhausted() -> io::Error {
    io::Error::from_raw_os_error(24)
}

/// A budget of descriptors.
#[derive(Debug)]
pub(crate) struct DescriptorBudget {
    max: usize,
    used: AtomicUsize,
}

impl DescriptorBudget {
    /// Returns a practically unlimited budget.
    #[cfg(test)]
    pub(crate) fn ample() -> &'static DescriptorBudget {
        Box::leak(Box::new(DescriptorBudget::of(1 << 20)))
    }
}

/// One descriptor of a budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct DescriptorPermit(&'static DescriptorBudget);

impl DescriptorBudget {
    pub(crate) fn of(max: usize) -> DescriptorBudget {
        DescriptorBudget { max, used: AtomicUsize::new(0) }
    }

    /// Returns whether no more than a quarter is in use: an open file may be kept for later.
    pub(crate) fn has_spare(&self) -> bool {
        self.used.load(Ordering::Relaxed) <= self.max / 4
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&'static self) -> Option<DescriptorPermit> {
        let held = DescriptorPermit(self);
        (self.used.fetch_add(1, Ordering::Relaxed) < self.max).then_some(held)
    }
}

/// An open file, counted in a budget.
pub(crate) struct CountedFile {
    file: File,
    _held: DescriptorPermit,
}

impl CountedFile {
    pub(crate) fn new(file: File, held: DescriptorPermit) -> CountedFile {
        CountedFile { file, _held: held }
    }
}

impl Deref for CountedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for DescriptorPermit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        let check = |limit, reserve, clients, expected: Option<(usize, usize, usize)>| {
            let budgets = Budgets::of(limit, reserve, clients);
            assert_eq!(
                budgets.map(|all| (all.clients, all.servers, all.files)),
                expected,
                "{limit} {reserve} {clients}"
            );
            if let Some(all) = budgets {
                assert_eq!(all.clients + all.servers + all.files + reserve, limit);
            }
        };
        check(1 << 20, 100, 10_000, Some((10_000, (1 << 20) - 100 - 10_000 - 1024, 1024)));
        check(1024, 100, 10_000, Some((404, 405, 115)));
        check(64, 40, 10_000, Some((10, 11, 3)));
        check(64, 40, 2, Some((2, 19, 3)));
        check(43, 40, 10_000, Some((1, 1, 1)));
        check(42, 40, 10_000, None);
        check(40, 40, 10_000, None);
        check(12, 40, 10_000, None);
        // The stated requirement is sufficient and minimal.
        for clients in [1, 2, 9, 1000, 3584, 10_000, 1 << 20] {
            let needed = Budgets::needed(40, clients);
            let at = |limit| Budgets::of(limit, 40, clients).map_or(0, |all| all.clients);
            assert_eq!(at(needed), clients);
            assert!(at(needed - 1) < clients, "{clients}");
        }
    }

    #[test]
    fn shares() {
        let share: &'static DescriptorBudget = Box::leak(Box::new(DescriptorBudget::of(2)));
        let first = share.take();
        let second = share.take();
        assert!(first.is_some() && second.is_some() && share.take().is_none() && share.take().is_none());
        assert!(!share.has_spare());
        drop((first, second));
        assert!(share.has_spare());
        assert!(share.take().is_some());
    }
}
