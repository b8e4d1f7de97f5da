//! Leaf parsers of numbers and sizes within bounds. The bounds also apply to a `(param)`, whose value is given at
//! start. Each bound is a limit of machines or fields, not a recommendation: beyond it the first use would fail.

use std::time::Duration;

use proxy_runtime::context::settings;

use super::{Parsed, duration_or_off, integer, plain, problem, size};
use crate::ast::{Bounds, Setting};
use crate::source::Spanned;
use crate::syntax::Leaf;

/// The largest request head: each connection that reads one has a buffer of this size.
pub const MAX_HEADERS: u64 = 1 << 20;

/// The longest request target: as long as its head.
pub const MAX_URI: u64 = MAX_HEADERS;

/// The longest body that is buffered for one request.
pub const MAX_KEPT_BODY: u64 = 64 << 20;

/// The largest amount of memory: more than any machine has.
pub const MAX_MEMORY: u64 = 1 << 40;

/// The largest value of `TCP_KEEPIDLE` on Linux is 32767 seconds.
const MAX_KEEPALIVE: Duration = Duration::from_secs(9 * 3600);

/// Parses `(param)NAME` or a whole number in a range.
pub fn number(least: u64, most: u64) -> impl Fn(&Leaf) -> Parsed<Setting<u64>> {
    bounded(Bounds { least, most }, integer(least, most))
}

/// Parses `(param)NAME` or a size in a range.
pub fn size_within(least: u64, most: u64) -> impl Fn(&Leaf) -> Parsed<Setting<u64>> {
    bounded(Bounds { least, most }, move |leaf| {
        let found = size(leaf)?;
        let wrong = |what: &str, bound: u64| {
            let bound = settings::size_text(bound);
            Err(problem("out-of-range", format!("this is {what} than {bound}, which is allowed here"))
                .write_text(&bound.to_string()))
        };
        match found {
            _ if found < least => wrong("less", least),
            _ if found > most => wrong("more", most),
            _ => Ok(found),
        }
    })
}

/// Parses the idle time after which the kernel sends keep-alive probes.
pub fn keepalive(leaf: &Leaf) -> Parsed<Duration> {
    match duration_or_off(leaf)? {
        found if found > MAX_KEEPALIVE && found != Duration::MAX => {
            Err(problem("out-of-range", "this is more than 9 hours, which the kernel allows")
                .write_text("9h")
                .write("off"))
        }
        found => Ok(found),
    }
}

fn bounded<T>(bounds: Bounds, parse: impl Fn(&Leaf) -> Parsed<T>) -> impl Fn(&Leaf) -> Parsed<Setting<T>> {
    move |leaf| match &leaf.ty {
        Some(ty) if ty.value == "param" => {
            Ok(Setting::Bounded(Spanned { value: plain(leaf)?, span: leaf.span }, bounds))
        }
        _ => parse(leaf).map(Setting::Fixed),
    }
}
