//! Checks templates and resolves their placeholders; also for all policies that have templates.

use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::ParamKind;

use super::Check;
use super::scope::{Phase, SIMPLE, SIMPLEST_TRACE, Scope, available};
use crate::ast::{self, Part};
use crate::model::list;
use crate::nearest::nearest;
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;

impl Check<'_> {
    /// Resolves a template.
    pub(crate) fn template(&mut self, template: &ast::Template, scope: &Scope, phase: Phase) -> Option<Template> {
        // `${name}` contains a placeholder, which is not reported again.
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

    /// Resolves a text that distinguishes requests, so it must not be constant.
    pub(crate) fn varying(&mut self, key: &Spanned<ast::Template>, scope: &Scope) -> Option<Template> {
        self.spoofable(&key.value);
        let found = self.template(&key.value, scope, Phase::Request)?;
        if found.literal().is_some() {
            self.report.add(
                Diagnostic::error("constant-key", "this key is the same for all requests", key.span)
                    .help("put a placeholder in it, as in \"{client.ip}\""),
            );
        }
        Some(found)
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
                    if *since == Phase::Log { "exchange is over" } else { "response is there" }
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
            if *piece == Piece::TraceId && self.trace_fields.is_none() {
                let message = "`{trace.id}` has no value: there is no `trace` here";
                let found = Diagnostic::error("placeholder-scope", message, name.span);
                self.report.add(found.help(self.at_top(SIMPLEST_TRACE)));
                return None;
            }
            if *piece == Piece::User && !scope.user && phase < Phase::Log {
                self.report.add(
                    Diagnostic::error(
                        "placeholder-scope",
                        "`{user}` has no value: no credentials are required here",
                        name.span,
                    )
                    .help("it has one with `auth`; for `auth forward`, user=NAME names its field"),
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
                    let message = format!("`{{{word}}}` has no value: no token is required here");
                    self.report.add(
                        Diagnostic::error("placeholder-scope", message, name.span).help("it has one with `auth jwt`"),
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
            // Usually JSON. If the text has escapes, the span is that of the whole text.
            let source = self.sources.slice(name.span);
            let alone = source.matches('{').count() == 1 && source.matches('}').count() == 1;
            diagnostic = diagnostic.help(match alone {
                true => Help::write(name.span, source.replace('{', "{{").replace('}', "}}")),
                false => "double literal braces: {{ and }}".into(),
            });
        }
        self.report.add(diagnostic);
        None
    }

    /// Checks that the groups in a replacement exist.
    pub(crate) fn replacement(&mut self, regex: &Spanned<String>, replace: &Spanned<String>) {
        let Ok(compiled) = proxy_runtime::router::regex::compile(&regex.value) else { return };
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
}
