//! The header fields `traceparent` and `tracestate` (W3C Trace Context, level 2), parsed and written. Pure; on the path of requests if the
//! site has `trace`.
//!
//! A value that does not match the specification exactly is ignored: a trace that is continued by mistake is worse than a new one.

use std::borrow::Cow;
use std::fmt;

use crate::protocol::fields::{Fields, members};

/// The header field with the IDs.
pub const TRACEPARENT: &str = "traceparent";

/// The header field with the state of tracing systems.
pub const TRACESTATE: &str = "tracestate";

/// The ID of a trace; 0 stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    /// Writes 32 hexadecimal digits; nothing if there is no trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, "{:032x}", self.0) }
    }
}

/// The trace context of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; none if only `sampled` is known.
    pub trace: TraceId,
    /// The span that sent the request; 0 stands for none.
    pub span: u64,
    /// Whether the sender records the trace; `None` if it has not decided.
    pub sampled: Option<bool>,
    /// Whether the ID was chosen at random (section 3.2.2.5.2).
    pub random: bool,
}

const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

/// The length of `version-traceid-spanid-flags`.
const LENGTH: usize = 55;

/// Parses `traceparent` (section 3.2). In an unknown version, text after the four known parts is ignored.
pub fn parse(value: &[u8]) -> Option<TraceContext> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let version = u8::try_from(hexadecimal(&known[..2])?).ok()?;
    let ends = rest.is_empty() || version > 0 && rest[0] == b'-';
    if version == 0xFF || !ends || [2, 35, 52].iter().any(|&at| known[at] != b'-') {
        return None;
    }
    let trace = TraceId(hexadecimal(&known[3..35])?);
    let span = u64::try_from(hexadecimal(&known[36..52])?).ok()?;
    let flags = u8::try_from(hexadecimal(&known[53..55])?).ok()?;
    let valid = trace.0 != 0 && span != 0;
    valid.then_some(TraceContext { trace, span, sampled: Some(flags & SAMPLED != 0), random: flags & RANDOM != 0 })
}

/// Parses the `traceparent` of a request; `None` if there are several.
pub fn of_fields(fields: &Fields) -> Option<TraceContext> {
    let mut lines = fields.all(TRACEPARENT);
    let line = lines.next()?;
    if lines.next().is_some() { None } else { parse(line) }
}

/// Returns the value of `traceparent` in version 00.
pub fn write(context: &TraceContext) -> [u8; LENGTH] {
    let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
    digits(&context.trace.0.to_be_bytes(), &mut out[3..35]);
    digits(&context.span.to_be_bytes(), &mut out[36..52]);
    digits(&[flags(context)], &mut out[53..55]);
    out
}

/// Returns the flags of `traceparent`.
pub(crate) fn flags(context: &TraceContext) -> u8 {
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    flag(context.sampled == Some(true), SAMPLED) | flag(context.random, RANDOM)
}

/// The most members of a `tracestate` (section 3.3.1.1).
const MOST_MEMBERS: usize = 32;

/// The length up to which `tracestate` is passed on (section 3.3.1.5), in bytes.
const LONGEST_STATE: usize = 512;

/// The length above which a member is dropped first, in bytes.
const LONG_MEMBER: usize = 128;

/// Returns all lines of `tracestate` as one (section 3.3.1): `None` if a member is malformed or repeated, or there are too many. If the value
/// is too long, long members are dropped, and then the last ones.
pub fn state(fields: &Fields) -> Option<Cow<'_, [u8]>> {
    let mut lines = fields.all(TRACESTATE);
    let (first, second) = (lines.next()?, lines.next());
    let found: Vec<&[u8]> = fields.all(TRACESTATE).flat_map(members).collect();
    let unique = || found.iter().enumerate().all(|(at, one)| found[..at].iter().all(|other| key(other) != key(one)));
    if found.is_empty() || found.len() > MOST_MEMBERS || !found.iter().copied().all(is_member) || !unique() {
        return None;
    }
    if second.is_none() && first.len() <= LONGEST_STATE {
        return Some(Cow::Borrowed(first));
    }
    let too_long = |members: &[&[u8]]| members.iter().map(|member| member.len() + 1).sum::<usize>() > LONGEST_STATE + 1;
    let mut kept = found;
    if too_long(&kept) {
        kept.retain(|member| member.len() <= LONG_MEMBER);
    }
    while too_long(&kept) {
        kept.pop();
    }
    if kept.is_empty() { None } else { Some(Cow::Owned(kept.join(&b","[..]))) }
}

fn key(member: &[u8]) -> &[u8] {
    member.split(|&byte| byte == b'=').next().unwrap_or_default()
}

/// Returns whether a member has the form `key=value` (section 3.3.1.3).
fn is_member(member: &[u8]) -> bool {
    let key = key(member);
    let value = member.get(key.len() + 1..).unwrap_or_default();
    let (begins, rest) = key
        .split_first()
        .map_or((false, key), |(first, rest)| (first.is_ascii_lowercase() || first.is_ascii_digit(), rest));
    let in_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let in_value = |byte: &u8| (0x20..0x7F).contains(byte) && !b",=".contains(byte);
    begins
        && key.len() <= 256
        && rest.iter().all(in_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(in_value)
}

/// Parses hexadecimal digits in lower case.
pub(super) fn hexadecimal(text: &[u8]) -> Option<u128> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.iter().try_fold(0_u128, |number, &byte| Some(number << 4 | u128::from(digit(byte)?)))
}

/// Writes bytes as hexadecimal digits, two each: in half the instructions of a general encoder, as every request with a trace context
/// needs this.
pub(crate) fn digits(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.as_chunks_mut().0) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_values() {
        let known = |sampled, random| {
            let (trace, span) = (TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736), 0x00f0_67aa_0ba9_02b7);
            Some(TraceContext { trace, span, sampled: Some(sampled), random })
        };
        let check = |value: &str, expected| assert_eq!(parse(value.as_bytes()), expected, "{value}");
        check(VALID, known(true, false));
        for (flags, sampled, random) in
            [("00", false, false), ("02", false, true), ("03", true, true), ("fd", true, false)]
        {
            check(&VALID.replace("-01", &format!("-{flags}")), known(sampled, random));
        }
        // A later version may have more parts.
        check(&VALID.replacen("00", "cc", 1), known(true, false));
        check(&format!("{}-what-comes", VALID.replacen("00", "01", 1)), known(true, false));
        check(&format!("{}-", VALID.replacen("00", "fe", 1)), known(true, false));
        let wrong = [
            String::new(),
            VALID.replacen("00", "ff", 1),
            format!("{VALID}-"),
            format!("{VALID}-x"),
            format!("{}x", VALID.replacen("00", "01", 1)),
            VALID[..54].to_owned(),
            VALID.to_uppercase(),
            VALID.replace('-', "_"),
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            VALID.replace("4bf9", "4bg9"),
            VALID.replace("-01", "-+1"),
            format!(" {VALID}"),
            format!("{VALID} "),
        ];
        for wrong in wrong {
            check(&wrong, None);
        }
        let twice: Fields = [(TRACEPARENT, VALID), (TRACEPARENT, VALID)].into_iter().collect();
        assert_eq!(of_fields(&twice), None);
    }

    #[test]
    fn tracestate_values() {
        let check = |lines: &[&str], expected: Option<&str>| {
            let fields: Fields = lines.iter().map(|line| (TRACESTATE, line)).collect();
            let found = state(&fields).map(|state| String::from_utf8(state.into_owned()).expect("text"));
            assert_eq!(found.as_deref(), expected, "{lines:?}");
        };
        check(&[], None);
        check(&["a=1"], Some("a=1"));
        check(&["a=1, b=2"], Some("a=1, b=2"));
        check(&["a=1", "b=2 ,", "t@v/x=3"], Some("a=1,b=2,t@v/x=3"));
        for wrong in ["", ",", "a", "a=", "=1", "A=1", "a=1,a=2", "a=b=c", "a=\u{e9}", "-a=1", "a b=1"] {
            check(&[wrong], None);
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        check(&[&many(32)], Some(&many(32)));
        check(&[&many(33)], None);
        // The long member is dropped first, and then the last ones.
        let long = format!("long={}", "x".repeat(200));
        let short = |count: usize| (0..count).map(|n| format!("k{n}={}", "x".repeat(96))).collect::<Vec<_>>();
        check(&[&long, &short(4).join(",")], Some(&short(4).join(",")));
        check(&[&short(7).join(",")], Some(&short(5).join(",")));
        check(&[&format!("a={}", "x".repeat(257))], None);
    }

    proptest! {
        #[test]
        fn a_written_traceparent_parses(trace in 1_u128.., span in 1_u64.., sampled: bool, random: bool) {
            let context = TraceContext { trace: TraceId(trace), span, sampled: Some(sampled), random };
            prop_assert_eq!(parse(&write(&context)), Some(context));
        }

        #[test]
        fn any_state_fits_and_parses_again(lines in prop::collection::vec("[a-z0-9=, @\\-]{0,90}", 0..12)) {
            let fields: Fields = lines.iter().map(|line| (TRACESTATE, line)).collect();
            if let Some(state) = state(&fields) {
                let again: Fields = [(TRACESTATE, &state)].into_iter().collect();
                prop_assert!(state.len() <= LONGEST_STATE);
                prop_assert_eq!(super::state(&again), Some(state));
            }
        }
    }
}
