//! `block`: inspects a request's head, and the beginning of its body, before they are forwarded. The decisions are
//! [`Inspector`](crate::access::inspect::Inspector)'s.

use http::StatusCode;

use crate::access::inspect::{Inspector, PatternMatches};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::failure::Failure;
use crate::site::Blocks;

/// Inspects a request's head.
///
/// # Errors
/// The request is refused.
pub(super) fn head(client: &Client, record: &mut Record, blocks: &'static Blocks) -> Result<(), Failure> {
    let inspector: &Inspector = &client.worker.access.inspectors[blocks.id as usize];
    let mut scratch = client.worker.scratch.take();
    let found = inspector.head(&record.facts(), &mut scratch);
    client.worker.scratch.set(scratch);
    judge(record, blocks, found)
}

/// Inspects the beginning of a request's body; returns the body with the inspected bytes still in front.
///
/// # Errors
/// The request is refused, or its body does not arrive.
pub(super) async fn body(
    client: &Client,
    record: &mut Record,
    blocks: &'static Blocks,
    mut body: RequestBody,
) -> Result<RequestBody, Failure> {
    let inspector: &Inspector = &client.worker.access.inspectors[blocks.id as usize];
    body.look(blocks.body).await?;
    let beginning = body.front().len().min(usize::try_from(blocks.body).unwrap_or(usize::MAX));
    let mut scratch = client.worker.scratch.take();
    let found = inspector.body(&body.front()[..beginning], &mut scratch);
    client.worker.scratch.set(scratch);
    judge(record, blocks, found)?;
    Ok(body)
}

fn judge(record: &mut Record, blocks: &'static Blocks, found: PatternMatches) -> Result<(), Failure> {
    let Some(rule) = found.refused.or(found.noted).and_then(|rule| blocks.rules.get(rule)) else { return Ok(()) };
    record.rule = &rule.name;
    match found.refused {
        Some(_) => Err(Failure::Blocked(StatusCode::from_u16(rule.status).unwrap_or(StatusCode::FORBIDDEN))),
        None => Ok(()),
    }
}
