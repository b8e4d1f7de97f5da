//! The pages of lints.

use super::{Code, Level};

/// All lints.
pub(super) static LINTS: &[Code] = &[
    Code {
        name: "unused",
        level: Some(Level::Deny),
        what: "Something is declared, and nothing uses it.",
        why: "\
If an upstream, param, preset or listener is unused, a name was usually changed in one place only, so that
requests go to the wrong place. Remove it, or use it. While you restructure a site, `lint warn unused` lets it build.",
        wrong: "
upstream blue {
    server \"10.0.0.1:80\"
}
upstream green {
    server \"10.0.0.2:80\"
}
site example.com {
    proxy green
}",
        right: "
upstream green {
    server \"10.0.0.2:80\"
}
site example.com {
    proxy green
}",
    },
    Code {
        name: "trusts-everybody",
        level: Some(Level::Deny),
        what: "`trusted-proxies` names all addresses.",
        why: "\
Every client could forge its address, and `client-ip`, limits per client and logs would trust it. Name
the networks of the proxies in front of this one. If only such a proxy can connect (a private network,
a unix socket), write `lint allow trusts-everybody`.",
        wrong: "
trusted-proxies \"0.0.0.0/0\"
site example.com {
    proxy \"http://10.0.0.2:80\"
}",
        right: "
trusted-proxies \"10.0.0.0/8\"
site example.com {
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "cache-key",
        level: Some(Level::Warn),
        what: "The response depends on something that the cache key does not have.",
        why: "\
The site itself puts a cookie, a field or the client's address into the request, or chooses the upstream by it. Two clients
that differ in it get different responses, but the cache stores one for both, so a client may get another client's response. Add it
to `key`, or use a separate route without `cache`. The lint ignores fields that servers use for their logs (`X-Real-IP`,
`X-Forwarded-For`, `X-Request-Id`). If the server does not use the value, or names it in `Vary`, write `lint allow
cache-key`.",
        wrong: "
site example.com {
    cache
    request-headers {
        set X-Theme \"{cookie.theme}\"
    }
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    cache {
        key {
            cookie theme
        }
    }
    request-headers {
        set X-Theme \"{cookie.theme}\"
    }
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "unkeyed-query",
        level: Some(Level::Warn),
        what: "The server receives query parameters that the cache key does not have.",
        why: "\
With `key { query ... }` the cache stores one response for all values of the parameters that it does not list. If the server uses one of
them, or writes the URL into its response, all clients get the response to one client's parameters: an attacker can use such a parameter to
store a response of his choice (cache poisoning). `send=keyed` removes them from the request to the server. If the server does not use them,
write `send=all`.",
        wrong: "
site example.com {
    cache {
        key {
            query page
        }
    }
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    cache {
        key {
            query page send=keyed
        }
    }
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "cache-behind-auth",
        level: Some(Level::Warn),
        what: "Responses are cached in routes with authentication.",
        why: "\
A cache has one response for all clients. If the site requires client certificates, a response for one
client is served to the next. If all of them may see the same, write `lint allow cache-behind-auth`; otherwise turn the cache off in these
routes, or have the server send `Cache-Control: private`.",
        wrong: "
site example.com {
    tls {
        certificate (file)\"cert.pem\" key=(file)\"cert.key\"
        client-ca (file)\"clients.pem\"
    }
    cache
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
lint allow cache-behind-auth
site example.com {
    tls {
        certificate (file)\"cert.pem\" key=(file)\"cert.key\"
        client-ca (file)\"clients.pem\"
    }
    cache
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "no-validator",
        level: Some(Level::Warn),
        what: "Cached responses are sent without ETag and Last-Modified.",
        why: "\
When a client's own copy is stale, the client can revalidate it, and gets a few bytes if it is current. Without these
fields it has to fetch the whole response again, each time.",
        wrong: "
site example.com {
    cache
    response-headers {
        remove ETag Last-Modified
    }
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    cache
    response-headers {
        remove Last-Modified
    }
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "stale-windows",
        level: Some(Level::Warn),
        what: "`if-error` of a cache ends before `while-revalidate`.",
        why: "\
During `while-revalidate`, the stale response is used whatever the background fetch returns, errors included. A
shorter `if-error` has no effect, although it looks as if clients would see errors sooner.",
        wrong: "
site example.com {
    cache {
        stale while-revalidate=\"1h\" if-error=\"1m\"
    }
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    cache {
        stale while-revalidate=\"1m\" if-error=\"1h\"
    }
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "open-purge",
        level: Some(Level::Deny),
        what: "`purge` names all addresses.",
        why: "\
Every client could empty the cache, again and again, and send the whole load to the servers. Name the networks from
which you deploy. If nobody else can connect, write `lint allow open-purge`.",
        wrong: "
site example.com {
    cache {
        purge \"0.0.0.0/0\"
    }
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    cache {
        purge \"10.0.0.0/8\"
    }
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "open-admin",
        level: Some(Level::Deny),
        what: "`admin` listens where others can connect.",
        why: "\
Whoever can connect sees metrics and caches, as far as `admin` has lines for that. A unix socket is for those whom the file system lets in, a
loopback address for this machine; `allow` names networks, `auth` asks for passwords or keys, and a `tls` with `client-ca` for certificates. Where a
firewall keeps all others out, `lint allow open-admin` says so. Where something can be changed (`purge`, `servers`, `drain`), it is no lint but an error.",
        wrong: "
admin \"0.0.0.0:9000\" {
    metrics
}
site example.com {
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
admin \"127.0.0.1:9000\" {
    metrics
}
site example.com {
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "secret-in-file",
        level: Some(Level::Deny),
        what: "The site file, or a file that is compiled in, contains a password, a token or a private key.",
        why: "\
The text of a site file is also in the binary, in its `--config`, and in the version history of the file; a file of an
embedded folder is served to anybody. Declare a `param type=secret`, whose value is read from a file when the proxy starts
and never printed, and keep keys in folders that are not compiled in.",
        wrong: "
site example.com {
    request-headers {
        set Authorization \"Bearer hunter2\"
    }
    proxy \"http://10.0.0.2:80\"
}",
        right: "
param token type=secret
site example.com {
    request-headers {
        set Authorization (param)token
    }
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "fault",
        level: Some(Level::Warn),
        what: "Requests are delayed or refused on purpose.",
        why: "\
`fault` is for tests, and a forgotten one is an outage. If it is intended, write `lint allow fault`; with a
`(param)` for the share it can stay in the site and do nothing until the share is raised.",
        wrong: "
site example.com {
    fault abort=503 abort-percent=10
    proxy \"http://10.0.0.2:80\"
}",
        right: "
site example.com {
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "unverified-upstream",
        level: Some(Level::Deny),
        what: "The certificates of an upstream's servers are not verified.",
        why: "\
With `verify=#false` connections are encrypted, but anybody who can redirect them can pose as the server, and read and
change everything. Name the CA certificate of the servers, even if it is self-signed: `ca=\"ca.pem\"`.",
        wrong: "
upstream api {
    server \"10.0.0.2:443\"
    tls verify=#false
}
site example.com {
    proxy api
}",
        right: "
upstream api {
    server \"10.0.0.2:443\"
    tls ca=\"/etc/site/ca.pem\"
}
site example.com {
    proxy api
}",
    },
    Code {
        name: "cert-expiry",
        level: Some(Level::Warn),
        what: "A certificate is about to expire.",
        why: "\
The lint checks certificates that exist when the site is built, 14 days before their expiry, or the number of days in
`lint warn cert-expiry days=30`. An expired certificate is an error. The proxy reads certificates again when they change, so that
a new one needs neither a build nor a restart; `--check` checks the files of a proxy.",
        wrong: "
lint warn cert-expiry days=36500
site a.example {
    tls {
        certificate \"diagnostics/certificates/long.pem\" key=\"diagnostics/certificates/long.key\"
    }
    proxy \"http://10.0.0.2:80\"
}",
        right: "
site a.example {
    tls {
        certificate \"diagnostics/certificates/long.pem\" key=\"diagnostics/certificates/long.key\"
    }
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "unbounded-body",
        level: Some(Level::Warn),
        what: "Request bodies may be of any size.",
        why: "\
The proxy itself is not affected, as bodies stream; the server may be. Set a size that is large enough for the
route. If no size is, write `lint allow unbounded-body`.",
        wrong: "
site example.com {
    limits body=unlimited
    proxy \"http://10.0.0.2:80\"
}",
        right: "
site example.com {
    limits body=\"2GiB\"
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "unanchored-expression",
        level: Some(Level::Warn),
        what: "An expression on the path may match anywhere within it.",
        why: "\
`path-regex \"admin\"` matches `/admin`, and `/blog/administration/readmind` as well. Begin it with `^/`, or end it with
`$`. Expressions that begin with `^` also share one table, so that their number does not slow down requests.",
        wrong: "
site example.com {
    route \"/*\" {
        path-regex \"admin\"
        respond 403
    }
    route \"/*\" {
        proxy \"http://10.0.0.2:80\"
    }
}",
        right: "
site example.com {
    route \"/*\" {
        path-regex \"^/admin(/|$)\"
        respond 403
    }
    route \"/*\" {
        proxy \"http://10.0.0.2:80\"
    }
}",
    },
    Code {
        name: "hsts-on-plain",
        level: Some(Level::Warn),
        what: "`Strict-Transport-Security` is sent over plain HTTP.",
        why: "\
Browsers ignore it there (RFC 6797 section 8.1), and a server must not send it (section 7.2). If TLS ends in a proxy in
front of this one, the field reaches browsers over TLS after all: write `lint allow hsts-on-plain`.",
        wrong: "
site example.com {
    response-headers {
        set Strict-Transport-Security \"max-age=31536000\"
    }
    proxy \"http://10.0.0.2:80\"
}",
        right: "
lint allow hsts-on-plain
site example.com {
    response-headers {
        set Strict-Transport-Security \"max-age=31536000\"
    }
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "runs-as-root",
        level: Some(Level::Allow),
        what: "The proxy listens on a port below 1024, and keeps the user that it is started as.",
        why: "\
Such ports need root or CAP_NET_BIND_SERVICE. A proxy that is started as root stays root without `process { user NAME; }`, and says so at start. Where
a service manager starts it as another user, nothing is wrong: therefore this lint is off by default.",
        wrong: "
lint deny runs-as-root
listen \":80\"
site example.com {
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
lint deny runs-as-root
process {
    user www-data
}
listen \":80\"
site example.com {
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "untested-route",
        level: Some(Level::Allow),
        what: "No test of the site reaches a route.",
        why: "\
With `lint deny untested-route`, every new route needs a `test`. `kiln test --coverage`
lists the same routes without failing.",
        wrong: "
lint deny untested-route
site example.com {
    route \"/a\" {
        respond 200
    }
    route \"/b\" {
        respond 200
    }
}
test \"a\" {
    request GET \"http://example.com/a\"
    expect status=200
}",
        right: "
lint deny untested-route
site example.com {
    route \"/a\" {
        respond 200
    }
    route \"/b\" {
        respond 200
    }
}
test \"a\" {
    request GET \"http://example.com/a\"
    expect status=200
}
test \"b\" {
    request GET \"http://example.com/b\"
    expect status=200
}",
    },
    Code {
        name: "keys-on-plain",
        level: Some(Level::Warn),
        what: "`auth jwt` fetches keys without TLS.",
        why: "\
An attacker on the network can respond in place of that server, with other keys, and forge tokens. Write `https://`; if the
network is safe, write `lint allow keys-on-plain`.",
        wrong: "
site example.com {
    auth jwt \"http://id.example.com/jwks.json\" {
        algorithms ES256
    }
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    auth jwt \"https://id.example.com/jwks.json\" {
        algorithms ES256
    }
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "password-on-plain",
        level: Some(Level::Warn),
        what: "`auth basic` on a site without TLS.",
        why: "\
With this scheme the password itself is sent with each request. Without TLS, anybody on the network can read it. Give the site a `tls`; if
TLS ends at a proxy in front of this one, write `lint allow password-on-plain`.",
        wrong: "
site example.com {
    auth basic (file)\"/etc/site/users\"
    proxy \"http://127.0.0.1:3000\"
}",
        right: "
site example.com {
    tls {
        certificate (file)\"cert.pem\" key=(file)\"cert.key\"
    }
    auth basic (file)\"/etc/site/users\"
    proxy \"http://127.0.0.1:3000\"
}",
    },
    Code {
        name: "idle-priority",
        level: Some(Level::Deny),
        what: "A `priority` has no effect.",
        why: "\
Patterns decide first: of two that match a path, the more specific one is used, with any priority. `priority` orders only routes with
the same pattern whose requests overlap. On any other route it only looks as if it did.",
        wrong: "
site example.com {
    route \"/*\" priority=9 {
        respond 404
    }
    route \"/api/*\" {
        proxy \"http://10.0.0.2:80\"
    }
}",
        right: "
site example.com {
    route \"/*\" {
        respond 404
    }
    route \"/api/*\" {
        proxy \"http://10.0.0.2:80\"
    }
}",
    },
    Code {
        name: "foreign-variable",
        level: Some(Level::Deny),
        what: "A string contains a variable of nginx.",
        why: "\
`$remote_addr` and the like have no meaning here: the string is sent as it is written, and the server receives a dollar and a word.
Placeholders are written in braces, as in `{client.ip}`. If the string is intended, write `lint allow foreign-variable`.",
        wrong: "
site example.com {
    request-headers {
        set X-Client \"$remote_addr\"
    }
    proxy \"http://10.0.0.2:80\"
}",
        right: "
site example.com {
    request-headers {
        set X-Client \"{client.ip}\"
    }
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "field-direction",
        level: Some(Level::Deny),
        what: "A field of responses is set in requests, or the other way round.",
        why: "\
A server ignores `X-Frame-Options`, and a browser ignores `Authorization`: the line is in the wrong block, and has no
effect. If the other side does use the field, write `lint allow field-direction`.",
        wrong: "
site example.com {
    request-headers {
        set X-Frame-Options DENY
    }
    proxy \"http://10.0.0.2:80\"
}",
        right: "
site example.com {
    response-headers {
        set X-Frame-Options DENY
    }
    proxy \"http://10.0.0.2:80\"
}",
    },
    Code {
        name: "spoofable-key",
        level: Some(Level::Deny),
        what: "Clients are distinguished by a field that they can forge.",
        why: "\
A client can choose the value of `X-Forwarded-For` and similar fields, and evades a limit with another
value in each request. `{client.ip}` is the client's address, as named by `trusted-proxies` if there are any; it is the default key of
`rate-limit`.",
        wrong: "
site example.com {
    rate-limit \"10/s\" by=\"{header.X-Forwarded-For}\"
    proxy \"http://10.0.0.2:80\"
}",
        right: "
trusted-proxies \"10.0.0.0/8\"
site example.com {
    rate-limit \"10/s\" by=\"{client.ip}\"
    proxy \"http://10.0.0.2:80\"
}",
    },
];
