//! Assembles parts of one version while they are sent: stored parts, and fetched ones between them.
//!
//! It runs in a separate task, writes into the window of a fetch that no other request joins, and ends when its reader does.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use tokio::time::Instant;

use super::{FetchedPart, PartsRequest, ResponsePart, WantedPart};
use crate::body::source::Source as _;
use crate::cache::FetchGuard;
use crate::cache::parts::{Layout, Version};
use crate::client::Client;
use crate::client::record::Record;
use crate::failure::Failure;
use crate::serve::body::Body;
use crate::serve::stop::Stop;

impl PartsRequest {
    /// Returns a body with the requested range, assembled while it is sent.
    pub(super) fn assembled(&self, record: &Record, first: ResponsePart, wanted: Range<u64>, layout: Layout) -> Body {
        let guard = self.query.store.flights.beside(0, &self.query.url);
        let follower = guard.follower().only(0, Some(wanted.end - wanted.start));
        guard.passes_on(None);
        let record = record.unseen();
        let wanted_parts =
            PartsRequest { client: Rc::new(Client::nobody(&self.client.peer)), crowded: true, ..self.clone() };
        tokio::task::spawn_local(async move {
            let _running = wanted_parts.client.worker.running();
            let end = {
                let assembled = pin!(wanted_parts.assemble(&record, first, wanted, layout, &guard));
                wanted_parts.client.timer.run(assembled).await
            };
            guard.ends(end.map_err(|stop| match stop {
                Stop::Failure(failure) => failure,
                Stop::Abort => Failure::UpstreamTruncated,
            }));
        });
        Body::Joined(Box::new(follower))
    }

    /// Assembles the parts of one version, until the reader is gone.
    async fn assemble(
        &self,
        record: &Record,
        first: ResponsePart,
        wanted: Range<u64>,
        layout: Layout,
        guard: &FetchGuard,
    ) -> Result<(), Stop> {
        let version = Version::of(&first.head.fields).ok_or(Failure::Internal)?;
        let (mut at, mut first) = (wanted.start, Some(first));
        while at < wanted.end {
            let came = match first.take().filter(|part| part.range.contains(&at)) {
                Some(part) => FetchedPart::Part(part),
                None => self.next(record, layout.part(at, wanted.end), &version).await?,
            };
            let (mut body, mut from, end) = match came {
                FetchedPart::Part(ResponsePart { range, held, .. }) => {
                    let end = range.end.min(wanted.end);
                    (held.body(at - range.start..end - range.start), at, end)
                }
                FetchedPart::Alone(range, body) => (body, range.start, range.end.min(wanted.end)),
                FetchedPart::Other(answer) if answer.status.is_server_error() => {
                    return Err(Failure::UpstreamTruncated.into());
                }
                FetchedPart::Other(_) | FetchedPart::NotStored(_) => return Err(Failure::UpstreamChanged.into()),
                FetchedPart::Again => return Err(Failure::UpstreamTruncated.into()),
            };
            while from < end {
                let more = poll_fn(|cx| {
                    if !ready!(guard.poll_room(cx)) {
                        return Poll::Ready(Err(Stop::Abort));
                    }
                    body.poll_fill(cx).map_err(Stop::from)
                });
                if !more.await? {
                    return Err(Failure::UpstreamTruncated.into());
                }
                // A part that was fetched for another range may begin earlier; skip that.
                let until = if from < at { at } else { end };
                let most = usize::try_from(until - from).unwrap_or(usize::MAX).min(MOST_AT_ONCE);
                let bytes = body.take_bytes(most);
                from += bytes.len() as u64;
                if from > at {
                    guard.push(bytes);
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Returns the next part of a version.
    async fn next(&self, record: &Record, part: Range<u64>, version: &Version) -> Result<FetchedPart, Stop> {
        for _ in 0..MOST_LOOKS {
            // Each part has its own record and time-outs.
            let mut record = record.unseen();
            match Box::pin(self.part(&mut record, WantedPart::part(part.clone()), Some(version), Instant::now()))
                .await?
            {
                FetchedPart::Again => {}
                came => return Ok(came),
            }
        }
        Ok(FetchedPart::Again)
    }
}

/// The most bytes that are passed on at once.
const MOST_AT_ONCE: usize = 64 << 10;

/// The most attempts for a part whose fetch was abandoned by another request.
const MOST_LOOKS: usize = 3;
