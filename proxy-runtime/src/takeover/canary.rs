//! The canary: whether a new process has too many errors ([`judge`]). Pure.

use crate::handover::CanaryCount;

/// Errors are a verdict only from this number on: one client can cause a few.
pub(super) const FEWEST_ERRORS: u64 = 5;

/// Returns why the new process must not go on, if so.
pub(super) fn judge(count: CanaryCount, max_error_percent: u64) -> Option<String> {
    let CanaryCount { responses, errors } = count;
    let too_many =
        errors >= FEWEST_ERRORS && u128::from(errors) * 100 > u128::from(responses) * u128::from(max_error_percent);
    too_many.then(|| format!("{errors} of {responses} responses were errors, more than {max_error_percent}%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let check = |responses: u64, errors: u64, percent: u64, expected: bool| {
            let reason = judge(CanaryCount { responses, errors }, percent);
            assert_eq!(reason.is_some(), expected, "{errors} of {responses}, {percent}%: {reason:?}");
        };
        check(0, 0, 0, false);
        check(4, 4, 5, false);
        check(5, 5, 5, true);
        check(100, 5, 5, false);
        check(99, 5, 5, true);
        check(1000, 51, 5, true);
        check(1000, 4, 0, false);
        check(1000, 5, 0, true);
        check(5, 5, 100, false);
        check(u64::MAX, u64::MAX, 99, true);
    }
}
