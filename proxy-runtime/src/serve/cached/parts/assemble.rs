//! Assembles parts of one version while they are sent: stored parts, and fetched ones between them.
//!
//! It runs in a separate task, writes into the window of a flight that no other request joins, and ends when its reader does.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use tokio::time::Instant;

use super::{Asking, Came, Part, Wanted};
use crate::body::source::Source as _;
use crate::cache::Fill;
use crate::cache::parts::{Layout, Version};
use crate::client::Client;
use crate::client::record::Record;
use crate::failure::Failure;
use crate::serve::body::Body;
use crate::serve::stop::Stop;

impl Asking {
    /// What is wanted, put together as it is sent.
    pub(super) fn assembled(&self, record: &Record, first: Part, wanted: Range<u64>, layout: Layout) -> Body {
        let fill = self.sought.store.flights.beside(0, &self.sought.url);
        let reader = fill.reader().only(0, Some(wanted.end - wanted.start));
        fill.passes_on(None);
        let record = record.unseen();
        let asking = Asking { client: Rc::new(Client::nobody(&self.client.peer)), crowded: true, ..self.clone() };
        tokio::task::spawn_local(async move {
            let _running = asking.client.worker.running();
            let end = {
                let assembled = pin!(asking.assemble(&record, first, wanted, layout, &fill));
                asking.client.timer.run(assembled).await
            };
            fill.ends(end.map_err(|stop| match stop {
                Stop::Failure(failure) => failure,
                Stop::Abort => Failure::UpstreamTruncated,
            }));
        });
        Body::Joined(Box::new(reader))
    }

    /// Puts parts of one version together, until nobody reads any more.
    async fn assemble(
        &self,
        record: &Record,
        first: Part,
        wanted: Range<u64>,
        layout: Layout,
        fill: &Fill,
    ) -> Result<(), Stop> {
        let version = Version::of(&first.head.fields).ok_or(Failure::Internal)?;
        let (mut at, mut first) = (wanted.start, Some(first));
        while at < wanted.end {
            let came = match first.take().filter(|part| part.range.contains(&at)) {
                Some(part) => Came::Part(part),
                None => self.next(record, layout.part(at, wanted.end), &version).await?,
            };
            let (mut body, mut from, end) = match came {
                Came::Part(Part { range, held, .. }) => {
                    let end = range.end.min(wanted.end);
                    (held.body(at - range.start..end - range.start), at, end)
                }
                Came::Alone(range, body) => (body, range.start, range.end.min(wanted.end)),
                Came::Other(answer) if answer.status.is_server_error() => return Err(Failure::UpstreamTruncated.into()),
                Came::Other(_) | Came::Unkept(_) => return Err(Failure::UpstreamChanged.into()),
                Came::Again => return Err(Failure::UpstreamTruncated.into()),
            };
            while from < end {
                let more = poll_fn(|cx| {
                    if !ready!(fill.poll_room(cx)) {
                        return Poll::Ready(Err(Stop::Abort));
                    }
                    body.poll_fill(cx).map_err(Stop::from)
                });
                if !more.await? {
                    return Err(Failure::UpstreamTruncated.into());
                }
                // What is before comes with a part that is fetched for more than this.
                let until = if from < at { at } else { end };
                let most = usize::try_from(until - from).unwrap_or(usize::MAX).min(MOST_AT_ONCE);
                let bytes = body.take_bytes(most);
                from += bytes.len() as u64;
                if from > at {
                    fill.push(bytes);
                }
            }
            at = end;
        }
        Ok(())
    }

    /// The next part of a version.
    async fn next(&self, record: &Record, part: Range<u64>, version: &Version) -> Result<Came, Stop> {
        for _ in 0..MOST_LOOKS {
            // Each has its time.
            let mut record = record.unseen();
            match Box::pin(self.part(&mut record, Wanted::part(part.clone()), Some(version), Instant::now())).await? {
                Came::Again => {}
                came => return Ok(came),
            }
        }
        Ok(Came::Again)
    }
}

/// So much is passed on at once, in bytes.
const MOST_AT_ONCE: usize = 64 << 10;

/// So often a part is looked for whose fetch was given up by who made it.
const MOST_LOOKS: usize = 3;
