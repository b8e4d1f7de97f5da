//! Placeholders: which may stand where, and what they become. And with them all policies that have text in them.

use proxy_runtime::site::ParamKind;
use proxy_runtime::template::{Piece, Template};

use super::Check;
use super::scope::{Phase, SIMPLE, Scope, available};
use crate::ast::{self, HeaderOpKind, Item, Part, What};
use crate::model::{HeaderOp, PathStep, Rewrite, list};
use crate::nearest::nearest;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// Fields that belong to a connection or to the framing of a message; the proxy sees to them (RFC 9110 section 7.6.1).
const UNTOUCHABLE: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

impl Check<'_> {
    /// Resolves a template.
    pub(crate) fn template(&mut self, template: &ast::Template, scope: &Scope, phase: Phase) -> Option<Template> {
        // `${name}` has a placeholder in it, of which nothing more is said then.
        if self.foreign_variables(template, scope, phase) {
            return None;
        }
        let mut pieces = Vec::with_capacity(template.parts.len());
        let mut right = true;
        for part in &template.parts {
            let piece = match part {
                Part::Text(text) => Some(Piece::Text(text.clone())),
                Part::Placeholder(name) => self.placeholder(name, scope, phase),
                Part::Param(name) => self.text_param(name),
                Part::File(path) => {
                    let path = Spanned { value: ast::FileSource::AtStart(path.value.clone()), span: path.span };
                    match self.bytes(&path) {
                        Some((proxy_runtime::site::Bytes::File(index), _)) => Some(Piece::File(index)),
                        _ => None,
                    }
                }
            };
            right &= piece.is_some();
            pieces.extend(piece);
        }
        right.then(|| Template { pieces: list(pieces) })
    }

    fn text_param(&mut self, name: &Spanned<String>) -> Option<Piece> {
        let index = self.params.look_up("param", name, self.report)?;
        match self.params.entries[index].value.kind {
            ParamKind::File | ParamKind::Secret => self.file_param(name).map(Piece::File),
            _ => Some(Piece::Param(index as u16)),
        }
    }

    fn placeholder(&mut self, name: &Spanned<String>, scope: &Scope, phase: Phase) -> Option<Piece> {
        let word = name.value.as_str();
        if let Some(slot) = scope.captures.iter().position(|capture| capture == word) {
            return Some(Piece::Capture(slot as u8));
        }
        if let Some((_, piece, since)) = SIMPLE.iter().find(|(simple, ..)| *simple == word) {
            if phase < *since {
                let message = format!(
                    "`{{{word}}}` has no value yet: it is known when the {}",
                    if *since == Phase::Log { "exchange is over" } else { "answer is there" }
                );
                self.error("placeholder-scope", message, name.span);
                return None;
            }
            let shown = matches!(piece, Piece::ClientCertSubject | Piece::ClientCertFingerprint);
            let asks = |index: usize| self.tls.entries[index].value.asks_clients();
            if shown && !self.site_tls.is_some_and(asks) && phase < Phase::Log {
                self.report.add(
                    Diagnostic::error(
                        "placeholder-scope",
                        format!("`{{{word}}}` has no value: no client is asked for a certificate here"),
                        name.span,
                    )
                    .help("the site's `tls` asks for one where it has: client-ca (file)\"clients.pem\""),
                );
                return None;
            }
            if *piece == Piece::User && !scope.user && phase < Phase::Log {
                self.report.add(
                    Diagnostic::error(
                        "placeholder-scope",
                        "`{user}` has no value: nobody is asked for credentials here",
                        name.span,
                    )
                    .help("it has one under `auth`; `auth forward` is told by user=NAME where it is"),
                );
                return None;
            }
            if *piece == Piece::Upstream && !scope.upstream && phase < Phase::Log {
                self.error("placeholder-scope", "`{upstream}` has no value: nothing is forwarded here", name.span);
                return None;
            }
            return Some(piece.clone());
        }
        match word.split_once('.') {
            Some(("jwt", claim)) if !claim.is_empty() => {
                if !scope.claims && phase < Phase::Log {
                    let message = format!("`{{{word}}}` has no value: nobody is asked for a token here");
                    self.report.add(
                        Diagnostic::error("placeholder-scope", message, name.span).help("it has one under `auth jwt`"),
                    );
                    return None;
                }
                return Some(Piece::Claim(claim.to_owned().into()));
            }
            Some(("query", parameter)) if !parameter.is_empty() => {
                return Some(Piece::QueryValue(parameter.to_owned().into()));
            }
            Some(("cookie", cookie)) if !cookie.is_empty() => {
                return Some(Piece::Cookie(cookie.to_owned().into()));
            }
            Some(("header", field)) if http::HeaderName::from_bytes(field.as_bytes()).is_ok() => {
                return Some(Piece::Header(field.to_ascii_lowercase().into()));
            }
            _ => {}
        }
        let mut diagnostic =
            Diagnostic::error("unknown-placeholder", format!("there is no placeholder `{{{word}}}` here"), name.span);
        if let Some(ours) =
            super::foreign::placeholder(word).filter(|ours| available(&format!("{{{ours}}}"), scope, phase))
        {
            self.report.add(diagnostic.meant(&format!("{{{ours}}}")));
            return None;
        }
        let known = SIMPLE.iter().filter(|(_, _, since)| phase >= *since).map(|(name, ..)| *name);
        if let Some(near) = nearest(word, known.chain(scope.captures.iter().map(String::as_str))) {
            diagnostic = diagnostic.meant(&format!("{{{near}}}"));
        } else if let (Some(pattern), true) = (&scope.pattern, crate::value::is_capture_name(word)) {
            diagnostic = diagnostic.help(format!("the pattern `{pattern}` does not bind it"));
        } else if word.is_empty() || word.contains([' ', '"', ':']) {
            // JSON, as a rule. The span is that of the whole text where that has escapes.
            let source = self.sources.slice(name.span);
            let alone = source.matches('{').count() == 1 && source.matches('}').count() == 1;
            diagnostic = diagnostic.help(match alone {
                true => Help::write(name.span, source.replace('{', "{{").replace('}', "}}")),
                false => "braces that are meant are written twice: {{ and }}".into(),
            });
        }
        self.report.add(diagnostic);
        None
    }

    pub(crate) fn rewrite(&mut self, (span, rewrite): &(Span, ast::Rewrite), scope: &Scope) -> Option<Rewrite> {
        let mut path = Vec::new();
        let strip = if scope.any_case { PathStep::StripPrefixAnyCase } else { PathStep::StripPrefix };
        path.extend(rewrite.strip_prefix.as_ref().map(|prefix| strip(prefix.value.clone())));
        match (&rewrite.regex, &rewrite.replace) {
            (Some(regex), Some(replace)) => {
                self.never_matches_path(regex);
                self.replacement(regex, replace);
                path.push(PathStep::Replace(regex.value.clone(), replace.value.clone()));
            }
            (Some(alone), None) => self.error("missing-property", "`regex` needs `replace=` beside it", alone.span),
            (None, Some(alone)) => self.error("missing-property", "`replace` needs `regex=` beside it", alone.span),
            (None, None) => {}
        }
        if let Some(new) = &rewrite.path {
            if !matches!(new.value.parts.first(), Some(Part::Text(text)) if text.starts_with('/'))
                && !starts_with_path(&new.value)
            {
                self.report.add(Diagnostic::error("bad-path", "a path begins with `/`", new.span));
            }
            let asks = |part: &&Part| match part {
                Part::Text(text) => text.contains('?'),
                Part::Placeholder(name) => name.value == "uri",
                _ => false,
            };
            if new.value.parts.iter().any(|part| asks(&part)) {
                let message = "a path has no query: its `?` would be sent as `%3F`";
                let found = Diagnostic::error("bad-path", message, new.span);
                self.report.add(found.help("the request's query goes along; `query-set` and `query-remove` change it"));
            }
            let others =
                [rewrite.strip_prefix.as_ref().map(|other| other.span), rewrite.regex.as_ref().map(|other| other.span)];
            for other in others.into_iter().flatten() {
                self.report.add(
                    Diagnostic::error("no-effect", "this has no effect: `path` replaces all of it", other)
                        .also(new.span, "here"),
                );
            }
            path.extend(self.template(&new.value, scope, Phase::Request).map(PathStep::Path));
        }
        path.extend(rewrite.add_prefix.as_ref().map(|prefix| PathStep::AddPrefix(prefix.value.clone())));
        let (mut query_set, mut query_remove) = (Vec::new(), Vec::new());
        for item in &rewrite.items {
            match &item.what {
                What::QuerySet(name, value) => {
                    let value = self.template(&value.value, scope, Phase::Request);
                    query_set.extend(value.map(|value| (name.value.clone(), value)));
                }
                What::QueryRemove(names) => query_remove.extend(names.iter().map(|name| name.value.clone())),
                What::Unread => {}
                _ => unreachable!("the reader lets nothing else stand in `rewrite`"),
            }
        }
        let raw = rewrite.raw.as_ref().filter(|raw| raw.value);
        if let Some(raw) = raw
            && (!path.is_empty() || !rewrite.items.is_empty())
        {
            let message = "`raw` forwards path and query as they arrived, and the rest changes them";
            self.report.add(Diagnostic::error("no-effect", message, raw.span).help("leave one of both out"));
        }
        // What is wrong already is no reason to say that it does nothing.
        if path.is_empty() && rewrite.items.is_empty() && raw.is_none() && !self.report.has_errors() {
            self.error("no-effect", "this `rewrite` changes nothing", *span);
        }
        Some(Rewrite { path, query_remove, query_set, raw: raw.is_some() })
    }

    /// The groups a replacement names must be there.
    fn replacement(&mut self, regex: &Spanned<String>, replace: &Spanned<String>) {
        let Ok(compiled) = proxy_runtime::regex::compile(&regex.value) else { return };
        for group in super::regex::groups_used(&replace.value) {
            let known = match group.parse::<usize>() {
                Ok(number) => number < compiled.group_info().group_len(regex_automata::PatternID::ZERO),
                Err(_) => compiled.group_info().to_index(regex_automata::PatternID::ZERO, group).is_some(),
            };
            if !known {
                let message = format!("`{}` has no group `{group}`", regex.value);
                self.report.add(
                    Diagnostic::error("unknown-group", message, replace.span)
                        .help("`$1x` is the group `1x`; write `${1}x` for group 1 before an x, and `$$` for a dollar"),
                );
            }
        }
    }

    pub(crate) fn header_ops(&mut self, lists: &[(Span, Vec<Item>)], scope: &Scope, phase: Phase) -> Vec<HeaderOp> {
        let mut ops = Vec::new();
        for (block, items) in lists {
            self.field_lines_act(items);
            self.fields_go_this_way(*block, items, phase);
        }
        for Item { what, .. } in lists.iter().flat_map(|(_, items)| items) {
            match what {
                What::HeaderOp(op) => {
                    self.may_change(&op.name, phase, matches!(op.kind, HeaderOpKind::Replace(..)));
                    match phase {
                        Phase::Request => self.secret(op),
                        _ => self.hsts(op),
                    }
                    let name = op.name.value.clone();
                    ops.extend(match &op.kind {
                        HeaderOpKind::Set(value) => {
                            self.template(&value.value, scope, phase).map(|value| HeaderOp::Set(name, value))
                        }
                        HeaderOpKind::Add(value) => {
                            self.template(&value.value, scope, phase).map(|value| HeaderOp::Add(name, value))
                        }
                        HeaderOpKind::Default(value) => {
                            self.template(&value.value, scope, phase).map(|value| HeaderOp::Default(name, value))
                        }
                        HeaderOpKind::Replace(regex, replacement) => {
                            self.replacement(regex, replacement);
                            Some(HeaderOp::Replace(name, regex.value.clone(), replacement.value.clone()))
                        }
                    });
                }
                What::HeaderRemove(names) => {
                    for name in names {
                        self.may_change(name, phase, false);
                        ops.push(HeaderOp::Remove(name.value.clone()));
                    }
                }
                What::HeaderPass(names) if phase != Phase::Request => {
                    for name in names {
                        self.error("no-effect", "`pass` has no effect: it is for `request-headers`", name.span);
                    }
                }
                What::HeaderPass(_) | What::Unread => {}
                _ => unreachable!("the reader lets nothing else stand there"),
            }
        }
        ops
    }

    /// RFC 6797 section 7.2: the field must not be sent over plain HTTP.
    fn hsts(&mut self, op: &ast::HeaderOp) {
        if self.site_tls.is_none()
            && op.name.value == "strict-transport-security"
            && !matches!(op.kind, HeaderOpKind::Replace(..))
        {
            self.report.add(
                Diagnostic::lint(
                    "hsts-on-plain",
                    "this site is served without TLS, where browsers ignore this field",
                    op.name.span,
                )
                .help("give the site a `tls`")
                .help(self.allowed("if TLS ends at a proxy in front of this one", "hsts-on-plain")),
            );
        }
    }

    /// A credential that is written out.
    fn secret(&mut self, op: &ast::HeaderOp) {
        const SECRET: &[&str] =
            &["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"];
        let (HeaderOpKind::Set(value) | HeaderOpKind::Add(value) | HeaderOpKind::Default(value)) = &op.kind else {
            return;
        };
        let written = value.value.parts.iter().all(|part| matches!(part, Part::Text(_)));
        if written && !value.value.parts.is_empty() && SECRET.contains(&op.name.value.as_str()) {
            self.report.add(
                Diagnostic::lint(
                    "secret-in-file",
                    format!("the value of `{}` is a secret, and would be in the binary", op.name),
                    value.span,
                )
                .help(self.as_secret(value.span)),
            );
        }
    }

    fn may_change(&mut self, name: &Spanned<String>, phase: Phase, replace: bool) {
        let diagnostic = |message: &str| Diagnostic::error("untouchable-header", message, name.span);
        if UNTOUCHABLE.contains(&name.value.as_str()) {
            self.report.add(
                diagnostic(&format!("`{name}` belongs to the connection: the proxy sees to it"))
                    .help("setting it by hand would break the framing of messages (RFC 9110 section 7.6.1)"),
            );
        } else if name.value == "host" && !(replace && phase == Phase::Response) {
            let help = if phase == Phase::Request {
                "the property `host=` of `proxy` is for that"
            } else {
                "it is a field of requests"
            };
            self.report.add(diagnostic("`host` can't be changed here").help(help));
        }
    }
}

/// A path that is put together from `{path}` begins with `/` as well.
fn starts_with_path(template: &ast::Template) -> bool {
    matches!(template.parts.first(), Some(Part::Placeholder(name)) if name.value == "path")
}
