//! Removes responses from stores: by `PURGE` from clients that may purge ([`purge`]), and by requests whose method is not
//! safe ([`invalidate`], RFC 9111 section 4.4).

use http::{StatusCode, Version};

use crate::cache::{groups, key};
use crate::client::Client;
use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::context::facts::Facts;
use crate::context::matcher;
use crate::context::view::RequestVersion;
use crate::failure::Failure;
use crate::protocol::date::Moment;
use crate::protocol::names::KnownField;
use crate::protocol::target::Target;
use crate::serve::body::Body;
use crate::serve::purge::{self, Asker, PURGE, policy_at};
use crate::site;

/// Handles `PURGE`, if the client may purge.
pub(in crate::serve) async fn purge(
    client: &Client,
    record: &mut Record,
    policy: &site::Cache,
) -> Result<Answer<Body>, Failure> {
    if !matcher::contains(&policy.purge, record.client) {
        return Err(Failure::PurgeRefused);
    }
    let store = &client.worker.stores[usize::from(policy.store)];
    record.cached("purge", if purge::is_soft(&record.fields) { "soft" } else { "" });
    let about = Some((&policy.key, store));
    let purged = purge::carry_out(&record.facts(), client.worker.site, about, std::slice::from_ref(store)).await?;
    let mut answer = Answer::new(StatusCode::OK, Body::Bytes(format!("{{\"purged\":{purged}}}\n").into()));
    answer.fields.add_known(KnownField::CONTENT_TYPE, b"application/json");
    Ok(answer)
}

/// Returns whether a request is a purge. If the policy has no `purge`, PURGE is a method like others.
pub(in crate::serve) fn is_purge(record: &Record, policy: &site::Cache) -> bool {
    !policy.purge.is_empty() && record.method.as_str() == PURGE
}

fn asker(record: &Record) -> Asker {
    (record.client, RequestVersion::of(record.version))
}

/// Invalidates the cached responses of a URL that a request has changed, as far as its response tells; those of the URLs that the
/// response names, if they are on the same host; and those of the groups that it names (RFC 9875 section 3), whatever its status.
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
        // A value that is not UTF-8 is no URL of this site: its paths are UTF-8, and `Target` refuses others.
        let place = answer.fields.get(name).map(std::str::from_utf8);
        if let Some(named) = place.and_then(|place| named(client, record, place.ok()?)) {
            forget(client, record, &named);
        }
    }
}

/// The field that names groups to invalidate (RFC 9875 section 3).
const GROUP_INVALIDATION: &str = "cache-group-invalidation";

/// Invalidates the groups that a response names, within its origin.
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

/// Removes the cached responses of a URL, by the cache policy of a GET for it.
fn forget(client: &Client, record: &Record, target: &Target) {
    let Some(policy) = policy_at(client.worker.site, client.peer.listener, target, &record.fields, asker(record))
    else {
        return;
    };
    let facts = record.facts();
    let authority = target.authority(facts.scheme).unwrap_or_default();
    let facts = Facts { host: target.host(), authority, path: target.path(), query: target.query(), ..facts };
    let mut url = String::new();
    key::url(&policy.key, &facts, &mut url);
    client.worker.stores[usize::from(policy.store)].invalidate(url, Moment::now());
}

/// Returns the target of a reference, if it is on the request's host: other hosts may not be invalidated (RFC 9111
/// section 4.4).
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
