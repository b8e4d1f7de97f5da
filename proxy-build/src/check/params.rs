//! Checks `param`: declarations, and the requirements of each use. All uses together are the bounds that the binary
//! enforces when it starts.

use proxy_runtime::site::{self, ParamKind, Setting};

use super::Check;
use crate::ast::{self, Bounds};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

impl Check<'_> {
    pub(crate) fn declare_params(&mut self, params: Vec<(Span, ast::Param)>) {
        for (_, param) in params {
            let kind = param.kind.value;
            if site::FLAGS.contains(&param.name.value.as_str()) {
                self.error(
                    "reserved-name",
                    format!("the binary has a flag `--{}` of its own", param.name),
                    param.name.span,
                );
            }
            if let Some(default) = &param.default
                && let Err(reason) = kind.parse(&default.value)
            {
                self.error("bad-default", format!("not a value of type {kind}: {reason}"), default.span);
            }
            let value = site::Param {
                name: param.name.value.clone().into(),
                kind,
                default: param.default.map(|default| default.value.into()),
                help: param.help.map(|help| help.value).unwrap_or_default().into(),
                least: 0,
                most: u64::MAX,
                place: self.place(param.name.span),
            };
            self.params.declare("param", &param.name, value, self.report);
        }
    }

    /// Returns the index of a parameter whose type is one of `kinds`.
    pub(crate) fn param(&mut self, name: &Spanned<String>, kinds: &[ParamKind]) -> Option<u16> {
        let index = self.params.look_up("param", name, self.report)?;
        let entry = &self.params.entries[index];
        if !kinds.contains(&entry.value.kind) {
            let expected: Vec<_> = kinds.iter().map(ToString::to_string).collect();
            let (kind, expected) = (entry.value.kind, expected.join(" or "));
            let message = format!("`{name}` is of type {kind}, and one of type {expected} is needed here");
            self.report.add(Diagnostic::error("param-type", message, name.span).also(entry.span, "declared here"));
            return None;
        }
        u16::try_from(index).ok()
    }

    /// Resolves a fixed value, or a parameter of this type.
    pub(crate) fn setting<T: Copy>(
        &mut self,
        setting: &Spanned<ast::Setting<T>>,
        kind: ParamKind,
    ) -> Option<Setting<T>> {
        match &setting.value {
            ast::Setting::Fixed(value) => Some(Setting::Fixed(*value)),
            ast::Setting::Param(name) => self.param(name, &[kind]).map(Setting::Param),
            ast::Setting::Bounded(name, bounds) => self.bounded(name, kind, *bounds).map(Setting::Param),
        }
    }

    /// Resolves a value, or returns the default.
    pub(crate) fn or<T: Copy>(
        &mut self,
        written: Option<&Spanned<ast::Setting<T>>>,
        kind: ParamKind,
        default: Setting<T>,
    ) -> Setting<T> {
        written.and_then(|written| self.setting(written, kind)).unwrap_or(default)
    }

    /// Resolves a parameter with bounds, which are intersected with those of its other uses.
    fn bounded(&mut self, name: &Spanned<String>, kind: ParamKind, bounds: Bounds) -> Option<u16> {
        let index = self.param(name, &[kind])?;
        let entry = &mut self.params.entries[usize::from(index)];
        let (declared, param) = (entry.span, &mut entry.value);
        (param.least, param.most) = (param.least.max(bounds.least), param.most.min(bounds.most));
        let default = param.default.as_deref().and_then(|default| Some((default, kind.parse(default).ok()?)));
        if let Some((default, value)) = default.filter(|(_, value)| param.holds(value).is_err()) {
            let message =
                format!("the default of `{name}`, `{default}`, is out of range: {} is allowed here", param.range());
            let help = format!("the nearest is default=\"{}\"", param.nearest(&value));
            let diagnostic = Diagnostic::error("out-of-range", message, name.span).also(declared, "declared here");
            self.report.add(diagnostic.help(help));
        }
        Some(index)
    }

    pub(crate) fn address(&mut self, setting: &Spanned<ast::Setting<String>>) -> Option<Setting<site::Text>> {
        match &setting.value {
            ast::Setting::Fixed(value) => Some(Setting::Fixed(value.clone().into())),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                self.param(name, &[ParamKind::Addr]).map(Setting::Param)
            }
        }
    }
}
