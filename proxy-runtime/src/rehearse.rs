//! A request that is not sent: what the site's rules make of it. For the tests of a site file, run by the compiler
//! over its plan and by the binary over its tables, and for `kiln explain`. Pure.
//!
//! Follows the same steps as `serve::exchange`, through the same functions, up to the point where I/O would begin.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::{Method, Version};

use crate::facts::{Facts, RequestId, Timestamp};
use crate::fields::Fields;
use crate::filter::Outgoing;
use crate::route::{Captures, Found, MethodSet, RouteId, SiteId, Tables, Verdict};
use crate::settings::Settings;
use crate::site::{Expect, Handler, Methods, NormalForm, Site, Test};
use crate::target::Target;
use crate::view::RequestView;

/// A site's rules, compiled or not: the compiler has them as a plan, the binary as functions.
pub trait Rules {
    /// The look-up tables.
    fn tables(&self) -> &Tables;
    /// How a site's paths are brought to normal form.
    fn normal_form(&self, site: SiteId) -> NormalForm;
    /// The methods of a route.
    fn methods(&self, route: RouteId) -> &Methods;
    /// Whether a route's other matchers hold.
    fn matches(&self, route: RouteId, view: &RequestView<'_>, captures: &mut Captures) -> bool;
    /// Applies a route's request filters.
    fn filter(&self, route: RouteId, out: &mut Outgoing<'_>, facts: &Facts<'_>);
    /// A route's pattern.
    fn pattern(&self, route: RouteId) -> &str;
    /// Who answers.
    fn handler(&self, route: RouteId) -> &Handler;
    /// The text that is a route's own.
    fn row(&self, route: RouteId) -> &str;
    /// The name of an upstream.
    fn upstream(&self, index: u16) -> &str;
}

/// A request to rehearse.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    /// The method.
    pub method: &'a str,
    /// An absolute URL.
    pub url: &'a str,
    /// The listener it arrives at.
    pub listener: u32,
    /// Header fields, the host excepted.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The client.
    pub from: IpAddr,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The site that has the host.
    pub site: Option<SiteId>,
    /// The route that answers.
    pub route: Option<RouteId>,
    /// Its pattern.
    pub pattern: Option<String>,
    /// Who answers.
    pub handler: Option<&'static str>,
    /// The status of an answer that the proxy gives itself.
    pub status: Option<u16>,
    /// Why, where it is an error.
    pub reason: Option<&'static str>,
    /// The upstream.
    pub upstream: Option<String>,
    /// Path and query as the upstream sees them.
    pub upstream_path: Option<String>,
    /// The header fields that the filters leave, as the upstream sees them.
    pub upstream_headers: Vec<(String, String)>,
    /// The target of a redirect.
    pub location: Option<String>,
}

impl Outcome {
    fn refused(status: u16, reason: &'static str) -> Outcome {
        Outcome { status: Some(status), reason: Some(reason), ..Outcome::default() }
    }
}

/// Rehearses a request.
///
/// # Errors
/// It is no request: the method or URL is none.
pub fn rehearse(rules: &impl Rules, request: &Rehearsal<'_>, settings: &Settings) -> Result<Outcome, String> {
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| error.to_string())?;
    let (path, fields, scheme) = build(request)?;
    let Ok(mut target) = Target::parse(path, &fields, Version::HTTP_11) else {
        return Ok(Outcome::refused(400, "bad-host"));
    };
    let Some(site) = rules.tables().site(request.listener, target.host()) else {
        return Ok(Outcome::refused(421, "unknown-host"));
    };
    let form = rules.normal_form(site);
    if target.normalise(form).is_err() {
        return Ok(Outcome { site: Some(site), ..Outcome::refused(400, "bad-path") });
    }
    let found = find(rules, site, &target, &method, &fields, request.from);
    let (route, captures) = match found {
        Found::Route(route, captures) => (route, captures),
        Found::OtherMethod(_) => {
            return Ok(Outcome { site: Some(site), ..Outcome::refused(405, "method-not-allowed") });
        }
        Found::Nothing => return Ok(Outcome { site: Some(site), ..Outcome::refused(404, "no-route") }),
    };
    let handler = rules.handler(route);
    let upstream = match handler {
        Handler::Proxy(proxy) => rules.upstream(proxy.upstream),
        _ => "",
    };
    let facts = Facts {
        method: &method,
        scheme,
        host: target.host(),
        path: target.path(),
        query: target.query(),
        protocol: "HTTP/1.1",
        client: request.from,
        fields: &fields,
        captures,
        route: rules.pattern(route),
        row: rules.row(route),
        settings,
        request_id: RequestId(0),
        upstream,
        server: "",
        status: 0,
        bytes: 0,
        duration: Duration::ZERO,
        reason: "",
        time: Timestamp(0),
    };
    let mut outcome = Outcome {
        site: Some(site),
        route: Some(route),
        pattern: Some(rules.pattern(route).to_owned()),
        handler: Some(handler.name()),
        ..Outcome::default()
    };
    match handler {
        Handler::Proxy(_) => {
            outcome.upstream = Some(upstream.to_owned());
            forward(rules, route, form, &target, &facts, &mut outcome);
        }
        Handler::Respond(respond) => outcome.status = Some(respond.code),
        Handler::Redirect(redirect) => {
            let answer = crate::handler::redirect(&facts, redirect);
            outcome.status = Some(answer.status.as_u16());
            outcome.location = answer.fields.get("location").map(lossy);
        }
        Handler::Echo => outcome.status = Some(200),
        Handler::Abort => {}
    }
    Ok(outcome)
}

fn forward(
    rules: &impl Rules,
    route: RouteId,
    form: NormalForm,
    target: &Target,
    facts: &Facts<'_>,
    outcome: &mut Outcome,
) {
    let mut headers = facts.fields.clone();
    let (path, query) = (Cow::Borrowed(target.path()), target.query().map(Cow::Borrowed));
    let mut out = Outgoing { path, query, headers: &mut headers };
    rules.filter(route, &mut out, facts);
    match crate::target::normal_path(&out.path, form) {
        Ok(path) => {
            outcome.upstream_path = Some(match &out.query {
                Some(query) => format!("{path}?{query}"),
                None => path.into_owned(),
            })
        }
        Err(_) => {
            outcome.status = Some(400);
            outcome.reason = Some("bad-rewrite");
        }
    }
    outcome.upstream_headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), lossy(value))).collect();
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// The route for a request, whose host has led to `site`.
pub fn find(
    rules: &impl Rules,
    site: SiteId,
    target: &Target,
    method: &Method,
    headers: &Fields,
    client: IpAddr,
) -> Found {
    let view = RequestView { method, host: target.host(), path: target.path(), query: target.query(), headers, client };
    rules.tables().route(site, target.path(), |route, captures| {
        if !rules.matches(route, &view, captures) {
            return Verdict::No;
        }
        let methods = rules.methods(route);
        if methods.contains(method) { Verdict::Yes } else { Verdict::OtherMethod(MethodSet::of(methods)) }
    })
}

fn build(request: &Rehearsal<'_>) -> Result<(String, Fields, &'static str), String> {
    let uri: http::Uri = request.url.parse().map_err(|error| format!("`{}`: {error}", request.url))?;
    let authority = uri.authority().ok_or("the URL has no host")?;
    let scheme = if uri.scheme_str() == Some("https") { "https" } else { "http" };
    let mut fields = Fields::new();
    fields.add(b"host", authority.as_str().as_bytes());
    for (name, value) in &request.headers {
        http::HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        fields.add(name.as_bytes(), value.as_bytes());
    }
    Ok((uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(), fields, scheme))
}

/// What a test expects and does not get: the property, what was expected, what came.
pub fn misses(expect: &Expect, outcome: &Outcome) -> Vec<(&'static str, String, String)> {
    let mut misses = Vec::new();
    let mut compare = |name, expected: Option<String>, found: Option<String>| {
        if let Some(expected) = expected
            && found.as_ref() != Some(&expected)
        {
            misses.push((name, expected, found.unwrap_or_else(|| outcome.in_short())));
        }
    };
    let text = |text: &Option<crate::site::Text>| text.as_ref().map(ToString::to_string);
    compare("status", expect.status.map(|status| status.to_string()), outcome.status.map(|status| status.to_string()));
    compare("route", text(&expect.route), outcome.pattern.clone());
    compare("handler", text(&expect.handler), outcome.handler.map(str::to_owned));
    compare("upstream", text(&expect.upstream), outcome.upstream.clone());
    compare("upstream-path", text(&expect.upstream_path), outcome.upstream_path.clone());
    compare("location", text(&expect.location), outcome.location.clone());
    misses
}

impl Outcome {
    /// As in "404 (no-route)" or "forwarded to api".
    pub fn in_short(&self) -> String {
        match (self.status, self.reason, &self.upstream, self.handler) {
            (Some(status), Some(reason), ..) => format!("{status} ({reason})"),
            (Some(status), None, ..) => format!("{status}"),
            (None, _, Some(upstream), _) => format!("forwarded to {upstream}"),
            (None, _, None, handler) => handler.unwrap_or("nothing").to_owned(),
        }
    }
}

/// Runs one test; the misses, or why it is no request.
///
/// # Errors
/// See [`rehearse`].
pub fn run(
    rules: &impl Rules,
    test: &Test,
    settings: &Settings,
) -> Result<Vec<(&'static str, String, String)>, String> {
    let headers = test.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let request = Rehearsal {
        method: &test.method,
        url: &test.url,
        listener: u32::from(test.listener),
        headers,
        from: test.from,
    };
    Ok(misses(&test.expect, &rehearse(rules, &request, settings)?))
}

impl Rules for Site {
    fn tables(&self) -> &Tables {
        &self.tables
    }
    fn normal_form(&self, site: SiteId) -> NormalForm {
        self.sites[site as usize].normal_form
    }
    fn methods(&self, route: RouteId) -> &Methods {
        self.routes.methods(route)
    }
    fn matches(&self, route: RouteId, view: &RequestView<'_>, captures: &mut Captures) -> bool {
        self.routes.matches(route, view, captures)
    }
    fn filter(&self, route: RouteId, out: &mut Outgoing<'_>, facts: &Facts<'_>) {
        if let Some(filter) = self.routes.get(route).and_then(|route| route.request) {
            filter(out, facts);
        }
    }
    fn pattern(&self, route: RouteId) -> &str {
        self.routes.get(route).map_or("", |route| route.pattern)
    }
    fn handler(&self, route: RouteId) -> &Handler {
        self.routes.get(route).map_or(&Handler::Abort, |route| route.handler)
    }
    fn row(&self, route: RouteId) -> &str {
        self.routes.get(route).map_or("", |route| route.row)
    }
    fn upstream(&self, index: u16) -> &str {
        &self.upstreams[usize::from(index)].name
    }
}
