//! Waits for another request's fetch, and takes over if it is too slow ([`follow`]).

use std::task::Poll;

use tokio::time::Instant;

use super::sought::Sought;
use crate::cache::freshness::Verdict;
use crate::cache::{Fill, Joined, Landed, Reader};
use crate::client::Client;
use crate::failure::Failure;
use crate::net::clock::after;
use crate::protocol::date::Moment;
use crate::site::Route;

/// The result of joining a flight.
pub(super) enum Followed {
    /// The flight has come to this.
    Landed(Reader, Landed),
    /// It is this exchange that fetches; and why, where there was a flight.
    First(Fill, &'static str),
}

/// Waits for what a flight comes to. Each time that one takes longer than `lock`, one of those who wait begins another, and the others
/// wait for that: however slow a server is, few requests reach it. Nobody waits for longer than for a server.
pub(super) async fn follow(
    client: &Client,
    route: &Route,
    sought: &Sought,
    mut joined: Joined,
    began: Instant,
) -> Result<Followed, Failure> {
    let settings = client.worker.settings;
    let (lock, patience) = (sought.policy.lock.get(settings), route.policy.timeouts.response.get(settings));
    let mut why = "";
    loop {
        let mut reader = match joined {
            Joined::Fill(fill) => return Ok(Followed::First(fill, why)),
            Joined::Reader(reader) => reader,
        };
        let (until, patience) = (after(reader.began(), lock), after(began, patience));
        let landed = std::future::poll_fn(|cx| match reader.poll_landed(cx) {
            Poll::Ready(landed) => Poll::Ready(Ok(Some(landed))),
            Poll::Pending if client.timer.over(patience) => Poll::Ready(Err(Failure::ResponseTimeout)),
            Poll::Pending if client.timer.over(until) => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        });
        match landed.await? {
            // What had come before this request did may be used as what is kept may be, and no further.
            Some(Landed::Answer(head, ..) | Landed::Refreshed(head, ..))
                if reader.landed_before(began)
                    && (sought.refreshes
                        || head.life.verdict(&sought.wish, head.is_outdated(), Moment::now()) == Verdict::Ask) => {}
            Some(landed) => return Ok(Followed::Landed(reader, landed)),
            None => why = "lock-timeout",
        }
        joined = sought.store.flights.overtake(&reader.flight());
    }
}
