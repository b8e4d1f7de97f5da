//! Returns freed memory to the system after the load has dropped: [`keep_trimming`].
//!
//! glibc keeps freed memory for later allocations, and all of it if live pieces lie between: after ten thousand streams of clients
//! that read nothing the process would keep its size. The main thread therefore checks every few seconds whether connections or
//! [`Memory`] have fallen to less than half, and then has the allocator release pages. That takes about a millisecond, in which
//! workers may wait for the allocator, but never under load.

use std::time::Duration;

use super::Memory;
use crate::net::budget::ConnectionBudget;

/// The interval between checks.
const EVERY: Duration = Duration::from_secs(2);

/// How many times pages are then released: workers drop their free buffers a little later.
const TIMES: u32 = 4;

/// With fewer connections than this, or less memory, there is nothing to release.
const FEW: usize = 16;
const LITTLE: usize = 1 << 20;

/// Checks for as long as the process runs.
pub(crate) async fn keep_trimming(memory: &Memory, budget: &ConnectionBudget) {
    let (mut most, mut times) = ([0, 0], 0);
    loop {
        tokio::time::sleep(EVERY).await;
        if has_fallen(&mut most, [budget.connections(), memory.used()]) {
            times = TIMES;
        }
        if times > 0 {
            times -= 1;
            allocator::trim();
        }
    }
}

/// Returns whether connections or memory have fallen to less than half of their peak, given the peak since the last check and the
/// current value; if so, the peak is reset.
fn has_fallen(most: &mut [usize; 2], seen: [(usize, usize); 2]) -> bool {
    let mut fallen = false;
    for ((most, (seen, now)), least) in most.iter_mut().zip(seen).zip([FEW, LITTLE]) {
        *most = (*most).max(seen);
        fallen |= *most > least && now < *most / 2;
    }
    if fallen {
        *most = seen.map(|(_, now)| now);
    }
    fallen
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) mod allocator {
    use std::ffi::c_int;

    // SAFETY: the declaration is that of malloc.h: `int malloc_trim(size_t pad)`. The function may be called by any thread at any
    // time (malloc_trim(3): MT-Safe), takes no pointer, and affects only free pages.
    #[allow(unsafe_code, reason = "proved above")]
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> c_int;
    }

    pub(in crate::net::memory) fn trim() {
        // The result, whether any memory was released, does not matter.
        let _ = malloc_trim(0);
    }
}

/// Other allocators release memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) mod allocator {
    pub(in crate::net::memory) fn trim() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_half_of_the_peak() {
        let mut most = [0, 0];
        let mut check = |connections, used, expected| {
            assert_eq!(has_fallen(&mut most, [connections, used]), expected, "{connections:?} {used:?}");
        };
        check((0, 0), (0, 0), false);
        check((16, 16), (LITTLE, LITTLE), false);
        check((0, 0), (0, 0), false);
        check((100, 100), (0, 0), false);
        check((100, 60), (0, 0), false);
        check((60, 40), (0, 0), true);
        check((40, 30), (0, 0), false);
        check((30, 19), (0, 0), true);
        check((19, 0), (0, 0), true);
        check((0, 0), (0, 0), false);
        // The peak was between two checks.
        check((500, 1), (0, 0), true);
        check((1, 1), (9 * LITTLE, 9 * LITTLE), false);
        check((1, 1), (9 * LITTLE, 4 * LITTLE), true);
        check((1, 1), (4 * LITTLE, 2 * LITTLE), false);
        check((1, 1), (2 * LITTLE, LITTLE), true);
        check((1, 1), (LITTLE, 0), false);
    }
}
