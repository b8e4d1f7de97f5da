//! Router look-up at 10, 1,000 and 10,000 routes: host, normal form and route, in random order.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{Method, Version};
use proxy_build::lower::lower;
use proxy_runtime::rehearse::find;
use proxy_runtime::site::{NormalForm, Routes, Site};
use proxy_runtime::table::NONE;
use proxy_runtime::target::Target;

use crate::{median, row};

pub(crate) fn report() {
    // Alternating rounds, so that a busy moment of the machine meets all sizes alike.
    let sites: Vec<_> = [10, 1_000, 10_000].into_iter().map(|routes| (routes, site(routes))).collect();
    let compiled: &'static [(usize, proxy_build::Compiled)] = sites
        .iter()
        .map(|(routes, text)| (*routes, proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text)))
        .collect::<Vec<_>>()
        // A benchmark's life is short.
        .leak();
    let plans: Vec<_> =
        compiled.iter().map(|(routes, site)| (*routes, as_linked(site.model.as_ref().expect("a site")))).collect();
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); plans.len()];
    for _ in 0..9 {
        for (index, (routes, site)) in plans.iter().enumerate() {
            rounds[index].push(nanoseconds(site, *routes));
        }
    }
    let figures: Vec<f64> = rounds.into_iter().map(median).collect();
    for ((routes, _), figure) in plans.iter().zip(&figures) {
        row(
            &format!("look-up at {routes} routes"),
            &format!("{figure:.0} ns, {:.2} of 10 routes", figure / figures[0]),
            "within 20 % of each other",
        );
    }
}

/// As many exact paths as patterns.
pub(crate) fn site(routes: usize) -> String {
    let mut text = String::from("site example.com {\n");
    for route in 0..routes {
        let pattern =
            if route.is_multiple_of(2) { format!("/section/{route}/page") } else { format!("/items/{route}/{{id}}/*") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    route \"{pattern}\" {{\n        proxy \"http://127.0.0.1:3000\"\n    }}");
    }
    text + "}\n"
}

/// The site as it is linked into a binary: the same tables, and routes laid out as the runtime has them.
fn as_linked(model: &'static proxy_build::model::Site) -> &'static Site {
    let plan = lower(model);
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

fn nanoseconds(site: &Site, routes: usize) -> f64 {
    const ROUNDS: usize = 200;
    // The same number of different requests for all sizes: what differs is the tables.
    let paths: Vec<String> = (0..1_000)
        .map(|n: usize| {
            let route = n.wrapping_mul(7_919) % routes;
            if route.is_multiple_of(2) { format!("/section/{route}/page") } else { format!("/items/{route}/{n}/rest") }
        })
        .collect();
    let fields = [("Host", "example.com")].into_iter().collect();
    let client = "192.0.2.1".parse().expect("an address");
    let form = NormalForm { encoded_slash: false, merge_slashes: true };
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        // As the parser of heads makes them: with room for the host.
        let as_read = |path: &String| {
            let mut text = String::with_capacity(path.len() + 64);
            text.push_str(path);
            text
        };
        let raw: Vec<String> = paths.iter().map(as_read).collect();
        let began = Instant::now();
        for text in raw {
            let mut target = Target::parse(text, &fields, Version::HTTP_11).expect("a host");
            let host = site.tables.site(0, target.host()).expect("a site");
            target.normalise(form).expect("a path");
            black_box(find(site, host, &target, &Method::GET, &fields, client));
        }
        spent += began.elapsed();
    }
    spent.as_nanos() as f64 / (ROUNDS * paths.len()) as f64
}
