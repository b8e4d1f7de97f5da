//! `block`: what is looked for in requests.

use proxy_runtime::site::{Block, Blocks, Where};

use super::{Check, list};
use crate::ast::{self, Item, What};
use crate::report::Diagnostic;
use crate::source::Span;

/// All texts that hold for a request have together at most, in bytes: an automaton takes some fifty times as much.
const MOST: usize = 256 << 10;

impl Check<'_> {
    /// The rules of a layer; the same ones have the same number.
    pub(crate) fn blocks(&mut self, written: &[(Span, ast::Block)]) -> Option<Blocks> {
        let mut body = 0;
        let rules: Vec<Block> =
            written.iter().filter_map(|(span, block)| self.block(*span, block, &mut body)).collect();
        if rules.is_empty() {
            return None;
        }
        let size: usize = rules.iter().flat_map(|rule| &*rule.patterns).map(|(_, text)| text.len()).sum();
        if let (Some((span, _)), true) = (written.last(), size > MOST) {
            self.error("too-many-patterns", format!("more than {} KiB of texts hold together", MOST >> 10), *span);
        }
        let id = self.blocks.iter().position(|known| *known == rules).unwrap_or_else(|| {
            self.blocks.push(rules.clone());
            self.blocks.len() - 1
        });
        Some(Blocks { id: id as u32, rules: list(rules), body })
    }

    pub(crate) fn block(&mut self, span: Span, block: &ast::Block, body: &mut u64) -> Option<Block> {
        if block.is_off() {
            let props = [
                block.log_only.as_ref().map(|value| value.span),
                block.status.as_ref().map(|value| value.span),
                block.body_prefix.as_ref().map(|value| value.span),
            ];
            for span in props.into_iter().flatten().chain(block.items.iter().map(|item| item.span)) {
                self.error("no-effect", "this has no effect beside `off`", span);
            }
            return None;
        }
        let mut patterns: Vec<(Where, proxy_runtime::site::Text)> = Vec::new();
        for Item { what, .. } in &block.items {
            let What::InBlock(place, texts) = what else { continue };
            for text in texts {
                // As they are looked for: in any case.
                let pattern = (place.clone(), text.value.to_ascii_lowercase().into());
                if patterns.contains(&pattern) {
                    self.error("no-effect", format!("`{}` is looked for there already", text.value), text.span);
                }
                patterns.push(pattern);
            }
        }
        if block.items.is_empty() {
            self.report.add(
                Diagnostic::error("no-effect", "this rule looks for nothing", span)
                    .help("name what must not be there, as in: block probes { path \"/.env\"; }"),
            );
        }
        let log_only = block.log_only.as_ref().is_some_and(|log_only| log_only.value);
        if let (Some(status), true) = (&block.status, log_only) {
            self.error("no-effect", "`status` has no effect: with action=log nothing is refused", status.span);
        }
        let looks = patterns.iter().any(|(place, _)| *place == Where::Body);
        match &block.body_prefix {
            Some(prefix) if !looks => {
                self.error("no-effect", "`body-prefix` has no effect: nothing is looked for in bodies", prefix.span);
            }
            prefix if looks => *body = (*body).max(prefix.as_ref().map_or(8 << 10, |prefix| prefix.value)),
            _ => {}
        }
        Some(Block {
            name: block.name.value.clone().into(),
            log_only,
            status: block.status.as_ref().map_or(403, |status| status.value),
            patterns: list(patterns),
        })
    }
}
