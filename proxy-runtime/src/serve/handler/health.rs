//! `health`: whether the proxy takes requests, and the upstreams that it needs have healthy servers.

use bytes::Bytes;
use http::StatusCode;

use crate::content::respond::Answer;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::site::Readiness;
use crate::worker::{StopSignal, Worker};

/// Answers with 200, or with 503 where requests are better sent elsewhere. Cost: a look at each server of the upstreams.
pub(super) fn health(worker: &Worker, health: &Readiness) -> Answer<Body> {
    let (status, text) = if *worker.stop.borrow() != StopSignal::No {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if worker.servers.first_down(&health.upstreams).is_some() {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy\n")
    } else {
        (StatusCode::OK, "ready\n")
    };
    let mut answer = Answer::new(status, Body::Bytes(Bytes::from_static(text.as_bytes())));
    answer.fields.add_known(KnownField::CONTENT_TYPE, b"text/plain; charset=utf-8");
    answer.fields.add_known(KnownField::CACHE_CONTROL, b"no-store");
    answer
}
