//! Checks that the router and the matchers do not allocate, in a separate process with a counting allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use http::{Method, Version};
use proxy_runtime::balance::{Balancer, Candidates, Dice, Load, PickContext, hash};
use proxy_runtime::protocol::target::Target;
use proxy_runtime::rehearse::find;
use proxy_runtime::router::route::RouteLookup;
use proxy_runtime::site::{BalancePolicy, NormalForm, RequestVersion, Site};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract; counting touches
// nothing but a thread-local number that needs no allocation itself.
#[allow(unsafe_code, reason = "an allocator that counts, and passes on what it is asked")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let value = run();
    (ALLOCATIONS.with(Cell::get) - before, value)
}

#[test]
fn routing_allocates_nothing() {
    let linked = proxy_macros::site!("allocations.kdl");
    // Large tables are copied to huge pages at start.
    for site in [linked, proxy_runtime::content::pages::settle(linked, 0)] {
        allocates_nothing(site);
    }
}

#[test]
fn balancing_allocates_nothing() {
    struct Three([Load; 3]);
    impl Candidates for Three {
        fn count(&self) -> usize {
            3
        }
        fn weight(&self, _: usize) -> u32 {
            1
        }
        fn load(&self, position: usize) -> &Load {
            &self.0[position]
        }
        fn can(&self, position: usize) -> bool {
            position != 1
        }
    }
    use BalancePolicy::{Ewma, First, Hash, LeastConn, Maglev, P2c, Random, RoundRobin};
    let (servers, dice) = (Three(Default::default()), Dice::new(1));
    for kind in [RoundRobin, LeastConn, P2c, Random, Hash, Maglev, Ewma, First] {
        let policy = Balancer::new(kind, &[("a", 1), ("b", 1), ("c", 1)]);
        for key in 0..100 {
            let ask = PickContext { key: hash(&[key], 0), dice: &dice, now: 0 };
            let (allocations, chosen) = counted(|| policy.choose(&servers, ask));
            assert!(allocations == 0 && chosen.is_some_and(|chosen| chosen != 1), "{kind:?}");
        }
    }
}

fn allocates_nothing(site: &'static Site) {
    let form = NormalForm { encoded_slash: false, merge_slashes: true, refuse_parameters: false };
    for (path, host) in [
        ("/exact/path", "example.com"),
        ("/users/7/posts/9?page=2", "a.b.example.com"),
        ("/users/7/else?page=2", "example.com:8080"),
        ("/nothing/at/all", "example.com"),
    ] {
        let lines = [("Host", host), ("X-Version", "2"), ("Cookie", "a=b; session=c")];
        let fields = lines.into_iter().collect();
        let client = ("192.0.2.7".parse().expect("an address"), RequestVersion::Http1);
        let raw = || {
            // As created by the parser of heads: with spare capacity for the host.
            let mut raw = String::with_capacity(path.len() + 64);
            raw.push_str(path);
            raw
        };
        let way = |raw: String| {
            let mut target = Target::parse(raw, &fields, Version::HTTP_11).expect("a host");
            let host = site.tables.site(0, target.host()).expect("a site");
            target.normalise(form).expect("a path");
            find(site, host, &target, &Method::GET, &fields, client)
        };
        // The first use of a regular expression decodes its tables.
        way(raw());
        let again = raw();
        let (allocations, found) = counted(|| way(again));
        assert!(matches!(found, RouteLookup::Route(..)), "{path}");
        assert_eq!(allocations, 0, "{path}");
    }
    // Verifies the counter itself.
    assert_eq!(counted(|| Box::new(1)).0, 1);
}
