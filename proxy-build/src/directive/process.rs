//! `process`: settings of the process.

use super::{Directive, Place, Prop};
use crate::ast::{Top, What};
use crate::syntax::Scalar;
use crate::value;

pub(super) static PROCESS: Directive = Directive {
    name: "process",
    places: &[Place::Root],
    args: "",
    props: &[],
    body: Some(Place::Process),
    repeats: false,
    summary: "Configures the process: workers and shutdown.",
    details: "",
    example: r#"
process {
    workers 2
    drain timeout="10s"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Top(Top::Process(r.body()))),
};

pub(super) static WORKERS: Directive = Directive {
    name: "workers",
    places: &[Place::Process],
    args: "auto|N",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the number of worker threads.",
    details: "Each has its own event loop, listening sockets and connections to upstreams. `auto` (default): one for each core that this\nprocess may run on. At most 1024.",
    example: r#"
process {
    workers auto
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        if r.peek().is_some_and(|leaf| leaf.value == Scalar::Text("auto".to_owned()) && leaf.ty.is_none()) {
            r.arg("a number", value::text)?;
            return Some(What::Workers(None));
        }
        Some(What::Workers(Some(r.arg("`auto` or a number", value::number(1, 1024))?)))
    },
};

pub(super) static DRAIN: Directive = Directive {
    name: "drain",
    places: &[Place::Process],
    args: "",
    props: &[Prop::new(
        "timeout",
        "DURATION",
        "How long running exchanges and tunnels may continue after SIGTERM. Default `\"30s\"`.",
    )],
    body: None,
    repeats: false,
    summary: "Configures the graceful shutdown.",
    details: "On SIGTERM or SIGINT it stops accepting, finishes what runs, and exits with 0; what is left when the time is over is cut\noff. A second signal ends the process at once.",
    example: r#"
process {
    drain timeout="5s"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Drain(r.required("timeout", value::setting(value::duration))?)),
};
