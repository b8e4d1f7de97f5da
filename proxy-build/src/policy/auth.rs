//! `auth`: authentication by credentials, tokens or an authorization service.

pub(crate) mod directives;

use std::net::IpAddr;
use std::time::Duration;

use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::protocol::fields::of_message;
use proxy_runtime::site::{self, Algorithm, ForwardAuth, Jwt, KeySource, KeyUrl, ParamKind, RequiredClaim, Setting};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription};
use crate::ast::{self, FileSource, Item};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};
use crate::wording;

/// `auth`.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    scheme: Spanned<AuthScheme>,
    /// The second argument.
    source: Option<Spanned<AuthSource>>,
    /// The span of `upstream=`; its name is in the source.
    upstream: Option<Span>,
    realm: Option<Spanned<String>>,
    header: Option<Spanned<String>>,
    issuer: Option<Spanned<String>>,
    audience: Option<Spanned<String>>,
    leeway: Option<Spanned<Duration>>,
    cookie: Option<Spanned<String>>,
    refresh: Option<Spanned<Duration>>,
    timeout: Option<Spanned<ast::Setting<Duration>>>,
    user: Option<Spanned<String>>,
    items: Vec<Item>,
}

impl Auth {
    /// Returns whether the client is identified by a name.
    fn names_users(&self) -> bool {
        match self.scheme.value {
            AuthScheme::Off => false,
            AuthScheme::Forward => self.user.is_some(),
            AuthScheme::Basic | AuthScheme::ApiKey | AuthScheme::Jwt => true,
        }
    }
}

/// The first argument of `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AuthScheme {
    Basic,
    ApiKey,
    Jwt,
    Forward,
    Off,
}

/// The source of credentials or decisions.
#[derive(Debug, Clone)]
enum AuthSource {
    /// A file that is read at start.
    File(FileSource),
    /// A server.
    Url {
        /// Its address.
        address: String,
        /// Whether the URL is `https`.
        tls: bool,
        /// Path and query.
        path: String,
    },
    /// A declared upstream.
    Upstream {
        /// Its name.
        name: Spanned<String>,
        /// Path and query.
        path: String,
    },
}

/// A line in `auth`.
#[derive(Debug)]
enum InAuth {
    Algorithms(Vec<Spanned<Algorithm>>),
    Require(Spanned<String>, Vec<Spanned<String>>),
    Send(Vec<Spanned<String>>),
    Copy(Vec<Spanned<String>>),
    CopyResponse(Vec<Spanned<String>>),
}

impl Policy for Auth {
    const NAME: &'static str = "auth";

    fn is_off(&self) -> bool {
        self.scheme.value == AuthScheme::Off
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(auth) = layer.one::<Auth>().and_then(|auth| check.auth(auth.span, &auth.value)) {
            policy.access.get_or_insert_default().auth = Some(auth);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(of.site, &of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        let auth = route.policy.access.iter().filter_map(|access| access.auth.as_ref());
        let name = |scheme: &site::AuthScheme| match scheme {
            site::AuthScheme::Basic(_) => "auth basic",
            site::AuthScheme::ApiKey(..) => "auth api-key",
            site::AuthScheme::Jwt(_) => "auth jwt",
            site::AuthScheme::Forward(_) => "auth forward",
        };
        auth.map(|auth| name(&auth.scheme).to_owned()).collect()
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(site, policy))
    }
}

/// Returns the description of the policy.
fn said(site: &Site, policy: &site::Policy) -> Vec<String> {
    let auth = policy.access.iter().filter_map(|access| access.auth.as_ref());
    let text = |scheme: &site::AuthScheme| match scheme {
        site::AuthScheme::Basic(users) => format!("basic {}", wording::file(site, *users)),
        site::AuthScheme::ApiKey(keys, header) => format!("api-key {} in {header}", wording::file(site, *keys)),
        site::AuthScheme::Jwt(jwt) => match &jwt.issuer {
            Some(issuer) => format!("jwt of {issuer}"),
            None => "jwt".to_owned(),
        },
        site::AuthScheme::Forward(_) => "forward".to_owned(),
    };
    auth.map(|auth| text(&auth.scheme)).collect()
}

/// Returns the placeholders that have a value in a layer without a route.
pub(crate) fn scope(layer: &Layer) -> Scope {
    let auth = layer.one::<Auth>().map(|auth| &auth.value);
    Scope {
        user: auth.is_some_and(Auth::names_users),
        claims: auth.is_some_and(|auth| auth.scheme.value == AuthScheme::Jwt),
        ..Scope::no_route()
    }
}

impl Check<'_> {
    fn auth(&mut self, span: Span, auth: &Auth) -> Option<site::Auth> {
        self.all_of_auth_acts(auth);
        let source = auth.source.as_ref()?;
        let realm = auth.realm.as_ref().map_or("restricted", |realm| &realm.value);
        let (scheme, challenge) = match (auth.scheme.value, &source.value) {
            (AuthScheme::Basic, AuthSource::File(file)) => {
                if self.site_tls.is_none() {
                    self.password_on_plain(auth.scheme.span);
                }
                // RFC 7617 section 2.1.
                let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
                (site::AuthScheme::Basic(self.own_file(file, source.span, true)?), challenge)
            }
            (AuthScheme::ApiKey, AuthSource::File(file)) => {
                let header = auth.header.as_ref().map_or("x-api-key", |header| &header.value);
                let file = self.own_file(file, source.span, true)?;
                // RFC 9110 section 11.6.1 requires a challenge; no scheme is registered for keys in custom fields.
                (site::AuthScheme::ApiKey(file, header.to_owned().into()), format!("ApiKey header=\"{header}\""))
            }
            (AuthScheme::Jwt, _) => {
                // RFC 6750 section 3.
                (site::AuthScheme::Jwt(self.jwt(span, auth, source)?), format!("Bearer realm=\"{realm}\""))
            }
            (AuthScheme::Forward, AuthSource::Url { .. } | AuthSource::Upstream { .. }) => {
                let (upstream, path) = self.service(source)?;
                (site::AuthScheme::Forward(self.forward_auth(auth, upstream, path)?), String::new())
            }
            _ => unreachable!("the reader lets nothing else stand there"),
        };
        Some(site::Auth { scheme, challenge: challenge.into() })
    }

    /// Checks that the properties and lines belong to the authentication scheme.
    fn all_of_auth_acts(&mut self, auth: &Auth) {
        auth.header.iter().for_each(|header| self.gets_through(header));
        let scheme = auth.scheme.value;
        let jwt = scheme == AuthScheme::Jwt;
        let source = auth.source.as_ref().map(|source| &source.value);
        let fetched = matches!(source, Some(AuthSource::Url { .. } | AuthSource::Upstream { .. }));
        let text = |value: &Option<Spanned<String>>| value.as_ref().map(|value| value.span);
        let given = [
            ("upstream", auth.upstream, jwt || scheme == AuthScheme::Forward),
            ("realm", text(&auth.realm), jwt || scheme == AuthScheme::Basic),
            ("header", text(&auth.header), scheme == AuthScheme::ApiKey),
            ("issuer", text(&auth.issuer), jwt),
            ("audience", text(&auth.audience), jwt),
            ("leeway", auth.leeway.as_ref().map(|leeway| leeway.span), jwt),
            ("cookie", text(&auth.cookie), jwt),
            ("refresh", auth.refresh.as_ref().map(|refresh| refresh.span), jwt && fetched),
            ("timeout", auth.timeout.as_ref().map(|timeout| timeout.span), scheme == AuthScheme::Forward),
            ("user", text(&auth.user), scheme == AuthScheme::Forward),
        ];
        let lines = auth.items.iter().filter_map(|item| {
            let (name, acts) = match item.line::<InAuth>()? {
                InAuth::Algorithms(_) => ("algorithms", jwt),
                InAuth::Require(..) => ("require", jwt),
                InAuth::Send(_) => ("send-headers", scheme == AuthScheme::Forward),
                InAuth::Copy(_) => ("copy-headers", scheme == AuthScheme::Forward),
                InAuth::CopyResponse(_) => ("copy-response", scheme == AuthScheme::Forward),
            };
            Some((name, Some(item.span), acts))
        });
        for (name, span, _) in given.into_iter().chain(lines).filter(|(.., acts)| !acts) {
            if let Some(span) = span {
                let message = format!("`{name}` has no effect with this kind of `auth`");
                self.report.add(Diagnostic::error("no-effect", message, span).also(auth.scheme.span, "here"));
            }
        }
    }

    fn password_on_plain(&mut self, span: Span) {
        self.report.add(
            Diagnostic::lint("password-on-plain", "passwords are sent unencrypted here", span).help(
                "give the site a `tls`; if TLS ends at a proxy in front of this one: lint allow password-on-plain",
            ),
        );
    }

    fn jwt(&mut self, span: Span, auth: &Auth, source: &Spanned<AuthSource>) -> Option<Jwt> {
        let algorithms = self.algorithms(span, auth)?;
        let keys = match &source.value {
            AuthSource::File(file) => KeySource::File(self.own_file(file, source.span, true)?),
            AuthSource::Url { .. } | AuthSource::Upstream { .. } => {
                let (upstream, path) = self.service(source)?;
                let asked = &self.upstreams.entries[usize::from(upstream)].value;
                if let (AuthSource::Upstream { name, .. }, true) = (&source.value, asked.http2) {
                    let message = format!("`{name}` uses HTTP/2, and keys are fetched over HTTP/1.1");
                    self.error("contradiction", message, name.span);
                    return None;
                }
                let near = asked.discover.is_none() && asked.servers.iter().all(|server| is_near(&server.address));
                if asked.tls.is_none() && !near {
                    let url = self.sources.slice(source.span).to_owned();
                    let encrypted = url
                        .contains("http://")
                        .then(|| Help::write(source.span, url.replacen("http://", "https://", 1)));
                    self.report.add(
                        Diagnostic::lint(
                            "keys-on-plain",
                            "keys are fetched unencrypted: an attacker on the network can replace them",
                            source.span,
                        )
                        .maybe_help(encrypted)
                        .help(self.allowed("if the network is safe", "keys-on-plain")),
                    );
                }
                KeySource::Url(KeyUrl {
                    upstream,
                    path: path.to_owned().into(),
                    refresh: auth.refresh.as_ref().map_or(Duration::from_secs(600), |refresh| refresh.value),
                })
            }
        };
        let index = self.key_sources.iter().position(|known| *known == keys).unwrap_or_else(|| {
            self.key_sources.push(keys);
            self.key_sources.len() - 1
        });
        let required = auth.items.iter().filter_map(|item| match item.line::<InAuth>()? {
            InAuth::Require(name, values) => Some(RequiredClaim {
                name: name.value.clone().into(),
                values: list(values.iter().map(|value| value.value.clone().into()).collect()),
            }),
            _ => None,
        });
        let text = |value: &Option<Spanned<String>>| value.as_ref().map(|value| value.value.clone().into());
        Some(Jwt {
            key_source: index as u32,
            algorithms: list(algorithms),
            issuer: text(&auth.issuer),
            audience: text(&auth.audience),
            leeway: auth.leeway.as_ref().map_or(Duration::from_secs(30), |leeway| leeway.value),
            cookie: text(&auth.cookie),
            required: list(required.collect()),
        })
    }

    /// Returns the accepted algorithms: they are required, because the token must not choose.
    fn algorithms(&mut self, span: Span, auth: &Auth) -> Option<Vec<Algorithm>> {
        let lines = auth.items.iter().filter_map(|item| match item.line::<InAuth>()? {
            InAuth::Algorithms(algorithms) => Some(algorithms),
            _ => None,
        });
        if lines.clone().next().is_none() {
            self.report.add(
                Diagnostic::error("no-algorithms", "the algorithms of tokens are missing", span)
                    .help("name what your issuer uses, as in: auth jwt ... { algorithms ES256; }"),
            );
        }
        let written: Vec<_> = lines.flatten().collect();
        let first = written.first()?;
        if let Some(other) = written.iter().find(|other| other.value.is_symmetric() != first.value.is_symmetric()) {
            // CVE-2015-9235, CVE-2016-10555: a public key used as a secret, which everybody has.
            self.report.add(
                Diagnostic::error(
                    "contradiction",
                    "these algorithms need two kinds of keys: a secret and a public key",
                    other.span,
                )
                .also(first.span, "the other kind")
                .help("name algorithms of one kind: HS..., or all others"),
            );
        }
        Some(written.iter().map(|algorithm| algorithm.value).collect())
    }

    fn forward_auth(&mut self, auth: &Auth, upstream: u16, path: &str) -> Option<ForwardAuth> {
        let mut send: Option<Vec<site::Text>> = None;
        let (mut copy, mut copy_response): (Vec<site::Text>, Vec<site::Text>) = (Vec::new(), Vec::new());
        for line in auth.items.iter().filter_map(Item::line::<InAuth>) {
            let names = |names: &[Spanned<String>]| names.iter().map(|name| name.value.clone().into()).collect();
            match line {
                InAuth::Send(written) => {
                    self.is_no_framing(written);
                    written.iter().for_each(|name| self.gets_through(name));
                    send.get_or_insert_default().extend::<Vec<_>>(names(written));
                }
                InAuth::Copy(written) => {
                    self.is_no_framing(written);
                    copy.extend::<Vec<_>>(names(written));
                }
                InAuth::CopyResponse(written) => {
                    self.is_no_framing(written);
                    self.is_of_no_body(written);
                    copy_response.extend::<Vec<_>>(names(written));
                }
                _ => {}
            }
        }
        let usual = || ["authorization", "cookie"].map(Into::into).to_vec();
        Some(ForwardAuth {
            upstream,
            path: path.to_owned().into(),
            timeout: self.or(auth.timeout.as_ref(), ParamKind::Duration, Setting::Fixed(Duration::from_secs(5))),
            send: list(send.unwrap_or_else(usual)),
            copy: list(copy),
            copy_response: list(copy_response),
            user: auth.user.as_ref().map(|user| user.value.clone().into()),
        })
    }

    /// Rejects fields that frame or route a message, which would be wrong in another message.
    fn is_no_framing(&mut self, names: &[Spanned<String>]) {
        for name in names.iter().filter(|name| of_message(name.value.as_bytes())) {
            self.error("bad-header-name", format!("`{}` belongs to the message itself", name.value), name.span);
        }
    }

    /// Rejects fields that describe a body, which would be wrong for another body.
    fn is_of_no_body(&mut self, names: &[Spanned<String>]) {
        const OF_BODIES: [&str; 5] = ["etag", "last-modified", "accept-ranges", "digest", "repr-digest"];
        let of_body = |name: &str| {
            OF_BODIES.contains(&name) || name.starts_with("content-") && !name.starts_with("content-security-policy")
        };
        for name in names.iter().filter(|name| of_body(&name.value) && !of_message(name.value.as_bytes())) {
            let message = format!("`{name}` describes the body that it comes with, and the client gets another");
            self.error("bad-header-name", message, name.span);
        }
    }

    /// Returns the upstream and the path of a service.
    fn service<'s>(&mut self, source: &'s Spanned<AuthSource>) -> Option<(u16, &'s str)> {
        let span = source.span;
        let (upstream, path) = match &source.value {
            AuthSource::File(_) => unreachable!("this is for keys at a URL, not in a file"),
            AuthSource::Url { address, tls, path } => {
                let url = Spanned { value: ast::Setting::Fixed(address.clone()), span };
                (self.anonymous_upstream(&[url], *tls, span)?, path)
            }
            AuthSource::Upstream { name, path } => (self.upstreams.look_up("upstream", name, self.report)?, path),
        };
        Some((self.upstream_index(upstream, span), path))
    }
}

/// Returns whether a server is on this machine.
fn is_near(address: &Setting<site::Text>) -> bool {
    let Setting::Fixed(address) = address else { return false };
    match settings::address(address) {
        Ok(Address::Tcp(host, _)) => {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Ok(Address::Unix(_)) => true,
        Err(_) => false,
    }
}
