//! The outputs of a log: `to`.

use proxy_runtime::site::{
    FACILITIES, JOURNAL, LogFile, LogOutput, LogTarget, ParamKind, Setting, Syslog, Text, log_path, syslog_address,
};

use super::WrittenLog;
use super::directives::BRACES;
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::declaration::{Directive, Prop, Reading};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::syntax::Leaf;
use crate::value::{self, Parsed, problem};

pub(crate) static TO: Directive = Directive {
    name: "to",
    places: &[BRACES],
    args: "stdout|stderr|file PATH|syslog ADDRESS|journal PATH",
    props: &[
        Prop::new("rotate", "SIZE", "A file is renamed to `PATH.1` before it grows beyond this size. Default: never."),
        Prop::new("keep", "N", "How many renamed files are kept, as `PATH.1` to `PATH.N`; 1 to 100. Default 5."),
        Prop::new("facility", "NAME", "The facility of syslog messages, as in `daemon` or `local0`. Default `local7`."),
        Prop::new("tag", "NAME", "The name of the application in syslog messages. Default `kiln`."),
    ],
    body: None,
    repeats: true,
    summary: "Where the lines of a log go: standard output, standard error, a file, syslog or systemd's journal.",
    details: "\
Default: standard output for `log access`, standard error for `log errors`. Of several lines, each is an output of its own, with a thread
that writes and a queue (8 MiB for `access`, 1 MiB for `errors`): a slow one holds up neither requests nor the other outputs, and loses lines once
its queue is full. PATH and ADDRESS may be a `(param)` of type `string`.

- `file`: lines are appended. The file is made with mode 0640 where there is none; a symbolic link is refused. SIGUSR1 opens it again, for
  programs that rename it, such as logrotate. If it can't be opened, the proxy does not start.
- `syslog`: messages as of RFC 5424, to `\"unix:/dev/log\"` (a datagram socket), `\"udp:HOST:PORT\"` or `\"tcp:HOST:PORT\"` (with the length before each
  message, RFC 6587). The severity is `err` for statuses from 500 on, `warning` for other exchanges with a `reason`, else `info`; notices have that of their level.
- `journal`: an entry for each line, by systemd's native protocol, at `\"/run/systemd/journal/socket\"` unless PATH says otherwise. With
  format=json, each member is a field, as `KILN_STATUS` of `status`, and `MESSAGE` is a summary.

While a syslog server or the journal is not there, the proxy goes on and tries to connect again, after 100 ms at first and up to every five
seconds; each system call has a time-out of five seconds.",
    example: r#"
param log-host type=string default="udp:10.0.0.9:514"
log access format=json {
    to stdout
    to file "/var/log/site/access.log" rotate="100MiB" keep=5
    to syslog (param)log-host facility=local0 tag=shop
    to journal
}
log errors {
    to stderr
    to syslog "unix:/dev/log"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        const KINDS: &[(&str, ToKind)] = &[
            ("stdout", ToKind::Stdout),
            ("stderr", ToKind::Stderr),
            ("file", ToKind::File),
            ("syslog", ToKind::Syslog),
            ("journal", ToKind::Journal),
        ];
        let kind = r.arg("`stdout`, `stderr`, `file`, `syslog` or `journal`", value::word(KINDS))?;
        let at = match kind.value {
            ToKind::Stdout | ToKind::Stderr => None,
            ToKind::File => Some(r.arg("a PATH", value::setting(path))?),
            ToKind::Syslog => Some(r.arg("an ADDRESS", value::setting(syslog))?),
            ToKind::Journal => r.opt_arg(value::setting(path)),
        };
        let rotate = r.prop("rotate", value::size_within(SMALLEST, value::MAX_MEMORY));
        let keep = r.prop("keep", value::integer(1, 100));
        let (facility, tag) = (r.prop("facility", value::word(FACILITIES)), r.prop("tag", tag));
        for (name, span) in [("rotate", span(&rotate)), ("keep", span(&keep))] {
            only(r, (name, span), kind.value == ToKind::File, "files");
        }
        for (name, span) in [("facility", span(&facility)), ("tag", span(&tag))] {
            only(r, (name, span), kind.value == ToKind::Syslog, "syslog");
        }
        if let (None, Some(keep)) = (&rotate, keep.as_ref().filter(|_| kind.value == ToKind::File)) {
            let message = "`keep` has no effect without `rotate`: no file is renamed";
            r.add(Diagnostic::error("no-effect", message, keep.span).help("add rotate=\"100MiB\", or remove it"));
        }
        Some(What::line(To { kind: kind.value, at, rotate, keep, facility, tag }))
    },
};

/// The smallest size for `rotate`.
const SMALLEST: u64 = 1 << 10;

/// The most outputs of a site's access logs: each has a thread.
const MOST: usize = 64;

/// How many rotated files are kept by default.
const KEPT: u16 = 5;

/// The default facility, `local7`, as in nginx.
const FACILITY: u8 = 23;

/// `to`.
#[derive(Debug)]
pub(super) struct To {
    kind: ToKind,
    at: Option<Spanned<ast::Setting<String>>>,
    rotate: Option<Spanned<ast::Setting<u64>>>,
    keep: Option<Spanned<u64>>,
    facility: Option<Spanned<u8>>,
    tag: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToKind {
    Stdout,
    Stderr,
    File,
    Syslog,
    Journal,
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<Span> {
    value.as_ref().map(|value| value.span)
}

fn only(r: &mut Reading<'_, '_>, (name, written): (&str, Option<Span>), has: bool, of: &str) {
    if let Some(at) = written.filter(|_| !has) {
        r.add(Diagnostic::error("no-effect", format!("`{name}` has no effect here: it is about {of}"), at));
    }
}

fn path(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    match log_path(&found) {
        // The check refuses relative paths.
        Err(reason) if found.starts_with('/') => Err(problem("bad-path", reason)),
        _ => Ok(found),
    }
}

fn syslog(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    let Err(reason) = syslog_address(&found) else { return Ok(found) };
    let wrong = problem("bad-address", reason);
    // Without a protocol, the address may be of either one.
    let meant = ["udp:", "tcp:", "unix:"].map(|protocol| format!("{protocol}{found}"));
    let meant = meant.iter().filter(|text| syslog_address(text).is_ok());
    Err(meant.fold(wrong, |wrong, text| wrong.write_text(text)))
}

/// Parses the name of an application: printable ASCII without blanks (RFC 5424 section 6.2.5).
fn tag(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if (1..=48).contains(&found.len()) && found.chars().all(|char| char.is_ascii_graphic()) {
        return Ok(found);
    }
    Err(problem(
        "bad-name",
        format!("`{found}` is not a name here: up to 48 printable ASCII characters without blanks"),
    ))
}

impl To {
    fn target(&self, check: &mut Check<'_>) -> Option<LogTarget> {
        let at = match &self.at {
            Some(address) if self.kind == ToKind::Syslog => Some(check.text_setting(address)?),
            Some(path) => Some(check.absolute_path(path)?),
            None => None,
        };
        Some(match (self.kind, at) {
            (ToKind::Stdout, _) => LogTarget::Stdout,
            (ToKind::Stderr, _) => LogTarget::Stderr,
            (ToKind::Journal, at) => LogTarget::Journal(at.unwrap_or(Setting::Fixed(JOURNAL.into()))),
            (ToKind::File, Some(path)) => {
                let rotate = self.rotate.as_ref().and_then(|rotate| check.setting(rotate, ParamKind::Size));
                LogTarget::File(LogFile {
                    path,
                    rotate,
                    keep: self.keep.as_ref().map_or(KEPT, |keep| keep.value as u16),
                })
            }
            (ToKind::Syslog, Some(address)) => LogTarget::Syslog(Syslog {
                address,
                facility: self.facility.as_ref().map_or(FACILITY, |facility| facility.value),
                tag: self.tag.as_ref().map_or_else(|| "kiln".into(), |tag| tag.value.clone().into()),
            }),
            (ToKind::File | ToKind::Syslog, None) => return None,
        })
    }
}

/// Returns the outputs of an access log, as indices into the site's outputs.
pub(super) fn of_access(check: &mut Check<'_>, items: &[Item], span: Span) -> Vec<u16> {
    let mut numbers: Vec<u16> = Vec::new();
    for (target, span) in targets(check, items, (LogTarget::Stdout, span)) {
        let Some(number) = number(check, target, span) else { continue };
        if numbers.contains(&number) {
            check.error("duplicate", "lines go there already", span);
        } else {
            numbers.push(number);
        }
    }
    numbers
}

/// Returns the outputs of the error log.
pub(super) fn of_errors(check: &mut Check<'_>, items: &[Item], span: Span) -> Vec<LogOutput> {
    let mut outputs: Vec<LogOutput> = Vec::new();
    for (target, span) in targets(check, items, (LogTarget::Stderr, span)) {
        let others = check.outputs.iter().map(|(output, at)| (output, *at));
        if let Some((_, other)) =
            others.into_iter().find(|(other, _)| path_of(other).is_some() && path_of(other) == file(&target))
        {
            let found = Diagnostic::error("duplicate", "the access log is written to this file, too", span);
            check.report.add(found.also(other, "here").help("give each log a file of its own"));
        }
        if outputs.iter().any(|output| output.target == target) {
            check.error("duplicate", "lines go there already", span);
            continue;
        }
        outputs.push(LogOutput { target, place: check.place(span) });
    }
    outputs
}

/// Returns the targets of `to` lines with their spans, or the default if there are none.
fn targets(check: &mut Check<'_>, items: &[Item], usual: (LogTarget, Span)) -> Vec<(LogTarget, Span)> {
    let written: Vec<_> = WrittenLog::outputs(items).collect();
    if written.is_empty() {
        return vec![usual];
    }
    written.into_iter().filter_map(|(to, span)| Some((to.target(check)?, span))).collect()
}

/// Returns the index of an output, which several logs may share.
fn number(check: &mut Check<'_>, target: LogTarget, span: Span) -> Option<u16> {
    if let Some(known) = check.outputs.iter().position(|(output, _)| output.target == target) {
        return u16::try_from(known).ok();
    }
    let same = |output: &LogOutput| path_of(output).is_some() && path_of(output) == file(&target);
    if let Some((_, other)) = check.outputs.iter().find(|(output, _)| same(output)) {
        let found = Diagnostic::error("duplicate", "another log has this file, and rotates it in another way", span);
        check.report.add(found.also(*other, "here"));
        return None;
    }
    if check.outputs.len() == MOST {
        check.error("out-of-range", format!("logs go to more than {MOST} outputs"), span);
        return None;
    }
    let place = check.place(span);
    check.outputs.push((LogOutput { target, place }, span));
    u16::try_from(check.outputs.len() - 1).ok()
}

fn path_of(output: &LogOutput) -> Option<&Setting<Text>> {
    file(&output.target)
}

fn file(target: &LogTarget) -> Option<&Setting<Text>> {
    match target {
        LogTarget::File(file) => Some(&file.path),
        _ => None,
    }
}
