//! What takes answers out of stores: `PURGE` from those who may, and requests that change what they are about (RFC 9111
//! section 4.4).

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use crate::cache::{Pattern, Purge, Store, groups, key};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::context::facts::Facts;
use crate::context::matcher;
use crate::context::settings::{self, Address};
use crate::failure::Failure;
use crate::observe::notice;
use crate::protocol::date::Moment;
use crate::protocol::escape;
use crate::protocol::fields::tokens;
use crate::protocol::target::{Target, split_port};
use crate::rehearse;
use crate::router::route::RouteLookup;
use crate::serve::body::Body;
use crate::site::{self, Site};

/// `PURGE`: of what the request's URL names, of all below it where it ends in `/*`; or of what has the tags in `Purge-Tags`, is in the groups
/// in `Purge-Groups`, or has a URL of the pattern in `Purge-Pattern`. With `Purge-Mode: soft`, answers become stale instead; with
/// `Purge-Mode: all` it is the whole store.
pub(in crate::serve) async fn purge(
    client: &Client,
    record: &mut Record,
    policy: &site::Cache,
) -> Result<Answer<Body>, Failure> {
    if !matcher::contains(&policy.purge, record.client) {
        return Err(Failure::PurgeRefused);
    }
    let store = &client.worker.stores[usize::from(policy.store)];
    carry_out(record, Some((&policy.key, store)), std::slice::from_ref(store)).await
}

/// Whether a policy takes a request for one to purge. Where it knows no PURGE, that is a method like others.
pub(in crate::serve) fn is_purge(record: &Record, policy: &site::Cache) -> bool {
    !policy.purge.is_empty() && record.method.as_str() == PURGE
}

/// `PURGE` on the listener of `admin`: by the policy of whichever site has the URL; without one, only what is about whole stores.
pub(in crate::serve) async fn purge_any(client: &Client, record: &mut Record) -> Result<Answer<Body>, Failure> {
    let stores = client.worker.stores;
    let policy = policy_of(client, record);
    let about = policy.map(|policy| (&policy.key, &stores[usize::from(policy.store)]));
    carry_out(record, about, stores).await
}

/// The method.
pub(in crate::serve) const PURGE: &str = "PURGE";

/// The policy by which a GET of the URL would be answered, on any listener. The target is in normal form then.
fn policy_of(client: &Client, record: &mut Record) -> Option<&'static site::Cache> {
    let site = client.worker.site;
    (0..site.listeners.len() as u32).find_map(|listener| {
        let target = record.target.as_mut()?;
        let root = site.tables.site(listener, target.host())?;
        target.normalise(site.sites[root.id() as usize].normal_form).ok()?;
        policy_at(site, listener, record, record.target.as_ref()?)
    })
}

/// The policy by which a GET of a target in normal form would be answered on a listener.
fn policy_at(site: &Site, listener: u32, record: &Record, target: &Target) -> Option<&'static site::Cache> {
    let root = site.tables.site(listener, target.host())?;
    let about = (record.client, record.version == Version::HTTP_2);
    match rehearse::find(site, root, target, &Method::GET, &record.fields, about) {
        RouteLookup::Route(route, _) => site.routes.get(route)?.policy.cache.as_ref(),
        RouteLookup::OtherMethod(_) | RouteLookup::Nothing => None,
    }
}

/// Purges what a request names: a URL by its policy, all else in all of these stores.
async fn carry_out(
    record: &mut Record,
    about: Option<(&site::Key, &'static Store)>,
    all: &'static [Store],
) -> Result<Answer<Body>, Failure> {
    let mode = |wanted: &str| tokens(&record.fields, "purge-mode").any(|mode| mode == wanted.as_bytes());
    let soft = mode("soft");
    let listed = listed(&record.facts(), record.worker.site)?;
    let (purges, stores) = if mode("all") {
        (vec![Purge::All], all)
    } else if !listed.is_empty() {
        (listed, all)
    } else {
        let (key, store) = about.ok_or(Failure::NoRoute)?;
        (urls(key, &record.facts(), record.worker.site), std::slice::from_ref(store))
    };
    record.cached("purge", if soft { "soft" } else { "" });
    // All but URLs are looked for among all entries, which other requests should not wait for.
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
        notice(&format!("cache: a purge is not durable, or does not hold in all processes with the folder: {error}"));
        return Err(Failure::PurgeNotDurable);
    }
    Ok(json(format!("{{\"purged\":{purged}}}\n")))
}

/// So many patterns are purged by one request at most: each is a pass over all entries.
const MOST_PATTERNS: usize = 16;

/// What a request's fields say is to be purged.
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

/// The store that the response to a GET of a request's URL would be in, and the URLs that the request means.
pub(in crate::serve) fn place_of(client: &Client, record: &mut Record) -> Option<(&'static Store, Vec<String>)> {
    let policy = policy_of(client, record)?;
    let facts = record.facts();
    let url = |(scheme, authority): &(&'static str, String)| {
        let mut url = String::new();
        key::url(&policy.key, &Facts { scheme, authority, ..facts }, &mut url);
        url
    };
    let urls = origins(&facts, client.worker.site).iter().map(url).collect();
    Some((&client.worker.stores[usize::from(policy.store)], urls))
}

/// The URLs that a request means, on all of its origins.
fn urls(key: &site::Key, facts: &Facts<'_>, site: &Site) -> Vec<Purge> {
    let below = facts.path.strip_suffix('*').filter(|above| above.ends_with('/') && facts.query.is_none());
    let url = |(scheme, authority): &(&'static str, String)| {
        let facts = Facts { scheme, authority, ..*facts };
        let mut url = String::new();
        match below {
            // `/x/*` is `/x`, too.
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

/// Scheme, and host with port, of all that a request means: whatever the scheme, they are one resource to whoever purges it. Beside the port
/// that it names, these are the ports of all listeners, and none.
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
        // One with the scheme's own port is there without it.
        for port in ports.iter().filter(|port| **port != Some(default)) {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            origins.push((scheme, format!("{}{port}", facts.host)));
        }
    }
    origins
}

/// An answer in JSON.
pub(in crate::serve) fn json(text: impl Into<Bytes>) -> Answer<Body> {
    let mut answer = Answer::new(StatusCode::OK, Body::Bytes(text.into()));
    answer.fields.add(b"content-type", b"application/json");
    answer
}

/// A request has changed what it is about, as far as its answer tells: what is kept of that is no longer right. So are the
/// places that the answer names, if they are on the same host; and the groups that it names (RFC 9875 section 3), whatever its status.
pub(in crate::serve) fn invalidate(client: &Client, record: &Record, answer: &Answer<Body>) {
    if client.worker.stores.is_empty() || record.method.is_safe() {
        return;
    }
    invalidate_groups(client, record, answer);
    let Some(target) = &record.target else { return };
    if !answer.status.is_success() && !answer.status.is_redirection() {
        return;
    }
    forget(client, record, target);
    for name in ["location", "content-location"] {
        // What is not UTF-8 is no URL of this site: its paths are UTF-8, and `Target` refuses others.
        let place = answer.fields.get(name).map(std::str::from_utf8);
        if let Some(named) = place.and_then(|place| named(client, record, place.ok()?)) {
            forget(client, record, &named);
        }
    }
}

/// RFC 9875 section 3.
const GROUP_INVALIDATION: &str = "cache-group-invalidation";

/// The groups that an answer says have changed, of the origin that it comes from.
fn invalidate_groups(client: &Client, record: &Record, answer: &Answer<Body>) {
    if !answer.fields.contains(GROUP_INVALIDATION) {
        return;
    }
    let facts = record.facts();
    let origin = format!("{}://{}", facts.scheme, facts.authority);
    let groups = groups::of(&answer.fields, GROUP_INVALIDATION, &origin);
    if !groups.is_empty() {
        client.worker.stores.iter().for_each(|store| store.invalidate_groups(groups.clone()));
    }
}

/// Removes what is kept under a URL, by the policy that would answer a GET for it.
fn forget(client: &Client, record: &Record, target: &Target) {
    let Some(policy) = policy_at(client.worker.site, client.peer.listener, record, target) else { return };
    let facts = record.facts();
    let authority = target.authority(facts.scheme).unwrap_or_default();
    let facts = Facts { host: target.host(), authority, path: target.path(), query: target.query(), ..facts };
    let mut url = String::new();
    key::url(&policy.key, &facts, &mut url);
    client.worker.stores[usize::from(policy.store)].invalidate(url, Moment::now());
}

/// The target of a reference, if it is on the host of the request: RFC 9111 section 4.4 lets others be invalidated by nobody else.
fn named(client: &Client, record: &Record, reference: &str) -> Option<Target> {
    let scheme = record.facts().scheme;
    let ours = record.target.as_ref()?.authority(scheme)?;
    let reference = reference.split('#').next().unwrap_or(reference);
    let local = reference.starts_with('/') && !reference.starts_with("//");
    let same_scheme = || reference.split_once("://").is_some_and(|(found, _)| found.eq_ignore_ascii_case(scheme));
    if !local && !same_scheme() {
        return None;
    }
    let host = [("host", ours)].into_iter().collect();
    let mut target = Target::parse(reference.to_owned(), &host, Version::HTTP_11).ok()?;
    if target.authority(scheme) != Some(ours) {
        return None;
    }
    let root = client.worker.site.tables.site(client.peer.listener, target.host())?;
    target.normalise(client.worker.site.sites[root.id() as usize].normal_form).ok()?;
    Some(target)
}
