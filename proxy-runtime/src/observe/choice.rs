//! Chooses the exchanges that `log access` writes ([`is_written`]): by `when` and `sample`. Pure, apart from the dice.

use crate::context::facts::Facts;
use crate::dice::Dice;
use crate::site::{EVERY, Log, LogCondition};

/// Returns whether an exchange is written. Costs two branches if the log has neither `when` nor `sample`.
pub(super) fn is_written(log: &Log, facts: &Facts<'_>, dice: &Dice) -> bool {
    (log.when.is_empty() || log.when.iter().any(|condition| holds(condition, facts)))
        && (log.sample == EVERY || is_error(facts) || dice.below(EVERY as usize) < log.sample as usize)
}

/// Returns whether an exchange is written whatever the sample.
fn is_error(facts: &Facts<'_>) -> bool {
    facts.status >= 500 || !facts.reason.is_empty()
}

/// Returns whether an exchange meets all parts of a condition.
fn holds(condition: &LogCondition, facts: &Facts<'_>) -> bool {
    let LogCondition { status, reason, at_least, below, route } = condition;
    status.is_none_or(|(first, last)| (first..=last).contains(&facts.status))
        && reason.as_ref().is_none_or(
            |reason| {
                if reason == "any" { !facts.reason.is_empty() } else { reason == facts.reason }
            },
        )
        && at_least.is_none_or(|least| facts.duration >= least)
        && below.is_none_or(|below| facts.duration < below)
        && route.as_ref().is_none_or(|route| route == facts.route)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use super::*;
    use crate::context::settings::Settings;
    use crate::protocol::fields::Fields;
    use crate::site::{LogFormat, LogMembers};

    fn log(when: Vec<LogCondition>, sample: u32) -> Log {
        let format = LogFormat::Json(LogMembers { list: vec![].into(), ecs: false });
        let (outputs, when) = (vec![0].into(), when.into());
        Log { format, outputs, when, sample, timed: false, of_response: false }
    }

    const ANY: LogCondition = LogCondition { status: None, reason: None, at_least: None, below: None, route: None };

    #[test]
    fn conditions() {
        let (fields, settings, dice) = (Fields::new(), Settings::default(), Dice::new(1));
        let facts = |status: u16, reason: &'static str, millis: u64| Facts {
            status,
            reason,
            duration: Duration::from_millis(millis),
            route: "/a/*",
            ..Facts::nothing(&Method::GET, &fields, &settings)
        };
        let check = |when: &[LogCondition], expected: [bool; 4]| {
            let log = log(when.to_vec(), EVERY);
            let found = [(200, "", 10), (503, "", 1000), (404, "no-route", 999), (0, "client-disconnected", 2000)]
                .map(|(status, reason, millis)| is_written(&log, &facts(status, reason, millis), &dice));
            assert_eq!(found, expected, "{when:?}");
        };
        let errors = LogCondition { status: Some((500, 599)), ..ANY };
        let slow = LogCondition { at_least: Some(Duration::from_secs(1)), ..ANY };
        check(&[], [true; 4]);
        check(std::slice::from_ref(&errors), [false, true, false, false]);
        check(&[LogCondition { status: Some((404, 404)), ..ANY }], [false, false, true, false]);
        check(&[LogCondition { reason: Some("any".into()), ..ANY }], [false, false, true, true]);
        check(&[LogCondition { reason: Some("no-route".into()), ..ANY }], [false, false, true, false]);
        check(std::slice::from_ref(&slow), [false, true, false, true]);
        check(&[LogCondition { below: Some(Duration::from_secs(1)), ..ANY }], [true, false, true, false]);
        check(&[LogCondition { route: Some("/a/*".into()), ..ANY }], [true; 4]);
        check(&[LogCondition { route: Some("/b".into()), ..slow.clone() }], [false; 4]);
        check(&[LogCondition { status: Some((200, 299)), ..slow.clone() }, errors], [false, true, false, false]);
    }

    #[test]
    fn samples_contain_all_errors() {
        let (fields, settings, dice) = (Fields::new(), Settings::default(), Dice::new(7));
        let facts = |status: u16, reason: &'static str| Facts {
            status,
            reason,
            ..Facts::nothing(&Method::GET, &fields, &settings)
        };
        let written = |sample: u32, facts: Facts<'_>| {
            let log = log(Vec::new(), sample);
            (0..100_000).filter(|_| is_written(&log, &facts, &dice)).count()
        };
        for (sample, expected) in [(0, 0..1), (10_000, 900..1100), (500_000, 49_000..51_000), (EVERY, 100_000..100_001)]
        {
            let found = written(sample, facts(200, ""));
            assert!(expected.contains(&found), "{sample}: {found}");
            assert_eq!(written(sample, facts(500, "")), 100_000);
            assert_eq!(written(sample, facts(404, "no-route")), 100_000);
        }
    }
}
