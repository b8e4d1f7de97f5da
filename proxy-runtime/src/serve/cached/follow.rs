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

/// The result of waiting for an in-flight fetch.
pub(super) enum FollowOutcome {
    /// The outcome of the fetch.
    Fetched(Follower, FetchOutcome),
    /// This exchange fetches; with the reason, if there was an in-flight fetch.
    First(FetchGuard, &'static str),
}

/// Waits for the outcome of an in-flight fetch. Whenever a fetch takes longer than `lock`, one of the waiting requests starts another,
/// and the others wait for that: few requests reach a slow server. No request waits longer than its response time-out.
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
            // A response that arrived before this request is subject to the rules for cached responses.
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
