//! What changes for users between two sites: [`diff`], found on the checked models and not on their texts.
//!
//! For every host and every pair of an old and a new route that behave differently, it is asked whether some request
//! goes to the one before and to the other now; if so, that request stands for all of its class. What is the same for
//! every request that there is does not show, however different the files are. Beside that, what concerns all requests:
//! listeners, params, upstreams, the process.

mod behaviour;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use proxy_runtime::route::Tables;
use proxy_runtime::site::Setting;
use serde_json::Value;

use crate::ast::HostPattern;
use crate::check::overlap::by_shape;
use crate::check::overlap::candidates::Patterns;
use crate::check::regex::Made;
use crate::lower::lower;
use crate::model::{Host, Route, Site};
use crate::requests::{Example, Formula, Requests, Undecided};
use behaviour::{behaviour, differences, general};

/// What changes, as text; empty where nothing does.
pub fn diff(old: &Site, new: &Site) -> String {
    let mut out = String::new();
    for (name, before, now) in changed(general(old), general(new)) {
        // Writing to a String cannot fail.
        let _ = match (before, now) {
            (Some(before), Some(now)) => write!(out, "{name}\n{}", lines(&differences(&before, &now))),
            (Some(_), None) => writeln!(out, "{name}\n  is gone"),
            (None, Some(_)) => writeln!(out, "{name}\n  is new"),
            (None, None) => Ok(()),
        };
    }
    let made = Rc::new(Made::default());
    let mut compared: Vec<(usize, usize)> = Vec::new();
    let tables = (lower(old).tables, lower(new).tables);
    for (listener, host) in hosts(old, new) {
        let before = answering(old, &tables.0, &listener, &host);
        let now = answering(new, &tables.1, &listener, &host);
        let name = format!("{} on {listener}", host_name(&host));
        match (before, now) {
            (None, None) => {}
            (Some(_), None) => out += &format!("host {name}\n  was answered, and is refused with 421 now\n"),
            (None, Some(_)) => out += &format!("host {name}\n  was refused with 421, and is answered now\n"),
            (Some(before), Some(now)) if compared.contains(&(before, now)) => {}
            (Some(before), Some(now)) => {
                compared.push((before, now));
                let sides = (Side::new(old, before, &made), Side::new(new, now, &made));
                out += &compare(&sides.0, &sides.1);
            }
        }
    }
    out
}

/// A site of one of the two files.
struct Side<'a> {
    host: &'a Host,
    requests: Requests,
    formulas: Vec<Formula>,
    patterns: Patterns<'a>,
    behaviours: Vec<Value>,
}

impl<'a> Side<'a> {
    fn new(site: &'a Site, host: usize, made: &Rc<Made>) -> Side<'a> {
        let host = &site.hosts[host];
        let requests = Requests::new(made.clone(), &host.hosts, host.normal_form, &host.routes);
        let mut groups: Vec<Vec<usize>> = by_shape(&host.routes).into_values().collect();
        groups.iter_mut().for_each(|group| group.sort_by_key(|&index| host.routes[index].rank));
        groups.sort();
        Side {
            host,
            formulas: host.routes.iter().map(|route| requests.of_route(route)).collect(),
            patterns: Patterns::new(&host.routes, &groups, &site.joined),
            behaviours: host.routes.iter().map(|route| behaviour(site, route)).collect(),
            requests,
        }
    }

    fn taker(&self, request: &Example) -> Option<usize> {
        self.patterns.taker(&request.path, |index| self.formulas[index].holds(request))
    }
}

/// The classes of requests to a host that are answered differently.
fn compare(old: &Side<'_>, new: &Side<'_>) -> String {
    let mut out = String::new();
    for (before, route) in old.host.routes.iter().enumerate() {
        for now in new.patterns.meeting(&route.pattern.segments) {
            if old.behaviours[before] == new.behaviours[now] {
                continue;
            }
            let hold = [&old.formulas[before], &new.formulas[now]];
            let found = new.requests.avoiding(&hold, None, |request| {
                stray(old.taker(request), Some(before), &old.formulas)
                    .or_else(|| stray(new.taker(request), Some(now), &new.formulas))
            });
            let lines = lines(&differences(&old.behaviours[before], &new.behaviours[now]));
            out += &class(found, Some(route), Some(&new.host.routes[now]), &lines);
        }
        let gone = new.requests.avoiding(&[&old.formulas[before]], None, |request| {
            stray(old.taker(request), Some(before), &old.formulas)
                .or_else(|| stray(new.taker(request), None, &new.formulas))
        });
        out += &class(gone, Some(route), None, "");
    }
    for (now, route) in new.host.routes.iter().enumerate() {
        let added = new.requests.avoiding(&[&new.formulas[now]], None, |request| {
            stray(new.taker(request), Some(now), &new.formulas)
                .or_else(|| stray(old.taker(request), None, &old.formulas))
        });
        out += &class(added, None, Some(route), "");
    }
    out
}

/// A class of requests, if there is one. What can't be decided is said, rather than left out.
fn class(
    found: Result<Option<Example>, Undecided>,
    was: Option<&Route>,
    now: Option<&Route>,
    differences: &str,
) -> String {
    let request = match found {
        Ok(None) => return String::new(),
        Ok(Some(request)) => request.to_string(),
        Err(Undecided) => "(perhaps, it is too large to tell)".to_owned(),
    };
    format!("{request}\n  was {}\n  now {}\n{differences}", described(was), described(now))
}

/// What takes a request that was meant for another: the search goes on without that.
fn stray(taker: Option<usize>, wanted: Option<usize>, formulas: &[Formula]) -> Option<&Formula> {
    taker.filter(|_| taker != wanted).map(|taker| &formulas[taker])
}

fn described(route: Option<&Route>) -> String {
    match route {
        Some(route) => format!("{} ({}:{})", route.pattern.text, route.place.file, route.place.line),
        None => "no route (404, or 405)".to_owned(),
    }
}

fn lines(differences: &[String]) -> String {
    differences.iter().map(|difference| format!("  {difference}\n")).collect()
}

type Change = (String, Option<Value>, Option<Value>);

fn changed(old: BTreeMap<String, Value>, mut new: BTreeMap<String, Value>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, before) in old {
        let now = new.remove(&name);
        if now.as_ref() != Some(&before) {
            changes.push((name, Some(before), now));
        }
    }
    changes.extend(new.into_iter().map(|(name, now)| (name, None, Some(now))));
    changes
}

/// Every host that either site names, on every listener that both have.
fn hosts(old: &Site, new: &Site) -> Vec<(String, HostPattern)> {
    let named = |site: &Site| {
        let mut found = Vec::new();
        for host in &site.hosts {
            for &listener in &host.listeners {
                let listener = listener_name(site, listener);
                found.extend(host.hosts.iter().map(|pattern| (listener.clone(), pattern.clone())));
            }
        }
        found
    };
    let listeners = |site: &Site| (0..site.listeners.len()).map(|index| listener_name(site, index)).collect::<Vec<_>>();
    let (before, now) = (listeners(old), listeners(new));
    let mut all = named(old);
    all.extend(named(new));
    all.sort();
    all.dedup();
    all.retain(|(listener, _)| before.contains(listener) && now.contains(listener));
    all
}

fn listener_name(site: &Site, index: usize) -> String {
    match &site.listeners[index].address {
        Setting::Fixed(address) => address.to_string(),
        Setting::Param(param) => format!("(param){}", site.params[usize::from(*param)].name),
    }
}

/// The site that answers for a host on a listener, by the tables.
fn answering(site: &Site, tables: &Tables, listener: &str, host: &HostPattern) -> Option<usize> {
    let index = (0..site.listeners.len()).find(|&index| listener_name(site, index) == listener)?;
    tables.site(index as u32, &host_name(host)).map(|root| root.id() as usize)
}

fn host_name(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(suffix) => format!("any-name.{suffix}"),
        HostPattern::Any => "any-name.invalid".to_owned(),
    }
}
