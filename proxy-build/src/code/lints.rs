//! The pages of lints.

use super::{Code, Level};

/// All of them.
pub(super) static LINTS: &[Code] = &[
    Code {
        name: "unused",
        level: Some(Level::Deny),
        what: "Something is declared, and nothing uses it.",
        why: "\
An upstream, param, preset or listener without a use is most often a name that was changed in one place only, so that
requests go elsewhere than meant. Remove it, or use it. While a site is taken apart, `lint warn unused` lets it build.",
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
Whoever connects could say that it is somebody else: `client-ip`, limits per client and logs would all believe it. Name
the networks of the proxies in front of this one. Where nobody but such a proxy can connect at all (a private network,
a unix socket), `lint allow trusts-everybody` says so.",
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
        what: "What a server answers depends on something that the key of the cache does not have.",
        why: "\
The site itself puts a cookie, a field or the client's address into the request, or chooses the upstream by it. Two clients
who differ in that get different answers, but the cache keeps one for both: what is one client's is shown to another. Add it
to `key`, or make a route without `cache` of it. Fields that tell servers who the client is for their logs (`X-Real-IP`,
`X-Forwarded-For`, `X-Request-Id`) are not meant. Where the server does not look at it, or says so in `Vary`, `lint allow
cache-key` says so.",
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
        what: "The server is sent query parameters that the key of the cache does not have.",
        why: "\
`key { query ... }` keeps one response for all values of the parameters that it does not list. A server that looks at one of them,
or writes the URL into what it responds, has what one client asked shown to all others: with a parameter that nobody knew of,
anybody can put a response of his choice there. `send=keyed` leaves them out of what the server is sent. Where the server does not look at them,
`send=all` says so.",
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
        what: "Answers are kept where clients have to show who they are.",
        why: "\
A cache keeps one answer for all. Where the site lets in only those who show a certificate, an answer that was meant for one of
them is given to the next. If all who get in may see the same, `lint allow cache-behind-auth` says so; else leave these
routes out of the cache, or have the server say `Cache-Control: private`.",
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
        what: "Answers that are kept leave without ETag and Last-Modified.",
        why: "\
When a client's own copy is no longer fresh it can ask whether it is still right, and gets a few bytes if it is. Without either
field it has to fetch all of it again, each time.",
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
While `while-revalidate` lasts, a stale answer is used whatever the server says to the request behind it, errors included. An
`if-error` that is shorter adds nothing, and looks as if errors were shown sooner than they are.",
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
Whoever can reach the site could empty its cache, again and again, and put all of its load on the servers. Name the networks of
those who deploy. Where nobody else can connect at all, `lint allow open-purge` says so.",
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
There is no password: whoever can connect sees metrics and caches, and may purge them, as far as `admin` has lines for that. A unix socket is
for those whom the file system lets in, a loopback address for this machine, and `allow` names networks. Where a firewall keeps all others
out, `lint allow open-admin` says so.",
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
        what: "A password or token is written in the site file.",
        why: "\
What stands in a site file stands in the binary, too, in its `--config`, and in everybody's history of the file. Declare
a `param type=secret`, whose value is read from a file when the proxy starts and never printed.",
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
        what: "Requests are slowed down or refused on purpose.",
        why: "\
`fault` is for drills, and a drill that is forgotten is an outage. Where it is meant, `lint allow fault` says so; with a
`(param)` for the share it can be there all the time and do nothing until it is asked to.",
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
        what: "The certificates of an upstream's servers are not looked at.",
        why: "\
`verify=#false` encrypts, but anybody in between can be the server: whoever can redirect the connection reads and
changes everything. Name what has signed the servers' certificates, also if that is the server itself: `ca=\"ca.pem\"`.",
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
Found for certificates that are there when the site is built, 14 days before their end, or as many as
`lint warn cert-expiry days=30` says. One that has expired is an error. The proxy reads certificates again when they change, so that
neither a new build nor a new start is needed for a new one; `--check` looks at the files of a proxy.",
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
The proxy itself takes no harm, as bodies stream; the server behind it may. Name a size that is large enough for what the
route is for. Where no size is, `lint allow unbounded-body` says that it is meant.",
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
`path-regex \"admin\"` takes `/admin`, and `/blog/administration/readmind` as well. Begin it with `^/`, or end it with
`$`. Expressions that begin with `^` also share one table, so that their number costs requests nothing.",
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
Browsers ignore it there (RFC 6797 section 8.1), and a server must not send it (section 7.2). Where TLS ends in a proxy in
front of this one, the field reaches browsers over TLS after all: `lint allow hsts-on-plain` says so.",
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
        name: "untested-route",
        level: Some(Level::Allow),
        what: "No test of the site reaches a route.",
        why: "\
With `lint deny untested-route` a route can't be added without saying in a `test` what it is for. `kiln test --coverage`
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
        what: "`auth jwt` with keys from a server that is asked without TLS.",
        why: "\
Whoever is on the way to that server can answer in its place, with keys of their own, and make tokens for anybody. Write `https://`; where the
way is safe, `lint allow keys-on-plain` says so.",
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
With this scheme the password itself is sent, with each request. Without TLS, whoever is on the way reads it. Give the site a `tls`; where
TLS ends at a proxy in front of this one, `lint allow password-on-plain` says so.",
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
        what: "A `priority` settles nothing.",
        why: "\
Patterns decide first: of two that take a path, the more specific one has it, whatever is said of priority. Only between routes with
the same pattern, whose requests overlap, does `priority` say which goes first. On any other route it looks as if it did.",
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
        what: "A text has a variable of nginx in it.",
        why: "\
`$remote_addr` and its like stand for nothing here: the text is sent as it is written, and the server behind sees a dollar and a word.
Placeholders stand in braces, as in `{client.ip}`; what is meant as it stands is allowed by `lint allow foreign-variable`.",
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
A server makes nothing of an `X-Frame-Options`, nor a browser of an `Authorization`: the line is in the wrong block, and what it was for does not
happen. Where the other side has a use for it after all, `lint allow field-direction` says so.",
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
        what: "Clients are told apart by a field that they can write.",
        why: "\
What is counted or chosen by `X-Forwarded-For` and its like is counted by what the client says of itself: a limit is passed by another
value in each request. `{client.ip}` is the client's address, and what `trusted-proxies` say of it where there are any; it is what
`rate-limit` counts by where nothing is said.",
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
