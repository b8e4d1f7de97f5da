//! The cost of routing with 10 to 100,000 routes, hosts and expressions: host, normalization and route, in random
//! order.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{Method, Version};
use proxy_build::lower::lower;
use proxy_runtime::content::pages::{WORTHWHILE, settle};
use proxy_runtime::protocol::fields::Fields;
use proxy_runtime::protocol::target::Target;
use proxy_runtime::rehearse::find;
use proxy_runtime::router::table::NONE;
use proxy_runtime::site::{Bundle, NormalForm, RequestVersion, Routes, Site};

use crate::row;

/// The kind of entries that the site has many of.
#[derive(Clone, Copy)]
enum Many {
    Routes,
    Hosts,
    Expressions,
}

const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];

pub(crate) fn report() {
    for (many, what) in [(Many::Routes, "routes"), (Many::Hosts, "hosts"), (Many::Expressions, "expressions")] {
        let text = |size| match many {
            Many::Routes => site(size),
            Many::Hosts => hosts(size),
            Many::Expressions => expressions(size),
        };
        let compile = |size| {
            let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text(size));
            // The benchmark is short-lived, so leaking is fine.
            as_linked(Box::leak(Box::new(compiled)).model.as_ref().expect("a site"))
        };
        let sites = SIZES.map(compile);
        // Alternating rounds, so that a busy moment of the machine affects all sizes alike.
        let mut least = [[Duration::MAX; REQUESTS / LOT]; SIZES.len()];
        for _ in 0..15 {
            for ((site, size), least) in sites.iter().zip(SIZES).zip(&mut least) {
                measure(site, many, size, least);
            }
        }
        let figures = least.map(|lots| lots.iter().sum::<Duration>().as_nanos() as f64 / REQUESTS as f64);
        for (size, figure) in SIZES.iter().zip(figures) {
            row(
                &format!("look-up at {size} {what}"),
                &format!("{figure:.0} ns, {:.2} of 10 {what}", figure / figures[0]),
                "less than 1.3 of 10",
            );
        }
    }
}

fn hosts(hosts: usize) -> String {
    (0..hosts).map(|n| format!("site host{n:06}.example.com {{\n    proxy \"http://127.0.0.1:3000\"\n}}\n")).collect()
}

/// All on one pattern, so that only the expressions differ.
fn expressions(routes: usize) -> String {
    let route = |n| {
        format!(
            "    route \"/*\" {{\n        path-regex #\"^/section{n:06}/[0-9]+$\"#\n        proxy \"http://127.0.0.1:3000\"\n    }}\n"
        )
    };
    format!("site example.com {{\n{}}}\n", (0..routes).map(route).collect::<String>())
}

/// Half of the routes are exact paths, half are patterns.
pub(crate) fn site(routes: usize) -> String {
    let mut text = String::from("site example.com {\n");
    for route in 0..routes {
        let pattern = if route.is_multiple_of(2) {
            format!("/section/{route:06}/page")
        } else {
            format!("/items/{route:06}/{{id}}/*")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    route \"{pattern}\" {{\n        proxy \"http://127.0.0.1:3000\"\n    }}");
    }
    text + "}\n"
}

/// The site as in a compiled binary: the same tables, and routes laid out as in the runtime.
fn as_linked(model: &'static proxy_build::model::Site) -> &'static Site {
    let mut plan = lower(model);
    let tables = &mut plan.tables;
    for slots in [&mut tables.hosts.slots, &mut tables.exact.slots, &mut tables.segments.slots] {
        // As in a binary: aligned to cache lines.
        let room = vec![0; slots.len() + 64].leak();
        let start = room.as_ptr().align_offset(64);
        let aligned = &mut room[start..start + slots.len()];
        aligned.copy_from_slice(slots);
        *slots = std::borrow::Cow::Borrowed(aligned);
    }
    let (mut text, mut rows) = (String::new(), Vec::new());
    for route in &plan.routes {
        let pattern = &route.model.pattern.text;
        rows.extend([text.len() as u32, pattern.len() as u32, route.methods as u32, NONE, NONE, NONE, NONE]);
        rows.extend([route.handler as u32, 0, 0, 0]);
        text += pattern;
    }
    let methods = plan.methods.values.iter().map(|methods| (*methods).clone()).collect::<Vec<_>>();
    let handlers = plan.handlers.values.iter().map(|handler| handler.clone().into_owned()).collect::<Vec<_>>();
    // As a binary does at start.
    settle(
        Box::leak(Box::new(Site {
            name: "site.kdl",
            digest: "",
            built: "",
            sources: &[],
            assets: &[],
            params: &[],
            files: &[],
            process: &model.process,
            listeners: &model.listeners,
            tls: &model.tls,
            acme: None,
            admin: None,
            outputs: &[],
            errors: None,
            trace: None,
            streams: &[],
            trusted: &model.trusted,
            root: &model.root,
            sites: &[],
            routes: Routes {
                rows: rows.into_iter().collect(),
                text: text.leak(),
                methods: methods.leak(),
                matches: &[],
                request: &[],
                response: &[],
                functions: &[],
                handlers: handlers.leak(),
                policies: vec![&model.root].leak(),
            },
            tables: plan.tables,
            upstreams: &model.upstreams,
            listed: &[],
            stores: &model.stores,
            key_sources: &[],
            bundle: Bundle::new(&[]),
            resolve: None,
            tests: &[],
        })),
        WORTHWHILE,
    )
}

/// The number of different requests, the same for all sizes, and all of the same length: only the tables differ.
const REQUESTS: usize = 1_000;

/// Small batches, so that the requests themselves take little of the CPU cache, as a single request does.
const LOT: usize = 20;

/// Records the minimum time of each batch of requests: the minimum hides disturbances but not cache misses of the tables,
/// as all other
/// batches run in between.
fn measure(site: &Site, many: Many, size: usize, least: &mut [Duration]) {
    const ROUNDS: usize = 200;
    let named = |host: &str| -> Fields { [("Host", host)].into_iter().collect() };
    let one_host = named("example.com");
    // As created by the parser of heads, with spare capacity for the host; and created for each batch, as older data
    // would evict the tables from the CPU cache.
    let as_read = |n: usize| {
        let at = n.wrapping_mul(7_919) % size;
        let mut text = String::with_capacity(128);
        // Writing to a String cannot fail.
        let _ = match many {
            Many::Routes if at.is_multiple_of(2) => write!(text, "/section/{at:06}/page"),
            Many::Routes => write!(text, "/items/{at:06}/{n:04}/rest"),
            Many::Hosts => write!(text, "/some/path"),
            Many::Expressions => write!(text, "/section{at:06}/12345"),
        };
        match many {
            Many::Hosts => (text, named(&format!("host{at:06}.example.com"))),
            _ => (text, one_host.clone()),
        }
    };
    let client = ("192.0.2.1".parse().expect("an address"), RequestVersion::Http1);
    let form = NormalForm { encoded_slash: false, merge_slashes: true, refuse_parameters: false };
    for _ in 0..ROUNDS {
        for (lot, least) in least.iter_mut().enumerate() {
            let mut raw: Vec<(String, Fields)> = (lot * LOT..).take(LOT).map(as_read).collect();
            let began = Instant::now();
            for (text, fields) in &mut raw {
                let mut target = Target::parse(std::mem::take(text), fields, Version::HTTP_11).expect("a host");
                let host = site.tables.site(0, target.host()).expect("a site");
                target.normalise(form).expect("a path");
                black_box(find(site, host, &target, &Method::GET, fields, client));
            }
            *least = began.elapsed().min(*least);
        }
    }
}
