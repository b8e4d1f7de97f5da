//! `respond`, `echo`, `abort`: handlers that need nobody else.

use super::{Directive, HANDLER, Prop, is_number};
use crate::ast::{Handler, Respond, What};
use crate::value::{self};

pub(super) static RESPOND: Directive = Directive {
    name: "respond",
    places: HANDLER,
    args: "CODE [BODY]",
    props: &[
        Prop::new(
            "type",
            "TYPE",
            "`Content-Type`. Default `text/plain; charset=utf-8`, or by the file's extension; none without a body.",
        ),
        Prop::new(
            "file",
            "PATH",
            "The body is this file: compiled in, or with `(file)PATH` or `(param)NAME` read at start and on SIGHUP.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Answers with a status and a body.",
    details: "A body without placeholders is a constant of the binary. `BODY` may be `(file)PATH` or `(param)NAME` as well.",
    example: r#"
site example.com {
    route "/health" {
        respond 200 "ok\n"
    }
    route "/hello/{name}" {
        respond 200 "<p>hello {name}</p>\n" type="text/html; charset=utf-8"
    }
    route "/gone" {
        respond 410
    }
}
"#,
    read: |r| {
        r.in_order(is_number, Some("200"))?;
        Some(What::Handler(Handler::Respond(Respond {
            code: r.arg("a CODE", value::status)?,
            body: r.opt_arg(value::template),
            content_type: r.prop("type", value::header_value),
            file: r.prop("file", value::file_source),
        })))
    },
};

pub(super) static ECHO: Directive = Directive {
    name: "echo",
    places: HANDLER,
    args: "",
    props: &[],
    body: None,
    repeats: true,
    summary: "Answers with what arrived, as JSON.",
    details: "For trying things out: method, host, path, query, header fields, client address, protocol, trailers, the size of the\nbody, and the body itself up to 64 KiB.",
    example: r#"
site example.com {
    echo
}
"#,
    read: |_| Some(What::Handler(Handler::Echo)),
};

pub(super) static ABORT: Directive = Directive {
    name: "abort",
    places: HANDLER,
    args: "",
    props: &[],
    body: None,
    repeats: true,
    summary: "Closes the connection without an answer.",
    details: "",
    example: r#"
site example.com {
    respond 200 "hello\n"
}
site * {
    abort
}
"#,
    read: |_| Some(What::Handler(Handler::Abort)),
};
