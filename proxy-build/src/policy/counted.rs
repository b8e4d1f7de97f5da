//! The key by which `rate-limit` and `concurrency-limit` count requests.

use proxy_runtime::context::template::Piece;
use proxy_runtime::site::By;

use crate::ast;
use crate::check::Check;
use crate::check::scope::{Phase, Scope};
use crate::declaration::Reading;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

pub(super) const BY: &str = "The key: requests with the same key are counted together. With placeholders, as in `\"{header.X-Tenant}\"` or `\"{cookie.sid}\"`. Default: the client's address.";
pub(super) const IPV4: &str = "The prefix length of an IPv4 address in the key. Default 32.";
pub(super) const IPV6: &str = "The prefix length of an IPv6 address in the key. Default 64, the network of one client.";

/// The key by which requests are counted.
#[derive(Debug, Clone)]
pub(super) struct CountedBy {
    by: Option<Spanned<ast::Template>>,
    ipv4_prefix: Option<Spanned<u64>>,
    ipv6_prefix: Option<Spanned<u64>>,
}

impl CountedBy {
    /// Reads its properties.
    pub(super) fn read(r: &mut Reading<'_, '_>) -> CountedBy {
        CountedBy {
            by: r.prop("by", value::template),
            ipv4_prefix: r.prop("ipv4-prefix", value::integer(1, 32)),
            ipv6_prefix: r.prop("ipv6-prefix", value::integer(1, 128)),
        }
    }

    /// Rejects properties beside `off`.
    pub(super) fn nothing_beside_off<const N: usize>(&self, check: &mut Check<'_>, others: [(&str, Option<Span>); N]) {
        let by = [
            ("by", self.by.as_ref().map(|value| value.span)),
            ("ipv4-prefix", self.ipv4_prefix.as_ref().map(|value| value.span)),
            ("ipv6-prefix", self.ipv6_prefix.as_ref().map(|value| value.span)),
        ];
        for (name, span) in others.into_iter().chain(by) {
            if let Some(span) = span {
                check.error("no-effect", format!("`{name}` has no effect beside `off`"), span);
            }
        }
    }

    /// Returns the runtime's key; and whether it has no value before authentication.
    pub(super) fn made(&self, check: &mut Check<'_>, scope: &Scope) -> Option<(By, bool)> {
        let prefixes = [("ipv4-prefix", &self.ipv4_prefix), ("ipv6-prefix", &self.ipv6_prefix)];
        let Some(by) = &self.by else {
            let bits =
                |prefix: &Option<Spanned<u64>>, default| prefix.as_ref().map_or(default, |bits| bits.value as u8);
            return Some((By::Client(bits(&self.ipv4_prefix, 32), bits(&self.ipv6_prefix, 64)), false));
        };
        for (name, prefix) in prefixes {
            if let Some(prefix) = prefix {
                let message = format!("`{name}` has no effect: `by` is not the client's address");
                check.report.add(Diagnostic::error("no-effect", message, prefix.span).also(by.span, "but this"));
            }
        }
        check.spoofable(&by.value);
        let template = check.template(&by.value, scope, Phase::Request)?;
        if template.literal().is_some() {
            check.report.add(
                Diagnostic::error(
                    "constant-key",
                    "this is the same for all requests: they would be counted together",
                    by.span,
                )
                .help("use a placeholder that distinguishes clients, as in by=\"{header.X-Tenant}\""),
            );
        }
        let identified = template.pieces.iter().any(|piece| matches!(piece, Piece::User | Piece::Claim(_)));
        Some((By::Text(template), identified))
    }
}

/// Parses the status of the error response.
pub(super) fn refusal(leaf: &Leaf) -> Parsed<u16> {
    match value::status(leaf)? {
        code @ (429 | 503) => Ok(code),
        code => Err(value::Problem {
            code: "bad-status",
            message: format!("{code} does not mean \"try again later\""),
            help: vec!["429 and 503 do".into()],
            part: None,
        }),
    }
}
