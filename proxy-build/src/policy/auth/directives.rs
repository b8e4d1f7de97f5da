//! How `auth` and its lines are written.

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
        Prop::new("upstream", "NAME", "`jwt`, `forward`: who is asked for `PATH`. Default: the server in the URL."),
        Prop::new("realm", "TEXT", "`basic`, `jwt`: what clients are told they are asked for. Default `restricted`."),
        Prop::new("header", "NAME", "`api-key`: the field that the key is in. Default `X-API-Key`."),
        Prop::new("issuer", "TEXT", "`jwt`: who has to have issued a token (`iss`). Default: anybody whose key is there."),
        Prop::new("audience", "TEXT", "`jwt`: whom a token has to be for, among others (`aud`). Default: anybody."),
        Prop::new("leeway", "DURATION", "`jwt`: how far clocks may differ. Default `\"30s\"`."),
        Prop::new("cookie", "NAME", "`jwt`: the cookie that the token is in. Default: it is in `Authorization`, as `Bearer`."),
        Prop::new("refresh", "DURATION", "`jwt` with a URL: how often keys are fetched. Default `\"10m\"`."),
        Prop::new("timeout", "DURATION", "`forward`: how long the answer may take. Default `\"5s\"`."),
        Prop::new("user", "NAME", "`forward`: the field of the answer that `{user}` is. Default: there is no `{user}`."),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Lets those in who show a password, a key or a token, or whom another server lets in.",
    details: "\
`FILE` is `(file)\"/etc/site/users\"` or `(param)NAME`: read at start and on SIGHUP, never compiled in. That of `basic` and `api-key` has
`name:secret` a line, and lines that begin with `#` for comments.

- `basic`: a name and a password (RFC 7617). The secret is the password's hash, by argon2, bcrypt or sha-crypt, as of
  `htpasswd -B` or `mkpasswd`. Hashes are computed beside the event loop, as many at once as there are cores, and clients take turns; what was right is remembered by a
  keyed fingerprint. It takes as long for a name that nobody has. Whoever can listen has the password: use it with `tls`.
- `api-key`: a key in a field. The secret is the key, of 16 characters or more that nobody can guess, or `sha256:` and its SHA-256 in
  hexadecimal. All keys are compared, in constant time.
- `jwt`: a token (RFC 7519), signed in one of the `algorithms` by one of the keys in `FILE`, or at a `URL` that they are fetched from: a JWK
  Set, a public key in PEM, or, for `HS...`, a secret of 32 bytes or more. Keys at a URL are fetched at start, every
  `refresh`, and when a token names a key that is not there, at most every ten seconds; while that fails, they are used for six times
  `refresh`, and then nobody gets in. A token ends (`exp`, required) and begins (`nbf`) by this machine's clock. One that names no key is tried with at
  most four. What it says is `{jwt.NAME}`, `{user}` is its `sub`. A token whose `iss`, `sub` or `jti` is no text, or whose `aud` is neither text nor
  a list of texts, is malformed.
- `forward`: a GET goes to the URL with those fields of the request that `send-headers` names, and `X-Forwarded-Method`, `-Proto`, `-Host`,
  `-Uri`, `-For`. An answer with 2xx lets the request on, with the fields that `copy-headers` names instead of the client's; one with
  3xx or 4xx is what the client gets (`auth-refused`). Anything else is 503, `auth-unreachable`. Of an answer with 2xx the client
  gets the fields that `copy-response` names; interim answers (1xx) are not passed on.
- `off`: does away with what a site says.

With `upstream=`, `jwt` and `forward` have a `PATH` on a declared upstream instead of a URL: with all that holds for that, its `tls` and the authority
it trusts, health checks, and several servers. Keys are asked for in HTTP/1.1, of one server after the other.

No credentials: 401 and the reason `unauthenticated`; wrong ones: `wrong-credentials`, `invalid-token`, `unknown-key`, `expired-token`; a token
that lacks what is `require`d: 403, `insufficient-token`. No keys: 503, `keys-unavailable`. More passwords than can be looked up: 503,
`auth-busy`. The name is `{user}` in templates and logs. The credentials go on to the server, unless `request-headers` removes
them. In tests of the site, any credentials of the right form are right.",
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
            realm: r.prop("realm", realm),
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

/// More often than once a second a server would not thank for.
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
    summary: "`auth jwt`: how tokens have to be signed. Must be there.",
    details: "\
`ES256`, `ES384`, `EdDSA`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, or `HS256`, `HS384`, `HS512`; not both kinds. A token that names another
algorithm, `none` above all, is refused, and a key is never used for an algorithm of another kind (RFC 8725 section 3.1).",
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
    summary: "`auth jwt`: what a token has to say.",
    details: "\
Without a `VALUE`: anything. With some: one of these, itself or among the members of a list, or the words of `scope`. All lines hold. A
token that lacks it: 403, `insufficient-token`.",
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
    summary: "`auth forward`: the request's fields that the server sees.",
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
    summary: "`auth forward`: the fields of the server's answer that go on with the request.",
    details: "\
They take the place of what the client has sent under these names, also where the answer has none: nobody can pretend. Default: none.",
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
    summary: "`auth forward`: the fields of the server's answer that go to the client.",
    details: "\
With `Set-Cookie`, sessions are renewed while they are used. They are added to whatever the client gets for a request that is let on: of a server, a
cache, a file, or an error. Cookies come beside those that are there, and `response-cookies` holds for them; other fields take the place of
what is there, and `response-headers` has the last word. They are not kept in caches. Default: none.",
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

/// What fits between quotes (RFC 9110 section 5.6.4).
fn realm(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if found.is_ascii() && !found.contains(|char: char| char.is_control() || char == '"' || char == '\\') {
        return Ok(found);
    }
    Err(value::Problem {
        code: "bad-realm",
        message: "a realm has ASCII letters, and no quotes or backslashes".to_owned(),
        help: Vec::new(),
        part: None,
    })
}
