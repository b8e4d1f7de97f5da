//! `body-replace`: texts in answers become others.

use super::{Directive, POLICY, Place};
use crate::ast::{BodyReplace, Policy, What};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(super) static BODY_REPLACE: Directive = Directive {
    name: "body-replace",
    places: POLICY,
    args: "on|off",
    props: &[],
    body: Some(Place::BodyReplace),
    repeats: false,
    summary: "Replaces texts in answers.",
    details: "\
As they stream through: no answer is collected, and a text is found also where it comes in two pieces. Of texts that begin at one place, the
longest counts; what was put in is not looked at again. Letters match as they are.

So that there is something to find, servers are asked for answers that are whole and not compressed (`Accept-Encoding` and `Range` are not passed
on); `compress` compresses them on their way to the client. What comes compressed all the same, parts, and what says `no-transform` go
as they are. `Content-Length` and digests go, `ETag` becomes a weak one.",
    example: r#"
site www.example.com {
    body-replace on {
        replace "http://app.internal:3000" "https://www.example.com"
        replace "<!-- version -->" ""
        types "text/html" "text/css"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let on = r.arg("`on` or `off`", value::word(&[("on", true), ("off", false)]))?;
        Some(What::Policy(Policy::BodyReplace(BodyReplace { on, items: r.body() })))
    },
};

pub(super) static REPLACE: Directive = Directive {
    name: "replace",
    places: &[Place::BodyReplace],
    args: "TEXT WITH",
    props: &[],
    body: None,
    repeats: true,
    summary: "A text, and what becomes of it.",
    details: "A text has 1 to 1024 bytes; what becomes of it may be empty, and has no more than 4096.",
    example: r#"
site www.example.com {
    body-replace on {
        replace "http://app.internal:3000" "https://www.example.com"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::Replacement(
            r.arg("a TEXT", |leaf| text(leaf, 1, 1024))?,
            r.arg("what becomes of it", |leaf| text(leaf, 0, 4096))?,
        ))
    },
};

fn text(leaf: &Leaf, shortest: usize, longest: usize) -> Parsed<String> {
    let found = value::text(leaf)?;
    if (shortest..=longest).contains(&found.len()) {
        return Ok(found);
    }
    Err(value::Problem {
        code: "bad-pattern",
        message: format!("this has {shortest} to {longest} bytes"),
        help: Vec::new(),
        part: None,
    })
}
