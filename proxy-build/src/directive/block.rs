//! `block` and `request-types`: what must not be in requests.

use proxy_runtime::inspect::SHORTEST;
use proxy_runtime::site::Where;

use super::{Directive, POLICY, Place, Prop};
use crate::ast::{Block, Policy, What};
use crate::declaration::Reading;
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

const IN_BLOCK: &[Place] = &[Place::Block];

pub(super) static BLOCK: Directive = Directive {
    name: "block",
    places: POLICY,
    args: "NAME|off",
    props: &[
        Prop::new("action", "refuse|log", "`log`: it is only written down that a request would be refused. Default `refuse`."),
        Prop::new("status", "CODE", "The status of a refusal. Default 403."),
        Prop::new("body-prefix", "SIZE", "So much of a body is looked at, up to `\"1MiB\"`. Default `\"8KiB\"`."),
    ],
    body: Some(Place::Block),
    repeats: true,
    summary: "Refuses requests for what is in them.",
    details: "\
Each line names texts and where they are looked for; one that is found is enough. Letters match in any case. Paths and queries are looked
at as they are, and decoded once (in queries, `+` is a blank). The beginning of a body is waited for and looked at before any of
it goes on; what is compressed is not unpacked. All rules that hold are in force together, a route's on top of its site's; `block off`
does away with those from outside. They come last at the door, when it is known who the client is.

The texts of all rules that hold for a request are looked for together, and each part of it is read once: how many there are, and what
clients send, makes no difference. In the log: the reason `blocked`, and the field `rule` with `NAME`, also of rules with
`action=log`. For expressions use matchers, and a route with `respond 403`.",
    example: r#"
site example.com {
    block probes {
        path "/wp-login.php" "/.env" ".git/"
        user-agent sqlmap nikto
    }
    block injection action=log body-prefix="16KiB" {
        query "union select" "<script"
        headers "${jndi:"
        body "<!ENTITY"
    }
    proxy "http://127.0.0.1:3000"
}
test "nobody looks for passwords" {
    request GET "http://example.com/a/%2Eenv"
    expect status=403
}
"#,
    read: |r| {
        let name = r.arg("a NAME or `off`", name)?;
        let log_only = r.prop("action", value::word(&[("refuse", false), ("log", true)]));
        let status = r.prop("status", value::status);
        let body_prefix = r.prop("body-prefix", body_prefix);
        Some(What::Policy(Policy::Block(Block { name, log_only, status, body_prefix, items: r.body() })))
    },
};

fn name(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    match found.is_empty() || found.contains(char::is_control) {
        false => Ok(found),
        true => Err(wrong("a rule is called something, and without control characters")),
    }
}

fn body_prefix(leaf: &Leaf) -> Parsed<u64> {
    let found = value::size(leaf)?;
    if (1..=1 << 20).contains(&found) {
        return Ok(found);
    }
    Err(value::Problem { code: "out-of-range", ..wrong("of a body, a byte up to a MiB is looked at") })
}

/// The longest text that is looked for.
const LONGEST: usize = 1024;

fn pattern(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    match found.len() {
        SHORTEST..=LONGEST => Ok(found),
        _ => Err(wrong("a text that is looked for has 3 to 1024 bytes")),
    }
}

fn wrong(message: &str) -> value::Problem {
    value::Problem { code: "bad-pattern", message: message.to_owned(), help: Vec::new(), part: None }
}

/// A line with texts.
fn texts(r: &mut Reading<'_, '_>, place: Where) -> Option<What> {
    Some(What::InBlock(place, r.some("a TEXT", pattern)))
}

/// A line of `block`; the site of its example stands for all of them.
const fn line(
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    read: fn(&mut Reading<'_, '_>) -> Option<What>,
) -> Directive {
    Directive {
        name,
        places: IN_BLOCK,
        args,
        props: &[],
        body: None,
        repeats: true,
        summary,
        details: "A text has 3 to 1024 bytes, and matches in any case.",
        example: EXAMPLE,
        read,
    }
}

const EXAMPLE: &str = r#"
site example.com {
    block probes {
        path "/.env"
        query "union select"
        header Referer "casino"
        headers "${jndi:"
        cookie session "' or "
        user-agent sqlmap
        body "<!ENTITY"
    }
    proxy "http://127.0.0.1:3000"
}
"#;

pub(super) static BLOCK_PATH: Directive =
    line("path", "TEXT...", "Texts that must not be in the path.", |r| texts(r, Where::Path));

pub(super) static BLOCK_QUERY: Directive =
    line("query", "TEXT...", "Texts that must not be in the query.", |r| texts(r, Where::Query));

pub(super) static BLOCK_HEADER: Directive =
    line("header", "NAME TEXT...", "Texts that must not be in the field NAME.", |r| {
        let name = r.arg("a NAME", value::header_name)?;
        texts(r, Where::Header(name.value.into()))
    });

pub(super) static BLOCK_HEADERS: Directive =
    line("headers", "TEXT...", "Texts that must not be in any field.", |r| texts(r, Where::AnyHeader));

pub(super) static BLOCK_COOKIE: Directive =
    line("cookie", "NAME TEXT...", "Texts that must not be in the cookie NAME.", |r| {
        let name = r.arg("a NAME", value::text)?;
        texts(r, Where::Cookie(name.value.into()))
    });

pub(super) static BLOCK_USER_AGENT: Directive =
    line("user-agent", "TEXT...", "Texts that must not be in `User-Agent`.", |r| {
        texts(r, Where::Header("user-agent".into()))
    });

pub(super) static BLOCK_BODY: Directive =
    line("body", "TEXT...", "Texts that must not be in the beginning of the body.", |r| texts(r, Where::Body));
