//! Answers the requests of operators ([`Answerer::answer`]), each for a part of `admin` that the site may have.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::access::AccessRules;
use super::body::{AdminBody, PieceStream};
use super::operator::Operator;
use super::process::OwnProcess;
use super::servers::OfServer;
use super::status::Snapshots;
use super::streams::{Events, MOST, MOST_TAPS, TapLines};
use super::tap::TapQuery;
use super::{Operated, form, metrics, page, servers, stores};
use crate::context::facts::Facts;
use crate::context::view::RequestVersion;
use crate::failure::Failure;
use crate::metrics::text::Format;
use crate::net::stream::Buffers;
use crate::observe::{announce, notice};
use crate::protocol::fields::Fields;
use crate::protocol::target::Target;
use crate::serve::purge;
use crate::site::LogLevel;
use crate::worker::{MIN_BUFFER, StopSignal};

/// The response to an operator.
pub(super) type AdminResponse = Response<AdminBody>;

/// The paths for `GET`, with what each is for.
const PATHS: [(&str, &str); 10] = [
    ("/healthz", "200 while the process runs"),
    ("/readyz", "200 while it accepts requests and `ready` holds, else 503"),
    ("/metrics", "metrics for Prometheus"),
    ("/status", "the status page"),
    ("/status.json", "the same as JSON"),
    ("/status/events", "the same as server-sent events"),
    ("/tap?status=5xx&n=10", "heads of live exchanges, as lines of JSON"),
    ("/stores", "what the caches have and have done, as JSON"),
    ("/entry?url=URL", "what is cached under a URL, as JSON"),
    ("/servers", "the servers of upstreams, as JSON"),
];

/// The paths for `POST`, with what each is for.
const POSTS: [(&str, &str); 3] = [
    ("/servers/UPSTREAM/SERVER", "state=drain, state=enabled, weight=N: changes a server"),
    ("/drain", "ends the process as SIGTERM does"),
    ("/log-level", "level=error, level=warn or level=info: the level of the error log"),
];

/// Marks the response to `POST /drain`: the drain begins once it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct DrainAccepted;

/// How long a text of metrics is used again: clients that scrape at about the same time get the same text.
const FRESH: Duration = Duration::from_millis(500);

/// The endpoint's state, which all connections share.
pub(super) struct Answerer {
    pub(super) operated: Rc<Operated>,
    pub(super) process: OwnProcess,
    /// The buffers that connections read into.
    pub(super) buffers: &'static Buffers,
    text: RefCell<Option<(Instant, Format, Bytes)>>,
    snapshots: Rc<Snapshots>,
    /// Permits for the clients of streams, and for taps, which need one of each.
    listeners: Arc<Semaphore>,
    taps: Arc<Semaphore>,
}

impl Answerer {
    pub(super) fn new(operated: Operated) -> Answerer {
        let buffers: &'static Buffers = Box::leak(Box::new(Buffers::new(MIN_BUFFER)));
        let (operated, process) = (Rc::new(operated), OwnProcess { began: SystemTime::now() });
        Answerer {
            snapshots: Rc::new(Snapshots::new(Rc::clone(&operated), process)),
            operated,
            process,
            buffers,
            text: RefCell::default(),
            listeners: Arc::new(Semaphore::new(MOST)),
            taps: Arc::new(Semaphore::new(MOST_TAPS)),
        }
    }

    /// Answers a request. Only the body of a change is read: other bodies have no meaning.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: &Operator) -> AdminResponse {
        let (admin, path) = (self.operated.admin, request.uri().path());
        let access = AccessRules { site: self.operated.site, admin, state: self.operated.access };
        let user = match access.check(request.headers(), peer).await {
            Ok(user) => user,
            Err((status, why)) => {
                let mut reply = refuse(status, &why);
                if let (StatusCode::UNAUTHORIZED, Some(auth)) = (status, &admin.auth)
                    && let Ok(challenge) = header::HeaderValue::from_str(&auth.challenge)
                {
                    reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                }
                return reply;
            }
        };
        let peer = &Operator { user, ..peer.clone() };
        if request.method().as_str() == purge::PURGE {
            return self.purge(&request, peer).await;
        }
        if matches!(path, "/drain" | "/log-level") || path.starts_with("/servers/") {
            return self.change(request, peer).await;
        }
        if !PATHS.iter().any(|(known, _)| known.split('?').next() == Some(path)) && path != "/" {
            let known: Vec<_> = PATHS.iter().chain(&POSTS).map(|(path, _)| *path).collect();
            return refuse(
                StatusCode::NOT_FOUND,
                &format!("there is no `{path}` here; there are {}", known.join(", ")),
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return other_method("GET", "GET, HEAD");
        }
        match path {
            "/" => text(StatusCode::OK, index()),
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => self.ready(),
            "/metrics" if admin.metrics => self.metrics(&request),
            "/status" if admin.status => status_page(),
            "/status.json" if admin.status => reply(StatusCode::OK, "application/json", self.snapshots.json()),
            "/status/events" | "/tap" if is_from_other_page(request.headers()) => {
                refuse(StatusCode::FORBIDDEN, OTHER_PAGES)
            }
            "/status/events" if admin.status => self.events(&request),
            "/tap" if admin.tap => self.tap(&request, peer.ip),
            "/stores" if admin.status => {
                let stores = stores::list(self.operated.stores);
                if reads_text(&request) { text(StatusCode::OK, stores::table(&stores)) } else { json(&stores) }
            }
            "/entry" if admin.status => self.entry(&request, peer).await,
            "/servers" if admin.servers => of_servers(reads_text(&request), &servers::list(self.operated.servers)),
            _ => forbidden(path.trim_start_matches('/')),
        }
    }

    /// `GET /readyz`: whether the process accepts requests and its upstreams are ready.
    fn ready(&self) -> AdminResponse {
        if *self.operated.stop.borrow() != StopSignal::No {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the process is stopping");
        }
        if self.operated.memory.resident.is_exceeded() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "requests are refused, as too much memory is in use");
        }
        match self.operated.servers.first_down(&self.operated.admin.ready) {
            Some(down) => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("upstream `{}` has no healthy server", down.config.name),
            ),
            None => text(StatusCode::OK, "ready\n"),
        }
    }

    fn metrics(&self, request: &Request<Incoming>) -> AdminResponse {
        let accept = request.headers().get(header::ACCEPT).map_or(&b""[..], header::HeaderValue::as_bytes);
        let (format, now) = (Format::of(accept), Instant::now());
        let mut known = self.text.borrow_mut();
        let text = match &*known {
            Some((made, of, text)) if *of == format && now.saturating_duration_since(*made) < FRESH => text.clone(),
            _ => {
                // Room for a little more than the last time, so that the text is not copied as it grows.
                let room = known.take().map_or(0, |(_, _, text)| text.len() + text.len() / 16);
                let text = Bytes::from(metrics::write(&self.operated, &self.process, (format, room)));
                *known = Some((now, format, text.clone()));
                text
            }
        };
        reply(StatusCode::OK, format.content_type(), text)
    }

    /// `GET /status/events`.
    fn events(&self, request: &Request<Incoming>) -> AdminResponse {
        let Some(place) = place(&self.listeners) else { return too_many("listen") };
        let snapshots = Rc::clone(&self.snapshots);
        stream(request, "text/event-stream", || Events::new(snapshots, place))
    }

    /// `GET /tap`.
    fn tap(&self, request: &Request<Incoming>, peer: IpAddr) -> AdminResponse {
        let Some(taps) = self.operated.taps else { return forbidden("tap") };
        let query = match TapQuery::read(request.uri().query().unwrap_or_default()) {
            Ok(query) => query,
            Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
        };
        let (Some(place), Some(tap)) = (place(&self.listeners), place(&self.taps)) else { return too_many("tap") };
        notice(&format!("admin: {peer} taps"));
        let bounds = (query.most, query.patience);
        stream(request, "application/x-ndjson", || TapLines::new(taps, query.wanted, bounds, [place, tap]))
    }

    /// `GET /entry`: all that follows `url=` is the URL, unchanged.
    async fn entry(&self, request: &Request<Incoming>, peer: &Operator) -> AdminResponse {
        let url = request.uri().query().and_then(|query| query.strip_prefix("url="));
        let Some(url) = url.filter(|url| url.contains("://")) else {
            return refuse(StatusCode::BAD_REQUEST, "write /entry?url=http://example.com/path");
        };
        // A URL as target contains the host, but the field is required all the same (RFC 9112 section 3.2.2).
        let host: Fields = [("host", "admin")].into_iter().collect();
        let Operated { site, settings, stores, .. } = *self.operated;
        let Ok(mut target) = Target::parse(url.to_owned(), &host, Version::HTTP_11) else {
            return refuse(StatusCode::BAD_REQUEST, "the URL is malformed");
        };
        let policy = purge::policy_of(site, &mut target, &host, (peer.ip, RequestVersion::Http1));
        let facts = facts(&Method::GET, &host, &target, Facts::nothing(&Method::GET, &host, settings));
        match policy.and_then(|policy| purge::place_of(&facts, site, policy, stores)) {
            Some((store, urls)) => json(&stores::entry(store, urls).await),
            None => refuse(StatusCode::NOT_FOUND, "no route with `cache` has this URL"),
        }
    }

    /// `POST`: changes a server or the level of the error log, or ends the process.
    async fn change(&self, request: Request<Incoming>, peer: &Operator) -> AdminResponse {
        let Operated { admin, servers, .. } = *self.operated;
        if *request.method() != Method::POST {
            return other_method("POST", "POST");
        }
        let path = request.uri().path().to_owned();
        let part = match &*path {
            "/drain" => ("drain", admin.drain),
            "/log-level" => ("log-level", admin.log_level),
            _ => ("servers", admin.servers),
        };
        match part {
            (name, false) => return forbidden(name),
            _ if is_from_page(&request) => return refuse(StatusCode::FORBIDDEN, PAGES),
            ("drain", _) => return drain(peer),
            _ => {}
        }
        let as_text = reads_text(&request);
        let parameters = match form::read(request).await {
            Ok(parameters) => parameters,
            Err((status, why)) => return refuse(status, &why),
        };
        // No `await` is between reading the state and changing it: changes are made one after the other.
        let Some(place) = path.strip_prefix("/servers/") else { return set_log_level(&parameters, peer) };
        match servers::change(servers, place, &parameters) {
            Ok(changed) => {
                announce(&format!("admin: {} by {peer}", changed.done));
                of_servers(as_text, &changed.servers)
            }
            Err((status, why)) => refuse(status, &why),
        }
    }

    /// `PURGE` of the request's URL, or of what its header fields name.
    async fn purge(&self, request: &Request<Incoming>, peer: &Operator) -> AdminResponse {
        let Operated { site, admin, settings, stores, .. } = *self.operated;
        if !admin.purge {
            return forbidden("purge");
        }
        if is_from_page(request) {
            return refuse(StatusCode::FORBIDDEN, PAGES);
        }
        let mut fields = Fields::new();
        for (name, value) in request.headers() {
            fields.add(name.as_str().as_bytes(), value.as_bytes());
        }
        let Ok(mut target) = Target::parse(request.uri().to_string(), &fields, request.version()) else {
            return refuse(StatusCode::BAD_REQUEST, "the host or the path is malformed");
        };
        let method = request.method();
        let policy = purge::policy_of(site, &mut target, &fields, (peer.ip, RequestVersion::Http1));
        let about = policy.and_then(|policy| Some((&policy.key, stores.get(usize::from(policy.store))?)));
        let facts = facts(method, &fields, &target, Facts::nothing(method, &fields, settings));
        match purge::carry_out(&facts, site, about, stores).await {
            Ok(purged) if reads_text(request) => text(StatusCode::OK, format!("purged: {purged}\n")),
            Ok(purged) => json(&Purged { purged }),
            Err(Failure::NoRoute) => refuse(StatusCode::NOT_FOUND, "no route with `cache` has this URL"),
            Err(failure) => refuse(failure.status(), failure.reason()),
        }
    }
}

fn drain(peer: &Operator) -> AdminResponse {
    announce(&format!("admin: {peer} ends the process"));
    let mut reply = text(StatusCode::ACCEPTED, "the drain begins\n");
    reply.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    reply.extensions_mut().insert(DrainAccepted);
    reply
}

fn set_log_level(parameters: &str, peer: &Operator) -> AdminResponse {
    let mut values = parameters.split('&').filter_map(|parameter| parameter.strip_prefix("level="));
    let named = values.next().filter(|_| values.next().is_none());
    let level = named.and_then(|name| LogLevel::NAMES.iter().find(|(known, _)| *known == name));
    let Some(&(name, level)) = level else {
        return refuse(StatusCode::BAD_REQUEST, "write level=error, level=warn or level=info");
    };
    // The change itself is logged, whatever the level was and will be.
    notice::set_level(LogLevel::Info);
    announce(&format!("admin: the level of the error log was set to {name} by {peer}"));
    notice::set_level(level);
    text(StatusCode::OK, format!("{name}\n"))
}

fn facts<'f>(method: &'f Method, fields: &'f Fields, target: &'f Target, nothing: Facts<'f>) -> Facts<'f> {
    Facts {
        method,
        fields,
        host: target.host(),
        authority: target.authority("http").unwrap_or_default(),
        path: target.path(),
        query: target.query(),
        ..nothing
    }
}

/// Returns the list of all paths, for people.
fn index() -> String {
    let mut out = String::new();
    for (path, what) in PATHS {
        out.extend(["GET ", path, "  ", what, "\n"]);
    }
    for (path, what) in POSTS {
        out.extend(["POST ", path, "  ", what, "\n"]);
    }
    out + "PURGE URL  takes responses out of caches\n"
}

const PAGES: &str = "pages of browsers may not change anything here";

/// Returns whether a page in a browser has sent a request: on this machine it can reach the endpoint. Other programs send no `Origin`.
fn is_from_page(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(header::ORIGIN)
}

const OTHER_PAGES: &str = "pages of other sites may not read along here";

/// Returns whether another site's page in a browser has sent a request for a stream, of which few are served at once. The browser says so
/// where it trusts the connection (Fetch Metadata, `Sec-Fetch-Site`), and names the page if it wants to read the response. The status page
/// has the same origin, and a person at the address bar has none.
fn is_from_other_page(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.contains_key(header::ORIGIN),
    }
}

fn other_method(method: &str, allow: &'static str) -> AdminResponse {
    let mut reply = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("this is asked for with {method}"));
    reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    reply
}

/// Returns the response for a part that the site does not have.
fn forbidden(part: &str) -> AdminResponse {
    let line = match part {
        "stores" | "entry" | "status.json" | "status/events" => "status",
        part => part,
    };
    notice(&format!("admin: a request was refused that needs `{line}` in `admin`"));
    refuse(StatusCode::FORBIDDEN, &format!("`admin` has no line `{line}` in the site"))
}

/// Returns a permit, if one is left.
fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().ok()
}

fn too_many(what: &str) -> AdminResponse {
    let mut reply = refuse(StatusCode::SERVICE_UNAVAILABLE, &format!("no more clients can {what} at once"));
    reply.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    // The connection closes, so that another client can use its place.
    reply.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    reply
}

fn status_page() -> AdminResponse {
    let (page, policy) = page::page();
    let mut reply = reply(StatusCode::OK, "text/html; charset=utf-8", page);
    if let Ok(policy) = header::HeaderValue::try_from(policy) {
        reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    reply.headers_mut().insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    reply
}

fn refuse(status: StatusCode, why: &str) -> AdminResponse {
    text(status, format!("{status}: {why}\n"))
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> AdminResponse {
    reply(status, "text/plain; charset=utf-8", text.into())
}

/// The result of a purge.
#[derive(Serialize)]
struct Purged {
    /// How many responses were taken out, or made stale.
    purged: u64,
}

/// Whether a client asks for text for people, and not for JSON.
fn reads_text(request: &Request<Incoming>) -> bool {
    request.headers().get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"))
}

fn of_servers(as_text: bool, servers: &[OfServer<'_>]) -> AdminResponse {
    if as_text { text(StatusCode::OK, servers::table(servers)) } else { json(&servers) }
}

fn json(value: &impl Serialize) -> AdminResponse {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            reply(StatusCode::OK, "application/json", text.into())
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> AdminResponse {
    with_body(status, content_type, AdminBody::Whole(Some(body)))
}

/// Returns a streamed response; for HEAD, its head alone.
fn stream<S: PieceStream + 'static>(
    request: &Request<Incoming>,
    content_type: &'static str,
    body: impl FnOnce() -> S,
) -> AdminResponse {
    let body = match *request.method() {
        Method::HEAD => AdminBody::Whole(None),
        _ => AdminBody::Stream(Box::new(body())),
    };
    with_body(StatusCode::OK, content_type, body)
}

fn with_body(status: StatusCode, content_type: &'static str, body: AdminBody) -> AdminResponse {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites() {
        let check = |lines: &[(&'static str, &'static str)], expected: bool| {
            let line = |(name, value): &(&'static str, &'static str)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            };
            assert_eq!(is_from_other_page(&lines.iter().map(line).collect()), expected, "{lines:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin")], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("sec-fetch-site", "cross-site")], true);
        // Another port or name of this machine.
        check(&[("sec-fetch-site", "same-site")], true);
        check(&[("sec-fetch-site", "")], true);
        check(&[("origin", "http://a.test")], true);
        check(&[("origin", "http://localhost:9000"), ("sec-fetch-site", "same-origin")], false);
    }
}
