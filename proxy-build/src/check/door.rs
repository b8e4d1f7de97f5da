//! What stands at the door: networks, rates, origins, credentials.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;
use proxy_runtime::site::{
    self, Addresses, By, InFlight, Listed, NetworkRule, Networks, ParamKind, RateLimit, Setting,
};

use proxy_runtime::template::Piece;

use super::scope::{Phase, Scope};
use super::{Check, list};
use crate::ast::{self, CountedBy, FileSource, NetworkSource};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

impl Check<'_> {
    /// A path of the machine that the proxy runs on.
    pub(crate) fn absolute_path(&mut self, written: &Spanned<ast::Setting<String>>) -> Option<Setting<site::Text>> {
        let path: Setting<site::Text> = match &written.value {
            ast::Setting::Fixed(path) => Setting::Fixed(path.clone().into()),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                Setting::Param(self.param(name, &[ParamKind::String])?)
            }
        };
        if matches!(&path, Setting::Fixed(path) if !path.starts_with('/')) {
            self.report.add(
                Diagnostic::error("relative-path", "where this is depends on where the proxy is started", written.span)
                    .help("an absolute path begins with `/`; (param)NAME has it given at start"),
            );
        }
        Some(path)
    }

    pub(crate) fn networks(&mut self, written: &[ast::Networks]) -> Option<Networks> {
        let (mut rules, mut all) = (Vec::new(), Vec::new());
        for (allow, source) in
            written.iter().flat_map(|networks| networks.list.iter().map(|source| (networks.allow, source)))
        {
            match &source.value {
                NetworkSource::Network(network) => {
                    rules.push((*network, allow));
                    all.push(NetworkRule::Network(*network, allow));
                }
                NetworkSource::File(file) => {
                    all.push(NetworkRule::File(self.own_file(file, source.span, false)?, allow))
                }
            }
        }
        if all.is_empty() {
            return None;
        }
        let default = !written.iter().any(|networks| networks.allow);
        let listed = all.iter().any(|rule| matches!(rule, NetworkRule::File(..))).then(|| {
            let listed = Listed { rules: list(all), default };
            let index = self.listed.iter().position(|known| *known == listed).unwrap_or_else(|| {
                self.listed.push(listed);
                self.listed.len() - 1
            });
            index as u32
        });
        Some(Networks { allowed: Addresses::of(&rules, default), listed })
    }

    /// A file that is read at start, as the reader has seen to.
    pub(crate) fn own_file(&mut self, file: &FileSource, span: Span, secret: bool) -> Option<u16> {
        match file {
            FileSource::AtStart(path) => {
                Some(self.file_at_start(site::FilePath::Fixed(path.clone().into()), secret, span))
            }
            FileSource::Param(name) => self.file_param(name),
            FileSource::Embedded(_) => None,
        }
    }

    /// Finds networks, written in one place, that change nothing.
    pub(crate) fn networks_act(&mut self, written: &[ast::Networks]) {
        let rules: Vec<(IpNet, bool, Span)> = written
            .iter()
            .flat_map(|networks| networks.list.iter().map(|source| (networks.allow, source)))
            .filter_map(|(allow, source)| match &source.value {
                NetworkSource::Network(network) => Some((*network, allow, source.span)),
                NetworkSource::File(_) => None,
            })
            .collect();
        let mut sorted: Vec<usize> = (0..rules.len()).collect();
        // Those around come before those in them.
        sorted.sort_by_key(|&at| (rules[at].0.network(), rules[at].0.prefix_len(), at));
        let mut around: Vec<usize> = Vec::new();
        for at in sorted {
            let (network, allow, span) = rules[at];
            while around.pop_if(|&mut outer| !rules[outer].0.contains(&network)).is_some() {}
            if let Some(&outer) = around.last() {
                let (other, verdict, first) = rules[outer];
                let message = match (other == network, verdict == allow) {
                    (true, false) => format!("`{network}` is allowed and denied"),
                    (true, true) => format!("`{network}` is there twice"),
                    (false, true) => format!("`{network}` changes nothing: `{other}` has it already"),
                    (false, false) => String::new(),
                };
                if !message.is_empty() {
                    let code = if other == network && verdict != allow { "contradiction" } else { "no-effect" };
                    self.report.add(Diagnostic::error(code, message, span).also(first, "here"));
                }
            }
            around.push(at);
        }
    }

    pub(crate) fn rate_limit(&mut self, span: Span, limit: &ast::RateLimit, scope: &Scope) -> Option<RateLimit> {
        let Some(Spanned { value: rate, .. }) = limit.rate else {
            let others = [
                ("burst", limit.burst.as_ref().map(|value| value.span)),
                ("delay", limit.delay.as_ref().map(|value| value.span)),
                ("status", limit.status.as_ref().map(|value| value.span)),
                ("keys", limit.keys.as_ref().map(|value| value.span)),
            ];
            self.nothing_beside_off(others, &limit.by);
            return None;
        };
        let by = self.counted_by(&limit.by, scope)?;
        Some(RateLimit {
            id: number(&mut self.limiters, span),
            interval: rate.per / rate.count,
            burst: limit.burst.as_ref().map_or(rate.count, |burst| burst.value as u32),
            identified: needs_identity(&by),
            by,
            delay: limit.delay.as_ref().map_or(Duration::ZERO, |delay| delay.value),
            status: limit.status.as_ref().map_or(429, |status| status.value),
            keys: limit.keys.as_ref().map_or(1 << 16, |keys| keys.value),
        })
    }

    pub(crate) fn in_flight(&mut self, span: Span, limit: &ast::InFlight, scope: &Scope) -> Option<InFlight> {
        let Some(most) = &limit.most else {
            self.nothing_beside_off([("status", limit.status.as_ref().map(|value| value.span))], &limit.by);
            return None;
        };
        let by = self.counted_by(&limit.by, scope)?;
        Some(InFlight {
            id: number(&mut self.in_flight, span),
            most: self.setting(most, ParamKind::Number)?,
            identified: needs_identity(&by),
            by,
            status: limit.status.as_ref().map_or(429, |status| status.value),
        })
    }

    /// What is said beside `off` is about nothing.
    pub(crate) fn nothing_beside_off<const N: usize>(&mut self, others: [(&str, Option<Span>); N], by: &CountedBy) {
        let by = [
            ("by", by.by.as_ref().map(|value| value.span)),
            ("ipv4-prefix", by.ipv4_prefix.as_ref().map(|value| value.span)),
            ("ipv6-prefix", by.ipv6_prefix.as_ref().map(|value| value.span)),
        ];
        for (name, span) in others.into_iter().chain(by) {
            if let Some(span) = span {
                self.error("no-effect", format!("`{name}` has no effect beside `off`"), span);
            }
        }
    }

    pub(crate) fn counted_by(&mut self, counted: &CountedBy, scope: &Scope) -> Option<By> {
        let prefixes = [("ipv4-prefix", &counted.ipv4_prefix), ("ipv6-prefix", &counted.ipv6_prefix)];
        let Some(by) = &counted.by else {
            let bits =
                |prefix: &Option<Spanned<u64>>, default| prefix.as_ref().map_or(default, |bits| bits.value as u8);
            return Some(By::Client(bits(&counted.ipv4_prefix, 32), bits(&counted.ipv6_prefix, 64)));
        };
        for (name, prefix) in prefixes {
            if let Some(prefix) = prefix {
                let message = format!("`{name}` has no effect: it is not the client's address that is counted by");
                self.report.add(Diagnostic::error("no-effect", message, prefix.span).also(by.span, "but this"));
            }
        }
        self.spoofable(&by.value);
        let template = self.template(&by.value, scope, Phase::Request)?;
        if template.literal().is_some() {
            self.report.add(
                Diagnostic::error(
                    "constant-key",
                    "this is the same for all requests: they would be counted as one client's",
                    by.span,
                )
                .help("name what tells clients apart, as in by=\"{header.X-Tenant}\""),
            );
        }
        Some(By::Text(template))
    }
}

/// Whether this has no value before it is known who the client is.
fn needs_identity(by: &By) -> bool {
    match by {
        By::Client(..) => false,
        By::Text(template) => template.pieces.iter().any(|piece| matches!(piece, Piece::User | Piece::Claim(_))),
    }
}

/// The number of what is written somewhere, among all of its kind.
pub(crate) fn number(known: &mut HashMap<Span, u32>, span: Span) -> u32 {
    let next = known.len() as u32;
    *known.entry(span).or_insert(next)
}
