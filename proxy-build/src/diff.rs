//! Finds what changes for clients between two sites: [`diff`], on the checked models and not on their texts.
//!
//! For every host and every pair of an old and a new route that behave differently, it searches for a request that went
//! to the old one and now goes to the new one; such a request is the example of its class. Changes of the file that
//! affect no request are not shown. In addition, it compares settings for all requests: listeners, params, upstreams,
//! the process.
//!
//! Changes are described in terms of the language (`words`), and once: a change of a site, or of all sites, is not repeated for
//! its routes, and classes of requests with the same changes are grouped.

mod behaviour;
mod words;

use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_runtime::router::route::Tables;
use proxy_runtime::site::Setting;
use serde_json::Value;

use crate::check::overlap::by_shape;
use crate::check::overlap::candidates::Patterns;
use crate::expression::TableCache;
use crate::lower::lower;
use crate::model::{Example, Host, Route, Site};
use crate::pattern::HostPattern;
use crate::requests::{Formula, Requests, Undecided};
use behaviour::{behaviour, general, policy};
use words::{SideDescription, differences};

/// Returns the changes as text; empty if there are none.
pub fn diff(old: &Site, new: &Site) -> String {
    let mut out = String::new();
    for (name, before, now) in changed(general(old), general(new)) {
        match (before, now) {
            (Some(before), Some(now)) => {
                let said = differences(&before.1, &now.1);
                out += &entry(&name, if said.is_empty() { vec![UNTOLD.to_owned()] } else { said });
            }
            (Some(_), None) => out += &entry(&name, vec!["is gone".to_owned()]),
            (None, Some(_)) => out += &entry(&name, vec!["is new".to_owned()]),
            (None, None) => {}
        }
    }
    let everywhere = differences(&policy(old, &old.root), &policy(new, &new.root));
    out += &entry("all sites, except where they have their own", everywhere.clone());
    let made = Rc::new(TableCache::default());
    let mut compared: Vec<(usize, usize)> = Vec::new();
    let tables = (lower(old).tables, lower(new).tables);
    for (listener, host) in hosts(old, new) {
        let before = answering(old, &tables.0, &listener, &host);
        let now = answering(new, &tables.1, &listener, &host);
        let name = format!("{} on {listener}", host_name(&host));
        match (before, now) {
            (None, None) => {}
            (Some(_), None) => out += &format!("host {name}\n  was served, and is refused with 421 now\n"),
            (None, Some(_)) => out += &format!("host {name}\n  was refused with 421, and is served now\n"),
            (Some(before), Some(now)) if compared.contains(&(before, now)) => {}
            (Some(before), Some(now)) => {
                compared.push((before, now));
                let sides = (Side::new(old, before, &made), Side::new(new, now, &made));
                let mut known = everywhere.clone();
                let policies = (policy(old, &sides.0.host.policy), policy(new, &sides.1.host.policy));
                let of_site: Vec<_> =
                    differences(&policies.0, &policies.1).into_iter().filter(|line| !known.contains(line)).collect();
                out += &entry(
                    &format!("site {}, except where routes have their own", sides.1.host.name()),
                    of_site.clone(),
                );
                known.extend(of_site);
                out += &compare(&sides.0, &sides.1, &known);
            }
        }
    }
    out
}

/// The description of a change without one of its own.
const UNTOLD: &str = "changes in a way that has no words here";

/// Returns a heading with its lines; empty without lines.
fn entry(heading: &str, lines: Vec<String>) -> String {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    if lines.is_empty() { lines } else { format!("{heading}\n{lines}") }
}

/// A site of one of the two files.
struct Side<'a> {
    host: &'a Host,
    requests: Requests,
    formulas: Vec<Formula>,
    patterns: Patterns<'a>,
    behaviours: Vec<(Value, SideDescription)>,
}

impl<'a> Side<'a> {
    fn new(site: &'a Site, host: usize, made: &Rc<TableCache>) -> Side<'a> {
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

/// Returns the classes of requests to a host that are handled differently, apart from changes that are `known` to
/// affect all of them.
fn compare(old: &Side<'_>, new: &Side<'_>, known: &[String]) -> String {
    let mut classes = Classes::default();
    for (before, route) in old.host.routes.iter().enumerate() {
        for now in new.patterns.meeting(&route.pattern.segments) {
            let (was, is) = (&old.behaviours[before], &new.behaviours[now]);
            if was.0 == is.0 {
                continue;
            }
            let mut said = differences(&was.1, &is.1);
            let told = said.iter().any(|line| known.contains(line));
            said.retain(|line| !known.contains(line));
            if said.is_empty() && told {
                continue;
            }
            if said.is_empty() {
                said.push(UNTOLD.to_owned());
            }
            let hold = [&old.formulas[before], &new.formulas[now]];
            let found = new.requests.avoiding(&hold, None, |request| {
                stray(old.taker(request), Some(before), &old.formulas)
                    .or_else(|| stray(new.taker(request), Some(now), &new.formulas))
            });
            classes.add(found, Some(route), Some(&new.host.routes[now]), said);
        }
        let gone = new.requests.avoiding(&[&old.formulas[before]], None, |request| {
            stray(old.taker(request), Some(before), &old.formulas)
                .or_else(|| stray(new.taker(request), None, &new.formulas))
        });
        classes.add(gone, Some(route), None, Vec::new());
    }
    for (now, route) in new.host.routes.iter().enumerate() {
        let added = new.requests.avoiding(&[&new.formulas[now]], None, |request| {
            stray(new.taker(request), Some(now), &new.formulas)
                .or_else(|| stray(old.taker(request), None, &old.formulas))
        });
        classes.add(added, None, Some(route), Vec::new());
    }
    classes.text()
}

/// The most classes with the same changes that are shown.
const MOST: usize = 5;

/// Classes of requests, grouped by their changes.
#[derive(Default)]
struct Classes(Vec<(Vec<String>, Vec<String>)>);

impl Classes {
    /// Adds a class, if there is one. Undecided questions are mentioned.
    fn add(
        &mut self,
        found: Result<Option<Example>, Undecided>,
        was: Option<&Route>,
        now: Option<&Route>,
        said: Vec<String>,
    ) {
        let request = match found {
            Ok(None) => return,
            Ok(Some(request)) => request.to_string(),
            Err(Undecided) => "(perhaps, it is too large to tell)".to_owned(),
        };
        let class = format!("{request}\n  was {}\n  now {}\n", described(was), described(now));
        match self.0.iter_mut().find(|(known, _)| !said.is_empty() && *known == said) {
            Some((_, classes)) => classes.push(class),
            None => self.0.push((said, vec![class])),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (said, classes) in &self.0 {
            out += &classes.iter().take(MOST).map(String::as_str).collect::<String>();
            if let Some(more) = classes.len().checked_sub(MOST).filter(|&more| more > 0) {
                out += &format!("and {more} more classes of requests\n");
            }
            out += &said.iter().map(|line| format!("  {line}\n")).collect::<String>();
        }
        out
    }
}

/// Returns the route that matches a request that was meant for another one: the search continues without it.
fn stray(taker: Option<usize>, wanted: Option<usize>, formulas: &[Formula]) -> Option<&Formula> {
    taker.filter(|_| taker != wanted).map(|taker| &formulas[taker])
}

fn described(route: Option<&Route>) -> String {
    match route {
        Some(route) => format!("{} ({}:{})", route.pattern.text, route.place.file, route.place.line),
        None => "no route (404, or 405)".to_owned(),
    }
}

/// A setting for all requests: its values, and its description.
type General = (Value, SideDescription);
type Change = (String, Option<General>, Option<General>);

fn changed(old: BTreeMap<String, General>, mut new: BTreeMap<String, General>) -> Vec<Change> {
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

/// Every host of either site, on every listener that both have.
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

/// Returns the site that serves a host on a listener, by the tables.
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
