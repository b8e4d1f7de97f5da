//! `abort`: closes the connection without a response.

use proxy_runtime::site;

use super::{CheckedHandler, HandlerContext, WrittenHandler};
use crate::check::Check;
use crate::declaration::{Directive, HANDLER};
use crate::model::Site;

pub(super) static ABORT: Directive = Directive {
    name: "abort",
    places: HANDLER,
    args: "",
    props: &[],
    body: None,
    repeats: true,
    summary: "Closes the connection without a response.",
    details: "",
    example: r#"
site example.com {
    respond 200 "hello\n"
}
site * {
    abort
}
"#,
    read: |_| Some(super::written(Abort)),
};

/// `abort`.
#[derive(Debug)]
pub(super) struct Abort;

impl WrittenHandler for Abort {
    fn has_body(&self) -> bool {
        false
    }

    fn check(&self, _: &mut Check<'_>, _: &HandlerContext<'_>) -> Option<site::Handler> {
        Some(site::Handler::Abort)
    }
}

impl CheckedHandler for Abort {
    fn short(&self, _: &Site) -> String {
        "abort".to_owned()
    }
}
