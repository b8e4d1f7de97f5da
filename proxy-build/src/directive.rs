//! The declarations of the language: every directive's name, place, form, documentation, example, and reader.
//!
//! [`ALL`] drives the reader, "did you mean", the reference manual and the tests. There is one file per directive, or per small family. Policies,
//! handlers and options of upstreams have their own lists; another directive needs its file, a line here, a variant of `ast::What`, and its handling
//! in `check`.

mod acme;
pub mod aliases;
mod cache;
mod http;
mod http2;
mod include;
mod lint;
mod listen;
mod matchers;
mod param;
mod preset;
mod process;
mod route;
mod site;
mod stream;
mod table;
mod test;
mod tls;
mod trusted_proxies;

use std::sync::LazyLock;

pub use crate::declaration::{Directive, Place, Prop};
use crate::declaration::{MATCHER, POLICY};
use crate::{admin, handler, policy, trace, upstream};

/// Every directive, in the order of the manual.
pub static ALL: LazyLock<Vec<&Directive>> = LazyLock::new(|| {
    let options: Vec<_> = upstream::ALL.iter().flat_map(|kind| kind.directives()).copied().collect();
    [
        FIRST,
        handler::DIRECTIVES,
        policy::DIRECTIVES,
        CACHE,
        &[&upstream::UPSTREAM],
        &options,
        STREAMS,
        admin::DIRECTIVES,
        trace::DIRECTIVES,
        LAST,
    ]
    .concat()
});

/// The directives before handlers and policies.
const FIRST: &[&Directive] = &[
    &site::SITE,
    &route::ROUTE,
    &table::TABLE,
    &listen::LISTEN,
    &http::HTTP,
    &listen::LISTEN_TLS,
    &listen::REDIRECT_HTTPS,
    &listen::LISTEN_PROXY_PROTOCOL,
    &tls::TLS,
    &tls::CERTIFICATE,
    &tls::MIN_VERSION,
    &tls::GROUPS,
    &tls::CLIENT_CA,
    &tls::SESSION_TICKETS,
    &acme::ACME,
    &acme::DNS,
    &matchers::METHOD,
    &matchers::HEADER,
    &matchers::QUERY,
    &matchers::COOKIE,
    &matchers::CLIENT_IP,
    &matchers::PROTOCOL,
    &matchers::PATH_REGEX,
    &matchers::NOT,
    &matchers::ANY,
];

/// Caching, between handlers and upstreams.
const CACHE: &[&Directive] = &[
    &cache::CACHE,
    &cache::lifetime::TTL,
    &cache::lifetime::STALE,
    &cache::key::KEY,
    &cache::key::KEY_QUERY,
    &cache::key::KEY_EXCEPT,
    &cache::key::KEY_HEADER,
    &cache::key::KEY_COOKIE,
    &cache::key::KEY_DEVICE,
    &cache::key::DEVICE_GROUP,
    &cache::VARY,
    &cache::TAGS,
    &cache::CACHE_METHODS,
    &cache::lifetime::NEGATIVE,
    &cache::BYPASS,
    &cache::REFRESH,
    &cache::IGNORE,
    &cache::LANGUAGES,
    &cache::slice::SLICE,
    &cache::lifetime::CONTROL_FIELDS,
    &cache::BYPASS_HEADER,
    &cache::BYPASS_QUERY,
    &cache::BYPASS_COOKIE,
    &cache::PURGE,
    &cache::CACHE_STORE,
    &cache::DISK,
    &cache::warm::WARM,
];

/// The directives after upstreams.
const STREAMS: &[&Directive] = &[
    &stream::STREAM,
    &stream::STREAM_LISTEN,
    &stream::STREAM_ROUTE,
    &stream::TUNNEL,
    &trusted_proxies::TRUSTED_PROXIES,
];

/// What comes after `trace`.
const LAST: &[&Directive] = &[
    &process::PROCESS,
    &process::WORKERS,
    &process::DRAIN,
    &process::MEMORY_LIMIT,
    &process::USER,
    &process::GROUP,
    &process::CAPABILITIES,
    &process::SANDBOX,
    &process::TAKEOVER,
    &http::DEFAULT_HTTP,
    &http2::HTTP2,
    &http2::MAX_STREAMS,
    &param::PARAM,
    &preset::PRESET,
    &preset::USE,
    &include::INCLUDE,
    &lint::LINT,
    &test::TEST,
    &test::REQUEST,
    &test::REQUEST_HEADER,
    &test::REQUEST_COOKIE,
    &test::BODY,
    &test::REQUEST_PROTOCOL,
    &test::FROM,
    &test::EXPECT,
    &test::UPSTREAM_HEADER,
    &test::RESPONSE_HEADER,
];

/// Returns the directive of this name that is allowed at a place.
pub fn find(name: &str, place: Place) -> Option<&'static Directive> {
    within(place).find(|directive| directive.name == name)
}

/// Returns the directives that are allowed at a place.
pub fn within(place: Place) -> impl Iterator<Item = &'static Directive> {
    ALL.iter().copied().filter(move |directive| directive.places.contains(&place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_once_and_documented() {
        for (index, directive) in ALL.iter().enumerate() {
            let name = directive.name;
            for other in &ALL[index + 1..] {
                let shared = other.name == name && directive.places.iter().any(|place| other.places.contains(place));
                assert!(!shared, "`{name}` is declared twice for one place");
            }
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "`{name}` is not kebab-case"
            );
            assert!(directive.summary.ends_with('.'), "`{name}`: the summary is a sentence");
            assert!(directive.example.contains(name), "`{name}` is not in its own example");
            for prop in directive.props {
                assert!(prop.docs.ends_with('.'), "`{name} {}=`: the description is a sentence", prop.name);
            }
        }
    }
}
