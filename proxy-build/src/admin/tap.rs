//! `tap` of `admin`: heads of live exchanges, with some of their values masked.

use proxy_runtime::site::Text;

use super::{AdminLine, BRACES};
use crate::ast::{Item, What};
use crate::check::Check;
use crate::declaration::{Directive, Place};
use crate::source::Spanned;
use crate::value;

/// `mask`.
#[derive(Debug)]
struct Mask(Vec<Spanned<String>>);

/// Header fields whose values are always masked.
const USUAL: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

pub(super) static TAP: Directive = Directive {
    name: "tap",
    places: &[BRACES],
    args: "",
    props: &[],
    body: Some(Place::Tap),
    repeats: false,
    summary: "Heads of live exchanges.",
    details: "\
`GET /tap` sends the exchanges that end from then on, one JSON object a line: the heads of request and response, client, route, upstream, server, what the
cache did, the reason of an error, and times. It sends no bodies. The query selects exchanges:

- `route=PATTERN`, `host=HOST`, `method=METHOD`: the pattern of the route as the site has it, the host, the method.
- `status=404` or `status=5xx`: the status or its class; `status=none`: exchanges without a response.
- `n=10`: how many, up to 1000. `seconds=30`: for how long, up to 60.

The last line is `end`: why the tap ended, and how many exchanges were dropped because the client read too slowly. Two clients may tap at once. An exchange is
shown if it began after the tap. While nobody taps, an exchange costs a look at a flag.

The values of `Authorization`, `Proxy-Authorization`, `Cookie`, `Set-Cookie` and of the fields of `auth api-key` are masked, and so is each value that
contains that of a `param type=secret`; [`mask`](#mask) names more. Values are cut after 1024 bytes.",
    example: EXAMPLE,
    read: |r| Some(What::line(AdminLine::Tap(r.body()))),
};

pub(super) static MASK: Directive = Directive {
    name: "mask",
    places: &[Place::Tap],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Names whose values the tap masks.",
    details: "\
Names of header fields and of query parameters, in any case. Parameters are masked in the request's query, and in the queries of `Referer` and `Location`.",
    example: EXAMPLE,
    read: |r| Some(What::line(Mask(r.some("a NAME", value::header_name)))),
};

const EXAMPLE: &str = r#"
admin "127.0.0.1:9000" {
    tap {
        mask "X-Session" "token"
    }
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#;

impl Check<'_> {
    /// Returns the names of `mask`, each once.
    pub(super) fn masked(&mut self, items: &[Item]) -> Vec<Text> {
        let Some(Mask(names)) = items.iter().find_map(Item::line::<Mask>) else { return Vec::new() };
        for (index, name) in names.iter().enumerate() {
            if USUAL.contains(&name.value.as_str()) {
                self.error("no-effect", format!("`{}` is always masked", name.value), name.span);
            } else if names[..index].iter().any(|other| other.value == name.value) {
                self.error("duplicate", format!("`{}` is there already", name.value), name.span);
            }
        }
        names.iter().map(|name| name.value.clone().into()).collect()
    }
}
