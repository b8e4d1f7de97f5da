//! `trace`: which traces are continued, started and exported; its directives and their checks.

use proxy_runtime::protocol::b3;
use proxy_runtime::protocol::fields::of_message;
use proxy_runtime::protocol::trace_context::{TRACEPARENT, TRACESTATE};
use proxy_runtime::site::{self, ParamKind, Setting, Trace, TraceFormat, TraceHeader, TraceTrust};

use crate::ast::{self, Item, Part, Sample, Top, What};
use crate::check::Check;
use crate::check::scope::{Phase, Scope};
use crate::declaration::{Directive, Place, Prop};
use crate::model::{Host, list};
use crate::policy::headers::is_secret;
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

/// The directives of `trace`, in the order of the manual.
pub(crate) const DIRECTIVES: &[&Directive] = &[&TRACE, &SERVICE, &HEADER, &PROPAGATE];

const BRACES: Place = Place::Within("in `trace`");

/// A line of `trace`.
#[derive(Debug)]
enum TraceLine {
    /// `service`.
    Service(Spanned<String>),
    /// `header`.
    Header(Spanned<String>, Spanned<ast::Template>),
    /// `propagate`.
    Propagate(Vec<Spanned<TraceFormat>>),
}

static TRACE: Directive = Directive {
    name: "trace",
    places: &[Place::Root],
    args: "otlp URL",
    props: &[
        Prop::new(
            "sample",
            "SHARE|parent",
            "Which traces are exported: a share of all, as in `\"1%\"`, chosen by their ids; or those that their senders have decided to \
             record. Default `parent`.",
        ),
        Prop::new("else", "SHARE", "With `sample=parent`: the share of traces without a decision. Default `\"100%\"`."),
        Prop::new(
            "trust",
            "proxies|any|none",
            "Whose traces are continued: those of the peers in [`trusted-proxies`](#trusted-proxies) (default), everybody's, or nobody's.",
        ),
    ],
    body: Some(BRACES),
    repeats: false,
    summary: "Continues or begins a trace for each request, and exports it to an OpenTelemetry collector.",
    details: "\
A request with a valid `traceparent` (W3C Trace Context) from a peer that is trusted about it continues its trace, and `tracestate` is passed on: several
lines as one, and 512 bytes of it. For any other request, a new trace begins, and its fields are dropped. Servers get a `traceparent` in
which the attempt is the parent: each retry has a span of its own. `{trace.id}` is the id of the trace, for logs and header fields.

Spans of sampled traces, and of all exchanges that fail with a status from 500 on or by a server's fault, are sent by OTLP over HTTP in JSON, in batches, by a
thread of its own. They are listed under [Tracing](observability.md#tracing). A collector that is slow or gone costs no request anything: 8 MiB
of spans wait for it, a batch is sent again for a minute, and what is lost is counted, in metrics and on standard error. At its end, the
proxy has a second to export the rest.

The URL may be a `(param)` of type string. With `https`, the collector is verified by the certificates that the machine trusts. With `trust=any`, clients
choose ids, and with `sample=parent` also how much is exported.",
    example: EXAMPLE,
    read: |r| {
        let span = r.span();
        r.arg("`otlp`", value::word(&[("otlp", ())]));
        let url = r.arg("a URL", value::setting(collector));
        let trust = &[("proxies", TraceTrust::Proxies), ("any", TraceTrust::Any), ("none", TraceTrust::Nobody)];
        let (sample, otherwise) = (r.prop("sample", sample), r.prop("else", share));
        let (trust, items) = (r.prop("trust", value::word(trust)), r.body());
        Some(What::Top(Top::Trace(Box::new(ast::Trace { span, url: url?, sample, otherwise, trust, items }))))
    },
};

static SERVICE: Directive = Directive {
    name: "service",
    places: &[BRACES],
    args: "NAME",
    props: &[],
    body: None,
    repeats: false,
    summary: "The name of the service in its spans (`service.name`).",
    details: "Default: the first host of the first site.",
    example: EXAMPLE,
    read: |r| Some(What::line(TraceLine::Service(r.arg("a NAME", service)?))),
};

static HEADER: Directive = Directive {
    name: "header",
    places: &[BRACES],
    args: "NAME VALUE",
    props: &[],
    body: None,
    repeats: true,
    summary: "A field of the requests to the collector.",
    details: "\
For credentials, `VALUE` is a `(param)` of type secret: a file that is read at start and on SIGHUP, and printed nowhere.",
    example: EXAMPLE,
    read: |r| {
        let name = r.arg("a NAME", value::header_before_value)?;
        Some(What::line(TraceLine::Header(name, r.arg("a VALUE", value::header_template)?)))
    },
};

static PROPAGATE: Directive = Directive {
    name: "propagate",
    places: &[BRACES],
    args: "w3c|b3|b3-multi...",
    props: &[],
    body: None,
    repeats: false,
    summary: "The fields in which traces are taken up and passed on.",
    details: "\
`w3c`: `traceparent` and `tracestate`; `b3`: the single field of Zipkin; `b3-multi`: `X-B3-TraceId` and so on. Of several, the first that a request has is
taken up, and servers get all of them. Fields of other formats pass like any other field. Default `w3c`.",
    example: EXAMPLE,
    read: |r| {
        let formats = &[("w3c", TraceFormat::W3c), ("b3", TraceFormat::B3), ("b3-multi", TraceFormat::B3Multi)];
        Some(What::line(TraceLine::Propagate(r.some("`w3c`, `b3` or `b3-multi`", value::word(formats)))))
    },
};

const EXAMPLE: &str = r#"
param otlp-token type=secret

trusted-proxies "10.0.0.0/8"
trace otlp "https://otlp.example.net/v1/traces" sample=parent else="1%" trust=proxies {
    service "shop"
    header Authorization (param)otlp-token
    propagate w3c b3
}
site example.com {
    response-headers {
        set X-Trace-Id "{trace.id}"
    }
    proxy "http://127.0.0.1:3000"
}
"#;

/// Parses the URL of a collector. The runtime checks it again, because a parameter can be any string.
fn collector(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    let grpc = ["grpc://", "grpcs://"].iter().find_map(|scheme| found.strip_prefix(scheme));
    if let Some(host) = grpc.and_then(|rest| rest.split([':', '/']).next()) {
        let message = "OTLP over gRPC is not supported; over HTTP, collectors listen on port 4318";
        return Err(value::problem("bad-url", message).write_text(&format!("http://{host}:4318/v1/traces")));
    }
    value::service_url(leaf)?;
    let after_scheme = found.split_once("://").map_or("", |(_, rest)| rest);
    if !after_scheme.contains('/') {
        let message = "a collector takes traces at a path, and there is none here";
        return Err(value::problem("bad-url", message).write_text(&format!("{found}/v1/traces")));
    }
    Ok(found)
}

fn service(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    match found.trim().is_empty() {
        true => Err(value::problem("bad-name", "a service has a name").write_text("shop")),
        false => Ok(found),
    }
}

fn sample(leaf: &Leaf) -> Parsed<Sample> {
    if value::text(leaf).is_ok_and(|text| text == "parent") {
        return Ok(Sample::Parent);
    }
    share(leaf).map(Sample::Share).map_err(|problem| problem.help("`parent` leaves it to those who send requests"))
}

/// The most decimals of a percentage, and how many units of the last decimal are 100%.
const DECIMALS: usize = 6;
const PARTS: u128 = 100 * 10_u128.pow(DECIMALS as u32);

/// Parses a percentage such as `1%` or `0.25%`, as a share of [`Trace::ALL`].
fn share(leaf: &Leaf) -> Parsed<u64> {
    let wrong = |message: String| value::problem("bad-share", message);
    if let Scalar::Integer(number @ 0..=100, _) = leaf.value {
        return Err(wrong(format!("`{number}` is not a share: that is a percentage")).write_text(&format!("{number}%")));
    }
    let found = value::text(leaf)?;
    let Some(number) = found.strip_suffix('%') else {
        let message = wrong(format!("`{found}` is not a share: that is a percentage"));
        // OpenTelemetry's own settings have ratios.
        return Err(match found.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => message.write_text(&format!("{}%", ratio * 100.0)),
            _ => message.write_text("1%"),
        });
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > DECIMALS {
        return Err(wrong(format!("`{found}` is not a percentage with up to {DECIMALS} decimals")).write_text("1%"));
    }
    let parts: u128 = format!("{whole}{decimals:0<DECIMALS$}").parse().unwrap_or(u128::MAX);
    if parts > PARTS {
        return Err(wrong(format!("`{found}` is more than all")).write_text("100%"));
    }
    Ok(u64::try_from(u128::from(Trace::ALL) * parts / PARTS).unwrap_or(Trace::ALL))
}

/// Returns the header fields that propagate the trace to servers.
pub(crate) fn fields(written: &ast::Trace) -> Vec<&'static str> {
    let names = |format| match format {
        TraceFormat::W3c => vec![TRACEPARENT, TRACESTATE],
        TraceFormat::B3 => vec![b3::B3],
        TraceFormat::B3Multi => b3::MULTIPLE.to_vec(),
    };
    formats(written)
        .map_or_else(|| names(TraceFormat::W3c), |all| all.iter().flat_map(|one| names(one.value)).collect())
}

fn formats(written: &ast::Trace) -> Option<&[Spanned<TraceFormat>]> {
    written.items.iter().find_map(|item| match item.line() {
        Some(TraceLine::Propagate(formats)) => Some(formats.as_slice()),
        _ => None,
    })
}

impl Check<'_> {
    /// Checks `trace`, and returns the runtime's form of it.
    pub(crate) fn trace(
        &mut self,
        written: Option<&ast::Trace>,
        hosts: &[Host],
        trusted: &site::Trusted,
    ) -> Option<Trace> {
        let written = written?;
        let url = self.url(&written.url)?;
        self.has_effect(written, trusted);
        let (share, follows) = match written.sample.as_ref().map(|sample| sample.value) {
            Some(Sample::Share(share)) => (share, false),
            Some(Sample::Parent) | None => (written.otherwise.as_ref().map_or(Trace::ALL, |share| share.value), true),
        };
        let named = written.items.iter().find_map(|item| match item.line() {
            Some(TraceLine::Service(name)) => Some(name.value.clone()),
            _ => None,
        });
        let first = || hosts.first().map(Host::name).filter(|host| host != "*").unwrap_or_else(|| "kiln".to_owned());
        Some(Trace {
            url,
            headers: list(self.trace_headers(&written.items)),
            service: named.unwrap_or_else(first).into(),
            share,
            follows,
            trust: written.trust.as_ref().map_or(TraceTrust::Proxies, |trust| trust.value),
            formats: list(self.trace_formats(written)),
            place: self.place(written.span),
        })
    }

    fn url(&mut self, url: &Spanned<ast::Setting<String>>) -> Option<Setting<site::Text>> {
        match &url.value {
            ast::Setting::Fixed(url) => Some(Setting::Fixed(url.clone().into())),
            ast::Setting::Param(name) | ast::Setting::Bounded(name, _) => {
                self.param(name, &[ParamKind::String]).map(Setting::Param)
            }
        }
    }

    /// Reports properties that have no effect because of others.
    fn has_effect(&mut self, written: &ast::Trace, trusted: &site::Trusted) {
        let share = matches!(written.sample.as_ref().map(|sample| sample.value), Some(Sample::Share(_)));
        if let (true, Some(otherwise), Some(sample)) = (share, &written.otherwise, &written.sample) {
            self.report.add(
                Diagnostic::error("no-effect", "`else` has no effect: `sample` is for all traces", otherwise.span)
                    .help(Help::write(sample.span, "parent")),
            );
        }
        let Some(trust) = &written.trust else { return };
        if trust.value == TraceTrust::Proxies && trusted.networks.is_empty() {
            let message = "`trust=proxies` has no effect: no proxy is trusted";
            self.report.add(
                Diagnostic::error("no-effect", message, trust.span).help(self.at_top("trusted-proxies \"10.0.0.0/8\"")),
            );
        }
        if let (TraceTrust::Nobody, Some(sample)) = (trust.value, written.sample.as_ref().filter(|_| !share)) {
            let message = "`sample=parent` has no effect: with `trust=none`, no request has a parent";
            self.report.add(
                Diagnostic::error("no-effect", message, sample.span)
                    .also(trust.span, "nobody is trusted here")
                    .help(Help::write(sample.span, "\"1%\"")),
            );
        }
    }

    fn trace_headers(&mut self, items: &[Item]) -> Vec<TraceHeader> {
        let mut headers: Vec<TraceHeader> = Vec::new();
        for item in items {
            let Some(TraceLine::Header(name, value)) = item.line() else { continue };
            let set = ["content-type", "user-agent"].contains(&name.value.as_str());
            if set || of_message(name.value.as_bytes()) {
                self.error("untouchable-header", format!("the proxy sets `{name}` itself"), name.span);
                continue;
            }
            if headers.iter().any(|other| other.name == name.value) {
                self.error("duplicate", format!("`{name}` is there already"), name.span);
            }
            let placeholder = value.value.parts.iter().find_map(|part| match part {
                Part::Placeholder(placeholder) => Some(placeholder),
                _ => None,
            });
            if let Some(placeholder) = placeholder {
                let message = format!("`{{{placeholder}}}` has no value: a batch of spans belongs to no request");
                self.error("placeholder-scope", message, placeholder.span);
                continue;
            }
            let literal = value.value.parts.iter().all(|part| matches!(part, Part::Text(_)));
            if literal && is_secret(&name.value) {
                let message = format!("the value of `{name}` is a secret, and would be in the binary");
                let found = Diagnostic::lint("secret-in-file", message, value.span);
                self.report.add(found.help(self.as_secret(value.span)));
            }
            if let Some(made) = self.template(&value.value, &Scope::no_route(), Phase::Request) {
                headers.push(TraceHeader { name: name.value.clone().into(), value: made });
            }
        }
        headers
    }

    fn trace_formats(&mut self, written: &ast::Trace) -> Vec<TraceFormat> {
        let Some(written) = formats(written) else { return vec![TraceFormat::W3c] };
        for (index, format) in written.iter().enumerate() {
            if written[..index].iter().any(|other| other.value == format.value) {
                self.error("duplicate", "this format is there already", format.span);
            }
        }
        written.iter().map(|format| format.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_traces() {
        let check = |text: &str, expected: Option<u64>| {
            let leaf = Leaf {
                value: Scalar::Text(text.to_owned()),
                ty: None,
                span: crate::source::Sources::default().start(),
                inner: None,
            };
            assert_eq!(share(&leaf).ok(), expected, "{text}");
        };
        check("100%", Some(Trace::ALL));
        check("50%", Some(Trace::ALL / 2));
        check("12.5%", Some(Trace::ALL / 8));
        check("0%", Some(0));
        check("0.000001%", Some((u128::from(Trace::ALL) / PARTS) as u64));
        for wrong in
            ["", "%", "1", "0.01", "100.1%", "101%", "1e1%", "-1%", "+1%", "1.%", ".5%", "0.0000001%", "1 %", "1%%"]
        {
            check(wrong, None);
        }
    }
}
