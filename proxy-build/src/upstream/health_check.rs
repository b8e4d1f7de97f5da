//! `health-check`: active health checks.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind, Setting, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, Item, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::model::{Site, list};
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed, integer, problem, text, to_ask_for};
use crate::wording;

const BRACES: Place = Place::Within("in a `health-check`");

static HEALTH_CHECK: Directive = Directive {
    name: "health-check",
    places: &[Place::Upstream],
    args: "PATH|tcp|grpc",
    props: &[
        Prop::new("interval", "DURATION", "The time between checks, varied by up to a tenth. Default `\"5s\"`."),
        Prop::new("timeout", "DURATION", "How long a check may take; not longer than `interval`. Default `\"1s\"`."),
        Prop::new("rise", "N", "The number of successful checks in a row that make a server healthy. Default 2."),
        Prop::new("fall", "N", "The number of failed checks in a row that make a server unhealthy. Default 3."),
        Prop::new("port", "N", "The port to check. Default: the server's own."),
        Prop::new("host", "HOST", "The `Host` to send. Default: the server's address."),
        Prop::new("service", "NAME", "For `grpc`: the service to check. Default: the server as a whole."),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Checks the health of every server at intervals.",
    details: "\
The proxy sends `GET PATH` on a separate connection; the check succeeds if the response has a status of `expect-status` and contains
`expect-body`. With `tcp` it succeeds if the server can be connected to, and with `grpc` if the server responds `SERVING`
(grpc.health.v1). Checks use the same version of HTTP and the same `tls` as requests. One check runs per process, not per worker.
A server is assumed healthy until checked; an unhealthy server receives no requests, but see `panic-threshold`. Every change is a notice
on standard error with its reason.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    health-check "/healthz" interval="2s" timeout="500ms" rise=2 fall=3 {
        expect-status "200-299"
        expect-body "ok"
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        let probe = r.arg("a PATH, `tcp` or `grpc`", probe)?.value;
        Some(What::in_upstream(HealthCheck {
            probe,
            service: r.prop("service", service_name),
            host: r.prop("host", value::header_value),
            port: r.prop("port", value::integer(1, 65535)),
            interval: r.prop("interval", value::setting(value::wait("5s"))),
            timeout: r.prop("timeout", value::setting(value::wait("1s"))),
            rise: r.prop("rise", value::integer(1, 100)),
            fall: r.prop("fall", value::integer(1, 100)),
            items: r.body(),
        }))
    },
};

static EXPECT_STATUS: Directive = Directive {
    name: "expect-status",
    places: &[BRACES],
    args: "STATUS...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The statuses of a healthy response.",
    details: "Statuses, or ranges of them as in `\"200-299\"`. Default: `\"200-399\"`.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    health-check "/healthz" {
        expect-status 200 204 "401-403"
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::line(Statuses(r.some("a STATUS", statuses)))),
};

static EXPECT_BODY: Directive = Directive {
    name: "expect-body",
    places: &[BRACES],
    args: "TEXT",
    props: &[],
    body: None,
    repeats: false,
    summary: "A string that the body of a healthy response contains.",
    details: "The string must be in the first 64 KiB.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    health-check "/healthz" {
        expect-body "\"status\":\"up\""
    }
}
site example.com {
    proxy app
}
"#,
    read: |r| Some(What::line(Body(r.arg("a TEXT", value::text)?))),
};

/// `health-check`.
#[derive(Debug)]
pub(super) struct HealthCheck {
    probe: Probe,
    service: Option<Spanned<String>>,
    host: Option<Spanned<String>>,
    port: Option<Spanned<u64>>,
    interval: Option<Spanned<ast::Setting<Duration>>>,
    timeout: Option<Spanned<ast::Setting<Duration>>>,
    rise: Option<Spanned<u64>>,
    fall: Option<Spanned<u64>>,
    items: Vec<Item>,
}

/// The probe of a health check.
#[derive(Debug, PartialEq, Eq)]
enum Probe {
    /// A TCP connection.
    Tcp,
    /// gRPC's health service.
    Grpc,
    /// A GET of this path.
    Path(String),
}

/// `expect-status`.
#[derive(Debug)]
struct Statuses(Vec<Spanned<(u16, u16)>>);

/// `expect-body`.
#[derive(Debug)]
struct Body(Spanned<String>);

impl UpstreamOption for HealthCheck {
    const DIRECTIVES: &'static [&'static Directive] = &[&HEALTH_CHECK, &EXPECT_STATUS, &EXPECT_BODY];
    const MEMBER: &'static str = "health_check";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        let (interval, timeout) = self.times(check);
        let (mut statuses, mut body) = (vec![(200, 399)], None);
        for item in &self.items {
            if let Some(Statuses(written)) = item.line() {
                statuses = written.iter().map(|range| range.value).collect();
            } else if let Some(Body(text)) = item.line() {
                body = Some(text.value.clone().into());
            } else {
                continue;
            }
            match self.probe {
                Probe::Path(_) => {}
                Probe::Tcp => check.error("no-effect", "this has no effect: a `tcp` check sends no request", item.span),
                Probe::Grpc => check.error("no-effect", "this has no effect: gRPC has its own response", item.span),
            }
        }
        if let (Some(service), false) = (&self.service, self.probe == Probe::Grpc) {
            check.error("no-effect", "`service` has no effect: only a `grpc` check uses it", service.span);
        }
        if let (Probe::Tcp, Some(host)) = (&self.probe, &self.host) {
            check.error("no-effect", "`host` has no effect: a `tcp` check sends no request", host.span);
        }
        upstream.health_check = Some(site::HealthCheck {
            path: match &self.probe {
                Probe::Path(path) => Some(path.clone().into()),
                Probe::Tcp | Probe::Grpc => None,
            },
            grpc: (self.probe == Probe::Grpc)
                .then(|| self.service.as_ref().map_or_else(String::new, |service| service.value.clone()).into()),
            host: self.host.as_ref().map(|host| host.value.clone().into()),
            port: self.port.as_ref().map(|port| port.value),
            interval,
            timeout,
            rise: self.rise.as_ref().map_or(2, |count| count.value),
            fall: self.fall.as_ref().map_or(3, |count| count.value),
            statuses: list(statuses),
            body,
        });
    }

    fn finish(&self, check: &mut Check<'_>, at: OptionSpans, upstream: &mut Upstream) {
        if self.probe == Probe::Grpc && !upstream.http2 {
            check.report.add(
                Diagnostic::error("contradiction", "gRPC needs HTTP/2", at.option)
                    .help(check.inside(at.upstream, "http h2")),
            );
        }
    }

    fn explain(site: &Site, upstream: &Upstream) -> Vec<String> {
        let said = upstream.health_check.iter().map(|check| {
            let by = check.path.as_deref().unwrap_or(if check.grpc.is_some() { "grpc" } else { "tcp" });
            let interval = wording::setting(site, &check.interval, |&duration| wording::duration(duration));
            format!("checked by {by} every {interval}")
        });
        said.collect()
    }
}

impl HealthCheck {
    /// Returns the interval and the time-out.
    fn times(&self, check: &mut Check<'_>) -> (Setting<Duration>, Setting<Duration>) {
        let seconds = |seconds| Setting::Fixed(Duration::from_secs(seconds));
        let interval = check.or(self.interval.as_ref(), ParamKind::Duration, seconds(5));
        let default = match interval {
            Setting::Fixed(interval) => Setting::Fixed(interval.min(Duration::from_secs(1))),
            Setting::Param(_) => seconds(1),
        };
        let timeout = check.or(self.timeout.as_ref(), ParamKind::Duration, default);
        if let (Setting::Fixed(interval), Setting::Fixed(limit), Some(written)) = (interval, timeout, &self.timeout)
            && limit > interval
        {
            let message = "the time-out of a check is longer than the interval";
            let mut wrong = Diagnostic::error("contradicting-timeouts", message, written.span);
            if let Some(interval) = &self.interval {
                wrong = wrong.also(interval.span, "the next check begins after this");
            }
            check.report.add(wrong);
        }
        (interval, timeout)
    }
}

/// Parses the probe.
fn probe(leaf: &Leaf) -> Parsed<Probe> {
    let found = text(leaf)?;
    match found.as_str() {
        "tcp" => return Ok(Probe::Tcp),
        "grpc" => return Ok(Probe::Grpc),
        _ => {}
    }
    if !found.starts_with('/') {
        let problem = problem("bad-path", "the path of a health check begins with `/`");
        if matches!(found.as_str(), "GET" | "HEAD" | "http" | "https" | "HTTP" | "HTTPS") {
            return Err(problem.help("it is asked for with GET: health-check \"/healthz\""));
        }
        // A URL: the server is known, so only the path is needed.
        let path = match found.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/".to_owned(), |at| rest[at..].to_owned()),
            None => format!("/{found}"),
        };
        return Err(match to_ask_for(&path, 0) {
            Ok(()) => problem.write_text(&path),
            Err(_) => problem,
        });
    }
    to_ask_for(&found, 0)?;
    Ok(Probe::Path(found))
}

/// Parses the name of a gRPC service.
fn service_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match found.len() {
        1..=120 if found.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(found),
        _ => Err(problem("bad-name", "the name of a service has 1 to 120 letters, digits, dots and the like")),
    }
}

/// Parses a status, or a range of statuses.
fn statuses(leaf: &Leaf) -> Parsed<(u16, u16)> {
    let Scalar::Text(range) = &leaf.value else {
        return integer(100, 599)(leaf).map(|code| (code as u16, code as u16));
    };
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code) && text.len() == 3);
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    match (code(from), code(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        (Some(_), Some(_)) => Err(problem("bad-status", format!("`{range}` ends before it begins"))),
        _ => Err(problem("bad-status", format!("`{range}` is neither a status nor a range of statuses"))
            .help("a status is written as 200, a range as \"200-299\"")),
    }
}
