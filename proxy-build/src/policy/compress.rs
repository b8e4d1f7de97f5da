//! `compress`: compresses responses.

use proxy_runtime::site::{self, Coding, ParamKind, Setting};

use super::media_types::{self, IN_COMPRESS};
use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Policy, PolicyDescription, RouteHandler};
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
        Prop::new("min-size", "SIZE", "Shorter responses of known length are not compressed. Default `\"1KiB\"`."),
        Prop::new("zstd-level", "N", "The level of zstd, 1 to 12. Default 3."),
        Prop::new("br-level", "N", "The level of brotli, 0 to 9. Default 4."),
        Prop::new("gzip-level", "N", "The level of gzip, 1 to 9. Default 5."),
    ],
    body: Some(IN_COMPRESS),
    repeats: false,
    summary: "Compresses responses (zstd, brotli, gzip).",
    details: "\
Of the listed codings, or of `zstd br gzip`, the proxy uses the one that the client prefers by `Accept-Encoding`; of equals, the first in
the list. Responses of servers, files, `respond` and the cache are compressed. Responses that are compressed already are not compressed
again, nor are partial responses (206), responses with `Cache-Control: no-transform` or `Content-Digest`, and types other than `types`.
`Vary: Accept-Encoding` is added to all responses that could have been compressed, and a strong `ETag` becomes a weak one (RFC 9110 section
8.8.1). Data is sent as it arrives: a response of unknown length, such as an event stream, is flushed whenever no more data is available.
Request bodies are not changed. A worker compresses up to 256 responses at once; further ones are sent uncompressed. Responses that are
cached in memory are compressed once for each coding, and the compressed form is cached, too, as long as there is room.

If a response has both a secret and text that an attacker may choose, its length reveals the secret bit by bit (BREACH): turn compression off in
such routes with `compress off`.",
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
    /// `zstd-level=` and so on.
    levels: [(Coding, Option<Spanned<u64>>); 3],
    /// `types` lines.
    items: Vec<Item>,
}

impl Policy for Compress {
    const NAME: &'static str = "compress";

    fn is_off(&self) -> bool {
        self.codings.is_none()
    }

    fn idle(&self, at: Span, answer: &RouteHandler<'_>) -> Vec<Diagnostic> {
        answer.has_no_body("compress", at)
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        policy.compress = layer.one::<Compress>().and_then(|compress| compress.value.made(check));
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let coding = |(coding, level): &(Coding, u8)| format!("{} {level}", coding.name());
        let codings = of.route.policy.compress.iter().map(|compress| compress.codings.iter().map(coding));
        of.lines(ExplainStep::Response, Self::NAME, codings.map(|codings| codings.collect::<Vec<_>>().join(", ")))
    }

    fn diff(_: &Site, _: &site::Policy) -> PolicyDescription {
        PolicyDescription::values("compress", Self::NAME)
    }
}

impl Compress {
    /// Checks the policy, and converts it; `None` for `off`.
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
                let message = format!("this has no effect: `{}` is not used here", coding.name());
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
