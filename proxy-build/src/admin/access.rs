//! Access control of `admin`: `auth`, `tls`, `host`, and whether the parts that change something are protected.

use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::protocol::target;
use proxy_runtime::site::{Admin, AdminAuth, AdminScheme};

use super::BRACES;
use crate::ast::{self, FileSource, Item, What};
use crate::check::Check;
use crate::declaration::{Directive, Prop};
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

/// `auth` in `admin`.
#[derive(Debug)]
struct OperatorAuth {
    scheme: Spanned<Scheme>,
    file: Spanned<FileSource>,
    realm: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer,
}

/// `tls` in `admin`.
#[derive(Debug)]
struct TlsName(Spanned<String>);

/// `host` in `admin`.
#[derive(Debug)]
struct HostNames(Vec<Spanned<String>>);

pub(super) static AUTH: Directive = Directive {
    name: "auth",
    places: &[BRACES],
    args: "basic|bearer FILE",
    props: &[Prop::new("realm", "TEXT", "The realm that clients are shown. Default `admin`.")],
    body: None,
    repeats: false,
    summary: "Requires a password or a key.",
    details: "\
`FILE` is `(file)\"/etc/site/operators\"` or `(param)NAME`, read at start and on SIGHUP, with a line `name:secret` for each operator, as that of
[`auth`](#auth) in a site.

- `basic`: a name and a password (RFC 7617). The secret is the hash of the password, as of `htpasswd -B`.
- `bearer`: a key in `Authorization: Bearer KEY`. The secret is the key, of 16 characters or more, or `sha256:` and its SHA-256.

Without credentials that are right, each request is answered with 401. The name is in the log beside what it has changed.",
    example: EXAMPLE,
    read: |r| {
        Some(What::line(OperatorAuth {
            scheme: r.arg("`basic` or `bearer`", value::word(&[("basic", Scheme::Basic), ("bearer", Scheme::Bearer)]))?,
            file: r.arg("a FILE", value::file_at_start)?,
            realm: r.prop("realm", value::realm),
        }))
    },
};

pub(super) static TLS: Directive = Directive {
    name: "tls",
    places: &[BRACES],
    args: "NAME",
    props: &[],
    body: None,
    repeats: false,
    summary: "The endpoint speaks TLS.",
    details: "\
With the certificates of a [`tls`](#tls) of the top level. Where that has a `client-ca`, clients must show a certificate.",
    example: EXAMPLE,
    read: |r| Some(What::line(TlsName(r.arg("a NAME", value::name)?))),
};

pub(super) static HOST: Directive = Directive {
    name: "host",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The names by which clients may call the endpoint.",
    details: "\
A page in a browser can have its own name resolve to an address of this machine, and read what answers there (DNS rebinding). A request whose
`Host` is neither an address, nor a name without a dot as `localhost`, nor the first host of a site, nor one of these names, is answered with
421. That holds where there is neither `auth` nor `tls`, and not for unix sockets; such pages have no credentials.",
    example: r#"
admin "10.0.0.5:9000" {
    metrics
    allow "10.0.0.0/8"
    host "proxy-1.example.internal"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(HostNames(r.some("a NAME", host)))),
};

const EXAMPLE: &str = r#"
tls operators {
    certificate (file)"/etc/site/admin.pem" key=(file)"/etc/site/admin.key"
}
admin ":9000" {
    metrics
    servers
    auth basic (file)"/etc/site/operators"
    tls operators
}
upstream app {
    server "10.0.0.1:3000"
}
site example.com {
    proxy app
}
"#;

fn host(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?.to_ascii_lowercase();
    if target::is_host(&found) {
        return Ok(found);
    }
    Err(value::problem("bad-host", format!("`{found}` is not the name of a host")))
}

/// Returns the line of a type in `admin`.
fn line<T: 'static>(written: &ast::Admin) -> Option<&T> {
    written.items.iter().find_map(Item::line)
}

impl Check<'_> {
    /// Returns the index of the `tls` of `admin`.
    pub(super) fn admin_tls(&mut self, written: &ast::Admin) -> Option<u16> {
        let TlsName(name) = line(written)?;
        self.tls.look_up("tls", name, self.report).map(|index| index as u16)
    }

    /// Checks the access control of `admin`.
    pub(super) fn admin_access(&mut self, written: &ast::Admin, tls: Option<u16>, admin: &mut Admin) {
        if let Some(auth) = line::<OperatorAuth>(written) {
            admin.auth = self.admin_auth(auth);
            if tls.is_none() && is_reachable(written) {
                self.report.add(
                    Diagnostic::lint("password-on-plain", "credentials are sent unencrypted here", auth.scheme.span)
                        .help("give `admin` a `tls`; if the network is safe: lint allow password-on-plain"),
                );
            }
        }
        if let Some(HostNames(names)) = line(written) {
            if let Some(first) = names.first().filter(|_| tls.is_some() || admin.auth.is_some() || is_unix(written)) {
                let message =
                    "`host` has no effect: names are not looked at where there is `auth`, `tls` or a unix socket";
                self.error("no-effect", message, first.span);
            }
            admin.hosts = crate::model::list(names.iter().map(|name| name.value.clone().into()).collect());
        }
        let certificates = tls.and_then(|tls| self.tls.entries.get(usize::from(tls)));
        let certificates =
            certificates.is_some_and(|tls| tls.value.tls.client.as_ref().is_some_and(|one| one.required));
        if admin.is_guarded(certificates) || !is_reachable(written) {
            return;
        }
        let span = written.address.span;
        let found = match admin.changing() {
            Some(part) => {
                let message = format!("anyone who can connect to this address can use `{part}`");
                Diagnostic::error("unprotected-admin", message, span)
            }
            None => {
                let message = "anyone who can connect to this address can use the admin endpoint";
                Diagnostic::lint("open-admin", message, span)
            }
        };
        let unix = Help::write(span, "\"unix:/run/site/admin.sock\"");
        self.report.add(found.help(unix).help(self.inside(span, "allow \"10.0.0.0/8\"")));
    }

    fn admin_auth(&mut self, auth: &OperatorAuth) -> Option<AdminAuth> {
        let file = self.own_file(&auth.file.value, auth.file.span, true)?;
        let realm = auth.realm.as_ref().map_or("admin", |realm| &realm.value);
        let (scheme, challenge) = match auth.scheme.value {
            // RFC 7617 section 2.1, RFC 6750 section 3.
            Scheme::Basic => (AdminScheme::Basic(file), format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")),
            Scheme::Bearer => (AdminScheme::Bearer(file), format!("Bearer realm=\"{realm}\"")),
        };
        Some(AdminAuth { scheme, challenge: challenge.into() })
    }
}

fn is_unix(written: &ast::Admin) -> bool {
    matches!(&written.address.value, ast::Setting::Fixed(address) if address.starts_with("unix:"))
}

/// Returns whether others can reach the address; an address that is given at start is checked then.
fn is_reachable(written: &ast::Admin) -> bool {
    let ast::Setting::Fixed(address) = &written.address.value else { return false };
    match settings::address(address) {
        Ok(Address::Tcp(host, _)) => !settings::is_loopback(host),
        Ok(Address::Unix(_)) | Err(_) => false,
    }
}
