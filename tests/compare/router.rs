//! Router look-up from 10 to 100,000 routes, hosts and expressions: host, normal form and route, in random order.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{Method, Version};
use proxy_build::lower::lower;
use proxy_runtime::fields::Fields;
use proxy_runtime::rehearse::find;
use proxy_runtime::site::{NormalForm, Routes, Site};
use proxy_runtime::table::NONE;
use proxy_runtime::target::Target;

use crate::row;

/// What there are many of.
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
            // A benchmark's life is short.
            as_linked(Box::leak(Box::new(compiled)).model.as_ref().expect("a site"))
        };
        let sites = SIZES.map(compile);
        // Alternating rounds, so that a busy moment of the machine meets all sizes alike.
        let mut rounds: [Vec<f64>; SIZES.len()] = Default::default();
        for _ in 0..15 {
            for ((site, size), rounds) in sites.iter().zip(SIZES).zip(&mut rounds) {
                rounds.push(nanoseconds(site, many, size));
            }
        }
        // The least disturbed round: what disturbs is never the tables.
        let figures = rounds.map(|round| round.into_iter().fold(f64::INFINITY, f64::min));
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

/// All on one pattern, so that nothing but the expressions tells them apart.
fn expressions(routes: usize) -> String {
    let route = |n| {
        format!(
            "    route \"/*\" {{\n        path-regex #\"^/section{n:06}/[0-9]+$\"#\n        proxy \"http://127.0.0.1:3000\"\n    }}\n"
        )
    };
    format!("site example.com {{\n{}}}\n", (0..routes).map(route).collect::<String>())
}

/// As many exact paths as patterns.
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

/// The site as it is linked into a binary: the same tables, and routes laid out as the runtime has them.
fn as_linked(model: &'static proxy_build::model::Site) -> &'static Site {
    let mut plan = lower(model);
    let tables = &mut plan.tables;
    for table in [&mut tables.hosts, &mut tables.exact, &mut tables.segments] {
        // As in a binary: from where a line of memory begins.
        let room = vec![0; table.slots.len() + 64].leak();
        let start = room.as_ptr().align_offset(64);
        let aligned = &mut room[start..start + table.slots.len()];
        aligned.copy_from_slice(&table.slots);
        table.slots = std::borrow::Cow::Borrowed(aligned);
    }
    let (mut text, mut rows) = (String::new(), Vec::new());
    for route in &plan.routes {
        let pattern = &route.model.pattern.text;
        rows.extend([text.len() as u32, pattern.len() as u32, route.methods as u32, NONE, NONE, NONE]);
        rows.extend([route.handler as u32, 0, 0, 0]);
        text += pattern;
    }
    let methods = plan.methods.values.iter().map(|methods| (*methods).clone()).collect::<Vec<_>>();
    let handlers = plan.handlers.values.iter().map(|handler| handler.clone().into_owned()).collect::<Vec<_>>();
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
            handlers: handlers.leak(),
            policies: vec![&model.root].leak(),
        },
        tables: plan.tables,
        upstreams: &model.upstreams,
        tests: &[],
    }))
}

fn nanoseconds(site: &Site, many: Many, size: usize) -> f64 {
    const ROUNDS: usize = 200;
    // The same number of different requests for all sizes, and all of one length: what differs is the tables.
    let numbers = (0..1_000_usize).map(|n| (n, n.wrapping_mul(7_919) % size));
    let named = |host: &str| -> Fields { [("Host", host)].into_iter().collect() };
    let one_host = named("example.com");
    let requests: Vec<(String, String)> = numbers
        .map(|(n, at)| match many {
            Many::Routes if at.is_multiple_of(2) => (format!("/section/{at:06}/page"), String::new()),
            Many::Routes => (format!("/items/{at:06}/{n:04}/rest"), String::new()),
            Many::Hosts => ("/some/path".to_owned(), format!("host{at:06}.example.com")),
            Many::Expressions => (format!("/section{at:06}/12345"), String::new()),
        })
        .collect();
    let client = "192.0.2.1".parse().expect("an address");
    let form = NormalForm { encoded_slash: false, merge_slashes: true };
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        // In small lots, so that the requests themselves leave room near the processor, as one request does.
        for lot in requests.chunks(20) {
            // As the parser of heads makes them: with room for the host.
            let as_read = |(path, host): &(String, String)| {
                let mut text = String::with_capacity(path.len() + 64);
                text.push_str(path);
                (text, if host.is_empty() { one_host.clone() } else { named(host) })
            };
            let mut raw: Vec<(String, Fields)> = lot.iter().map(as_read).collect();
            let began = Instant::now();
            for (text, fields) in &mut raw {
                let mut target = Target::parse(std::mem::take(text), fields, Version::HTTP_11).expect("a host");
                let host = site.tables.site(0, target.host()).expect("a site");
                target.normalise(form).expect("a path");
                black_box(find(site, host, &target, &Method::GET, fields, client));
            }
            spent += began.elapsed();
        }
    }
    spent.as_nanos() as f64 / (ROUNDS * requests.len()) as f64
}
