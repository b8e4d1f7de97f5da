//! The language, declared once: every directive's name, place, form, documentation, example, and how it is read.
//!
//! [`ALL`] drives the reader, "did you mean", the reference manual and the tests. One file per directive, or per small
//! family; to add one: its file, a line in [`ALL`], a variant of `ast::What`, and what `check` does with it.

mod access_log;
mod acme;
mod admin;
pub mod aliases;
mod auth;
mod block;
mod body_replace;
mod cache;
mod compress;
mod cookies;
mod cors;
mod discover;
mod door;
mod error_page;
mod files;
mod filter;
mod headers;
mod health;
mod http2;
mod include;
mod limits;
mod lint;
mod listen;
mod matchers;
mod param;
mod preset;
mod process;
mod proxy;
mod redirect;
mod respond;
mod retry;
mod rewrite;
mod route;
mod send_file;
mod site;
mod stream;
mod table;
mod test;
mod timeouts;
mod tls;
mod traffic;
mod trusted_proxies;
mod upstream;

pub(crate) use self::auth::file_at_start;
pub use self::upstream::POLICIES;
use crate::ast::What;
use crate::read::Reading;
use crate::syntax::{Leaf, Scalar};

/// A declaration.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub places: &'static [Place],
    /// Its arguments, as the manual shows them.
    pub args: &'static str,
    /// Its properties.
    pub props: &'static [Prop],
    /// What stands between its braces, if anything may.
    pub body: Option<Place>,
    /// Whether it may stand several times in one place.
    pub repeats: bool,
    /// One sentence.
    pub summary: &'static str,
    /// The rest of what there is to say, in Markdown.
    pub details: &'static str,
    /// A whole site that uses it; compiled by a test.
    pub example: &'static str,
    /// Reads a node of this name; `None` if it was too wrong to go on with.
    pub read: fn(&mut Reading<'_, '_>) -> Option<What>,
}

/// A property of a [`Directive`].
pub struct Prop {
    /// Its name.
    pub name: &'static str,
    /// Its value, as the manual shows it.
    pub value: &'static str,
    /// What it means, its default included.
    pub docs: &'static str,
    /// Where it acts; empty for wherever the directive may stand.
    pub places: &'static [Place],
}

impl Prop {
    /// A property that acts wherever its directive may stand.
    const fn new(name: &'static str, value: &'static str, docs: &'static str) -> Prop {
        Prop { name, value, docs, places: &[] }
    }
}

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the directive whose braces it stands in")]
pub enum Place {
    Root,
    Site,
    Route,
    Preset,
    Listen,
    Tls,
    Acme,
    Stream,
    StreamRoute,
    Upstream,
    HealthCheck,
    Discover,
    Retry,
    CacheStore,
    Cache,
    CacheKey,
    /// In `query` of a `key`.
    KeyQuery,
    Device,
    Compress,
    Cors,
    Auth,
    ClientCertificate,
    Block,
    BodyReplace,
    Bypass,
    Split,
    Process,
    /// In `http2`.
    Http2,
    Test,
    Request,
    Expect,
    Headers,
    Rewrite,
    Redirect,
    Log,
    Not,
    Any,
    Files,
    Else,
}

impl Place {
    /// As in "there is no `x` in a `site`".
    pub fn inside(self) -> &'static str {
        match self {
            Place::Root => "at the top level",
            Place::Site => "in a `site`",
            Place::Route => "in a `route`",
            Place::Preset => "in a `preset`",
            Place::Listen => "in `listen`",
            Place::Tls => "in `tls`",
            Place::Acme => "in `acme`",
            Place::Stream => "in a `stream`",
            Place::StreamRoute => "in a `route` of a `stream`",
            Place::Upstream => "in an `upstream`",
            Place::HealthCheck => "in a `health-check`",
            Place::Discover => "in `discover`",
            Place::Retry => "in `retry`",
            Place::CacheStore => "in a `cache-store`",
            Place::Cache => "in `cache`",
            Place::CacheKey => "in `key`",
            Place::KeyQuery => "in `query`",
            Place::Device => "in `device`",
            Place::Compress => "in `compress`",
            Place::Cors => "in `cors`",
            Place::Auth => "in `auth`",
            Place::ClientCertificate => "in `client-certificate`",
            Place::Block => "in `block`",
            Place::BodyReplace => "in `body-replace`",
            Place::Bypass => "in `bypass` or `refresh`",
            Place::Split => "in `split`",
            Place::Process => "in `process`",
            Place::Http2 => "in `http2`",
            Place::Test => "in a `test`",
            Place::Request => "in a test's `request`",
            Place::Expect => "in a test's `expect`",
            Place::Headers => "in `request-headers` or `response-headers`",
            Place::Rewrite => "in `rewrite`",
            Place::Redirect => "in `redirect`",
            Place::Log => "in `log`",
            Place::Not => "in `not`",
            Place::Any => "in `any`",
            Place::Files => "in `files`",
            Place::Else => "in `else`",
        }
    }
}

/// Where handlers may stand.
const HANDLER: &[Place] = &[Place::Site, Place::Route, Place::Else];
/// Where policies may stand.
const POLICY: &[Place] = &[Place::Site, Place::Route, Place::Preset];
/// Where policies may stand that act before a site is known, too.
const ROOT_POLICY: &[Place] = &[Place::Root, Place::Site, Place::Route, Place::Preset];
/// Where matchers may stand.
const MATCHER: &[Place] = &[Place::Route, Place::Not, Place::Any];

/// Every directive, in the order of the manual.
pub static ALL: &[&Directive] = &[
    &site::SITE,
    &route::ROUTE,
    &table::TABLE,
    &listen::LISTEN,
    &listen::HTTP,
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
    &proxy::PROXY,
    &traffic::SPLIT,
    &traffic::TO,
    &files::FILES,
    &files::ELSE,
    &respond::RESPOND,
    &redirect::REDIRECT,
    &redirect::ALLOW_HOST,
    &respond::ECHO,
    &respond::ABORT,
    &rewrite::REWRITE,
    &rewrite::QUERY_SET,
    &rewrite::QUERY_REMOVE,
    &headers::REQUEST_HEADERS,
    &headers::RESPONSE_HEADERS,
    &headers::SET,
    &headers::ADD,
    &headers::DEFAULT,
    &headers::REMOVE,
    &headers::REPLACE,
    &headers::PASS,
    &limits::LIMITS,
    &timeouts::TIMEOUTS,
    &door::MAINTENANCE,
    &door::ALLOW,
    &door::DENY,
    &door::RATE_LIMIT,
    &door::IN_FLIGHT,
    &cors::CORS,
    &cors::CORS_METHODS,
    &cors::CORS_HEADERS,
    &cors::EXPOSE,
    &body_replace::BODY_REPLACE,
    &body_replace::REPLACE,
    &cookies::RESPONSE_COOKIES,
    &auth::CLIENT_CERTIFICATE,
    &auth::SUBJECT,
    &auth::FINGERPRINT,
    &auth::AUTH,
    &auth::ALGORITHMS,
    &auth::REQUIRE,
    &auth::SEND,
    &auth::COPY,
    &auth::COPY_RESPONSE,
    &block::BLOCK,
    &block::BLOCK_PATH,
    &block::BLOCK_QUERY,
    &block::BLOCK_HEADER,
    &block::BLOCK_HEADERS,
    &block::BLOCK_COOKIE,
    &block::BLOCK_USER_AGENT,
    &block::BLOCK_BODY,
    &block::REQUEST_TYPES,
    &filter::FILTER,
    &retry::RETRY,
    &retry::ON,
    &retry::METHODS,
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
    &compress::COMPRESS,
    &compress::TYPES,
    &traffic::MIRROR,
    &traffic::FAULT,
    &error_page::ERROR_PAGE,
    &access_log::LOG,
    &access_log::FIELDS,
    &upstream::UPSTREAM,
    &upstream::SERVER,
    &send_file::SEND_FILE,
    &discover::DISCOVER,
    &discover::RESOLVERS,
    &upstream::BALANCE,
    &upstream::STICKY,
    &health::HEALTH_CHECK,
    &health::EXPECT_STATUS,
    &health::EXPECT_BODY,
    &health::OUTLIER,
    &health::PANIC_THRESHOLD,
    &upstream::SLOW_START,
    &upstream::CIRCUIT_BREAKER,
    &upstream::POOL,
    &upstream::PROXY_PROTOCOL,
    &tls::UPSTREAM_TLS,
    &tls::UPSTREAM_HTTP,
    &stream::STREAM,
    &stream::STREAM_LISTEN,
    &stream::STREAM_ROUTE,
    &stream::TUNNEL,
    &trusted_proxies::TRUSTED_PROXIES,
    &admin::ADMIN,
    &process::PROCESS,
    &process::WORKERS,
    &process::DRAIN,
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

/// The directive of a name at a place.
pub fn find(name: &str, place: Place) -> Option<&'static Directive> {
    within(place).find(|directive| directive.name == name)
}

/// The directives that may stand at a place.
pub fn within(place: Place) -> impl Iterator<Item = &'static Directive> {
    ALL.iter().copied().filter(move |directive| directive.places.contains(&place))
}

/// Whether a value is a number, in quotes or not.
fn is_number(leaf: &Leaf) -> bool {
    match &leaf.value {
        Scalar::Integer(..) => true,
        Scalar::Text(text) => text.starts_with(|char: char| char.is_ascii_digit()),
        _ => false,
    }
}

impl Directive {
    /// The form, on one line: `respond CODE BODY type=TYPE`.
    pub fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        if !self.args.is_empty() {
            usage = usage + " " + self.args;
        }
        for prop in self.props {
            usage = usage + " " + prop.name + "=" + prop.value;
        }
        if self.body.is_some() { usage + " { ... }" } else { usage }
    }
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
