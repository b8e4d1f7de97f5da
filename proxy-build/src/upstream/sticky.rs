//! `sticky`: keeps a client with its first server.

use std::fmt::Write as _;
use std::time::Duration;

use proxy_runtime::context::template::Piece;
use proxy_runtime::site::{self, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::{Phase, Scope};
use crate::declaration::{Directive, Place, Prop};
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;
use crate::value;

static STICKY: Directive = Directive {
    name: "sticky",
    places: &[Place::Upstream],
    args: "COOKIE",
    props: &[
        Prop::new(
            "secret",
            "TEXT",
            "The secret that the cookie's values are made with, best a `(param)` of type secret. Default: the \
             upstream's name.",
        ),
        Prop::new("max-age", "DURATION", "How long browsers keep the cookie. Default: until they are closed."),
        Prop::new("path", "PATH", "The cookie's path. Default `\"/\"`."),
        Prop::new("domain", "HOST", "The cookie's domain. Default: the host of the request."),
        Prop::new("same-site", "strict|lax|none", "The cookie's `SameSite` attribute. Default `lax`."),
        Prop::new("secure", "BOOL", "The cookie is sent over TLS only. Default `#false`."),
        Prop::new("http-only", "BOOL", "The cookie is hidden from scripts (`HttpOnly`). Default `#true`."),
    ],
    body: None,
    repeats: false,
    summary: "Keeps a client with its first server, by a cookie (sticky sessions).",
    details: "\
A client without the cookie gets a server by `balance`, and the cookie with the response. Its value does not reveal the
server: it is a SipHash of the server's address under `secret`, so nobody without the secret can make a valid one. While the
server is unavailable, another server responds and the cookie changes.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    sticky app-server max-age="8h" secure=#true
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::in_upstream(Sticky {
            cookie: r.arg("a COOKIE", value::cookie_name)?,
            secret: r.prop("secret", value::template),
            max_age: r.prop("max-age", value::duration),
            path: r.prop("path", value::cookie_attribute),
            domain: r.prop("domain", value::cookie_attribute),
            same_site: r.prop("same-site", value::word(&[("strict", "Strict"), ("lax", "Lax"), ("none", "None")])),
            secure: r.prop("secure", value::boolean),
            http_only: r.prop("http-only", value::boolean),
        }))
    },
};

/// `sticky`.
#[derive(Debug)]
pub(super) struct Sticky {
    cookie: Spanned<String>,
    secret: Option<Spanned<ast::Template>>,
    max_age: Option<Spanned<Duration>>,
    path: Option<Spanned<String>>,
    domain: Option<Spanned<String>>,
    same_site: Option<Spanned<&'static str>>,
    secure: Option<Spanned<bool>>,
    http_only: Option<Spanned<bool>>,
}

impl UpstreamOption for Sticky {
    const DIRECTIVES: &'static [&'static Directive] = &[&STICKY];
    const MEMBER: &'static str = "sticky";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.sticky = self.made(check);
    }
}

impl Sticky {
    fn made(&self, check: &mut Check<'_>) -> Option<site::Sticky> {
        let secret = match &self.secret {
            None => None,
            Some(secret) => {
                let found = check.template(&secret.value, &Scope::no_route(), Phase::Request)?;
                let fixed = |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Param(_) | Piece::File(_));
                if !found.pieces.iter().all(fixed) {
                    check.error("placeholder-scope", "the secret is the same for all requests", secret.span);
                }
                if found.literal().is_some() {
                    check.report.add(
                        Diagnostic::lint("secret-in-file", "a secret is not written into the site", secret.span)
                            .help(check.as_secret(secret.span)),
                    );
                }
                Some(found)
            }
        };
        let mut attributes = format!("; Path={}", self.path.as_ref().map_or("/", |path| path.value.as_str()));
        let mut add = |text: std::fmt::Arguments<'_>| {
            // A write to a String cannot fail.
            let _ = attributes.write_fmt(text);
        };
        if let Some(age) = &self.max_age {
            add(format_args!("; Max-Age={}", age.value.as_secs()));
        }
        if let Some(domain) = &self.domain {
            add(format_args!("; Domain={}", domain.value));
        }
        let secure = self.secure.as_ref().is_some_and(|secure| secure.value);
        let same_site = self.same_site.as_ref().map_or("Lax", |same_site| same_site.value);
        add(format_args!("; SameSite={same_site}"));
        if secure {
            add(format_args!("; Secure"));
        }
        if self.http_only.as_ref().is_none_or(|http_only| http_only.value) {
            add(format_args!("; HttpOnly"));
        }
        if let Some(same_site) = self.same_site.as_ref().filter(|same_site| same_site.value == "None" && !secure) {
            check.report.add(
                Diagnostic::error(
                    "bad-cookie",
                    "browsers drop a cookie with SameSite=None that is not secure",
                    same_site.span,
                )
                .help(Help::beside(same_site.span, "secure=#true")),
            );
        }
        Some(site::Sticky { cookie: self.cookie.value.clone().into(), secret, attributes: attributes.into() })
    }
}
