//! Builds that have crashed while another process had their sockets ([`CrashedBuilds`]).
//!
//! A service manager starts such a process again, as it should after a crash, and `--upgrade` would take the sockets back: the old version would serve
//! again, or a bad one would have a canary after the other. So each is refused once. Whoever starts it a second time wants that.

use std::cell::RefCell;
use std::rc::Rc;

use super::message::{Channel, Message};
use crate::observe::announce_warning;

/// The most builds that are remembered.
const MOST: usize = 16;

/// The builds that the running process refuses once.
#[derive(Default)]
pub(super) struct CrashedBuilds {
    builds: RefCell<Vec<String>>,
    /// The process that this one was replaced by: it has to know what happens from then on.
    successor: RefCell<Option<Rc<Channel>>>,
}

impl CrashedBuilds {
    /// Adds a build, and tells the successor.
    pub(super) async fn add(&self, build: String) {
        let successor = self.successor.borrow().clone();
        if let Some(successor) = successor {
            // If this fails, the successor is gone.
            let _ = successor.send(&Message::Crashed(build), None).await;
            return;
        }
        let mut builds = self.builds.borrow_mut();
        builds.retain(|other| *other != build);
        if builds.len() == MOST {
            builds.remove(0);
        }
        builds.push(build);
    }

    /// Returns whether the build is among them, which it is not any more.
    pub(super) fn take(&self, build: &str) -> bool {
        let mut builds = self.builds.borrow_mut();
        let before = builds.len();
        builds.retain(|other| other != build);
        builds.len() < before
    }

    /// Tells the process that has replaced this one, now and later.
    pub(super) async fn hand_over(&self, successor: Rc<Channel>) {
        self.successor.replace(Some(successor));
        for build in self.builds.take() {
            self.add(build).await;
        }
    }

    /// Follows a process that was replaced, until it has ended.
    pub(super) async fn follow(&self, old: Channel, build: String) {
        loop {
            match old.receive().await {
                Ok((Message::Crashed(other), _)) => self.replaced(other).await,
                Ok((Message::Ended, _)) => return,
                Ok(_) | Err(_) => return self.replaced(build).await,
            }
        }
    }

    /// A process that was replaced has crashed.
    async fn replaced(&self, build: String) {
        announce_warning(
            "takeover: a process that was replaced has crashed: if it is started again, this process refuses it once",
        );
        self.add(build).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    fn pair() -> (Channel, Channel) {
        UnixStream::pair().map(|(old, new)| (Channel(old), Channel(new))).expect("a pair")
    }

    #[tokio::test]
    async fn each_is_refused_once() {
        let crashed = CrashedBuilds::default();
        for build in ["first", "second", "first"] {
            crashed.add(build.to_owned()).await;
        }
        for (build, expected) in [("first", true), ("first", false), ("other", false), ("second", true)] {
            assert_eq!(crashed.take(build), expected, "{build}");
        }
        for number in 0..=MOST {
            crashed.add(number.to_string()).await;
        }
        assert!(!crashed.take("0") && crashed.take("1") && crashed.take(&MOST.to_string()));
    }

    #[tokio::test]
    async fn a_process_that_ends_has_not_crashed() {
        let check = async |said: &[Message], expected: &[&str]| {
            let (old, new) = pair();
            for message in said {
                old.send(message, None).await.expect("sent");
            }
            drop(old);
            let crashed = CrashedBuilds::default();
            crashed.follow(new, "old".to_owned()).await;
            assert_eq!(crashed.builds.take(), expected, "{said:?}");
        };
        check(&[Message::Ended], &[]).await;
        check(&[], &["old"]).await;
        check(&[Message::Crashed("older".to_owned()), Message::Ended], &["older"]).await;
        check(&[Message::Crashed("older".to_owned())], &["older", "old"]).await;
        check(&[Message::Paused], &["old"]).await;
    }

    #[tokio::test]
    async fn a_successor_is_told() {
        let (own, successor) = pair();
        let crashed = CrashedBuilds::default();
        crashed.add("before".to_owned()).await;
        crashed.hand_over(Rc::new(own)).await;
        crashed.add("after".to_owned()).await;
        for expected in ["before", "after"] {
            assert_eq!(successor.expect().await.expect("told").0, Message::Crashed(expected.to_owned()));
        }
        assert!(!crashed.take("before") && !crashed.take("after"));
    }
}
