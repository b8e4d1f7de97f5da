//! `compress`.

use proxy_runtime::site::{Coding, Compress, ParamKind, Setting};

use super::{Check, list};
use crate::ast::{self, Item, What};
use crate::report::Diagnostic;
use crate::source::Spanned;

impl Check<'_> {
    /// The `compress` of a layer; `None` for `off`.
    pub(crate) fn compress(&mut self, compress: &ast::Compress) -> Option<Compress> {
        let Some(written) = &compress.codings else {
            let levels = compress.levels.iter().filter_map(|(_, level)| Some(level.as_ref()?.span));
            let others = compress.min_size.as_ref().map(|size| size.span).into_iter().chain(levels);
            for span in others.chain(compress.items.iter().map(|item| item.span)) {
                self.error("no-effect", "this has no effect beside `off`", span);
            }
            return None;
        };
        let mut codings: Vec<Coding> = Vec::new();
        for Spanned { value, span } in written {
            if codings.contains(value) {
                self.error("no-effect", format!("`{}` is there already", value.name()), *span);
            } else {
                codings.push(*value);
            }
        }
        if written.is_empty() {
            codings = vec![Coding::Zstd, Coding::Brotli, Coding::Gzip];
        }
        for (coding, level) in &compress.levels {
            if let Some(level) = level.as_ref().filter(|_| !codings.contains(coding)) {
                let message = format!("this has no effect: nothing is compressed by `{}`", coding.name());
                self.report.add(Diagnostic::error("no-effect", message, level.span));
            }
        }
        let level = |coding: Coding| {
            let given = compress.levels.iter().find(|(of, _)| *of == coding).and_then(|(_, level)| level.as_ref());
            let usual = match coding {
                Coding::Zstd => 3,
                Coding::Brotli => 4,
                Coding::Gzip => 5,
            };
            given.map_or(usual, |level| level.value as u8)
        };
        let types = compress.items.iter().find_map(|Item { what, .. }| match what {
            What::Types(types) => Some(types.iter().map(|kind| kind.value.clone().into()).collect()),
            _ => None,
        });
        let types = types.unwrap_or_else(|| Compress::TYPES.iter().map(|&kind| kind.into()).collect());
        Some(Compress {
            codings: list(codings.into_iter().map(|coding| (coding, level(coding))).collect()),
            min_size: self.or(compress.min_size.as_ref(), ParamKind::Size, Setting::Fixed(1 << 10)),
            types: list(types),
        })
    }
}
