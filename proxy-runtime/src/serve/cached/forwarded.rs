//! A request in the form in which its server receives it, to select among responses: [`ForwardedRequest`].
//!
//! `Vary` refers to the request that the server received (RFC 9111 section 4.1). Only a few fields differ from the client's, so the forwarded
//! head is not made for each hit, but only if one of these fields is needed; and by the same function that makes it for the server.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::cache::key::{self, SelectingRequest};
use crate::cache::languages;
use crate::client::Client;
use crate::client::record::Record;
use crate::exchange::forward;
use crate::protocol::fields::{Fields, split_once};
use crate::protocol::names::KnownField;
use crate::serve::proxy;
use crate::site::{self, Proxy, Route};

/// See the module's documentation.
pub(super) struct ForwardedRequest<'a> {
    client: &'a Client,
    record: &'a Record,
    route: &'a Route,
    proxy: &'static Proxy,
    fields: OnceCell<Fields>,
}

impl<'a> ForwardedRequest<'a> {
    pub(super) fn new(client: &'a Rc<Client>, record: &'a Record, route: &'a Route, proxy: &'static Proxy) -> Self {
        ForwardedRequest { client, record, route, proxy, fields: OnceCell::new() }
    }

    /// Returns the URL that the cache key uses.
    pub(super) fn url(&self) -> String {
        let mut url = String::new();
        if let Some(policy) = &self.record.policy().cache {
            key::url(&policy.key, &self.record.facts(), &mut url);
        }
        url
    }

    /// Returns whether the server may receive another value of a field than the client sent.
    fn is_changed(&self, name: &str) -> bool {
        let own = &self.record.policy().fields.own;
        forward::changes(name)
            || is_about_stored(name.as_bytes())
            || name == "cookie" && self.record.policy().cache.as_ref().is_some_and(|policy| policy.strips_cookies)
            || self.is_normalized(name)
            || self.route.request.is_some() && own.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

impl SelectingRequest for ForwardedRequest<'_> {
    fn sent(&self) -> &Fields {
        &self.record.fields
    }

    fn forwarded(&self, name: &str) -> Option<&Fields> {
        let make = || {
            let mut fields = proxy::fields(self.client, self.record, self.route, self.proxy);
            for_all(&mut fields);
            if let Some(policy) = &self.record.policy().cache {
                normalize(policy, &mut fields);
            }
            fields
        };
        self.is_changed(name).then(|| self.fields.get_or_init(make))
    }

    fn is_normalized(&self, name: &str) -> bool {
        name == "accept-language"
            && self.record.policy().cache.as_ref().is_some_and(|policy| !policy.languages.is_empty())
    }
}

/// Removes a client's conditions and ranges, which must not be part of a request for all clients.
pub(super) fn for_all(fields: &mut Fields) {
    fields.retain(|name, _| !is_about_stored(name));
}

/// Normalizes a request whose response may be cached, to reduce the number of variants.
pub(super) fn normalize(policy: &site::Cache, fields: &mut Fields) {
    limit_cookies(policy, fields);
    if let Some(language) = languages::preferred(fields, &policy.languages) {
        fields.set(KnownField::ACCEPT_LANGUAGE, language.as_bytes());
    }
}

/// Removes cookies that are not part of the key, if the policy says so: a response that depends on them would be cached for all clients.
fn limit_cookies(policy: &site::Cache, fields: &mut Fields) {
    if !policy.strips_cookies || !fields.contains(KnownField::COOKIE) {
        return;
    }
    let is_keyed = |pair: &&[u8]| {
        let name = split_once(pair, b'=').map_or(*pair, |(name, _)| name).trim_ascii();
        policy.key.cookies.iter().any(|keyed| keyed.as_bytes() == name)
    };
    let pairs =
        fields.all(KnownField::COOKIE).flat_map(|line| line.split(|&byte| byte == b';')).map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = pairs.filter(is_keyed).collect();
    let kept = kept.join(b"; ".as_slice());
    fields.remove(KnownField::COOKIE);
    if !kept.is_empty() {
        fields.add_known(KnownField::COOKIE, &kept);
    }
}

fn is_about_stored(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] = [b"if-none-match", b"if-modified-since", b"if-range", b"range"];
    NAMES.iter().any(|one| one.eq_ignore_ascii_case(name))
}
