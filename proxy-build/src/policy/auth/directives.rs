//! The directives of `auth`.

use proxy_runtime::site::Algorithm;

use super::{Auth, AuthScheme, AuthSource, InAuth};
use crate::ast::What;
use crate::declaration::{Directive, POLICY, Place, Prop};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

const BRACES: Place = Place::Within("in `auth`");

pub(crate) static AUTH: Directive = Directive {
    name: "auth",
    places: POLICY,
    args: "basic|api-key|jwt|forward|off FILE|URL|PATH",
    props: &[
        Prop::new("upstream", "NAME", "`jwt`, `forward`: the upstream for `PATH`. Default: the server in the URL."),
        Prop::new("realm", "TEXT", "`basic`, `jwt`: the realm that clients are shown. Default `restricted`."),
        Prop::new("header", "NAME", "`api-key`: the field with the key. Default `X-API-Key`."),
        Prop::new(
            "issuer",
            "TEXT",
            "`jwt`: the required issuer of a token (`iss`). Default: any issuer with a known key.",
        ),
        Prop::new(
            "audience",
            "TEXT",
            "`jwt`: the required audience of a token (`aud`), which may have others, too. Default: any.",
        ),
        Prop::new("leeway", "DURATION", "`jwt`: the tolerated difference of clocks. Default `\"30s\"`."),
        Prop::new(
            "cookie",
            "NAME",
            "`jwt`: the cookie with the token. Default: the token is in `Authorization`, as `Bearer`.",
        ),
        Prop::new("refresh", "DURATION", "`jwt` with a URL: how often keys are fetched. Default `\"10m\"`."),
        Prop::new("timeout", "DURATION", "`forward`: how long the response may take. Default `\"5s\"`."),
        Prop::new(
            "user",
            "NAME",
            "`forward`: the field of the response that is `{user}`. Default: there is no `{user}`.",
        ),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Authenticates requests: Basic, API key, JWT or forward auth.",
    details: "\
`FILE` is `(file)\"/etc/site/users\"` or `(param)NAME`: read at start and on SIGHUP, never compiled in. For `basic` and `api-key` it has
one `name:secret` per line, and comments on lines that begin with `#`.

- `basic`: a name and a password (RFC 7617). The secret is the password's hash, by argon2, bcrypt or sha-crypt, as of
  `htpasswd -B` or `mkpasswd`. Hashes are computed beside the event loop, as many at once as there are cores, and clients take turns; what was right is remembered by a
  keyed fingerprint. It takes as long for a name that nobody has. Whoever can listen has the password: use it with `tls`.
- `api-key`: a key in a field. The secret is the key, of 16 characters or more that nobody can guess, or `sha256:` and its SHA-256 in
  hexadecimal. All keys are compared, in constant time.
- `jwt`: a token (RFC 7519), signed with one of the `algorithms` by one of the keys in `FILE`, or at a `URL`: a JWK Set, a public key in
  PEM, or, in a file and for `HS...`, a secret of 32 bytes or more. One of the keys must be for one of the `algorithms`. Keys at a URL are
  fetched at start, every `refresh`, and when a token names an unknown key, at most every ten seconds; while that fails, or there are no such
  keys, the previous ones stay in use for six times `refresh`, and after that all requests are refused.
  The times of a token (`exp`, required, and `nbf`) are compared with this machine's clock. A token that names no key is tried with at most
  four. Its claims are `{jwt.NAME}`, and `{user}` is its `sub`. A token whose `iss`, `sub` or `jti` is not a string, whose `aud` is
  neither a string nor a list of strings, or with a claim whose text has control characters, is malformed.
- `forward`: the proxy sends a GET to the URL with the request fields that `send-headers` names, and `X-Forwarded-Method`, `-Proto`, `-Host`,
  `-Uri`, `-For`. A 2xx response lets the request pass, with the fields that `copy-headers` names in place of the client's; a
  3xx or 4xx response goes to the client (`auth-refused`). Any other result is a 503, `auth-unreachable`. From a 2xx response the client
  gets the fields that `copy-response` names; interim responses (1xx) are not passed on.
- `off`: turns off the `auth` of the site.

With `upstream=`, `jwt` and `forward` have a `PATH` on a declared upstream instead of a URL, with all settings of that upstream: its `tls`
with the authority that it trusts, health checks, and several servers. Keys are requested over HTTP/1.1, from one server after the other.

Without credentials, the response is 401 with the reason `unauthenticated`; with wrong ones, the reason is `wrong-credentials`,
`invalid-token`, `unknown-key` or `expired-token`; a token that lacks a `require`d claim gets 403, `insufficient-token`. Without keys, it is
503, `keys-unavailable`; with more passwords than can be checked, 503, `auth-busy`. The name is `{user}` in templates and logs. The
credentials are forwarded to the server, unless `request-headers` removes them. In tests of the site, any well-formed credentials are
accepted.",
    example: r#"
site example.com {
    route "/staff/*" {
        auth basic (file)"/etc/site/users" realm="Staff"
        request-headers {
            set X-User "{user}"
            remove Authorization
        }
        proxy "http://127.0.0.1:3000"
    }
    route "/ci/*" {
        auth api-key (file)"/etc/site/keys" header=X-API-Key
        proxy "http://127.0.0.1:3000"
    }
    route "/api/*" {
        auth jwt "https://id.example.com/jwks.json" issuer="https://id.example.com" audience=api {
            algorithms ES256 RS256
            require scope orders
        }
        request-headers {
            set X-Customer "{jwt.sub}"
        }
        proxy "http://127.0.0.1:3000"
    }
    route "/wiki/*" {
        auth forward "http://127.0.0.1:9091/verify" timeout="2s" user=Remote-User {
            copy-headers Remote-User Remote-Groups
        }
        proxy "http://127.0.0.1:3000"
    }
}
test "nobody gets in like that" {
    request GET "http://example.com/staff/"
    expect status=401
}
"#,
    read: |r| {
        let upstream = r.prop("upstream", value::name);
        let scheme = r.arg("`basic`, `api-key`, `jwt`, `forward` or `off`", value::word(SCHEMES))?;
        let source = match scheme.value {
            AuthScheme::Off => None,
            AuthScheme::Basic | AuthScheme::ApiKey => Some(r.arg("a FILE", file)?),
            AuthScheme::Jwt | AuthScheme::Forward if let Some(name) = &upstream => {
                let on = |leaf: &Leaf| Ok(AuthSource::Upstream { name: name.clone(), path: value::asked_path(leaf)? });
                Some(r.arg("a PATH", on)?)
            }
            AuthScheme::Jwt if r.peek().is_some_and(is_url) => Some(r.arg("a FILE or URL", url)?),
            AuthScheme::Jwt => Some(r.arg("a FILE or URL", file)?),
            AuthScheme::Forward => Some(r.arg("a URL", url)?),
        };
        Some(What::policy(Auth {
            scheme,
            source,
            upstream: upstream.map(|name| name.span),
            realm: r.prop("realm", value::realm),
            header: r.prop("header", value::header_name),
            issuer: r.prop("issuer", value::text),
            audience: r.prop("audience", value::text),
            leeway: r.prop("leeway", value::duration),
            cookie: r.prop("cookie", value::text),
            refresh: r.prop("refresh", refresh),
            timeout: r.prop("timeout", value::setting(value::wait("5s"))),
            user: r.prop("user", value::header_name),
            items: r.body(),
        }))
    },
};

const SCHEMES: &[(&str, AuthScheme)] = &[
    ("basic", AuthScheme::Basic),
    ("api-key", AuthScheme::ApiKey),
    ("jwt", AuthScheme::Jwt),
    ("forward", AuthScheme::Forward),
    ("off", AuthScheme::Off),
];

fn file(leaf: &Leaf) -> Parsed<AuthSource> {
    value::file_at_start(leaf).map(AuthSource::File)
}

fn url(leaf: &Leaf) -> Parsed<AuthSource> {
    let (address, tls, path) = value::service_url(leaf)?;
    Ok(AuthSource::Url { address, tls, path })
}

fn is_url(leaf: &Leaf) -> bool {
    value::text(leaf).is_ok_and(|text| text.contains("://"))
}

/// Parses the refresh interval: at least a second, for the server's sake.
fn refresh(leaf: &Leaf) -> Parsed<std::time::Duration> {
    let found = value::duration(leaf)?;
    match found.as_secs() {
        1.. => Ok(found),
        0 => Err(value::Problem {
            code: "out-of-range",
            message: "keys are fetched no more often than once a second".to_owned(),
            help: Vec::new(),
            part: None,
        }),
    }
}

pub(crate) static ALGORITHMS: Directive = Directive {
    name: "algorithms",
    places: &[BRACES],
    args: "ALGORITHM...",
    props: &[],
    body: None,
    repeats: false,
    summary: "`auth jwt`: lists the permitted signature algorithms. Required.",
    details: "\
The values are `ES256`, `ES384`, `EdDSA`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, or `HS256`, `HS384`, `HS512`; not both
kinds. A token with another algorithm, such as `none`, is refused, and a key is never used for an algorithm of another kind (RFC 8725
section 3.1).",
    example: r#"
site example.com {
    auth jwt (file)"/etc/site/jwks.json" {
        algorithms ES256
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(InAuth::Algorithms(r.some("an ALGORITHM", value::word(Algorithm::NAMES))))),
};

pub(crate) static REQUIRE: Directive = Directive {
    name: "require",
    places: &[BRACES],
    args: "CLAIM [VALUE...]",
    props: &[],
    body: None,
    repeats: true,
    summary: "`auth jwt`: requires a claim.",
    details: "\
Without a `VALUE`, the claim may have any value. With values, the claim must be one of them, or a list (or the words of `scope`) that
contains one of them. All lines must hold. A token without the claim gets a 403, `insufficient-token`.",
    example: r#"
site example.com {
    auth jwt (file)"/etc/site/jwks.json" {
        algorithms ES256
        require sub
        require scope read write
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::line(InAuth::Require(r.arg("a CLAIM", value::text)?, r.rest(value::text))))
    },
};

pub(crate) static SEND: Directive = Directive {
    name: "send-headers",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "`auth forward`: sends these request fields to the authorization service.",
    details: "Default: `Authorization` and `Cookie`.",
    example: r#"
site example.com {
    auth forward "http://127.0.0.1:9091/verify" {
        send-headers Authorization X-Tenant
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(InAuth::Send(r.some("a NAME", value::header_name)))),
};

pub(crate) static COPY: Directive = Directive {
    name: "copy-headers",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "`auth forward`: adds these fields of the authorization service's response to the request.",
    details: "\
They replace the client's fields of these names, even if the response has none, so that clients cannot forge them. Default: none.",
    example: r#"
site example.com {
    auth forward "http://127.0.0.1:9091/verify" {
        copy-headers Remote-User Remote-Groups
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(InAuth::Copy(r.some("a NAME", value::header_name)))),
};

pub(crate) static COPY_RESPONSE: Directive = Directive {
    name: "copy-response",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "`auth forward`: adds these fields of the authorization service's response to the response for the client.",
    details: "\
With `Set-Cookie`, sessions are renewed while they are used. The fields are added to any response to a request that passed: from a server, a
cache, a file, or an error. Cookies are added to existing ones, and `response-cookies` applies to them; other fields replace
existing ones, and `response-headers` acts after them. They are not stored in caches. Default: none.",
    example: r#"
site example.com {
    auth forward "http://127.0.0.1:9091/verify" {
        copy-headers Remote-User
        copy-response Set-Cookie
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(InAuth::CopyResponse(r.some("a NAME", value::header_name)))),
};
