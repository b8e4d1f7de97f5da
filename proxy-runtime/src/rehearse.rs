//! A request that is not sent: what the site's rules make of it. For the tests of a site file, run by the compiler
//! over its plan and by the binary over its tables, and for `kiln explain`. Pure.
//!
//! Follows the same steps as `serve::exchange`, through the same functions, up to the point where I/O would begin.

use std::net::IpAddr;

use http::{Method, StatusCode, Version};

use crate::access;
use crate::access::inspect::{Inspector, Scratch};
use crate::access::trust;
use crate::balance::split;
use crate::cache::{device, key};
use crate::context::facts::Facts;
use crate::context::settings::Settings;
use crate::context::view::RequestView;
use crate::filter::intake;
use crate::filter::{Functions, Outgoing};
use crate::protocol::escape;
use crate::protocol::fields::Fields;
use crate::protocol::target::Target;
use crate::router::route::{Captures, MethodSet, Node, RouteId, RouteLookup, RouteVerdict, SiteId, Tables};
use crate::site::{
    Access, Expect, ExpectField, Handler, Methods, NormalForm, Policy, Setting, Side, Site, Test, Text, Trusted,
};

/// A site's rules, compiled or not: the compiler has them as a plan, the binary as functions.
pub trait SiteRules {
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
    /// Applies a route's response filters.
    fn respond(&self, route: RouteId, fields: &mut Fields, facts: &Facts<'_>);
    /// The user's functions on a route.
    ///
    /// # Errors
    /// They are not compiled yet.
    fn functions(&self, route: RouteId) -> Result<Option<&'static Functions>, NotCompiled>;
    /// What surrounds a route's handler.
    fn policy(&self, route: RouteId) -> Option<&Policy>;
    /// What surrounds a site's handlers, where no route is known.
    fn site_policy(&self, site: SiteId) -> Option<&Policy>;
    /// A route's pattern.
    fn pattern(&self, route: RouteId) -> &str;
    /// Who answers.
    fn handler(&self, route: RouteId) -> &Handler;
    /// The text that is a route's own.
    fn row(&self, route: RouteId) -> &str;
    /// The name of an upstream.
    fn upstream(&self, index: u16) -> &str;
    /// Whose word about the client is taken.
    fn trusted(&self) -> &Trusted;
    /// Where plain requests for a site that come to a listener are redirected to: the address of the listener that speaks
    /// `https`.
    fn redirect_https(&self, site: SiteId, listener: u32) -> Option<&Setting<Text>>;
}

/// There are functions of the user's, and the compiler can't run them: the binary can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotCompiled;

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
    /// The size of its body, in bytes.
    pub body: u64,
    /// The peer: the client, unless it is in `trusted-proxies`.
    pub from: IpAddr,
    /// It comes in HTTP/2.
    pub http2: bool,
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
    /// Whether it is looked up in a cache: `lookup`, `pass` or `off`; and why it passes.
    pub cache: Option<(&'static str, &'static str)>,
    /// What its answer would be kept under.
    pub cache_key: Option<String>,
    /// The header fields that the filters leave, as the upstream sees them.
    pub upstream_headers: Vec<(String, String)>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The header fields of the answer, as far as the proxy sets them.
    pub response_headers: Vec<(String, String)>,
    /// The user's functions that have a say in it were not asked; all but the route may come out otherwise.
    pub not_asked: bool,
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
pub fn rehearse(rules: &impl SiteRules, request: &Rehearsal<'_>, settings: &Settings) -> Result<Outcome, String> {
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| error.to_string())?;
    let (path, mut fields, scheme) = build(request)?;
    let Ok(mut target) = Target::parse(path, &fields, Version::HTTP_11) else {
        return Ok(Outcome::refused(400, "bad-host"));
    };
    let Some(root) = rules.tables().site(request.listener, target.host()) else {
        return Ok(Outcome::refused(421, "unknown-host"));
    };
    let site = root.id();
    let form = rules.normal_form(site);
    if target.normalise(form).is_err() {
        return Ok(Outcome { site: Some(site), ..Outcome::refused(400, "bad-path") });
    }
    let origin = trust::origin(&fields, request.from, rules.trusted());
    let scheme = origin.scheme.unwrap_or(scheme);
    let site_fields = rules.site_policy(site).map(|policy| &policy.fields);
    let taken = intake::IntakeRules { header: &rules.trusted().header, trusted: origin.trusted, site: site_fields };
    let odd = intake::take_in(&mut fields, &taken);
    if let Some(to) = rules.redirect_https(site, request.listener).filter(|_| scheme == "http") {
        let location =
            crate::content::respond::https_url(target.host(), target.path(), target.query(), to.get(settings));
        let (status, location) = (Some(308), Some(location));
        return Ok(Outcome {
            site: Some(site),
            handler: Some("redirect-https"),
            status,
            location,
            ..Outcome::default()
        });
    }
    let about = (origin.client, request.http2);
    let has_cors = |route| access_of(rules.policy(route)).is_some_and(|access| access.cors.is_some());
    let preflight = access::preflight(&method, &fields).map(|asked| find(rules, root, &target, &asked, &fields, about));
    let preflight = preflight.filter(|found| matches!(found, RouteLookup::Route(route, _) if has_cors(*route)));
    let asks = preflight.is_some();
    let found = preflight.unwrap_or_else(|| find(rules, root, &target, &method, &fields, about));
    let policy = match &found {
        RouteLookup::Route(route, _) => rules.policy(*route),
        _ => rules.site_policy(site),
    };
    if policy.is_some_and(|policy| policy.refuses(target.path(), form)) {
        return Ok(Outcome { site: Some(site), ..Outcome::refused(400, "bad-path") });
    }
    if let (Some(access), RouteLookup::Nothing | RouteLookup::OtherMethod(_)) =
        (access_of(rules.site_policy(site)), &found)
        && let Some((status, reason)) = turned_away(access, &fields, request.body, origin.client)
    {
        return Ok(Outcome { site: Some(site), ..Outcome::refused(status, reason) });
    }
    let (route, captures) = match found {
        RouteLookup::Route(route, captures) => (route, captures),
        RouteLookup::OtherMethod(_) => {
            return Ok(Outcome { site: Some(site), ..Outcome::refused(405, "method-not-allowed") });
        }
        RouteLookup::Nothing => return Ok(Outcome { site: Some(site), ..Outcome::refused(404, "no-route") }),
    };
    if let (Some(policy), Some(site)) = (rules.policy(route), site_fields) {
        intake::for_route(&mut fields, &policy.fields, site, origin.trusted, odd);
    }
    let handler = rules.handler(route).for_method(&method);
    let mut facts = Facts {
        scheme,
        host: target.host(),
        authority: target.authority(scheme).unwrap_or_default(),
        path: target.path(),
        query: target.query(),
        protocol: if request.http2 { "HTTP/2.0" } else { "HTTP/1.1" },
        client: origin.client,
        captures: &captures,
        route: rules.pattern(route),
        row: rules.row(route),
        ..Facts::nothing(&method, &fields, settings)
    };
    if let Some(proxy) = handler.proxy() {
        // Where chance decides, the first upstream with a share stands for all.
        let (index, _) = split::share(proxy, &facts, || 0, |index| rules.upstream(index));
        facts.upstream = rules.upstream(index);
    }
    let mut outcome = Outcome {
        site: Some(site),
        route: Some(route),
        pattern: Some(rules.pattern(route).to_owned()),
        handler: Some(handler.name()),
        ..Outcome::default()
    };
    if let Some((status, reason)) = beyond(rules.policy(route), &target, &fields, request.body, settings) {
        (outcome.status, outcome.reason) = (Some(status), Some(reason));
        outcome.handler = None;
    }
    let mut answer = Fields::new();
    let mut answers_preflight = false;
    if let (Some(access), None) = (access_of(rules.policy(route)), outcome.reason) {
        let preflight =
            access.cors.as_ref().filter(|_| asks).map(|cors| access::answer_preflight(cors, &fields, settings));
        let denied =
            turned_away(access, &fields, request.body, origin.client).filter(|(status, _)| *status != 401 || !asks);
        let refused = match (denied, preflight) {
            (None, Some(None)) => Some((403, "cors-refused")),
            (None, Some(Some(fields))) => {
                (outcome.status, outcome.handler) = (Some(204), None);
                (answer, answers_preflight) = (fields, true);
                None
            }
            (denied, _) => denied,
        };
        if let Some((status, reason)) = refused {
            (outcome.status, outcome.reason, outcome.handler) = (Some(status), Some(reason), None);
        }
    }
    let blocks = access_of(rules.policy(route)).and_then(|access| access.blocks.as_ref());
    if let (Some(blocks), None, false) = (blocks, outcome.reason, answers_preflight) {
        // What is in bodies is not known.
        if let Some(rule) = Inspector::new(blocks).head(&facts, &mut Scratch::default()).refused {
            let rule = &blocks.rules[rule];
            (outcome.status, outcome.reason, outcome.handler) = (Some(rule.status), Some("blocked"), None);
        }
    }
    let functions = rules.functions(route);
    outcome.not_asked = functions.is_err();
    let (mut own_fields, mut answered) = (fields.clone(), answers_preflight);
    if let (Ok(Some(functions)), None, false) = (functions, outcome.reason, answered) {
        match functions.ask(&facts, &mut own_fields, &mut Vec::new()) {
            Ok(None) => {}
            Ok(Some((_, own))) => {
                (outcome.status, outcome.handler) = (Some(own.status.as_u16()), None);
                (answer, answered) = (own.fields, true);
            }
            Err(_) => {
                (outcome.status, outcome.reason, outcome.handler) = (Some(500), Some("filter-panicked"), None);
            }
        }
    }
    facts.fields = &own_fields;
    match handler {
        _ if outcome.reason.is_some() || answered => {}
        Handler::Respond(respond) => {
            outcome.status = Some(respond.code);
            if !respond.content_type.is_empty() {
                answer.add(b"content-type", respond.content_type.as_bytes());
            }
        }
        Handler::Redirect(redirect) => {
            let redirected = crate::content::respond::redirect(&facts, redirect);
            outcome.status = Some(redirected.status.as_u16());
            outcome.location = redirected.fields.get("location").map(text);
            answer = redirected.fields;
        }
        Handler::Files(_) if !Methods::GET_AND_HEAD.contains(&method) => {
            (outcome.status, outcome.reason) = (Some(405), Some("method-not-allowed"));
        }
        // Whether there is a file is not known before the proxy runs; where there is none, an upstream may be asked.
        Handler::Files(_) if handler.proxy().is_none() => {}
        Handler::Proxy(_) | Handler::Files(_) => {
            outcome.upstream = Some(facts.upstream.to_owned());
            let has_body = request.body > 0;
            forward(rules, route, form, (&target, has_body), &facts, &mut outcome);
            cached(rules.policy(route), &facts, has_body, &mut outcome);
        }
        Handler::Echo => outcome.status = Some(200),
        Handler::Abort => return Ok(outcome),
    }
    let cors = access_of(rules.policy(route)).and_then(|access| access.cors.as_ref()).filter(|_| !answers_preflight);
    if let Some(cors) = cors {
        access::cross_origin(cors, &fields, &mut answer);
    }
    rules.respond(route, &mut answer, &Facts { status: outcome.status.unwrap_or(200), ..facts });
    if let (Ok(Some(functions)), Ok(status)) = (functions, StatusCode::from_u16(outcome.status.unwrap_or(200)))
        && functions.show(&facts, status, &mut answer).is_err()
    {
        (outcome.status, outcome.reason, outcome.handler) = (Some(500), Some("filter-panicked"), None);
    }
    outcome.response_headers = pairs(&answer);
    Ok(outcome)
}

fn access_of(policy: Option<&Policy>) -> Option<&Access> {
    policy?.access.as_ref()
}

/// Why a request does not get in, as far as that is known before the proxy runs: what is in files is not, nor how often and
/// how many requests come, and whoever's credentials those are that it shows.
fn turned_away(access: &Access, fields: &Fields, body: u64, from: IpAddr) -> Option<(u16, &'static str)> {
    if access.networks.as_ref().is_some_and(|networks| !networks.allowed.contains(from)) {
        return Some((403, "address-denied"));
    }
    if body > 0 && !access::may_be_sent(access, fields) {
        return Some((415, "unsupported-media-type"));
    }
    let missing = access.auth.as_ref().is_some_and(|auth| !access::shows_credentials(auth, fields));
    missing.then_some((401, "unauthenticated"))
}

/// The limit that a request is beyond, as `serve` finds it: status and reason.
fn beyond(
    policy: Option<&Policy>,
    target: &Target,
    fields: &Fields,
    body: u64,
    settings: &Settings,
) -> Option<(u16, &'static str)> {
    let limits = policy?.limits;
    let uri = target.length() as u64;
    if uri > limits.uri.get(settings) {
        return Some((414, "uri-too-long"));
    }
    if (fields.size() + 4 * fields.len()) as u64 + uri > limits.headers.get(settings) {
        return Some((431, "headers-too-large"));
    }
    (body > limits.body.get(settings)).then_some((413, "body-too-large"))
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect()
}

fn forward(
    rules: &impl SiteRules,
    route: RouteId,
    form: NormalForm,
    (target, has_body): (&Target, bool),
    facts: &Facts<'_>,
    outcome: &mut Outcome,
) {
    let form = rules.policy(route).map_or(form, |policy| policy.form(form));
    let mut headers = facts.fields.clone();
    let sent = key::sent(rules.policy(route).and_then(|policy| policy.cache.as_ref()), facts, has_body);
    let mut out = Outgoing::of(target, sent.as_deref(), &mut headers);
    rules.filter(route, &mut out, facts);
    match out.target(target, form) {
        Ok(path) => outcome.upstream_path = Some(path),
        Err(_) => {
            outcome.status = Some(400);
            outcome.reason = Some("bad-rewrite");
        }
    }
    if let Some(device) = rules.policy(route).and_then(|policy| policy.cache.as_ref()?.key.device.as_ref()) {
        device::announce(device, facts.fields, &mut headers);
    }
    outcome.upstream_headers = pairs(&headers);
}

/// What the cache would do, before anything is in it.
fn cached(policy: Option<&Policy>, facts: &Facts<'_>, has_body: bool, outcome: &mut Outcome) {
    let Some(cache) = policy.and_then(|policy| policy.cache.as_ref()) else {
        outcome.cache = Some(("off", ""));
        return;
    };
    if let Some(pass) = key::passes(cache, facts, has_body) {
        outcome.cache = Some(("pass", pass.reason()));
        return;
    }
    let (mut url, mut variant) = (String::new(), Vec::new());
    key::url(&cache.key, facts, &mut url);
    key::variant(&cache.key, std::iter::empty(), facts.fields, &mut variant);
    // A route's number is no business of anybody's.
    let said = variant.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"route "));
    outcome.cache = Some(("lookup", ""));
    outcome.cache_key = Some(said.fold(url, |key, line| key + " " + &text(line)));
}

/// A value as text, for comparison with what a test expects and for messages; escaped where it is none.
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => escape::shown(value).into_owned(),
    }
}

/// The route for a request, whose host has led to the site with this root.
pub fn find(
    rules: &impl SiteRules,
    root: Node,
    target: &Target,
    method: &Method,
    headers: &Fields,
    (client, http2): (IpAddr, bool),
) -> RouteLookup {
    let (host, path, query) = (target.host(), target.path(), target.query());
    let view = RequestView { method, host, path, query, headers, client, http2 };
    rules.tables().route(root, target.path(), |route, captures| {
        if !rules.matches(route, &view, captures) {
            return RouteVerdict::No;
        }
        let methods = rules.methods(route);
        if methods.contains(method) { RouteVerdict::Yes } else { RouteVerdict::OtherMethod(MethodSet::of(methods)) }
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
pub fn misses(expect: &Expect, outcome: &Outcome) -> Vec<(String, String, String)> {
    let mut misses = Vec::new();
    let mut compare = |name: &str, expected: Option<String>, found: Option<String>| {
        if let Some(expected) = expected
            && found.as_ref() != Some(&expected)
        {
            misses.push((name.to_owned(), expected, found.unwrap_or_else(|| outcome.in_short())));
        }
    };
    let text = |text: &Option<crate::site::Text>| text.as_ref().map(ToString::to_string);
    compare("status", expect.status.map(|status| status.to_string()), outcome.status.map(|status| status.to_string()));
    compare("route", text(&expect.route), outcome.pattern.clone());
    compare("handler", text(&expect.handler), outcome.handler.map(str::to_owned));
    compare("upstream", text(&expect.upstream), outcome.upstream.clone());
    compare("upstream-path", text(&expect.upstream_path), outcome.upstream_path.clone());
    compare("cache", text(&expect.cache), outcome.cache.map(|(cache, _)| cache.to_owned()));
    compare("cache-key", text(&expect.cache_key), outcome.cache_key.clone());
    compare("location", text(&expect.location), outcome.location.clone());
    for field in expect.fields.iter() {
        let fields = match field.side {
            Side::Upstream => &outcome.upstream_headers,
            Side::Response => &outcome.response_headers,
        };
        let values: Vec<_> = fields.iter().filter(|(name, _)| *name == field.name).map(|(_, value)| value).collect();
        let is = values.iter().any(|value| field.value.as_ref().is_none_or(|wanted| wanted == value.as_str()));
        if is != field.there {
            let wanted = match (&field.value, field.there) {
                (Some(value), true) => format!("\"{value}\""),
                (None, true) => "there".to_owned(),
                (_, false) => "missing".to_owned(),
            };
            let found: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
            let found = if found.is_empty() { "missing".to_owned() } else { found.join(", ") };
            misses.push((field.property(), wanted, found));
        }
    }
    misses
}

impl ExpectField {
    /// What messages call it, as in `upstream-header x-user`.
    pub fn property(&self) -> String {
        let side = match self.side {
            Side::Upstream => "upstream-header",
            Side::Response => "response-header",
        };
        format!("{side} {}", self.name)
    }
}

impl Outcome {
    /// As in "404 (no-route)" or "forwarded to api".
    pub fn in_short(&self) -> String {
        match (self.status, self.reason, &self.upstream, self.handler) {
            (Some(status), Some(reason), ..) => format!("{status} ({reason})"),
            (Some(status), None, ..) => format!("{status}"),
            (None, _, Some(upstream), Some("files")) => format!("a file, or else forwarded to {upstream}"),
            (None, _, Some(upstream), _) => format!("forwarded to {upstream}"),
            (None, _, None, handler) => handler.unwrap_or("nothing").to_owned(),
        }
    }
}

/// Rehearses a test's request.
///
/// # Errors
/// See [`rehearse`].
pub fn outcome(rules: &impl SiteRules, test: &Test, settings: &Settings) -> Result<Outcome, String> {
    let headers = test.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let request = Rehearsal {
        method: &test.method,
        url: &test.url,
        listener: u32::from(test.listener),
        headers,
        body: test.body,
        from: test.from,
        http2: test.http2,
    };
    rehearse(rules, &request, settings)
}

/// Runs one test; the misses, or why it is no request.
///
/// # Errors
/// See [`rehearse`].
pub fn run(rules: &impl SiteRules, test: &Test, settings: &Settings) -> Result<Vec<(String, String, String)>, String> {
    Ok(misses(&test.expect, &outcome(rules, test, settings)?))
}

impl SiteRules for Site {
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
    fn respond(&self, route: RouteId, fields: &mut Fields, facts: &Facts<'_>) {
        if let Some(filter) = self.routes.get(route).and_then(|route| route.response) {
            filter(fields, facts);
        }
    }
    fn functions(&self, route: RouteId) -> Result<Option<&'static Functions>, NotCompiled> {
        Ok(self.routes.get(route).and_then(|route| route.functions))
    }
    fn policy(&self, route: RouteId) -> Option<&Policy> {
        self.routes.get(route).map(|route| route.policy)
    }
    fn site_policy(&self, site: SiteId) -> Option<&Policy> {
        self.sites.get(site as usize).map(|host| host.policy)
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
    fn trusted(&self) -> &Trusted {
        self.trusted
    }
    fn redirect_https(&self, site: SiteId, listener: u32) -> Option<&Setting<Text>> {
        let redirects = self.listeners.get(listener as usize)?.speaks.redirect_https;
        let secure = self.sites[site as usize].secure.filter(|_| redirects)?;
        Some(&self.listeners[usize::from(secure)].address)
    }
}
