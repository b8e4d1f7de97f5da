//! Points in time ([`Moment`]), and dates in fields (RFC 9110 section 5.6.7). Pure except for the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// Returns the system time.
    pub(crate) fn now() -> Moment {
        Moment::of(SystemTime::now())
    }

    pub(crate) fn of(time: SystemTime) -> Moment {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the time since `earlier`; zero if that is in the future.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The length of the longest date: `Wednesday, 09-Sep-99 08:49:37 GMT`.
const LONGEST: usize = 33;

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Parses a date in one of the three formats, in any case (RFC 9111 section 4.2), ignoring the day of the week. `None`: it is malformed,
/// which each caller interprets itself.
pub(crate) fn date(value: &[u8]) -> Option<Moment> {
    let (value, mut buffer) = (value.trim_ascii(), [0; LONGEST]);
    let text = buffer.get_mut(..value.len())?;
    let mut within = false;
    for (to, from) in text.iter_mut().zip(value) {
        *to = if within { from.to_ascii_lowercase() } else { from.to_ascii_uppercase() };
        within = from.is_ascii_alphabetic();
    }
    if let Some(zone) = text.last_chunk_mut::<3>() {
        zone.make_ascii_uppercase();
    }
    let text = std::str::from_utf8(text).ok()?;
    httpdate::parse_http_date(text).ok().or_else(|| on_another_day(text)).map(Moment::of)
}

/// Parses a date with a wrong day of the week, by correcting that.
fn on_another_day(text: &str) -> Option<SystemTime> {
    let (said, rest) = text.split_at(text.find([',', ' '])?);
    let is_short = DAYS.iter().any(|day| day[..3] == *said);
    if !is_short && !DAYS.contains(&said) {
        return None;
    }
    DAYS.iter().find_map(|day| {
        let day = if is_short { &day[..3] } else { day };
        httpdate::parse_http_date(&[day, rest].concat()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(date(text.as_bytes()).map(|moment| moment.0 / 1000), expected, "{text}");
        };
        for form in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sUN, 06 nOV 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 Gmt",
            "sun nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT\t",
            // A wrong day of the week is ignored.
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Saturday, 06-Nov-94 08:49:37 GMT",
            "Fri Nov  6 08:49:37 1994",
            "thu Nov  6 08:49:37 1994",
        ] {
            check(form, Some(784_111_777));
        }
        check("Wednesday, 18-Sep-30 02:01:18 GMT", Some(1_915_927_278));
        check("Tue, 19 Jan 2038 14:14:08 GMT", Some(2_147_523_248));
        check("Sun, 21 Nov 2286 04:46:39 GMT", Some(10_000_039_599));
        for none in [
            "",
            "0",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sunda, 06-Nov-94 08:49:37 GMT",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Mon, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            check(none, None);
        }
    }
}
