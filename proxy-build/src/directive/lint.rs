//! `lint`: sets the levels of lints.

use super::{Directive, Place, Prop};
use crate::ast::{Lint, Top, What};
use crate::code::{self, Level};
use crate::nearest::nearest;
use crate::syntax::Leaf;
use crate::value::{self, Parsed, problem};

pub(super) static LINT: Directive = Directive {
    name: "lint",
    places: &[Place::Root],
    args: "allow|warn|deny CODE...",
    props: &[Prop::new("days", "N", "For `cert-expiry` only: how many days before its expiry a certificate is reported. Default 14.")],
    body: None,
    repeats: true,
    summary: "Sets the level of a lint: nothing, a warning, or an error.",
    details: "\
Lints report things that may be intended; things that make a site wrong are always errors. The lints are listed [below](#lints);
`kiln explain CODE` has a page for each.",
    example: r#"
lint warn unused
lint deny untested-route
site example.com {
    respond 200 "hello\n"
}
test "hello" {
    request GET "http://example.com/"
    expect status=200
}
"#,
    read: |r| {
        Some(What::Top(Top::Lint(Lint {
            level: r.arg("a level", value::word(Level::NAMES))?.value,
            codes: r.some("a CODE", lint),
            days: r.prop("days", value::integer(1, 36_500)),
        })))
    },
};

fn lint(leaf: &Leaf) -> Parsed<&'static str> {
    let name = value::text(leaf)?;
    if let Some(code) = code::lints().find(|code| code.name == name) {
        return Ok(code.name);
    }
    let message = match code::find(&name) {
        Some(_) => format!("`{name}` is always an error: it has no level"),
        None => format!("there is no lint `{name}`"),
    };
    let near = nearest(&name, code::lints().map(|code| code.name));
    let known = || format!("there are: {}", code::lints().map(|code| code.name).collect::<Vec<_>>().join(" "));
    let wrong = problem("unknown-lint", message);
    Err(match near {
        Some(near) => wrong.write(near),
        None => wrong.help(known()),
    })
}
