//! A simulated request, until its site is known: with intake filters applied, and the client's address determined.

use std::net::IpAddr;

use http::{Method, Version};

use super::outcome::{EarlyOutcome, RehearsalOutcome};
use super::rules::SiteRules;
use crate::access::trust;
use crate::content::respond;
use crate::context::settings::Settings;
use crate::context::view::RequestVersion;
use crate::filter::intake;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::protocol::target::Target;
use crate::router::route::Node;

/// A request to simulate.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    /// The method.
    pub method: &'a str,
    /// An absolute URL.
    pub url: &'a str,
    /// The index of its listener.
    pub listener: u32,
    /// The header fields except `Host`.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The size of its body, in bytes.
    pub body: u64,
    /// The peer: the client, unless it is in `trusted-proxies`.
    pub from: IpAddr,
    /// The version of HTTP.
    pub version: RequestVersion,
}

/// A request whose site is known.
pub(super) struct SiteRequest {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) fields: Fields,
    pub(super) scheme: &'static str,
    /// The root of the site's routes.
    pub(super) root: Node,
    pub(super) client: IpAddr,
    /// Whether the peer is trusted.
    pub(super) trusted: bool,
    /// Whether names are left that may be aliases of a route's fields.
    pub(super) odd: bool,
}

impl Rehearsal<'_> {
    /// Finds the site of the request.
    ///
    /// # Errors
    /// The method or URL is invalid.
    pub(super) fn arrive(
        &self,
        rules: &impl SiteRules,
        settings: &Settings,
    ) -> Result<Result<SiteRequest, EarlyOutcome>, String> {
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|error| error.to_string())?;
        let (path, fields, scheme) = self.head()?;
        Ok(self.to_site(rules, settings, (method, path, fields, scheme)))
    }

    fn to_site(
        &self,
        rules: &impl SiteRules,
        settings: &Settings,
        (method, path, mut fields, scheme): (Method, String, Fields, &'static str),
    ) -> Result<SiteRequest, EarlyOutcome> {
        let parsed = Target::parse(path, &fields, Version::HTTP_11);
        let mut target = parsed.map_err(|_| RehearsalOutcome::refused(None, 400, "bad-host"))?;
        let root = rules.tables().site(self.listener, target.host());
        let root = root.ok_or_else(|| RehearsalOutcome::refused(None, 421, "unknown-host"))?;
        let site = root.id();
        let normal = target.normalise(rules.normal_form(site));
        normal.map_err(|_| RehearsalOutcome::refused(Some(site), 400, "bad-path"))?;
        let origin = trust::origin(&fields, self.from, rules.trusted());
        let scheme = origin.scheme.unwrap_or(scheme);
        let site_fields = rules.site_policy(site).map(|policy| &policy.fields);
        let taken = intake::IntakeRules { header: &rules.trusted().header, trusted: origin.trusted, site: site_fields };
        let odd = intake::take_in(&mut fields, &taken);
        let redirected = rules.redirect_https(site, self.listener);
        if redirected.is_some() && scheme != "http" && rules.requires_certificate(site) {
            return Err(RehearsalOutcome::refused(Some(site), 421, "misdirected-request"));
        }
        if let Some(to) = redirected.filter(|_| scheme == "http") {
            let location = respond::https_url(target.host(), target.path(), target.query(), to.get(settings));
            return Err(Box::new(RehearsalOutcome {
                site: Some(site),
                handler: Some("redirect-https"),
                status: Some(308),
                location: Some(location),
                ..RehearsalOutcome::default()
            }));
        }
        Ok(SiteRequest { method, target, fields, scheme, root, client: origin.client, trusted: origin.trusted, odd })
    }

    /// Path and query, header fields and scheme.
    fn head(&self) -> Result<(String, Fields, &'static str), String> {
        let uri: http::Uri = self.url.parse().map_err(|error| format!("`{}`: {error}", self.url))?;
        let authority = uri.authority().ok_or("the URL has no host")?;
        let scheme = if uri.scheme_str() == Some("https") { "https" } else { "http" };
        let mut fields = Fields::new();
        fields.add_known(KnownField::HOST, authority.as_str().as_bytes());
        for (name, value) in &self.headers {
            http::HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            fields.add(name.as_bytes(), value.as_bytes());
        }
        Ok((uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(), fields, scheme))
    }
}
