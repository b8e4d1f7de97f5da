//! Returns freed memory to the system after the load has dropped: [`keep_trimming`].
//!
//! glibc keeps freed memory for later allocations, and all of it if live pieces lie between: after ten
//! thousand streams of clients that read nothing the process would stay as large as it was. The main thread therefore checks every few
//! seconds whether connections or [`Memory`] have fallen to less than half, and then has the allocator release
//! pages. That takes about a millisecond, in which workers may wait for the allocator, but never under load.

use std::time::Duration;

use super::Memory;
use crate::net::budget::ConnectionBudget;

/// How often to look.
const EVERY: Duration = Duration::from_secs(2);

/// How often pages are given back, then: what workers keep for later they let go of a little later.
const TIMES: u32 = 4;

/// With fewer connections than this, or less memory, there is nothing to be had.
const FEW: usize = 16;
const LITTLE: usize = 1 << 20;

/// Looks for ever.
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

/// Whether less than half is left of the most that there was of either, when that and what there is now are told; it is counted again
/// from there.
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
mod allocator {
    use std::ffi::c_int;

    // SAFETY: the declaration is that of malloc.h: `int malloc_trim(size_t pad)`. The function may be called by any thread at any
    // time (malloc_trim(3): MT-Safe), takes no pointer, and touches nothing but pages that are free.
    #[allow(unsafe_code, reason = "proved above")]
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> c_int;
    }

    pub(super) fn trim() {
        // Whether there was anything to give back does not matter.
        let _ = malloc_trim(0);
    }
}

/// Other allocators give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub(super) fn trim() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_less_than_there_was() {
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
        // Between two looks.
        check((500, 1), (0, 0), true);
        check((1, 1), (9 * LITTLE, 9 * LITTLE), false);
        check((1, 1), (9 * LITTLE, 4 * LITTLE), true);
        check((1, 1), (4 * LITTLE, 2 * LITTLE), false);
        check((1, 1), (2 * LITTLE, LITTLE), true);
        check((1, 1), (LITTLE, 0), false);
    }
}
