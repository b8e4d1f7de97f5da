//! Merges the policies of presets, of a scope, and of its outer scopes.

use crate::ast::{Item, What};
use crate::check::Check;
use crate::policy::{self, Layer, headers};
use crate::report::Diagnostic;

impl Check<'_> {
    /// Returns the layer of the policies among `items` within `outer`: presets first.
    pub(super) fn layer(&mut self, items: &[Item], outer: &Layer) -> Layer {
        let (presets, own) = self.parts(items, &mut Vec::new());
        for item in items.iter().filter(|item| !item.broken) {
            if let Some(kind) = policy::ALL.iter().find(|kind| kind.turns_nothing_off(item, &[outer, &presets])) {
                let name = kind.name();
                let message = format!("`{name} off` has no effect: no outer `{name}` applies here");
                self.error("no-effect", message, item.span);
            }
        }
        outer.clone().around(&presets).around(&own)
    }

    /// Returns the policies of presets, and those written here.
    fn parts(&mut self, items: &[Item], using: &mut Vec<usize>) -> (Layer, Layer) {
        let mut layer = Layer::default();
        for item in items {
            let What::Use(name) = &item.what else { continue };
            if name.value == SECURITY_HEADERS && !self.presets.index.contains_key(SECURITY_HEADERS) {
                let headers = headers::security(name.span, self.site_tls.is_some());
                layer = layer.around(&Layer::made(headers, name.span));
                continue;
            }
            let Some(index) = self.presets.look_up("preset", name, self.report) else { continue };
            if using.contains(&index) {
                let declared = self.presets.entries[index].span;
                self.report.add(
                    Diagnostic::error("preset-loop", format!("the preset `{name}` uses itself"), name.span)
                        .also(declared, "declared here"),
                );
                continue;
            }
            let items = self.presets.entries[index].value.1.clone();
            using.push(index);
            let (outer, inner) = self.parts(&items, using);
            layer = layer.around(&outer).around(&inner);
            using.pop();
        }
        let own = Layer::of(items);
        policy::ALL.iter().for_each(|kind| kind.check_place(self, &own));
        (layer, own)
    }
}

/// The built-in preset.
const SECURITY_HEADERS: &str = "security-headers";
