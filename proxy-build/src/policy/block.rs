//! `block`: patterns that are not allowed in requests.

use proxy_runtime::access::inspect::SHORTEST;
use proxy_runtime::site::{self, Blocks, Where};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription};
use crate::ast::{Item, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Place, Prop, Reading};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};
use crate::wording;

const BRACES: Place = Place::Within("in `block`");

pub(crate) static BLOCK: Directive = Directive {
    name: "block",
    places: POLICY,
    args: "NAME|off",
    props: &[
        Prop::new("action", "refuse|log", "`log`: only logs that a request would be refused. Default `refuse`."),
        Prop::new("status", "CODE", "The status of a refusal. Default 403."),
        Prop::new("body-prefix", "SIZE", "How much of a body is searched, up to `\"1MiB\"`. Default `\"8KiB\"`."),
    ],
    body: Some(BRACES),
    repeats: true,
    summary: "Refuses requests that contain given strings (a blocklist).",
    details: "\
Each line names strings and the part of the request to search; one match is enough. Letters match in upper and lower case. Paths and queries
are searched as they are, and decoded once (in queries, `+` is a blank). The proxy waits for the beginning of a body and searches it before
it forwards any of it; compressed bodies are not decompressed. All rules apply together, a route's in addition to its site's; `block off`
turns off the outer ones. They come last in access control, after authentication.

The strings of all rules for a request are searched together, in one pass over each part, so neither their number nor the content
of requests makes a difference. In the log: the reason `blocked`, and the field `rule` with `NAME`, also for rules with
`action=log`. For expressions use matchers, and a route with `respond 403`.",
    example: r#"
site example.com {
    block probes {
        path "/wp-login.php" "/.env" ".git/"
        user-agent sqlmap nikto
    }
    block injection action=log body-prefix="16KiB" {
        query "union select" "<script"
        headers "${jndi:"
        body "<!ENTITY"
    }
    proxy "http://127.0.0.1:3000"
}
test "nobody looks for passwords" {
    request GET "http://example.com/a/%2Eenv"
    expect status=403
}
"#,
    read: |r| {
        let name = r.arg("a NAME or `off`", name)?;
        let log_only = r.prop("action", value::word(&[("refuse", false), ("log", true)]));
        let status = r.prop("status", value::status);
        let body_prefix = r.prop("body-prefix", body_prefix);
        Some(What::policy(Block { name, log_only, status, body_prefix, items: r.body() }))
    },
};

fn name(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    match found.is_empty() || found.contains(char::is_control) {
        false => Ok(found),
        true => Err(wrong("a rule needs a name, without control characters")),
    }
}

fn body_prefix(leaf: &Leaf) -> Parsed<u64> {
    let found = value::size(leaf)?;
    if (1..=1 << 20).contains(&found) {
        return Ok(found);
    }
    Err(value::Problem { code: "out-of-range", ..wrong("this is from a byte to a MiB") })
}

/// The longest pattern.
const LONGEST: usize = 1024;

fn pattern(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    match found.len() {
        SHORTEST..=LONGEST => Ok(found),
        _ => Err(wrong("a string to search for has 3 to 1024 bytes")),
    }
}

fn wrong(message: &str) -> value::Problem {
    value::Problem { code: "bad-pattern", message: message.to_owned(), help: Vec::new(), part: None }
}

/// Reads a line with patterns.
fn texts(r: &mut Reading<'_, '_>, place: Where) -> Option<What> {
    Some(What::line(BlockLine(place, r.some("a TEXT", pattern))))
}

/// Returns a line of `block`; they share the site of the example.
const fn line(
    name: &'static str,
    args: &'static str,
    summary: &'static str,
    read: fn(&mut Reading<'_, '_>) -> Option<What>,
) -> Directive {
    Directive {
        name,
        places: &[BRACES],
        args,
        props: &[],
        body: None,
        repeats: true,
        summary,
        details: "A string has 3 to 1024 bytes, and matches in upper and lower case.",
        example: EXAMPLE,
        read,
    }
}

const EXAMPLE: &str = r#"
site example.com {
    block probes {
        path "/.env"
        query "union select"
        header Referer "casino"
        headers "${jndi:"
        cookie session "' or "
        user-agent sqlmap
        body "<!ENTITY"
    }
    proxy "http://127.0.0.1:3000"
}
"#;

pub(crate) static BLOCK_PATH: Directive =
    line("path", "TEXT...", "Refuses requests with one of these strings in the path.", |r| texts(r, Where::Path));

pub(crate) static BLOCK_QUERY: Directive =
    line("query", "TEXT...", "Refuses requests with one of these strings in the query.", |r| texts(r, Where::Query));

pub(crate) static BLOCK_HEADER: Directive =
    line("header", "NAME TEXT...", "Refuses requests with one of these strings in the field NAME.", |r| {
        let name = r.arg("a NAME", value::header_name)?;
        texts(r, Where::Header(name.value.into()))
    });

pub(crate) static BLOCK_HEADERS: Directive =
    line("headers", "TEXT...", "Refuses requests with one of these strings in any field.", |r| {
        texts(r, Where::AnyHeader)
    });

pub(crate) static BLOCK_COOKIE: Directive =
    line("cookie", "NAME TEXT...", "Refuses requests with one of these strings in the cookie NAME.", |r| {
        let name = r.arg("a NAME", value::text)?;
        texts(r, Where::Cookie(name.value.into()))
    });

pub(crate) static BLOCK_USER_AGENT: Directive =
    line("user-agent", "TEXT...", "Refuses requests with one of these strings in `User-Agent`.", |r| {
        texts(r, Where::Header("user-agent".into()))
    });

pub(crate) static BLOCK_BODY: Directive =
    line("body", "TEXT...", "Refuses requests with one of these strings in the beginning of the body.", |r| {
        texts(r, Where::Body)
    });

/// The largest total size of all patterns of a request, in bytes: an automaton takes some fifty times as much.
const MOST: usize = 256 << 10;

/// `block`.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Its name, or `off`.
    name: Spanned<String>,
    /// `action=log`.
    log_only: Option<Spanned<bool>>,
    /// `status=`.
    status: Option<Spanned<u16>>,
    /// `body-prefix=`.
    body_prefix: Option<Spanned<u64>>,
    /// Its lines.
    items: Vec<Item>,
}

/// A line: the part of the request, and the patterns.
#[derive(Debug)]
struct BlockLine(Where, Vec<Spanned<String>>);

impl Policy for Block {
    const NAME: &'static str = "block";
    const MERGE: Merge<Self> = Merge::All;

    fn is_off(&self) -> bool {
        self.name.value == "off"
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(blocks) = Block::all(check, layer.all()) {
            policy.access.get_or_insert_default().blocks = Some(blocks);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        of.lines(ExplainStep::Access, Self::NAME, said(&of.route.policy))
    }

    fn guards(route: &Route) -> Vec<String> {
        rules(&route.policy).map(|rule| format!("block {}", rule.name)).collect()
    }

    fn diff(_: &Site, policy: &site::Policy) -> PolicyDescription {
        PolicyDescription::lines("access", Self::NAME, said(policy))
    }
}

/// Returns the rules of a policy.
fn rules(policy: &site::Policy) -> impl Iterator<Item = &site::Block> {
    policy.access.iter().filter_map(|access| access.blocks.as_ref()).flat_map(|blocks| blocks.rules.iter())
}

/// Returns the description of the policy.
fn said(policy: &site::Policy) -> Vec<String> {
    let texts = |rule: &site::Block| {
        let texts: Vec<_> = rule.patterns.iter().map(|(_, text)| text).collect();
        format!("{}: {}", rule.name, wording::list(&texts))
    };
    rules(policy).map(texts).collect()
}

impl Block {
    /// Returns the rules of a layer; equal sets share an index.
    fn all(check: &mut Check<'_>, written: &[Spanned<Block>]) -> Option<Blocks> {
        let mut body = 0;
        let rules = written.iter().filter_map(|block| block.value.rule(check, block.span, &mut body));
        let rules: Vec<site::Block> = rules.collect();
        if rules.is_empty() {
            return None;
        }
        let size: usize = rules.iter().flat_map(|rule| &*rule.patterns).map(|(_, text)| text.len()).sum();
        if let (Some(last), true) = (written.last(), size > MOST) {
            check.error(
                "too-many-patterns",
                format!("more than {} KiB of strings apply together", MOST >> 10),
                last.span,
            );
        }
        let id = check.blocks.iter().position(|known| *known == rules).unwrap_or_else(|| {
            check.blocks.push(rules.clone());
            check.blocks.len() - 1
        });
        Some(Blocks { id: id as u32, rules: list(rules), body })
    }

    fn rule(&self, check: &mut Check<'_>, span: Span, body: &mut u64) -> Option<site::Block> {
        if self.is_off() {
            let props = [
                self.log_only.as_ref().map(|value| value.span),
                self.status.as_ref().map(|value| value.span),
                self.body_prefix.as_ref().map(|value| value.span),
            ];
            for span in props.into_iter().flatten().chain(self.items.iter().map(|item| item.span)) {
                check.error("no-effect", "this has no effect beside `off`", span);
            }
            return None;
        }
        let mut patterns: Vec<(Where, proxy_runtime::site::Text)> = Vec::new();
        for BlockLine(place, texts) in self.items.iter().filter_map(Item::line) {
            for text in texts {
                // Patterns are case-insensitive.
                let pattern = (place.clone(), text.value.to_ascii_lowercase().into());
                if patterns.contains(&pattern) {
                    check.error("no-effect", format!("this rule has `{}` there already", text.value), text.span);
                }
                patterns.push(pattern);
            }
        }
        if self.items.is_empty() {
            check.report.add(
                Diagnostic::error("no-effect", "this rule has no strings", span)
                    .help("name the strings to refuse, as in: block probes { path \"/.env\"; }"),
            );
        }
        let log_only = self.log_only.as_ref().is_some_and(|log_only| log_only.value);
        if let (Some(status), true) = (&self.status, log_only) {
            check.error("no-effect", "`status` has no effect: with action=log nothing is refused", status.span);
        }
        let looks = patterns.iter().any(|(place, _)| *place == Where::Body);
        match &self.body_prefix {
            Some(prefix) if !looks => {
                check.error("no-effect", "`body-prefix` has no effect: this rule does not search bodies", prefix.span);
            }
            prefix if looks => *body = (*body).max(prefix.as_ref().map_or(8 << 10, |prefix| prefix.value)),
            _ => {}
        }
        Some(site::Block {
            name: self.name.value.clone().into(),
            log_only,
            status: self.status.as_ref().map_or(403, |status| status.value),
            patterns: list(patterns),
        })
    }
}
