//! The members of a line of the access log: `fields` and `rename`, and fields that are never written.

use proxy_runtime::context::template::Piece;
use proxy_runtime::site::{LogField, LogMember, LogMembers, SECRET_FIELDS};

use super::directives::BRACES;
use crate::ast::{self, Item, Part, What};
use crate::check::Check;
use crate::check::scope::SIMPLEST_TRACE;
use crate::declaration::Directive;
use crate::model::list;
use crate::nearest::nearest;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed, problem};

pub(crate) static FIELDS: Directive = Directive {
    name: "fields",
    places: &[BRACES],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Chooses the members of a JSON log line.",
    details: "\
All fields are listed under [Fields](observability.md#fields), with those that are written without `fields`. `header.NAME` and
`response-header.NAME` are header fields of the request and the response. Members without a value are left out.",
    example: r#"
log access format=json {
    fields time client path status header.x-trace response-header.content-type
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(Fields(r.some("a NAME", field)))),
};

pub(crate) static RENAME: Directive = Directive {
    name: "rename",
    places: &[BRACES],
    args: "FIELD NAME",
    props: &[],
    body: None,
    repeats: true,
    summary: "Gives a member of a JSON log line a name of the site's own.",
    details: "NAME has up to 64 letters, digits and the characters `_`, `-`, `.` and `@`.",
    example: r#"
log access names=ecs {
    fields time client path status header.x-trace
    rename header.x-trace trace.id
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let (field, name) = (r.arg("a FIELD", field), r.arg("a NAME", member_name));
        Some(What::line(Rename { field: field?, name: name? }))
    },
};

/// `fields`.
#[derive(Debug)]
pub(super) struct Fields(Vec<Spanned<NamedField>>);

/// `rename`.
#[derive(Debug)]
pub(super) struct Rename {
    field: Spanned<NamedField>,
    name: Spanned<String>,
}

/// A field, with the name of the header field if it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedField {
    field: LogField,
    header: String,
}

/// The prefixes of header fields in `fields`.
const FAMILIES: [(&str, LogField); 2] = [("header.", LogField::Header), ("response-header.", LogField::ResponseHeader)];

fn field(leaf: &Leaf) -> Parsed<NamedField> {
    let found = value::text(leaf)?;
    for (prefix, field) in FAMILIES {
        let Some(name) = found.strip_prefix(prefix).filter(|name| !name.is_empty() && *name != "NAME") else {
            continue;
        };
        let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) else {
            return Err(problem("bad-header-name", format!("`{name}` is not a header name")));
        };
        if SECRET_FIELDS.contains(&name.as_str()) {
            return Err(secret(name.as_str()));
        }
        return Ok(NamedField { field, header: name.as_str().to_owned() });
    }
    let plain = || LogField::ALL.iter().filter(|declared| !declared.name.ends_with(".NAME"));
    if let Some(declared) = plain().find(|declared| declared.name == found) {
        return Ok(NamedField { field: declared.field, header: String::new() });
    }
    let wrong = problem("unknown-value", format!("there is no log field `{found}`"));
    Err(match nearest(&found, plain().map(|declared| declared.name)) {
        Some(near) => wrong.write(near),
        None => wrong.help("docs/observability.md lists them; a header field is header.NAME or response-header.NAME"),
    })
}

fn secret(name: &str) -> value::Problem {
    problem("secret-in-log", format!("`{name}` is never written to a log: whoever reads it could use it"))
        .help("what identifies a client without letting it in is `user`, or a field of the application's own")
}

fn member_name(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    let fits = |char: char| char.is_ascii_alphanumeric() || "_-.@".contains(char);
    if found.is_empty() || found.len() > 64 || !found.chars().all(fits) {
        let wrong = format!("`{found}` is not a name for a member: up to 64 letters, digits and `_`, `-`, `.`, `@`");
        return Err(problem("bad-name", wrong));
    }
    Ok(found)
}

impl NamedField {
    fn name(&self, ecs: bool) -> String {
        let declared = self.field.declaration();
        if ecs { declared.ecs.replace("NAME", &self.header) } else { declared.name.replace("NAME", &self.header) }
    }
}

/// Returns the members by `fields` and `rename`.
pub(super) fn made(check: &mut Check<'_>, items: &[Item], ecs: bool) -> LogMembers {
    let chosen = items.iter().find_map(Item::line::<Fields>);
    let usual = || LogField::ALL.iter().filter(|declared| declared.usual);
    let chosen: Vec<(NamedField, Option<Span>)> = match chosen {
        Some(Fields(fields)) => fields.iter().map(|field| (field.value.clone(), Some(field.span))).collect(),
        None => usual().map(|known| (NamedField { field: known.field, header: String::new() }, None)).collect(),
    };
    let traced = chosen.iter().find(|(named, _)| named.field == LogField::TraceId);
    if let Some((_, Some(span))) = traced.filter(|_| check.trace_fields.is_none()) {
        let found = Diagnostic::error("no-effect", "`trace-id` has no value: there is no `trace` here", *span);
        check.report.add(found.help(check.at_top(SIMPLEST_TRACE)));
    }
    let renames: Vec<&Rename> = items.iter().filter_map(Item::line::<Rename>).collect();
    for rename in &renames {
        if !chosen.iter().any(|(field, _)| *field == rename.field.value) {
            let message = "this field is not written: there is nothing to rename";
            check.report.add(Diagnostic::error("no-effect", message, rename.field.span).help("name it in `fields`"));
        }
    }
    let mut members: Vec<LogMember> = Vec::with_capacity(chosen.len());
    for (field, span) in chosen {
        let renamed = renames.iter().find(|rename| rename.field.value == field);
        let name = renamed.map_or_else(|| field.name(ecs), |rename| rename.name.value.clone());
        let at = renamed.map(|rename| rename.name.span).or(span);
        if let Some(at) = at.filter(|_| members.iter().any(|member| member.name == name)) {
            check.error("duplicate", format!("there is a member `{name}` already"), at);
        }
        members.push(LogMember { field: field.field, name: name.into(), header: field.header.into() });
    }
    LogMembers { list: list(members), ecs }
}

/// Checks that a custom line has no placeholder for credentials.
pub(super) fn keeps_secrets(check: &mut Check<'_>, template: &ast::Template) {
    for part in &template.parts {
        let Part::Placeholder(name) = part else { continue };
        let field = name.value.strip_prefix("header.").map(str::to_ascii_lowercase);
        if let Some(field) = field.filter(|field| SECRET_FIELDS.contains(&field.as_str())) {
            let message = format!("`{field}` is never written to a log: whoever reads it could use it");
            check.error("secret-in-log", message, name.span);
        }
    }
}

/// Returns Apache's combined log format.
pub(super) fn combined() -> Vec<Piece> {
    let text = |text: &'static str| Piece::Text(text.into());
    vec![
        Piece::ClientIp,
        text(" - "),
        Piece::User,
        text(" ["),
        Piece::TimeCommon,
        text("] \""),
        Piece::Method,
        text(" "),
        Piece::PathAndQuery,
        text(" "),
        Piece::Protocol,
        text("\" "),
        Piece::Status,
        text(" "),
        Piece::Bytes,
        text(" \""),
        Piece::Header("referer".into()),
        text("\" \""),
        Piece::Header("user-agent".into()),
        text("\""),
    ]
}
