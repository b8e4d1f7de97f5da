//! Router look-up at 10, 1,000 and 10,000 routes: host, normal form and route, in random order.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use proxy_build::lower::lower;
use proxy_runtime::rehearse::find;
use proxy_runtime::target::Target;

use crate::{median, row};

pub(crate) fn report() {
    // Alternating rounds, so that a busy moment of the machine meets all sizes alike.
    let sites: Vec<_> = [10, 1_000, 10_000].into_iter().map(|routes| (routes, site(routes))).collect();
    let compiled: Vec<_> = sites
        .iter()
        .map(|(routes, text)| (*routes, proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text)))
        .collect();
    let plans: Vec<_> =
        compiled.iter().map(|(routes, site)| (*routes, lower(site.model.as_ref().expect("a site")))).collect();
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); plans.len()];
    for _ in 0..9 {
        for (index, (routes, plan)) in plans.iter().enumerate() {
            rounds[index].push(nanoseconds(plan, *routes));
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

fn nanoseconds(plan: &proxy_build::plan::Plan<'_>, routes: usize) -> f64 {
    const LOOKUPS: usize = 100_000;
    // The same number of different requests for all sizes: what differs is the tables.
    let requests: Vec<_> = (0..1_000)
        .map(|n: usize| {
            let route = n.wrapping_mul(7_919) % routes;
            let path = if route.is_multiple_of(2) {
                format!("/section/{route}/page")
            } else {
                format!("/items/{route}/{n}/rest")
            };
            http::Request::builder().uri(path).header("host", "example.com").body(()).expect("a request").into_parts().0
        })
        .collect();
    let client = "192.0.2.1".parse().expect("an address");
    let form = plan.model.hosts[0].normal_form;
    let began = Instant::now();
    for n in 0..LOOKUPS {
        let parts = &requests[n % requests.len()];
        let mut target = Target::parse(parts).expect("a host");
        let site = plan.tables.site(0, target.host()).expect("a site");
        target.normalise(form).expect("a path");
        black_box(find(plan, site, &target, &parts.method, &parts.headers, client));
    }
    began.elapsed().as_nanos() as f64 / LOOKUPS as f64
}
