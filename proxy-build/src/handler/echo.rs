//! `echo`: responds with the request itself.

use proxy_runtime::site;

use super::{CheckedHandler, HandlerContext, WrittenHandler};
use crate::check::Check;
use crate::declaration::{Directive, HANDLER};
use crate::model::Site;

pub(super) static ECHO: Directive = Directive {
    name: "echo",
    places: HANDLER,
    args: "",
    props: &[],
    body: None,
    repeats: true,
    summary: "Responds with the request as it arrived, as JSON.",
    details: "For debugging: method, host, path, query, header fields, client address, protocol, trailers, the size of the\nbody, and the body itself up to 64 KiB.",
    example: r#"
site example.com {
    echo
}
"#,
    read: |_| Some(super::written(Echo)),
};

/// `echo`.
#[derive(Debug)]
pub(super) struct Echo;

impl WrittenHandler for Echo {
    fn check(&self, _: &mut Check<'_>, _: &HandlerContext<'_>) -> Option<site::Handler> {
        Some(site::Handler::Echo)
    }
}

impl CheckedHandler for Echo {
    fn short(&self, _: &Site) -> String {
        "echo".to_owned()
    }
}
