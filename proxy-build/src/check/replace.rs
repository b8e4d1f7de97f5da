//! `body-replace`.

use proxy_runtime::site::{BodyReplace, Text};

use super::{Check, list};
use crate::ast::{self, Item, What};
use crate::report::Diagnostic;
use crate::source::Span;

/// All texts of one have together at most, in bytes.
const MOST: usize = 256 << 10;

impl Check<'_> {
    pub(crate) fn body_replace(&mut self, span: Span, rule: &ast::BodyReplace) -> Option<BodyReplace> {
        if !rule.on.value {
            for item in &rule.items {
                self.error("no-effect", "this has no effect beside `off`", item.span);
            }
            return None;
        }
        let (mut texts, mut types): (Vec<(Text, Text)>, Option<Vec<Text>>) = (Vec::new(), None);
        for Item { what, .. } in &rule.items {
            match what {
                What::Replacement(text, with) => {
                    if texts.iter().any(|(known, _)| *known == text.value) {
                        self.error("no-effect", format!("`{}` is replaced already", text.value), text.span);
                    }
                    texts.push((text.value.clone().into(), with.value.clone().into()));
                }
                What::Types(written) => types = Some(written.iter().map(|kind| kind.value.clone().into()).collect()),
                _ => return None,
            }
        }
        if texts.is_empty() {
            self.report.add(
                Diagnostic::error("no-effect", "this replaces nothing", span)
                    .help("name a text, and what becomes of it, as in: body-replace on { replace \"http://app\" \"https://www\"; }"),
            );
            return None;
        }
        if texts.iter().map(|(text, _)| text.len()).sum::<usize>() > MOST {
            self.error("too-many-patterns", format!("more than {} KiB of texts", MOST >> 10), span);
        }
        let id = self.replacements.iter().position(|known| *known == texts).unwrap_or_else(|| {
            self.replacements.push(texts.clone());
            self.replacements.len() - 1
        });
        let types = types.unwrap_or_else(|| vec!["text/html".into()]);
        Some(BodyReplace { id: id as u32, texts: list(texts), types: list(types) })
    }
}
