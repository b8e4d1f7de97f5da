//! Waits for another request's fetch, and takes over if it is too slow ([`follow`]).

use std::task::Poll;

use tokio::time::Instant;

use super::query::CacheQuery;
use crate::cache::freshness::ReuseDecision;
use crate::cache::{FetchGuard, FetchOutcome, FlightRole, Follower};
use crate::client::Client;
use crate::failure::Failure;
use crate::net::clock::after;
use crate::protocol::date::Moment;
use crate::site::Route;

/// The result of joining a flight.
pub(super) enum FollowOutcome {
    /// The flight has come to this.
    Fetched(Follower, FetchOutcome),
    /// It is this exchange that fetches; and why, where there was a flight.
    First(FetchGuard, &'static str),
}

/// Waits for what a flight comes to. Each time that one takes longer than `lock`, one of those who wait begins another, and the others
/// wait for that: however slow a server is, few requests reach it. Nobody waits for longer than for a server.
pub(super) async fn follow(
    client: &Client,
    route: &Route,
    query: &CacheQuery,
    mut joined: FlightRole,
    began: Instant,
) -> Result<FollowOutcome, Failure> {
    let settings = client.worker.settings;
    let (lock, patience) = (query.policy.lock.get(settings), route.policy.timeouts.response.get(settings));
    let mut why = "";
    loop {
        let mut follower = match joined {
            FlightRole::Fetch(guard) => return Ok(FollowOutcome::First(guard, why)),
            FlightRole::Follow(follower) => follower,
        };
        let (until, patience) = (after(follower.began(), lock), after(began, patience));
        let landed = std::future::poll_fn(|cx| match follower.poll_landed(cx) {
            Poll::Ready(landed) => Poll::Ready(Ok(Some(landed))),
            Poll::Pending if client.timer.over(patience) => Poll::Ready(Err(Failure::ResponseTimeout)),
            Poll::Pending if client.timer.over(until) => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        });
        match landed.await? {
            // What had come before this request did may be used as what is kept may be, and no further.
            Some(FetchOutcome::Answer(head, ..) | FetchOutcome::Refreshed(head, ..))
                if follower.landed_before(began)
                    && (query.refreshes
                        || head.freshness.verdict(&query.directives, head.is_outdated(), Moment::now())
                            == ReuseDecision::Ask) => {}
            Some(landed) => return Ok(FollowOutcome::Fetched(follower, landed)),
            None => why = "lock-timeout",
        }
        joined = query.store.flights.overtake(&follower.flight());
    }
}
