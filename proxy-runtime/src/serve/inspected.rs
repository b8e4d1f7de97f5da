//! `block`: inspects a request's head, and the beginning of its body, before they are forwarded. The decisions are
//! [`Inspector`](crate::access::inspect::Inspector)'s.

use http::StatusCode;

use crate::access::inspect::{Inspector, PatternMatches};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::failure::Failure;
use crate::site::Blocks;

/// Looks at a request's head.
///
/// # Errors
/// It is refused.
pub(super) fn head(client: &Client, record: &mut Record, blocks: &'static Blocks) -> Result<(), Failure> {
    let inspector: &Inspector = &client.worker.access.inspectors[blocks.id as usize];
    let mut scratch = client.worker.scratch.take();
    let found = inspector.head(&record.facts(), &mut scratch);
    client.worker.scratch.set(scratch);
    judge(record, blocks, found)
}

/// Looks at the beginning of its body; the body, with what was looked at still in front.
///
/// # Errors
/// It is refused, or its body does not come.
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
