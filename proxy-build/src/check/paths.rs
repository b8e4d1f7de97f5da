//! Checks paths: of the proxy's machine, and of files that are read at start.

use proxy_runtime::site::{self, ParamKind, Setting};

use super::Check;
use crate::ast::{self, FileSource};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

impl Check<'_> {
    /// Text that is written, or given at start.
    pub(crate) fn text_setting(&mut self, written: &Spanned<ast::Setting<String>>) -> Option<Setting<site::Text>> {
        Some(match &written.value {
            ast::Setting::Fixed(text) => Setting::Fixed(text.clone().into()),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                Setting::Param(self.param(name, &[ParamKind::String])?)
            }
        })
    }

    /// A path of the machine that the proxy runs on.
    pub(crate) fn absolute_path(&mut self, written: &Spanned<ast::Setting<String>>) -> Option<Setting<site::Text>> {
        let path = self.text_setting(written)?;
        if matches!(&path, Setting::Fixed(path) if !path.starts_with('/')) {
            self.report.add(
                Diagnostic::error(
                    "relative-path",
                    "this path depends on the folder where the proxy is started",
                    written.span,
                )
                .help("an absolute path begins with `/`; with (param)NAME it is given at start"),
            );
        }
        Some(path)
    }

    /// Registers a file that is read at start; the reader has checked its kind.
    pub(crate) fn own_file(&mut self, file: &FileSource, span: Span, secret: bool) -> Option<u16> {
        match file {
            FileSource::AtStart(path) => {
                Some(self.file_at_start(site::FilePath::Fixed(path.clone().into()), secret, span))
            }
            FileSource::Param(name) => self.file_param(name),
            FileSource::Embedded(_) => None,
        }
    }
}
