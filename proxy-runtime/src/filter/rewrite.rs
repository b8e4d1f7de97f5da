//! `rewrite`: changes path and query for the upstream.

use std::borrow::Cow;

use super::outgoing::Outgoing;
use crate::context::facts::Facts;
use crate::context::template::Template;
use crate::context::view::query_pairs;
use crate::protocol::canonical::{decodes_to, encoded_parameter, encoded_path, encoded_value};
use crate::router::regex::Capturing;
use crate::value::{List, Text};

/// The changes of `rewrite`, in this order: path steps, then parameters removed, then parameters set.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// Changes to the path.
    pub path: List<PathStep>,
    /// Query parameters to remove.
    pub query_remove: List<Text>,
    /// Query parameters to set to a single value.
    pub query_set: List<(Text, Template)>,
    /// Path and query are sent as received.
    pub raw: bool,
}

/// A change to the path.
#[derive(Debug, Clone)]
pub enum PathStep {
    /// Removes a prefix of whole segments; a path without it is unchanged.
    StripPrefix(Text),
    /// Removes a prefix, ignoring (ASCII) case.
    StripPrefixAnyCase(Text),
    /// Replaces matches; `$1` and `${name}` refer to groups.
    Replace(&'static Capturing, Text),
    /// Replaces the whole path.
    Path(Template),
    /// Adds a prefix.
    AddPrefix(Text),
}

/// Rewrites path and query. The path may lose its canonical form; the caller restores it or rejects the request.
pub fn rewrite(out: &mut Outgoing<'_>, facts: &Facts<'_>, rewrite: &Rewrite) {
    out.raw = rewrite.raw;
    let facts = Facts { fields: out.headers, ..*facts };
    for step in rewrite.path.iter() {
        if let Some(path) = step.apply(&out.path, &facts) {
            out.path = Cow::Owned(path);
        }
    }
    if !rewrite.query_remove.is_empty() || !rewrite.query_set.is_empty() {
        out.query = query(out.query.as_deref().unwrap_or_default(), &facts, rewrite).map(Cow::Owned);
    }
}

impl PathStep {
    fn apply(&self, path: &str, facts: &Facts<'_>) -> Option<String> {
        match self {
            PathStep::StripPrefix(prefix) => below(path.strip_prefix(&**prefix)?),
            PathStep::StripPrefixAnyCase(prefix) => {
                let (start, rest) = path.split_at_checked(prefix.len())?;
                below(rest).filter(|_| start.eq_ignore_ascii_case(prefix))
            }
            PathStep::Replace(regex, replacement) => {
                Some(encoded_path(regex.replace_all(path.as_bytes(), replacement)))
            }
            PathStep::Path(template) => Some(encoded_path(template.rendered(facts))),
            PathStep::AddPrefix(prefix) => Some(format!("{prefix}{path}")),
        }
    }
}

/// Returns the rest of a path after whole segments.
fn below(rest: &str) -> Option<String> {
    match rest {
        "" => Some("/".to_owned()),
        rest if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

fn query(query: &str, facts: &Facts<'_>, rewrite: &Rewrite) -> Option<String> {
    let gone = |name: &str| {
        rewrite.query_remove.iter().any(|removed| decodes_to(name, removed))
            || rewrite.query_set.iter().any(|(set, _)| decodes_to(name, set))
    };
    let mut out = String::with_capacity(query.len());
    for pair in query.split('&').filter(|pair| query_pairs(pair).next().is_some_and(|(name, _)| !gone(name))) {
        push_pair(&mut out, pair);
    }
    for (name, value) in rewrite.query_set.iter() {
        let value = encoded_value(value.rendered(facts));
        push_pair(&mut out, &format!("{}={value}", encoded_parameter(&**name)));
    }
    (!out.is_empty()).then_some(out)
}

fn push_pair(out: &mut String, pair: &str) {
    if !out.is_empty() {
        out.push('&');
    }
    out.push_str(pair);
}
