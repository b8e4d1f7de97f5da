//! Checks `process` and `http2`: settings of the whole process.

use proxy_runtime::context::settings;
use proxy_runtime::site::{Acme, ParamKind, Privileges, Process, Sandbox, Setting, Takeover};

use super::Check;
use crate::ast::{Item, ProcessLine, What};
use crate::model;
use crate::report::{Diagnostic, Help};
use crate::sandbox;
use crate::source::Span;

/// The default of `max-error-percent`.
const MAX_ERROR_PERCENT: u64 = 5;

impl Check<'_> {
    /// Checks `process`. `privileged` is the span of a listener with a port below 1024.
    pub(crate) fn process(&mut self, items: &[Item], privileged: Option<Span>) -> Process {
        let (drain, max_streams) = (Setting::Fixed(model::DRAIN), Setting::Fixed(model::MAX_STREAMS));
        let mut process = Process {
            workers: None,
            drain,
            max_streams,
            memory_limit: None,
            privileges: self.privileges(items),
            sandbox: self.sandbox(items),
            takeover: self.takeover(items),
        };
        let keeps_user = !items.iter().any(|item| matches!(item.line(), Some(ProcessLine::User(_))));
        if let Some(listener) = privileged.filter(|_| keeps_user) {
            let found = "the proxy keeps the user that may listen on a port below 1024";
            self.report.add(
                Diagnostic::lint("runs-as-root", found, listener).help("give `process` a `user` that it becomes then"),
            );
        }
        for item in items {
            match &item.what {
                What::Workers(Some(workers)) => process.workers = self.setting(workers, ParamKind::Number),
                What::Workers(None) | What::MemoryLimit(None) | What::Unread => {}
                What::Drain(timeout) => {
                    process.drain = self.setting(timeout, ParamKind::Duration).unwrap_or(process.drain);
                }
                What::MemoryLimit(Some(limit)) => process.memory_limit = self.setting(limit, ParamKind::Size),
                What::MaxStreams(streams) => {
                    if !self.http2_spoken && !self.http3_spoken {
                        self.error(
                            "no-effect",
                            "`max-streams` has no effect: no listener speaks HTTP/2 or HTTP/3",
                            item.span,
                        );
                    }
                    process.max_streams = self.setting(streams, ParamKind::Number).unwrap_or(process.max_streams);
                }
                What::Line(_) => {}
                _ => unreachable!("the reader allows nothing else in `process` or `http2`"),
            }
        }
        process
    }

    /// Checks `user`, `group` and `capabilities`.
    fn privileges(&mut self, items: &[Item]) -> Option<Privileges> {
        let lines = items.iter().filter_map(|item| Some((item.span, item.line::<ProcessLine>()?)));
        let lines = lines.filter(|(_, line)| !matches!(line, ProcessLine::Sandbox(_) | ProcessLine::Takeover(_)));
        let (first, _) = lines.clone().next()?;
        let mut privileges = Privileges { user: None, group: None, place: self.place(first) };
        for (span, line) in lines {
            match line {
                ProcessLine::User(user) => privileges.user = Some(user.value.clone().into()),
                ProcessLine::Group(group) => privileges.group = Some(group.value.clone().into()),
                ProcessLine::NoCapabilities | ProcessLine::Sandbox(_) | ProcessLine::Takeover(_) => {}
            }
            let with_user = items.iter().any(|item| matches!(item.line(), Some(ProcessLine::User(_))));
            match line {
                ProcessLine::Group(_) if !with_user => {
                    self.error("no-effect", "`group` has no effect without `user`", span);
                }
                ProcessLine::NoCapabilities if with_user => {
                    self.error("no-effect", "`capabilities none` has no effect: with `user`, all are given up", span);
                }
                _ => {}
            }
        }
        Some(privileges)
    }

    /// Checks `takeover`.
    fn takeover(&mut self, items: &[Item]) -> Option<Takeover> {
        let (span, written) = items.iter().find_map(|item| match item.line() {
            Some(ProcessLine::Takeover(written)) => Some((item.span, written)),
            _ => None,
        })?;
        let path = self.text_setting(&written.path)?;
        if let Setting::Fixed(fixed) = &path
            && settings::address(&format!("unix:{fixed}")).is_err()
        {
            let message =
                format!("`{fixed}` can't be the path of a unix socket, which is absolute and has at most 107 bytes");
            let name =
                fixed.rsplit('/').next().filter(|name| (1..=64).contains(&name.len())).unwrap_or("takeover.sock");
            let help = Help::write(written.path.span, format!("\"/run/proxy/{name}\""));
            self.report.add(Diagnostic::error("bad-socket-path", message, written.path.span).help(help));
        }
        let canary = self.or(written.canary.as_ref(), ParamKind::Duration, Setting::Fixed(model::CANARY));
        if let (Setting::Fixed(fixed), Some(written)) = (canary, &written.canary)
            && fixed > Takeover::LONGEST_CANARY
        {
            let message = "a canary takes at most an hour: two processes share the work for that long";
            let help = Help::write(written.span, "\"1h\"");
            self.report.add(Diagnostic::error("out-of-range", message, written.span).help(help));
        }
        let max_error_percent = written.max_error_percent.as_ref().map_or(MAX_ERROR_PERCENT, |percent| percent.value);
        Some(Takeover { path, canary, max_error_percent, place: self.place(span) })
    }

    /// Returns the sandbox as written, before the site's needs are known.
    fn sandbox(&mut self, items: &[Item]) -> Option<Sandbox> {
        let written = items.iter().find_map(|item| match item.line() {
            Some(ProcessLine::Sandbox(required)) => Some((item.span, *required)),
            _ => None,
        });
        let (span, required) = written.unwrap_or((self.sources.start(), Some(false)));
        Some(sandbox::empty(required?, self.place(span)))
    }

    /// A sandbox is not possible where programs run.
    pub(crate) fn sandbox_fits(&mut self, items: &[Item], acme: Option<&Acme>) {
        let written = items.iter().find(|item| matches!(item.line(), Some(ProcessLine::Sandbox(Some(_)))));
        if let Some(item) = written.filter(|_| acme.is_some_and(sandbox::runs_programs)) {
            let message = "`sandbox` has no effect: `dns exec` runs a program, and nobody knows what it needs";
            self.report.add(Diagnostic::error("no-effect", message, item.span).help("leave one of them out"));
        }
    }
}
