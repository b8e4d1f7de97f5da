//! Limits system calls by a filter (seccomp(2)): [`restrict`]. All calls that are not listed fail as if the kernel lacked them (ENOSYS), which
//! libraries can handle. Such calls run programs, trace processes, mount, load code into the kernel, change users, and so on.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::allowed::Allowed;

/// Calls that are allowed with any arguments.
const ALLOWED: &[&[libc::c_long]] = &[MEMORY, THREADS, EVENTS, STREAMS, SOCKETS, FILES, FOLDERS, OWN_STATE, LEGACY];

/// The same for sites that write to folders: to caches on disk, logs, certificates.
const OF_WRITERS: &[&[libc::c_long]] = &[CHANGES, LEGACY_CHANGES];

const MEMORY: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
];

const THREADS: &[libc::c_long] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
];

const EVENTS: &[libc::c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
];

const STREAMS: &[libc::c_long] = &[
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Calls on sockets that exist. [`libc::SYS_socket`] is limited to some families.
const SOCKETS: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
];

const FILES: &[libc::c_long] = &[
    libc::SYS_fadvise64,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_statfs,
    libc::SYS_statx,
];

const FOLDERS: &[libc::c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
];

/// Calls that change files and folders. Data of an open file is written by calls for streams.
const CHANGES: &[libc::c_long] = &[
    libc::SYS_copy_file_range,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

const OWN_STATE: &[libc::c_long] = &[
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_umask,
    libc::SYS_uname,
];

/// Calls that only x86 still has; C libraries use some of them.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[libc::c_long] = &[];

/// The same for [`CHANGES`].
#[cfg(target_arch = "x86_64")]
const LEGACY_CHANGES: &[libc::c_long] = &[
    libc::SYS_chmod,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const LEGACY_CHANGES: &[libc::c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const LEGACY_CHANGES: &[libc::c_long] = &[];

/// The families of sockets that may be created: those of servers.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// The same for sites that resolve names: C libraries list the machine's addresses by netlink.
const FAMILIES_OF_RESOLVERS: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Operations that name threads and their memory.
const NAMING: [libc::c_int; 3] = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// Restricts this thread and those that it starts to what a site needs.
///
/// # Errors
/// Fails if the kernel has no filters, or the machine's architecture is not supported.
pub(super) fn restrict(allowed: &Allowed) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("system calls are not limited: {error}");
    let filter = filter(allowed).map_err(|error| failed(&error))?;
    seccompiler::apply_filter(&filter).map_err(|error| failed(&error))
}

/// Returns the filter.
///
/// Calls on the path of every request have no conditions on arguments: the kernel (5.11) knows the outcome of such calls without running the filter, so neither
/// its length nor its order costs them anything (docs/performance.md).
fn filter(allowed: &Allowed) -> Result<BpfProgram, seccompiler::BackendError> {
    let of_writers = if allowed.write.is_empty() { &[] } else { OF_WRITERS };
    let calls = ALLOWED.iter().chain(of_writers).flat_map(|calls| calls.iter());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls.map(|&call| (call, Vec::new())).collect();
    rules.extend(conditional(allowed.resolves)?);
    let refuse = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Returns the calls that are allowed with some arguments.
fn conditional(resolves: bool) -> Result<[(libc::c_long, Vec<SeccompRule>); 3], seccompiler::BackendError> {
    Ok([
        (libc::SYS_socket, first_is(if resolves { FAMILIES_OF_RESOLVERS } else { FAMILIES })?),
        (libc::SYS_prctl, first_is(&NAMING)?),
        // What `clone3` is to do stands in memory, which a filter does not see: libraries fall back on `clone` for threads.
        (libc::SYS_clone, vec![no_namespace()?]),
    ])
}

/// Returns a rule for `clone` without new namespaces: with its own users, a process has all capabilities in them, and the kernel's code for these to
/// attack.
fn no_namespace() -> Result<SeccompRule, seccompiler::BackendError> {
    let all = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    let none = SeccompCmpOp::MaskedEq(u64::from(all.unsigned_abs()));
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, none, 0)?])
}

/// Returns rules for a call whose first argument must be one of these values.
fn first_is(values: &[libc::c_int]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |value: &libc::c_int| {
        let value = u64::from(value.unsigned_abs());
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
    };
    values.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_every_request_have_no_conditions() {
        let hot = [
            libc::SYS_close,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_futex,
            libc::SYS_pread64,
            libc::SYS_preadv2,
            libc::SYS_read,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
            libc::SYS_sendfile,
            libc::SYS_sendmsg,
            libc::SYS_sendto,
            libc::SYS_write,
            libc::SYS_writev,
        ];
        let conditional = conditional(true).expect("rules");
        for call in hot {
            let is_allowed = ALLOWED.iter().any(|calls| calls.contains(&call));
            assert!(is_allowed && conditional.iter().all(|(other, _)| *other != call), "{call}");
        }
    }

    /// Runs in a thread of its own, so that only this thread is restricted.
    #[test]
    fn calls_that_a_site_has_no_use_for_fail() {
        let check = |writes: bool, resolves: bool| {
            let write = if writes { vec!["/tmp".into()] } else { Vec::new() };
            let allowed = Allowed { write, resolves, ..Allowed::default() };
            let folder = std::env::temp_dir().join(format!("kiln-seccomp-{}-{writes}", std::process::id()));
            let restricted = std::thread::spawn(move || {
                restrict(&allowed).expect("a filter");
                assert_eq!(std::fs::create_dir(&folder).and_then(|()| std::fs::remove_dir(&folder)).is_ok(), writes);
                let netlink = socket2::Socket::new(libc::AF_NETLINK.into(), socket2::Type::RAW, None);
                assert_eq!(netlink.is_ok(), resolves);
                std::net::TcpListener::bind("127.0.0.1:0").expect_err("a process that serves has all of its sockets");
                std::net::UdpSocket::bind("127.0.0.1:0").expect("DNS is asked by UDP");
            });
            restricted.join().expect("no call has another outcome");
        };
        check(false, false);
        check(true, true);
    }

    /// In a thread of its own, too.
    #[test]
    fn calls_that_are_not_listed_fail() {
        let restricted = std::thread::spawn(|| {
            restrict(&Allowed::default()).expect("a filter");
            std::fs::read("/proc/self/status").expect("a file can be read");
            std::thread::spawn(|| ()).join().expect("threads can be started");
            let error = std::process::Command::new("/bin/true").status().expect_err("programs can't be run");
            assert_eq!(error.raw_os_error(), Some(libc::ENOSYS), "{error}");
            let error = rustix::thread::set_thread_groups(&[]).expect_err("the groups can not be changed");
            assert_eq!(error, rustix::io::Errno::NOSYS);
            let raw = socket2::Socket::new(libc::AF_PACKET.into(), socket2::Type::DGRAM, None);
            assert_eq!(raw.err().and_then(|error| error.raw_os_error()), Some(libc::ENOSYS), "packets can't be read");
        });
        restricted.join().expect("no call has another outcome");
    }
}
