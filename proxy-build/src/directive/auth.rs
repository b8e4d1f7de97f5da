//! `auth`: who a client has to show to be.

use super::respond::file_source;
use super::{Directive, POLICY, Prop};
use crate::ast::{Auth, AuthScheme, FileSource, Policy, What};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(super) static AUTH: Directive = Directive {
    name: "auth",
    places: POLICY,
    args: "basic|api-key|off FILE",
    props: &[
        Prop::new("realm", "TEXT", "`basic`: what browsers show when they ask for a password. Default `restricted`."),
        Prop::new("header", "NAME", "`api-key`: the field that the key is in. Default `X-API-Key`."),
    ],
    body: None,
    repeats: false,
    summary: "Lets those in who show a password or a key.",
    details: "\
`FILE` is `(file)\"/etc/site/users\"` or `(param)NAME`: read at start and on SIGHUP, never compiled in. It has `name:secret` a line,
and lines that begin with `#` for comments.

- `basic`: a name and a password (RFC 7617). The secret is the password's hash, by argon2, bcrypt or sha-crypt, as of
  `htpasswd -B` or `mkpasswd`. Hashes are computed beside the event loop, as many at once as there are cores; what was right is remembered by a keyed
  fingerprint. It takes as long for a name that nobody has. Whoever can listen has the password: use it with `tls`.
- `api-key`: a key in a field. The secret is the key, of 16 characters or more that nobody can guess, or `sha256:` and its SHA-256 in
  hexadecimal. All keys are compared, in constant time.
- `off`: does away with what a site says.

No credentials: 401 and the reason `unauthenticated`; wrong ones: `wrong-credentials`. More passwords than can be looked up: 503,
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
    route "/api/*" {
        auth api-key (file)"/etc/site/keys" header=X-API-Key
        proxy "http://127.0.0.1:3000"
    }
}
test "nobody gets in like that" {
    request GET "http://example.com/staff/"
    expect status=401
}
"#,
    read: |r| {
        let scheme = r.arg("`basic`, `api-key` or `off`", value::word(SCHEMES))?;
        let file = match scheme.value {
            AuthScheme::Off => None,
            AuthScheme::Basic | AuthScheme::ApiKey => Some(r.arg("a FILE", file_at_start)?),
        };
        let realm = r.prop("realm", realm);
        let header = r.prop("header", value::header_name);
        Some(What::Policy(Policy::Auth(Auth { scheme, file, realm, header })))
    },
};

const SCHEMES: &[(&str, AuthScheme)] =
    &[("basic", AuthScheme::Basic), ("api-key", AuthScheme::ApiKey), ("off", AuthScheme::Off)];

/// A file that is read at start, never compiled in.
pub(crate) fn file_at_start(leaf: &Leaf) -> Parsed<FileSource> {
    match file_source(leaf)? {
        FileSource::Embedded(path) => Err(value::Problem {
            code: "value-type",
            message: "this is read when the proxy starts, and never compiled in".to_owned(),
            help: Some(format!("write (file)\"{path}\", or (param)NAME for a path that is given at start")),
            part: None,
        }),
        source => Ok(source),
    }
}

/// What fits between quotes (RFC 9110 section 5.6.4).
fn realm(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if found.is_ascii() && !found.contains(|char: char| char.is_control() || char == '"' || char == '\\') {
        return Ok(found);
    }
    Err(value::Problem {
        code: "bad-realm",
        message: "a realm has ASCII letters, and no quotes or backslashes".to_owned(),
        help: None,
        part: None,
    })
}
