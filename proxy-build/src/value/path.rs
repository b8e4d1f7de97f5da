//! Leaf parsers of paths: patterns of routes, and prefixes.

use proxy_runtime::protocol::canonical;
use proxy_runtime::site::NormalForm;

use super::{Advice, Parsed, Problem, problem, text};
use crate::expression;
use crate::pattern::{Pattern, Segment};
use crate::syntax::{Leaf, quoted, raw_or_quoted};

/// Parses a route's pattern: `/exact`, `/u/{id}`, `/x/*`, `/*`.
pub fn pattern(leaf: &Leaf) -> Parsed<Pattern> {
    let found = text(leaf)?;
    if let Some(habit) = pattern_habit(&found) {
        return Err(habit);
    }
    let Some(rest) = found.strip_prefix('/') else {
        let problem = problem("bad-pattern", "a pattern begins with `/`");
        let rooted = format!("/{found}");
        return Err(match literals(&rooted) {
            true => problem.write_text(&rooted),
            false => problem,
        });
    };
    if let Some(at) = found.find(['?', '#']) {
        let problem = problem("bad-pattern", "a pattern matches only the path").part(at, found.len());
        return Err(match literals(&found[..at]) {
            true => problem.write_text(&found[..at]).help("match parameters with `query NAME VALUE`"),
            false => problem.help("match parameters with `query NAME VALUE`"),
        });
    }
    let mut segments = Vec::new();
    let mut at = 1;
    let count = rest.split('/').count();
    if count > MAX_SEGMENTS {
        return Err(problem("bad-pattern", format!("a pattern has at most {MAX_SEGMENTS} segments")));
    }
    for (index, segment) in rest.split('/').enumerate() {
        let span = (at, at + segment.len());
        at = span.1 + 1;
        segments.push(if segment == "*" {
            if index + 1 != count {
                return Err(problem("bad-pattern", "`*` matches everything below: it is the last segment")
                    .part(span.0, span.1)
                    .help("bind one segment with a name, as in `/{name}/x`"));
            }
            Segment::Rest
        } else if segment.contains(['{', '}', '*']) {
            let name = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
            let Some(name) = name.filter(|name| is_capture_name(name)) else {
                return Err(problem("bad-pattern", format!("`{segment}` is neither text, `{{name}}` nor `*`"))
                    .part(span.0, span.1)
                    .help("a name matches a whole segment; for parts of one use `path-regex`"));
            };
            if segments.contains(&Segment::Capture(name.to_owned())) {
                return Err(problem("bad-pattern", format!("`{{{name}}}` is bound twice")).part(span.0, span.1));
            }
            Segment::Capture(name.to_owned())
        } else {
            Segment::Literal(literal_segment(segment).map_err(|reason| {
                let problem = problem("bad-pattern", "requests never have this in their path, which is in normal form")
                    .part(span.0, span.1);
                match reason {
                    NotNormal::Refused(why) => problem.help(why),
                    NotNormal::As(normal) => {
                        let problem = problem.help(format!("the normal form of `{segment}` is `{normal}`"));
                        problem.write_text(&format!("{}{normal}{}", &found[..span.0], &found[span.1..]))
                    }
                }
            })?)
        });
    }
    let text = segments.iter().fold(String::new(), |text, segment| text + "/" + &segment.to_string());
    Ok(Pattern { text, segments })
}

/// The most segments of a pattern; the router's recursion is as deep.
pub const MAX_SEGMENTS: usize = 64;

/// Returns whether a placeholder may have this name: the same as in `(?<name>...)`.
pub fn is_capture_name(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        && name.len() <= 32
}

/// Returns the expression that was meant by a pattern, if it looks like one.
fn expression_meant(found: &str) -> Option<String> {
    let inner = found.trim_start_matches(['~', '*', ' ']);
    let alternatives = inner.find('(').is_some_and(|at| inner[at..].contains('|') && inner[at..].contains(')'));
    let repeats = ["(?", ".*", ".+", "]+", "]*", "]{", "\\"].iter().any(|part| inner.contains(part));
    let anchored = inner.starts_with('^') || (inner.ends_with('$') && inner.len() > 1);
    if !(found.starts_with('~') || alternatives || repeats || anchored) {
        return None;
    }
    let inner = inner.strip_suffix("/*").map_or_else(|| inner.to_owned(), |start| format!("{start}/"));
    let anchored = inner.starts_with('^') || inner.ends_with('$');
    let expression = if anchored { inner } else { format!("^{inner}") };
    let parsed = expression::parse(&expression).ok()?;
    // A repeated slash does not occur in a canonical path, and an empty expression matches nothing useful.
    (parsed.properties().minimum_len() != Some(0) && expression.contains(['/', '.'])).then_some(expression)
}

/// Why a text occurs in no request's path.
enum NotNormal {
    /// Such requests are rejected, for this reason.
    Refused(&'static str),
    /// Requests contain this form instead.
    As(String),
}

/// Returns whether a text is a pattern of literal segments, optionally with a `*` at its end.
fn literals(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else { return false };
    let mut segments = rest.split('/').rev().peekable();
    segments.next_if_eq(&"*");
    segments.all(|segment| !segment.contains(['{', '}', '*', '?', '#']) && literal_segment(segment).is_ok())
}

/// Reports the pattern syntax of nginx, Express, Caddy or Traefik, which would be literal text here that no request contains.
fn pattern_habit(found: &str) -> Option<Problem> {
    let wrong = |message: &str| problem("bad-pattern", message);
    // nginx: `~ \.php$`, `^~ /x`; Traefik and others: `/(a|b)`.
    if let Some(expression) = expression_meant(found) {
        return Some(
            wrong("a pattern is not an expression: characters are literal")
                .help(Advice::WriteInside("\"/*\"".to_owned(), format!("path-regex {}", raw_or_quoted(&expression)))),
        );
    }
    // A suffix: `*.php`, `/files/*.png`.
    if let Some((folder, suffix)) = found.split_once('*')
        && suffix.starts_with('.')
        && !suffix.contains(['*', '/', '{'])
        && (folder.is_empty() || folder.ends_with('/') && literals(folder))
    {
        let folder = if folder.is_empty() { "/" } else { folder };
        return Some(wrong("`*` matches everything below: it is the last segment").help(Advice::WriteInside(
            quoted(&format!("{folder}*")),
            format!("path-regex {}", raw_or_quoted(&format!("{}$", regex_syntax::escape(suffix)))),
        )));
    }
    // Express and Rails: `/u/:id`.
    if found.starts_with('/') && found.split('/').any(|part| part.strip_prefix(':').is_some_and(is_capture_name)) {
        let named = found.split('/').map(|part| match part.strip_prefix(':').filter(|name| is_capture_name(name)) {
            Some(name) => format!("{{{name}}}"),
            None => part.to_owned(),
        });
        let named = named.collect::<Vec<_>>().join("/");
        return Some(wrong("`:name` is literal here: write a bound name in braces").write_text(&named));
    }
    // Globs: `/x/**`, `/x*`.
    if let Some(below) = found.strip_suffix("**").map(|start| format!("{start}*")).filter(|below| literals(below)) {
        return Some(wrong("`**` is not a segment").write_text(&below));
    }
    if let Some(start) = found.strip_suffix('*')
        && !start.ends_with('/')
        && literals(start)
    {
        return Some(wrong("`*` matches whole segments").write(format!(
            "{} {}",
            quoted(start),
            quoted(&format!("{start}/*"))
        )));
    }
    None
}

/// Converts a literal segment to its canonical form. Bytes that are not allowed raw are encoded; unnecessary escapes are errors, so
/// that each pattern has one spelling.
fn literal_segment(segment: &str) -> Result<String, NotNormal> {
    if segment.contains(|char: char| char.is_control() || char == '\\') {
        return Err(NotNormal::Refused("control characters and backslashes are refused with 400"));
    }
    let encoded = canonical::encoded_path(segment);
    let form = NormalForm { encoded_slash: true, merge_slashes: false, refuse_parameters: false };
    match canonical::path(&format!("/{encoded}"), form) {
        Ok(normal) if normal[1..] == encoded => Ok(encoded),
        // A segment must stay one: `..` and an encoded slash are not spellings of something else.
        Ok(normal) if normal.len() > 1 && !normal[1..].contains('/') => Err(NotNormal::As(normal[1..].to_owned())),
        Ok(_) | Err(_) => Err(NotNormal::Refused("such requests are refused with 400, or come with another path")),
    }
}

/// Parses a path prefix for `rewrite`: `/x`, without a trailing slash.
pub fn prefix(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if !found.starts_with('/') || found.len() == 1 || found.ends_with('/') {
        return Err(problem("bad-prefix", "a prefix is `/` and whole segments, without a slash at the end")
            .write_text(&format!("/{}", found.trim_matches('/'))));
    }
    let parsed = pattern(leaf)?;
    if parsed.segments.iter().any(|segment| !matches!(segment, Segment::Literal(_))) {
        return Err(problem("bad-prefix", "a prefix is plain text"));
    }
    Ok(parsed.text)
}
