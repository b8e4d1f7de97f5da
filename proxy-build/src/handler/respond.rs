//! `respond`: a fixed status and body.

use proxy_runtime::protocol::media;
use proxy_runtime::site::{self, RespondBody};

use super::{CheckedHandler, HandlerContext, WrittenHandler, is_number};
use crate::ast::{FileSource, Template};
use crate::check::Check;
use crate::check::scope::Phase;
use crate::declaration::{Directive, HANDLER, Prop};
use crate::model::Site;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;

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
    summary: "Responds with a fixed status and body.",
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
        Some(super::written(Respond {
            code: r.arg("a CODE", value::status)?,
            body: r.opt_arg(value::template),
            content_type: r.prop("type", value::header_value),
            file: r.prop("file", value::file_source),
        }))
    },
};

/// `respond`.
#[derive(Debug)]
struct Respond {
    code: Spanned<u16>,
    body: Option<Spanned<Template>>,
    content_type: Option<Spanned<String>>,
    file: Option<Spanned<FileSource>>,
}

impl WrittenHandler for Respond {
    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler> {
        self.check_body(check);
        let mut default_type = "text/plain; charset=utf-8".to_owned();
        let body = if let Some(file) = &self.file {
            let (bytes, name) = check.bytes(file)?;
            default_type = media::of(&name).to_owned();
            RespondBody::Bytes(bytes)
        } else if let Some(body) = &self.body {
            let template = check.template(&body.value, around.scope, Phase::Request)?;
            match template.literal() {
                Some(text) => RespondBody::Bytes(site::Bytes::Fixed(text.as_bytes().to_vec().into())),
                None => RespondBody::Template(template),
            }
        } else {
            default_type = String::new();
            RespondBody::Bytes(site::Bytes::Fixed(Vec::new().into()))
        };
        let content_type = self.content_type.as_ref().map_or(default_type, |given| given.value.clone());
        Some(site::Handler::Respond(site::Respond { code: self.code.value, body, content_type: content_type.into() }))
    }
}

impl Respond {
    /// Checks that there is one body at most, and that the status allows it.
    fn check_body(&self, check: &mut Check<'_>) {
        if let (Some(body), Some(file)) = (&self.body, &self.file) {
            let found = Diagnostic::error("two-bodies", "there is a body already", file.span);
            check.report.add(found.also(body.span, "the body"));
        }
        // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
        let has_none = matches!(self.code.value, 204 | 205 | 304);
        let body = self.body.as_ref().map(|body| body.span);
        if let Some(span) = body.or(self.file.as_ref().map(|file| file.span)).filter(|_| has_none) {
            check.error("body-not-allowed", format!("a response with {} has no body", self.code), span);
        }
        if let (Some(given), None, None) = (&self.content_type, &self.body, &self.file) {
            check.error("no-effect", "`type` has no effect: there is no body", given.span);
        }
    }
}

impl CheckedHandler for site::Respond {
    fn short(&self, _: &Site) -> String {
        format!("respond {}", self.code)
    }
}
