//! A conjunction of atomic facts about a request, and an example request for which all of them are true.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proxy_runtime::protocol::canonical;
use proxy_runtime::site::Methods;

use super::language::{self, Language, Undecided};
use super::{Requests, networks};
use crate::model::{Example, HTTP_VERSION};
use crate::pattern::ValueOf;

/// An atomic fact about a request.
#[derive(Debug, Clone)]
pub(crate) enum Atom {
    /// The path is in the language; the hints are natural-looking paths in it.
    Path { language: Language, hints: Vec<String> },
    /// The method is one of these.
    Method(Vec<String>),
    /// The client is in one of these networks.
    Client(Vec<IpNet>),
    /// A value of this name is in the language.
    Value { of: ValueOf, name: String, language: Language },
}

impl Atom {
    pub(super) fn holds(&self, request: &Example) -> bool {
        match self {
            Atom::Path { language, .. } => language.contains(request.path.as_bytes()),
            Atom::Method(names) => names.contains(&request.method),
            Atom::Client(networks) => networks.iter().any(|network| network.contains(&request.client)),
            Atom::Value { of, name, language } => request
                .values
                .iter()
                .filter(|(found_of, found, _)| found_of == of && found == name)
                .any(|(_, _, value)| language.contains(value.as_bytes())),
        }
    }
}

/// Facts that must be true, and facts that must be false.
#[derive(Debug, Clone, Default)]
pub(super) struct Cube<'a> {
    paths: Sides<&'a Language>,
    hints: Vec<&'a [String]>,
    methods: Sides<&'a [String]>,
    clients: Sides<&'a [IpNet]>,
    values: BTreeMap<(ValueOf, &'a str), Sides<&'a Language>>,
}

/// Sets that must all contain a value, and sets that must not.
#[derive(Debug, Clone)]
struct Sides<T> {
    within: Vec<T>,
    without: Vec<T>,
}

impl<T> Default for Sides<T> {
    fn default() -> Self {
        Sides { within: Vec::new(), without: Vec::new() }
    }
}

impl<T> Sides<T> {
    fn add(&mut self, one: T, holds: bool) {
        if holds { self.within.push(one) } else { self.without.push(one) }
    }
}

/// Fields that occur once (RFC 9110): two facts about such a field apply to the same value. Fields that are not listed
/// may have a value for each fact.
const SINGLE_VALUED: &[&str] = &[
    HTTP_VERSION,
    "host",
    "content-type",
    "user-agent",
    "authorization",
    "origin",
    "referer",
    "from",
    "content-length",
];

impl<'a> Cube<'a> {
    pub(super) fn add(&mut self, atom: &'a Atom, holds: bool) {
        match atom {
            Atom::Path { language, hints } => {
                self.paths.add(language, holds);
                if holds && !hints.is_empty() {
                    self.hints.push(hints);
                }
            }
            Atom::Method(names) => self.methods.add(names, holds),
            Atom::Client(networks) => self.clients.add(networks, holds),
            Atom::Value { of, name, language } => {
                self.values.entry((*of, name)).or_default().add(language, holds);
            }
        }
    }

    /// Returns a request for which all facts are true.
    pub(super) fn example(&self, requests: &Requests) -> Result<Option<Example>, Undecided> {
        let Some(method) = self.method() else { return Ok(None) };
        let Some(client) = networks::address(&self.clients.within, &self.clients.without) else { return Ok(None) };
        let mut values = Vec::new();
        for ((of, name), sides) in &self.values {
            let Some(found) = value(*of, name, sides, requests)? else { return Ok(None) };
            values.extend(found.into_iter().map(|value| (*of, (*name).to_owned(), value)));
        }
        let Some(path) = self.path(requests)? else { return Ok(None) };
        Ok(Some(Example { method, host: requests.host.clone(), path, client, values }))
    }

    fn method(&self) -> Option<String> {
        // CONNECT and TRACE are rejected before routing.
        let known = Methods::NAMES.into_iter().filter(|name| !matches!(*name, "CONNECT" | "TRACE"));
        let named = self.methods.within.iter().chain(&self.methods.without).flat_map(|names| names.iter());
        let named = named.map(String::as_str).filter(|name| !Methods::NAMES.contains(name));
        let fits = |name: &&str| {
            let among = |names: &&[String]| names.iter().any(|other| other == name);
            self.methods.within.iter().all(among) && !self.methods.without.iter().any(among)
        };
        known.chain(named).chain(["PURGE", "REPORT", "QUERY"]).find(fits).map(str::to_owned)
    }

    fn path(&self, requests: &Requests) -> Result<Option<String>, Undecided> {
        let within: Vec<&Language> = requests.paths.0.iter().chain(self.paths.within.iter().copied()).collect();
        let without: Vec<&Language> = requests.paths.1.iter().chain(self.paths.without.iter().copied()).collect();
        let fits = |path: &&String| {
            within.iter().all(|language| language.contains(path.as_bytes()))
                && !without.iter().any(|language| language.contains(path.as_bytes()))
        };
        // Prefer a natural-looking path to the shortest one.
        if let Some(path) = self.hints.iter().flat_map(|hints| hints.iter()).find(fits) {
            return Ok(Some(path.clone()));
        }
        language::word(&within, &without, |byte| byte > 0x20 && byte != 0x7F)
    }
}

/// Values for one name: none, one, or one for each fact.
fn value(
    of: ValueOf,
    name: &str,
    sides: &Sides<&Language>,
    requests: &Requests,
) -> Result<Option<Vec<String>>, Undecided> {
    if sides.within.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let without: Vec<&Language> = requests.values.iter().chain(sides.without.iter().copied()).collect();
    let allowed = |byte: u8| match of {
        ValueOf::Header => byte >= 0x20 && byte != 0x7F,
        ValueOf::Query => {
            byte.is_ascii_graphic()
                && (byte == b'%' || canonical::query(&char::from(byte).to_string()).is_ok_and(|query| query.len() == 1))
                && byte != b'&'
        }
        ValueOf::Cookie => byte > 0x20 && !matches!(byte, 0x7F | b';'),
    };
    // Prefer a natural-looking value to an empty one.
    let fits = |word: &str| {
        let among = |language: &&Language| language.contains(word.as_bytes());
        sides.within.iter().all(among) && !without.iter().any(among)
    };
    let one = match fits("1") {
        true => Some("1".to_owned()),
        false => language::word(&sides.within, &without, allowed)?,
    };
    if one.is_some() || (of == ValueOf::Header && SINGLE_VALUED.contains(&name)) {
        return Ok(one.map(|value| vec![value]));
    }
    let each = sides.within.iter().map(|language| language::word(&[language], &without, allowed));
    each.collect::<Result<Option<Vec<_>>, _>>()
}
