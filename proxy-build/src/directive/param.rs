//! `param`: values that are given at start.

use proxy_runtime::site::ParamKind;

use super::{Directive, Place, Prop};
use crate::ast::{Param, Top, What};
use crate::value;

pub(super) static PARAM: Directive = Directive {
    name: "param",
    places: &[Place::Root],
    args: "NAME",
    props: &[
        Prop::new(
            "type",
            "addr|string|number|duration|size|file|secret",
            "The type of its value; `file` and `secret` are paths of files, whose content is used.",
        ),
        Prop::new(
            "default",
            "TEXT",
            "Its value if neither the flag nor the variable is given. Without a default, one of them is required.",
        ),
        Prop::new("help", "TEXT", "A line for the binary's `--help`."),
    ],
    body: None,
    repeats: true,
    summary: "Declares a parameter, whose value is given at start (flag or environment variable).",
    details: "\
`(param)NAME` uses it, as an address, number, duration, size or text, according to its type. The binary takes it as the flag
`--NAME` or the variable `NAME` in capitals with `_` for `-`, and lists it in `--help`. A value that is missing or
malformed stops the start with this line. A `secret` is the path of a file whose content is never printed.",
    example: r#"
param backend type=addr default="127.0.0.1:3000" help="where the application listens"
param patience type=duration default="30s"
param token type=secret help="file with the upstream's token"

upstream app {
    server (param)backend
}
site example.com {
    timeouts response=(param)patience
    request-headers {
        set X-Token (param)token
    }
    proxy app
}
"#,
    read: |r| {
        Some(What::Top(Top::Param(Param {
            name: r.arg("a NAME", value::name)?,
            kind: r.required("type", value::word(&ParamKind::NAMES))?,
            default: r.prop("default", value::text),
            help: r.prop("help", value::header_value),
        })))
    },
};
