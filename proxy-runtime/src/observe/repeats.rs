//! Decides which notices are held back because there were many like them ([`Repeats`]). Pure: time is given.
//!
//! Notices of one kind come from one place in the code. Within [`WINDOW`], each text is written [`SAME`] times, and [`DIFFERENT`]
//! texts of a kind are; the rest is counted, and reported in one line when the window is over. So the number of places in the code
//! that write notices bounds the size.

use std::collections::BTreeMap;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::site::LogLevel;

/// The notices of each kind within the current window.
#[derive(Default)]
pub(super) struct Repeats {
    kinds: BTreeMap<Kind, RepeatWindow>,
}

/// The place in the code that a notice comes from, and its level.
pub(super) type Kind = (&'static Location<'static>, LogLevel);

/// The notices of a kind since the first of them.
struct RepeatWindow {
    began: Instant,
    /// The different texts, in the order in which they first came.
    texts: Vec<Repeated>,
    /// The last text for which there was no room in `texts`; its `held` counts all of them.
    others: Repeated,
}

#[derive(Default)]
struct Repeated {
    text: String,
    said: u32,
    held: u64,
}

const WINDOW: Duration = Duration::from_secs(10);

/// How often the same text is written within a window.
const SAME: u32 = 3;

/// How many different texts of a kind are written within a window.
const DIFFERENT: usize = 20;

impl Repeats {
    /// Returns whether a notice is to be written; if not, it is counted.
    pub(super) fn admit(&mut self, kind: Kind, text: &str, now: Instant) -> bool {
        let window = self.kinds.entry(kind).or_insert_with(|| RepeatWindow {
            began: now,
            texts: Vec::new(),
            others: Repeated::default(),
        });
        if let Some(known) = window.texts.iter_mut().find(|known| known.text == text) {
            let admitted = known.said < SAME;
            if admitted {
                known.said += 1;
            } else {
                known.held += 1;
            }
            return admitted;
        }
        if window.texts.len() < DIFFERENT {
            window.texts.push(Repeated { text: text.to_owned(), said: 1, held: 0 });
            return true;
        }
        text.clone_into(&mut window.others.text);
        window.others.held += 1;
        false
    }

    /// Returns lines about the notices that were held back, for windows that are over.
    pub(super) fn over(&mut self, now: Instant) -> Vec<(LogLevel, String)> {
        let is_over = |window: &RepeatWindow| now.saturating_duration_since(window.began) >= WINDOW;
        self.take(is_over)
    }

    /// Returns lines about all notices that were held back.
    pub(super) fn all(&mut self) -> Vec<(LogLevel, String)> {
        self.take(|_| true)
    }

    fn take(&mut self, ended: impl Fn(&RepeatWindow) -> bool) -> Vec<(LogLevel, String)> {
        let ended = self.kinds.extract_if(.., |_, window| ended(window));
        let repeated = ended.flat_map(|((_, level), window)| {
            window.texts.into_iter().chain([window.others]).map(move |one| (level, one))
        });
        let line = |one: Repeated| format!("{} ({} more like it within {} s)", one.text, one.held, WINDOW.as_secs());
        repeated.filter(|(_, one)| one.held > 0).map(|(level, one)| (level, line(one))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> (Kind, Kind) {
        ((Location::caller(), LogLevel::Warn), (Location::caller(), LogLevel::Info))
    }

    #[test]
    fn the_same_text_is_held_back() {
        let ((kind, other), now) = (here(), Instant::now());
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let mut repeats = Repeats::default();
        let said: Vec<bool> = (0..9).map(|second| repeats.admit(kind, "a is down", at(second))).collect();
        assert_eq!(said, [true, true, true, false, false, false, false, false, false]);
        // Another text and another place are not affected.
        assert!(repeats.admit(kind, "b is down", at(9)));
        assert!(repeats.admit(other, "a is down", at(9)));
        assert_eq!(repeats.over(at(9)), []);
        assert_eq!(repeats.over(at(10)), [(LogLevel::Warn, "a is down (6 more like it within 10 s)".to_owned())]);
        assert_eq!(repeats.over(at(10)), []);
        assert!(repeats.admit(kind, "a is down", at(10)));
    }

    #[test]
    fn many_texts_are_held_back() {
        let (kind, now) = (here().0, Instant::now());
        let mut repeats = Repeats::default();
        let said = (0..1000).filter(|number| repeats.admit(kind, &format!("{number} is down"), now)).count();
        assert_eq!(said, DIFFERENT);
        assert!(repeats.admit(kind, "0 is down", now));
        assert_eq!(repeats.all(), [(LogLevel::Warn, "999 is down (980 more like it within 10 s)".to_owned())]);
        assert!(repeats.kinds.is_empty());
    }
}
