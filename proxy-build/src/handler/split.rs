//! `split`: forwards to one of several upstreams.

use proxy_runtime::site::{self, Share};

use super::{Forwarding, HandlerContext, WrittenHandler};
use crate::ast::{Item, Template, What};
use crate::check::Check;
use crate::declaration::{Directive, HANDLER, Place, Prop};
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;

const BRACES: Place = Place::Within("in `split`");

pub(super) static SPLIT: Directive = Directive {
    name: "split",
    places: HANDLER,
    args: "",
    props: &[
        Prop::new(
            "by",
            "TEXT",
            "The key, with placeholders, as in `\"{client.ip}\"`: requests with the same key go to the same \
             upstream. Default: random.",
        ),
        Prop::new("sticky", "COOKIE", "A cookie that keeps a client with its first upstream."),
        Prop::new("host", "client|upstream|HOST", "As in `proxy`."),
        Prop::new("forwarded", "BOOL", "As in `proxy`."),
        Prop::new("forwarded-port", "BOOL", "As in `proxy`."),
        Prop::new("real-ip", "BOOL", "As in `proxy`."),
        Prop::new("continue", "proxy|upstream", "As in `proxy`."),
    ],
    body: Some(BRACES),
    repeats: true,
    summary: "Forwards each request to one of several upstreams.",
    details: "\
For canaries and experiments: the upstreams share the requests in proportion to their weights. When a weight changes, as few
keys of `by` as possible move to another upstream. Otherwise it works as `proxy`. In tests of the site, a random choice is the first
upstream with a weight.",
    example: r#"
upstream stable {
    server "10.0.0.11:8080"
}
upstream canary {
    server "10.0.0.12:8080"
}
site example.com {
    split by="{cookie.user}" {
        to stable weight=95
        to canary weight=5
    }
}
"#,
    read: |r| {
        Some(super::written(Split {
            by: r.prop("by", value::template),
            sticky: r.prop("sticky", value::cookie_name),
            forwarding: Forwarding::read(r),
            items: r.body(),
        }))
    },
};

pub(super) static TO: Directive = Directive {
    name: "to",
    places: &[BRACES],
    args: "UPSTREAM",
    props: &[Prop::new(
        "weight",
        "N",
        "The upstream's share of the requests, relative to the others, 0 to 1000000. Default 1.",
    )],
    body: None,
    repeats: true,
    summary: "Adds an upstream with its share of the requests.",
    details: "",
    example: r#"
upstream a {
    server "10.0.0.11:8080"
}
upstream b {
    server "10.0.0.12:8080"
}
site example.com {
    split sticky=side {
        to a
        to b
    }
}
"#,
    read: |r| {
        Some(What::line(SplitTarget {
            upstream: r.arg("an UPSTREAM", value::name)?,
            weight: r.prop("weight", value::integer(0, 1_000_000)),
        }))
    },
};

/// `split`.
#[derive(Debug)]
struct Split {
    by: Option<Spanned<Template>>,
    sticky: Option<Spanned<String>>,
    forwarding: Forwarding,
    /// `to` lines.
    items: Vec<Item>,
}

/// `to`.
#[derive(Debug)]
struct SplitTarget {
    upstream: Spanned<String>,
    weight: Option<Spanned<u64>>,
}

impl WrittenHandler for Split {
    fn forwarding(&self) -> Option<&Forwarding> {
        Some(&self.forwarding)
    }

    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler> {
        let mut shares: Vec<Share> = Vec::new();
        for to in self.items.iter().filter_map(Item::line::<SplitTarget>) {
            let Some(upstream) = check.upstreams.look_up("upstream", &to.upstream, check.report) else { continue };
            let upstream = check.upstream_index(upstream, around.at);
            if shares.iter().any(|share| share.upstream == upstream) {
                check.report.add(
                    Diagnostic::error("duplicate-share", "this upstream has a share already", to.upstream.span)
                        .help("one line is enough; for a larger share use `weight`"),
                );
            }
            shares.push(Share { upstream, weight: to.weight.as_ref().map_or(1, |weight| weight.value) });
        }
        let written = |item: &&Item| item.line::<SplitTarget>().is_some() || matches!(item.what, What::Unread);
        if self.items.iter().filter(written).count() < 2 {
            check.report.add(
                Diagnostic::error("no-shares", "there is nothing to split among", around.at)
                    .help("give it two lines or more, as in: to NAME weight=1; for a single upstream use `proxy`"),
            );
        } else if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
            check.error("no-weight", "the weights sum to 0: no upstream would get requests", around.at);
        }
        let by = match &self.by {
            Some(by) => Some(check.varying(by, around.scope)?),
            None => None,
        };
        let cookie = self.sticky.as_ref().map(|cookie| cookie.value.clone().into());
        (shares.len() > 1).then(|| self.forwarding.to(shares, by, cookie))
    }
}
