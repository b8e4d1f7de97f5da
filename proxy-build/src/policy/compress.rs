//! `compress`: responses are compressed on their way.

use proxy_runtime::site::{self, Coding, ParamKind, Setting};

use super::media_types::{self, IN_COMPRESS};
use super::{Answer, Explained, Layer, Line, Policy, Step, Told};
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Prop};
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Scalar;
use crate::value;

pub(crate) static COMPRESS: Directive = Directive {
    name: "compress",
    places: POLICY,
    args: "[zstd|br|gzip...|off]",
    props: &[
        Prop::new("min-size", "SIZE", "Answers that are known to be shorter are left as they are. Default `\"1KiB\"`."),
        Prop::new("zstd-level", "N", "1 to 12. Default 3."),
        Prop::new("br-level", "N", "0 to 9. Default 4."),
        Prop::new("gzip-level", "N", "1 to 9. Default 5."),
    ],
    body: Some(IN_COMPRESS),
    repeats: false,
    summary: "Compresses answers for clients that take that.",
    details: "\
Of the codings that are written, or of `zstd br gzip`, the one that the client likes best by `Accept-Encoding` is taken; of equals, the first
that is written. Answers of servers are compressed, and those of files, `respond` and the cache; what is compressed already is not
compressed again, nor are parts (206), answers with `Cache-Control: no-transform` or `Content-Digest`, and other types than
`types`. `Vary: Accept-Encoding` is added to all that could have been compressed, and a strong `ETag` becomes a weak one (RFC 9110
section 8.8.1). What comes in is sent as it comes: an answer of unknown length, as a stream of events has, is flushed
whenever there is nothing more for the moment. Requests pass untouched. A worker compresses up to 256 answers at once; more go as they are.
What a cache keeps in memory is compressed once for each coding, and kept in that form, too, as long as there is room.

Where an answer has both a secret and what an attacker may choose, its length gives the secret away bit by bit (BREACH): leave
such routes out with `compress off`.",
    example: r#"
site example.com {
    compress zstd br gzip min-size="1KiB" {
        types "text/*" "application/json" "*+json"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let off = matches!(r.peek().map(|leaf| &leaf.value), Some(Scalar::Text(word)) if word == "off");
        let codings = match off {
            true => r.arg("a coding", value::word(&[("off", ())])).map(|_| None)?,
            false => Some(r.rest(value::word(CODINGS))),
        };
        Some(What::policy(Compress {
            codings,
            min_size: r.prop("min-size", value::size_within(0, value::MAX_MEMORY)),
            levels: [
                (Coding::Zstd, r.prop("zstd-level", value::integer(1, 12))),
                (Coding::Brotli, r.prop("br-level", value::integer(0, 9))),
                (Coding::Gzip, r.prop("gzip-level", value::integer(1, 9))),
            ],
            items: r.body(),
        }))
    },
};

const CODINGS: &[(&str, Coding)] = &[("zstd", Coding::Zstd), ("br", Coding::Brotli), ("gzip", Coding::Gzip)];

/// `compress`.
#[derive(Debug, Clone)]
pub(crate) struct Compress {
    /// `None` for `off`.
    codings: Option<Vec<Spanned<Coding>>>,
    /// `min-size=`.
    min_size: Option<Spanned<ast::Setting<u64>>>,
    /// `zstd-level=` and its like.
    levels: [(Coding, Option<Spanned<u64>>); 3],
    /// `types` lines.
    items: Vec<Item>,
}

impl Policy for Compress {
    const NAME: &'static str = "compress";

    fn is_off(&self) -> bool {
        self.codings.is_none()
    }

    fn idle(&self, at: Span, answer: &Answer<'_>) -> Vec<Diagnostic> {
        answer.has_no_body("compress", at)
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        policy.compress = layer.one::<Compress>().and_then(|compress| compress.value.made(check));
    }

    fn explain(of: &Explained<'_>) -> Vec<Line> {
        let coding = |(coding, level): &(Coding, u8)| format!("{} {level}", coding.name());
        let codings = of.route.policy.compress.iter().map(|compress| compress.codings.iter().map(coding));
        of.lines(Step::Response, Self::NAME, codings.map(|codings| codings.collect::<Vec<_>>().join(", ")))
    }

    fn diff(_: &Site, _: &site::Policy) -> Told {
        Told::values("compress", Self::NAME)
    }
}

impl Compress {
    /// What is compressed, and how; `None` for `off`.
    fn made(&self, check: &mut Check<'_>) -> Option<site::Compress> {
        let Some(written) = &self.codings else {
            let levels = self.levels.iter().filter_map(|(_, level)| Some(level.as_ref()?.span));
            let others = self.min_size.as_ref().map(|size| size.span).into_iter().chain(levels);
            for span in others.chain(self.items.iter().map(|item| item.span)) {
                check.error("no-effect", "this has no effect beside `off`", span);
            }
            return None;
        };
        let mut codings: Vec<Coding> = Vec::new();
        for Spanned { value, span } in written {
            if codings.contains(value) {
                check.error("no-effect", format!("`{}` is there already", value.name()), *span);
            } else {
                codings.push(*value);
            }
        }
        if written.is_empty() {
            codings = vec![Coding::Zstd, Coding::Brotli, Coding::Gzip];
        }
        for (coding, level) in &self.levels {
            if let Some(level) = level.as_ref().filter(|_| !codings.contains(coding)) {
                let message = format!("this has no effect: nothing is compressed by `{}`", coding.name());
                check.report.add(Diagnostic::error("no-effect", message, level.span));
            }
        }
        let level = |coding: Coding| {
            let given = self.levels.iter().find(|(of, _)| *of == coding).and_then(|(_, level)| level.as_ref());
            let usual = match coding {
                Coding::Zstd => 3,
                Coding::Brotli => 4,
                Coding::Gzip => 5,
            };
            given.map_or(usual, |level| level.value as u8)
        };
        let types = media_types::among(&self.items)
            .unwrap_or_else(|| site::Compress::TYPES.iter().map(|&kind| kind.into()).collect());
        Some(site::Compress {
            codings: list(codings.into_iter().map(|coding| (coding, level(coding))).collect()),
            min_size: check.or(self.min_size.as_ref(), ParamKind::Size, Setting::Fixed(1 << 10)),
            types: list(types),
        })
    }
}
