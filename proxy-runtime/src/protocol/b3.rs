//! The header fields of B3, Zipkin's propagation: the single field `b3` and the multiple fields `X-B3-*`, parsed and written. Pure; on the
//! path of requests if the site has `trace` with `propagate b3`.
//!
//! <https://github.com/openzipkin/b3-propagation>: trace IDs have 16 or 32 digits; the sampling decision may be left open, or be sent alone.

use crate::protocol::fields::Fields;
use crate::protocol::trace_context::{TraceContext, TraceId, digits, hexadecimal};

/// The single header field.
pub const B3: &str = "b3";

/// The trace ID, of the multiple header fields.
pub const TRACE_ID: &str = "x-b3-traceid";
/// The ID of the sender's span.
pub const SPAN_ID: &str = "x-b3-spanid";
/// The ID of the parent of the sender's span.
pub const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
/// The sampling decision, `1` or `0`.
pub const SAMPLED: &str = "x-b3-sampled";
/// `1` for a trace that is always recorded (debug).
pub const FLAGS: &str = "x-b3-flags";

/// All of the multiple header fields.
pub const MULTIPLE: [&str; 5] = [TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED, FLAGS];

/// Parses the single field: `{trace}-{span}-{sampled}-{parent}`, whose last two parts are optional, or `{sampled}`.
pub fn parse(value: &[u8]) -> Option<TraceContext> {
    let mut parts = value.split(|&byte| byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        return Some(TraceContext { trace: TraceId(0), span: 0, sampled: Some(sampled(first)?), random: false });
    };
    let said = match parts.next() {
        None => None,
        Some(said) => Some(sampled(said)?),
    };
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    if parts.next().is_some() { None } else { context(first, span, said) }
}

/// Returns the context of the field `b3`; `None` if there are several lines of it.
pub fn of_fields(fields: &Fields) -> Option<TraceContext> {
    parse(only(fields, B3)?)
}

/// Returns the context of the multiple fields.
pub fn of_multiple(fields: &Fields) -> Option<TraceContext> {
    let said = match (only(fields, FLAGS), only(fields, SAMPLED)) {
        (Some(b"1"), _) => Some(true),
        (_, None) => None,
        // Some senders write `true` and `false`.
        (_, Some(b"true")) => Some(true),
        (_, Some(b"false")) => Some(false),
        (_, Some(said)) => Some(sampled(said)?),
    };
    match (only(fields, TRACE_ID), only(fields, SPAN_ID)) {
        (Some(trace), Some(span)) => context(trace, span, said),
        (None, None) => Some(TraceContext { trace: TraceId(0), span: 0, sampled: Some(said?), random: false }),
        _ => None,
    }
}

fn only<'f>(fields: &'f Fields, name: &str) -> Option<&'f [u8]> {
    let mut lines = fields.all(name);
    let line = lines.next();
    if lines.next().is_some() { None } else { line }
}

fn context(trace: &[u8], span: &[u8], sampled: Option<bool>) -> Option<TraceContext> {
    let trace = matches!(trace.len(), 16 | 32).then(|| hexadecimal(trace)).flatten().filter(|trace| *trace != 0)?;
    Some(TraceContext { trace: TraceId(trace), span: span_id(span)?, sampled, random: false })
}

fn span_id(text: &[u8]) -> Option<u64> {
    let span = (text.len() == 16).then(|| hexadecimal(text)).flatten()?;
    u64::try_from(span).ok().filter(|span| *span != 0)
}

/// Parses the sampling decision; `d` is debug, which means sampled.
fn sampled(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

/// Returns the value of the single field. A decision that is left open is not written.
pub fn write(context: &TraceContext) -> Vec<u8> {
    let mut out = vec![0; 49];
    digits(&context.trace.0.to_be_bytes(), &mut out[..32]);
    out[32] = b'-';
    digits(&context.span.to_be_bytes(), &mut out[33..]);
    out.extend_from_slice(context.sampled.map_or(b"", |sampled| if sampled { b"-1" } else { b"-0" }));
    out
}

/// Sets the multiple fields for a span, whose parent is `above`.
pub fn set_multiple(fields: &mut Fields, context: &TraceContext, above: u64) {
    let mut text = [0; 32];
    digits(&context.trace.0.to_be_bytes(), &mut text);
    fields.set(TRACE_ID, &text);
    for (name, span) in [(SPAN_ID, context.span), (PARENT_SPAN_ID, above)] {
        digits(&span.to_be_bytes(), &mut text[..16]);
        fields.set(name, &text[..16]);
    }
    fields.set(SAMPLED, if context.sampled == Some(true) { b"1" } else { b"0" });
    fields.remove(FLAGS);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn known(sampled: Option<bool>) -> Option<TraceContext> {
        let trace = TraceId(0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7);
        Some(TraceContext { trace, span: 0xe457_b5a2_e4d8_6bd1, sampled, random: false })
    }

    fn only_said(sampled: bool) -> Option<TraceContext> {
        Some(TraceContext { trace: TraceId(0), span: 0, sampled: Some(sampled), random: false })
    }

    #[test]
    fn single_field() {
        let check = |value: &str, expected| assert_eq!(parse(value.as_bytes()), expected, "{value}");
        check(&format!("{TRACE}-{SPAN}"), known(None));
        check(&format!("{TRACE}-{SPAN}-1"), known(Some(true)));
        check(&format!("{TRACE}-{SPAN}-d"), known(Some(true)));
        check(&format!("{TRACE}-{SPAN}-0-05e3ac9a4f6e3b90"), known(Some(false)));
        let short = Some(TraceContext { trace: TraceId(0x64fe_8b2a_57d3_eff7), ..known(Some(true)).expect("known") });
        check(&format!("64fe8b2a57d3eff7-{SPAN}-1"), short);
        check("1", only_said(true));
        check("d", only_said(true));
        check("0", only_said(false));
        for wrong in [
            "",
            "2",
            "-",
            TRACE,
            &format!("{TRACE}-{SPAN}-"),
            &format!("{TRACE}-{SPAN}-2"),
            &format!("{TRACE}-{SPAN}-1-"),
            &format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90-1"),
            &format!("{TRACE}0-{SPAN}"),
            &format!("{}-{SPAN}", "0".repeat(32)),
            &format!("{TRACE}-{}", "0".repeat(16)),
            &format!("{TRACE}-{SPAN}").to_uppercase(),
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn multiple_fields() {
        let check = |lines: &[(&str, &str)], expected| {
            let fields: Fields = lines.iter().copied().collect();
            assert_eq!(of_multiple(&fields), expected, "{lines:?}");
        };
        let (trace, span) = (("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN));
        check(&[trace, span], known(None));
        check(&[trace, span, ("X-B3-Sampled", "1")], known(Some(true)));
        check(&[trace, span, ("X-B3-Sampled", "0")], known(Some(false)));
        check(&[trace, span, ("X-B3-Sampled", "true")], known(Some(true)));
        check(&[trace, span, ("X-B3-Flags", "1"), ("X-B3-Sampled", "0")], known(Some(true)));
        check(&[("X-B3-Sampled", "0")], only_said(false));
        check(&[trace], None);
        check(&[span], None);
        check(&[trace, span, trace], None);
        check(&[trace, span, ("X-B3-Sampled", "maybe")], None);
        check(&[], None);
    }

    proptest! {
        #[test]
        fn written_fields_parse(trace in 1_u128.., span in 1_u64.., sampled: Option<bool>, above: u64) {
            let context = TraceContext { trace: TraceId(trace), span, sampled, random: false };
            prop_assert_eq!(parse(&write(&context)), Some(context));
            let mut fields: Fields = [(FLAGS, "1"), (SAMPLED, "1")].into_iter().collect();
            set_multiple(&mut fields, &context, above);
            let decided = TraceContext { sampled: Some(sampled == Some(true)), ..context };
            prop_assert_eq!(of_multiple(&fields), Some(decided));
        }
    }
}
