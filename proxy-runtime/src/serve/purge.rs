//! Purging: finds the store and the URLs that a request names ([`place_of`]), and removes them ([`carry_out`]). For `PURGE` from clients
//! that a site allows to purge, and for purges through `admin`.

use std::net::IpAddr;

use http::Method;

use crate::cache::{CacheStore, Pattern, Purge, groups, key};
use crate::context::facts::Facts;
use crate::context::settings::{self, Address};
use crate::context::view::RequestVersion;
use crate::failure::Failure;
use crate::observe::notice;
use crate::protocol::date::Moment;
use crate::protocol::escape;
use crate::protocol::fields::{Fields, tokens};
use crate::protocol::target::{Target, split_port};
use crate::rehearse;
use crate::router::route::RouteLookup;
use crate::site::{self, Site};

/// The method's name.
pub(crate) const PURGE: &str = "PURGE";

/// The client's address, and whether it uses HTTP/2.
pub(crate) type Asker = (IpAddr, RequestVersion);

#[cfg(feature = "admin")]
/// Returns the cache policy for a GET of the URL, on any listener. Normalizes the target.
pub(crate) fn policy_of(
    site: &'static Site,
    target: &mut Target,
    fields: &Fields,
    about: Asker,
) -> Option<&'static site::Cache> {
    (0..site.listeners.len() as u32).find_map(|listener| {
        let root = site.tables.site(listener, target.host())?;
        target.normalise(site.sites[root.id() as usize].normal_form).ok()?;
        policy_at(site, listener, target, fields, about)
    })
}

/// Returns the cache policy for a GET of a normalized target on a listener.
pub(crate) fn policy_at(
    site: &'static Site,
    listener: u32,
    target: &Target,
    fields: &Fields,
    about: Asker,
) -> Option<&'static site::Cache> {
    let root = site.tables.site(listener, target.host())?;
    match rehearse::find(site, root, target, &Method::GET, fields, about) {
        RouteLookup::Route(route, _) => site.routes.get(route)?.policy.cache.as_ref(),
        RouteLookup::OtherMethod(_) | RouteLookup::Nothing => None,
    }
}

/// Returns whether the purge is soft: purged responses become stale instead.
pub(crate) fn is_soft(fields: &Fields) -> bool {
    mode(fields, "soft")
}

fn mode(fields: &Fields, wanted: &str) -> bool {
    tokens(fields, "purge-mode").any(|mode| mode == wanted.as_bytes())
}

/// Purges what a request names, and returns how many responses that was. Without the fields below, the request's URL is purged by its cache
/// policy, or everything below it if it ends in `/*`. Otherwise all stores are searched for the tags in `Purge-Tags`, the groups in
/// `Purge-Groups`, or URLs that match `Purge-Pattern`. With `Purge-Mode: soft`, responses become stale instead; `Purge-Mode: all` purges all
/// stores.
///
/// # Errors
/// A field is malformed, no cache policy has the URL, or the purge could not be applied everywhere.
pub(crate) async fn carry_out(
    facts: &Facts<'_>,
    site: &'static Site,
    about: Option<(&site::Key, &'static CacheStore)>,
    all: &'static [CacheStore],
) -> Result<u64, Failure> {
    let soft = is_soft(facts.fields);
    let listed = listed(facts, site)?;
    let (purges, stores) = if mode(facts.fields, "all") {
        (vec![Purge::All], all)
    } else if !listed.is_empty() {
        (listed, all)
    } else {
        let (key, store) = about.ok_or(Failure::NoRoute)?;
        (urls(key, facts, site), std::slice::from_ref(store))
    };
    // All purges except those of URLs scan all entries, which must not block other requests.
    let begun = tokio::task::spawn_blocking(move || {
        let now = Moment::now();
        stores.iter().map(|store| store.purge(&purges, soft, now)).collect::<Vec<_>>()
    });
    let (mut purged, mut failed) = (0, None);
    for begun in begun.await.map_err(|_| Failure::Internal)? {
        match begun.carry_out().await {
            Ok(count) => purged += count,
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        notice(&format!("cache: a purge is not durable, or not in effect in all processes with the folder: {error}"));
        return Err(Failure::PurgeNotDurable);
    }
    Ok(purged as u64)
}

/// The most patterns in one request: each is a pass over all entries.
const MOST_PATTERNS: usize = 16;

/// Returns the purges that a request's fields name.
fn listed(facts: &Facts<'_>, site: &Site) -> Result<Vec<Purge>, Failure> {
    let mut tags: Vec<String> = Vec::new();
    for line in facts.fields.all("purge-tags").map(escape::shown) {
        tags.extend(line.split([',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned));
    }
    for group in groups::listed(facts.fields, "purge-groups").ok_or(Failure::PurgeMalformed)? {
        let origins = origins(facts, site);
        tags.extend(origins.iter().map(|(scheme, authority)| groups::tag(&group, &format!("{scheme}://{authority}"))));
    }
    let mut purges = Vec::new();
    for line in facts.fields.all("purge-pattern") {
        let text = std::str::from_utf8(line).map_err(|_| Failure::PurgeMalformed)?;
        let pattern = Pattern::parse(text.trim(), facts.host).filter(|_| purges.len() < MOST_PATTERNS);
        purges.push(Purge::Pattern(pattern.ok_or(Failure::PurgeMalformed)?));
    }
    if !tags.is_empty() {
        purges.push(Purge::Tags(tags));
    }
    Ok(purges)
}

#[cfg(feature = "admin")]
/// Returns the store for the response to a GET of a URL, and the URLs to purge.
pub(crate) fn place_of(
    facts: &Facts<'_>,
    site: &'static Site,
    policy: &site::Cache,
    stores: &'static [CacheStore],
) -> Option<(&'static CacheStore, Vec<String>)> {
    let url = |(scheme, authority): &(&'static str, String)| {
        let mut url = String::new();
        key::url(&policy.key, &Facts { scheme, authority, ..*facts }, &mut url);
        url
    };
    Some((stores.get(usize::from(policy.store))?, origins(facts, site).iter().map(url).collect()))
}

/// Returns the URLs that a request names, on all of its origins.
fn urls(key: &site::Key, facts: &Facts<'_>, site: &Site) -> Vec<Purge> {
    let below = facts.path.strip_suffix('*').filter(|above| above.ends_with('/') && facts.query.is_none());
    let url = |(scheme, authority): &(&'static str, String)| {
        let facts = Facts { scheme, authority, ..*facts };
        let mut url = String::new();
        match below {
            // `/x/*` includes `/x`.
            Some(above) => {
                key::origin(key, &facts, &mut url);
                url.push_str(above.strip_suffix('/').filter(|above| !above.is_empty()).unwrap_or(above));
                Purge::Below(url)
            }
            None => {
                key::url(key, &facts, &mut url);
                Purge::Url(url)
            }
        }
    };
    origins(facts, site).iter().map(url).collect()
}

/// Returns all origins of a request's host: both schemes, since a purge applies to either, with the request's port, the ports of all
/// listeners, and no port.
fn origins(facts: &Facts<'_>, site: &Site) -> Vec<(&'static str, String)> {
    let named = split_port(facts.authority).and_then(|(_, port)| port);
    let listening =
        site.listeners.iter().filter_map(|listener| match settings::address(listener.address.get(facts.settings)) {
            Ok(Address::Tcp(_, port)) => Some(port),
            _ => None,
        });
    let mut ports: Vec<Option<u16>> = [None, named].into_iter().chain(listening.map(Some)).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut origins = Vec::new();
    for (scheme, default) in [("http", 80), ("https", 443)] {
        // An origin with its scheme's default port is listed without a port.
        for port in ports.iter().filter(|port| **port != Some(default)) {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            origins.push((scheme, format!("{}{port}", facts.host)));
        }
    }
    origins
}
