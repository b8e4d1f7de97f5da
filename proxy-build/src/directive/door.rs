//! `maintenance`, `allow`, `deny`, `rate-limit`, `in-flight`: who may come in, and how often.

use std::time::Duration;

use super::{Directive, POLICY, Prop};
use crate::ast::{CountedBy, InFlight, Networks, Policy, RateLimit, What};
use crate::declaration::Reading;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

const BY: &str = "What the requests have in common that are counted together, with placeholders, as in `\"{header.X-Tenant}\"` or `\"{cookie.sid}\"`. Default: the client's address.";
const IPV4: &str = "How many bits of an IPv4 address count. Default 32.";
const IPV6: &str = "How many bits of an IPv6 address count. Default 64: as much as one client has.";

pub(super) static ALLOW: Directive = Directive {
    name: "allow",
    places: POLICY,
    args: "CIDR|(file)PATH...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Lets clients in from these networks.",
    details: "\
Of all networks that `allow` and `deny` name, the most specific one that has the client's address decides; where it is written
makes no difference. Where there is an `allow`, clients in none of them are refused; else they are let in. Lines of a
preset, a site and a route are taken together; where the same network is named twice, the inner one holds, so
`allow \"0.0.0.0/0\" \"::/0\"` opens a route again. Who is refused gets 403, with the reason `address-denied` in the log.

The client is the peer, or what a trusted peer says (see `trusted-proxies`). An IPv4 address that comes as IPv6 counts as IPv4.
A list in a file has a network or an address a line, and `#` for comments; it is read at start and on SIGHUP, and one that is
wrong then is not taken. A look-up costs the same for ten networks and for ten thousand. In tests of the site, what is in files
is not known.",
    example: r#"
site example.com {
    deny (file)"/etc/site/blocked.txt"
    route "/admin/*" {
        allow "10.0.0.0/8" "2001:db8::/32"
        deny "10.66.0.0/16"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
test "the branch office may not" {
    request GET "http://example.com/admin/" {
        from "10.66.0.1"
    }
    expect status=403
}
"#,
    read: |r| networks(r, true),
};

pub(super) static DENY: Directive = Directive {
    name: "deny",
    places: POLICY,
    args: "CIDR|(file)PATH...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Refuses clients from these networks.",
    details: "See `allow`.",
    example: r#"
site example.com {
    deny "192.0.2.0/24"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| networks(r, false),
};

fn networks(r: &mut Reading<'_, '_>, allow: bool) -> Option<What> {
    let list = r.some("a CIDR", value::network_or_file);
    Some(What::Policy(Policy::Networks(Networks { allow, list })))
}

pub(super) static RATE_LIMIT: Directive = Directive {
    name: "rate-limit",
    places: POLICY,
    args: "RATE|off",
    props: &[
        Prop::new("burst", "N", "So many requests may come at once, after a pause. Default: the number in RATE."),
        Prop::new("by", "TEXT", BY),
        Prop::new("ipv4-prefix", "N", IPV4),
        Prop::new("ipv6-prefix", "N", IPV6),
        Prop::new("delay", "DURATION", "Requests that come too early are held back, if by no longer than this, up to a minute. Default: none is."),
        Prop::new("status", "429|503", "The status of a refusal. Default 429."),
        Prop::new("keys", "N", "So many clients are told apart at a time, 8 to 16777216. Default 65536."),
    ],
    body: None,
    repeats: true,
    summary: "Limits how often requests come.",
    details: "\
`RATE` is a number per `s`, `m`, `h` or `d`, as in `\"50/s\"`. Requests are counted where the limit is written: one in a site
counts the requests of all its routes together, one in a route those of that route, one in a preset all that use it. All limits that
hold for a request must let it pass: a route's comes on top of its site's. `rate-limit off` does away with those from outside.

The generic cell rate algorithm (GCRA): the rate holds at every moment, without windows in which twice as much could pass.
A refusal has `Retry-After`, `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), and the reason
`rate-limited` in the log. All workers count together. Memory is eight bytes for each of `keys`; when more clients come than that, those are
forgotten first that have been idle longest.",
    example: r#"
site example.com {
    rate-limit "50/s" burst=100
    route "/login" {
        rate-limit "5/m" delay="2s"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        let rate = r.arg("a RATE", value::rate)?;
        let limit = RateLimit {
            rate: rate.value.map(|value| Spanned { value, span: rate.span }),
            burst: r.prop("burst", value::integer(1, 1_000_000)),
            by: counted_by(r),
            delay: r.prop("delay", short),
            status: r.prop("status", refusal),
            keys: r.prop("keys", value::integer(8, 1 << 24)),
        };
        Some(What::Policy(Policy::RateLimit(limit)))
    },
};

pub(super) static IN_FLIGHT: Directive = Directive {
    name: "in-flight",
    places: POLICY,
    args: "N|off",
    props: &[
        Prop::new("by", "TEXT", BY),
        Prop::new("ipv4-prefix", "N", IPV4),
        Prop::new("ipv6-prefix", "N", IPV6),
        Prop::new("status", "429|503", "The status of a refusal. Default 429."),
    ],
    body: None,
    repeats: true,
    summary: "Limits how many requests of a client are answered at once.",
    details: "\
A request counts until the last byte of its answer is sent, so downloads count, and so does each stream of HTTP/2. As for
`rate-limit`, requests are counted where the limit is written, all limits hold, and `in-flight off` does away with those
from outside. The reason in the log is `too-many-in-flight`. How many connections a client may have says `limits per-client`.",
    example: r#"
site example.com {
    route "/downloads/*" {
        in-flight 4
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| {
        let off = matches!(r.peek().map(|leaf| &leaf.value), Some(Scalar::Text(word)) if word == "off");
        let most = match off {
            true => r.arg("N", value::word(&[("off", ())])).map(|_| None)?,
            false => Some(r.arg("a number N", value::number(1, 1 << 24))?),
        };
        let limit = InFlight { most, by: counted_by(r), status: r.prop("status", refusal) };
        Some(What::Policy(Policy::InFlight(limit)))
    },
};

fn counted_by(r: &mut Reading<'_, '_>) -> CountedBy {
    CountedBy {
        by: r.prop("by", value::template),
        ipv4_prefix: r.prop("ipv4-prefix", value::integer(1, 32)),
        ipv6_prefix: r.prop("ipv6-prefix", value::integer(1, 128)),
    }
}

/// A connection is held for as long.
fn short(leaf: &Leaf) -> Parsed<Duration> {
    let delay = value::duration(leaf)?;
    if delay <= Duration::from_secs(60) {
        return Ok(delay);
    }
    Err(value::Problem {
        code: "out-of-range",
        message: "a request is held back for a minute at most".to_owned(),
        help: Vec::new(),
        part: None,
    })
}

fn refusal(leaf: &Leaf) -> Parsed<u16> {
    match value::status(leaf)? {
        code @ (429 | 503) => Ok(code),
        code => Err(value::Problem {
            code: "bad-status",
            message: format!("{code} does not say \"come again later\""),
            help: vec!["429 and 503 do".into()],
            part: None,
        }),
    }
}
