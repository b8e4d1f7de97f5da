//! The target of a `redirect`: a URL or a path, whose host must not come from the request unchecked.

use proxy_runtime::context::template::{Piece, Template};

use crate::ast::{self, HostPattern, Part};
use crate::check::Check;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// Checks a target, in a site with these hosts; `listed` is the span of `allow-host`.
pub(super) fn check(
    check: &mut Check<'_>,
    written: &Spanned<ast::Template>,
    to: &Template,
    hosts: &[HostPattern],
    listed: Option<Span>,
) {
    let authority = authority(to);
    let takes_host = authority.contains(&&Piece::Host);
    if let (Some(span), false) = (listed, takes_host) {
        check.error("no-effect", "`allow-host` has no effect: the target's host does not come from the request", span);
    }
    let other = authority.iter().find(|piece| !matches!(piece, Piece::Host | Piece::Text(_) | Piece::Param(_)));
    if other.is_some() {
        let mut placeholders = written.value.parts.iter().filter_map(|part| match part {
            Part::Placeholder(name) if name.value != "host" && name.value != "scheme" => Some(name.span),
            _ => None,
        });
        let span = placeholders.next().unwrap_or(written.span);
        check.report.add(
            Diagnostic::error(
                "open-redirect",
                "the target's host comes from the request: this is an open redirect",
                span,
            )
            .help("spell out the host, or {host}, which `allow-host` limits"),
        );
    }
    if takes_host && listed.is_none() && hosts.contains(&HostPattern::Any) {
        check.report.add(
            Diagnostic::error(
                "open-redirect",
                "this site matches any host, so `{host}` could be any host",
                written.span,
            )
            .help("list the permitted hosts: redirect ... { allow-host example.com }"),
        );
    }
    if let Some(Piece::Text(first)) = to.pieces.first() {
        let fits = first.starts_with('/')
            || first.starts_with("http://")
            || first.starts_with("https://")
            || first.starts_with("//");
        if !fits && !first.is_empty() {
            let wrong = Diagnostic::error("bad-target", "a target is an absolute URL or begins with `/`", written.span);
            let text = check.sources.slice(written.span).trim_matches('"').to_owned();
            let is_host = first.split('/').next().is_some_and(|host| host.contains('.') && !first.contains(':'));
            let is_path = !is_host && !first.contains(':');
            let proposed = [(is_host, "https://"), (is_path, "/")].into_iter().filter(|(fits, _)| *fits);
            let help = proposed.map(|(_, start)| Help::write(written.span, format!("\"{start}{text}\"")));
            check.report.add(help.fold(wrong, Diagnostic::help));
        }
    }
}

/// Returns whether a target has a query, or inserts the request's.
pub(super) fn has_query(to: &Template) -> bool {
    for piece in to.pieces.iter() {
        match piece {
            Piece::Query | Piece::PathAndQuery => return true,
            Piece::Text(text) => match text.find(['?', '#']) {
                Some(at) => return text[at..].starts_with('?'),
                None => continue,
            },
            _ => continue,
        }
    }
    false
}

/// Returns the pieces of a target's authority: between `//` and the next `/`.
fn authority(to: &Template) -> Vec<&Piece> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, piece) in to.pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) if inside => {
                if text.contains(['/', '?', '#']) {
                    if !text.starts_with(['/', '?', '#']) {
                        found.push(piece);
                    }
                    return found;
                }
                found.push(piece);
            }
            Piece::Text(text) => {
                let Some((_, after)) = text.split_once("//") else {
                    // `/path...`: an origin-relative target has no authority.
                    if index == 0 && text.starts_with('/') {
                        return found;
                    }
                    continue;
                };
                if after.contains(['/', '?', '#']) {
                    return found;
                }
                inside = true;
                found.extend((!after.is_empty()).then_some(piece));
            }
            // A path begins with a single slash (it is normalized), which ends the authority, or there is none. After an empty
            // authority, browsers take its first segment for the host.
            Piece::Path | Piece::PathAndQuery if index == 0 || (inside && !found.is_empty()) => return found,
            Piece::Scheme if !inside => {}
            piece => {
                if inside || index == 0 {
                    found.push(piece);
                }
            }
        }
    }
    found
}
