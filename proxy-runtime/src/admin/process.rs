//! The resources of the process: CPU time, memory, file descriptors ([`OwnProcess::now`]).

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Resource;

/// This process.
#[derive(Clone, Copy)]
pub(super) struct OwnProcess {
    pub(super) began: SystemTime,
}

/// The resources in use; `None` for what the kernel does not report.
pub(super) struct Usage {
    /// The CPU time in microseconds.
    pub(super) cpu: u64,
    /// The size of the address space in bytes.
    pub(super) virtual_memory: Option<u64>,
    pub(super) resident: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    /// When the process began, in seconds since 1970.
    pub(super) began: u64,
}

impl OwnProcess {
    /// Returns the current usage. Costs three files of `/proc`, and a line for each descriptor.
    pub(super) fn now(&self) -> Usage {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        // The first two fields are pages: all, and those in RAM (proc(5)).
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let page = rustix::param::page_size() as u64;
        let mut pages = statm.split_whitespace().map(|pages| Some(pages.parse::<u64>().ok()? * page));
        Usage {
            cpu: cpu.tv_sec as u64 * 1_000_000 + cpu.tv_nsec as u64 / 1000,
            virtual_memory: pages.next().flatten(),
            resident: pages.next().flatten(),
            // The descriptor that reads the folder does not count.
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1)),
            max_fds: rustix::process::getrlimit(Resource::Nofile).current,
            began: self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}
