//! Runs the tests of a site against its plan during the build, and finds the routes that they reach.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use proxy_runtime::context::settings::Settings;
use proxy_runtime::context::view::RequestVersion;
use proxy_runtime::rehearse::{self, Rehearsal};
use proxy_runtime::site::{Param, ParamKind};

use crate::code::Level;
use crate::model::{Route, Site, Warmed};
use crate::plan::Plan;
use crate::report::{Diagnostic, Report};

/// Runs the tests. Parameters have their defaults, or are represented by themselves.
pub(crate) fn run(site: &Site, plan: &Plan<'_>, report: &mut Report) {
    let settings = build_settings(site);
    for test in &site.tests {
        match rehearse::outcome(plan, &test.test, &settings) {
            Ok(outcome) => {
                // The effects of the user's functions are tested by the binary.
                let judged = |property: &str| !outcome.not_asked || property == "route";
                let misses = rehearse::misses(&test.test.expect, &outcome);
                for (property, expected, found) in misses.into_iter().filter(|(property, ..)| judged(property)) {
                    let span = test
                        .expectations
                        .iter()
                        .find(|(name, _)| *name == property)
                        .map_or(test.span, |(_, span)| *span);
                    let message =
                        format!("the test \"{}\" fails: {property} is {found}, not {expected}", test.test.name);
                    report.add(
                        Diagnostic::error("test-failed", message, span)
                            .label(format!("the result is {found}"))
                            .also(test.span, "in this test"),
                    );
                }
            }
            Err(reason) => report.add(Diagnostic::error("test-failed", format!("not a request: {reason}"), test.span)),
        }
    }
    for warmed in &site.warmed {
        is_cached(site, plan, &settings, warmed, report);
    }
    if report.level("untested-route") == Level::Allow {
        return;
    }
    for route in untested(site, plan) {
        let message = format!("no test reaches the route `{}`", route.pattern.text);
        let url = route.example.as_ref().map(|example| format!("request {} \"{}\"", example.method, example.url()));
        let help = url.map(|request| format!("a test that reaches it has: {request}"));
        report.add(Diagnostic::lint("untested-route", message, route.span).maybe_help(help));
    }
}

/// Whether the response for a URL of `warm` would be cached in its store.
fn is_cached(site: &Site, plan: &Plan<'_>, settings: &Settings, warmed: &Warmed, report: &mut Report) {
    let Ok(url) = warmed.url.parse() else { return };
    let request = Rehearsal {
        method: "GET",
        url: &warmed.url,
        listener: site.listener_for(&url) as u32,
        headers: vec![("user-agent", "kiln"), ("accept", "*/*"), ("accept-encoding", "gzip, deflate")],
        body: 0,
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        version: RequestVersion::Http1,
    };
    let outcome = match rehearse::rehearse(plan, &request, settings) {
        Ok(outcome) if outcome.not_asked => return,
        Ok(outcome) => outcome,
        Err(reason) => {
            return report.add(Diagnostic::error("bad-url", format!("not a request: {reason}"), warmed.span));
        }
    };
    let route = outcome.route.map(|route| plan.routes[route as usize].model);
    let cache = route.and_then(|route| route.policy.cache.as_ref());
    let (message, help) = match (cache, outcome.cache) {
        (Some(cache), Some(("lookup", _))) if usize::from(cache.store) == warmed.store => return,
        (Some(cache), Some(("lookup", _))) => {
            let name = &site.stores[usize::from(cache.store)].name;
            (format!("the response is cached in the store `{name}`"), format!("list the URL in the `warm` of `{name}`"))
        }
        (_, Some(("pass", why))) => {
            (format!("the response is not cached: the request bypasses the cache ({why})"), "leave it out".to_owned())
        }
        _ => {
            let help = "leave it out, or give its route a `cache`".to_owned();
            (format!("the response is not cached: {}", outcome.in_short()), help)
        }
    };
    let diagnostic = Diagnostic::error("not-kept", message, warmed.span).help(help);
    report.add(match route {
        Some(route) => diagnostic.also(route.span, "this route has it"),
        None => diagnostic,
    });
}

/// Returns the tests that fail without the user's functions; they are run by the binary.
pub fn left_to_the_binary<'m>(site: &'m Site, plan: &Plan<'_>) -> Vec<&'m str> {
    let settings = build_settings(site);
    let fails =
        |test: &&crate::model::Test| rehearse::run(plan, &test.test, &settings).is_ok_and(|misses| !misses.is_empty());
    site.tests.iter().filter(fails).map(|test| &*test.test.name).collect()
}

/// Returns the routes that no test reaches, in the order of the file.
pub fn untested<'m>(site: &Site, plan: &Plan<'m>) -> Vec<&'m Route> {
    let settings = build_settings(site);
    let outcomes = site.tests.iter().filter_map(|test| rehearse::outcome(plan, &test.test, &settings).ok());
    let reached: HashSet<_> = outcomes.filter_map(|outcome| outcome.route).collect();
    let routes = plan.routes.iter().enumerate().filter(|(id, _)| !reached.contains(&(*id as u32)));
    routes.map(|(_, route)| route.model).collect()
}

/// Returns the settings, as far as they are known during the build.
pub fn build_settings(site: &Site) -> Settings {
    let stand_in = |param: &Param| {
        Some(match (&param.default, param.kind) {
            (Some(default), _) => default.to_string(),
            (None, ParamKind::Addr) => "127.0.0.1:1".to_owned(),
            (None, ParamKind::Number) => "1".to_owned(),
            (None, ParamKind::Duration) => "1s".to_owned(),
            (None, ParamKind::Size) => "1B".to_owned(),
            (None, ParamKind::String | ParamKind::File | ParamKind::Secret) => format!("({})", param.name),
        })
    };
    Settings::new(&site.params, stand_in).unwrap_or_default()
}
