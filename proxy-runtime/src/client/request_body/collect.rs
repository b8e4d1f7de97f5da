//! Buffers a request's body before it is forwarded: to inspect it (`block`), or to send it more than once (`retry`,
//! `mirror`). The buffer counts as the process's memory ([`Charge`]).

use bytes::Bytes;

use super::RequestBody;
use crate::body::front::Front;
use crate::body::source::Source as _;
use crate::failure::Failure;
use crate::http1::Framing;
use crate::net::memory::Charge;

impl RequestBody {
    /// Receives at least the first `limit` bytes, or all, to be inspected before they are forwarded.
    ///
    /// # Errors
    /// The body fails.
    pub(crate) async fn look(&mut self, limit: u64) -> Result<(), Failure> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // Memory is reserved as data arrives, not for the announced length.
        let (mut front, mut charge) = (Vec::new(), self.client.worker.memory.charge());
        while front.len() < limit && std::future::poll_fn(|cx| self.poll_fill(cx)).await? {
            if !self.move_to(&mut front, &mut charge) {
                return Err(Failure::MemoryFull);
            }
        }
        // These bytes were not forwarded yet.
        self.begins_with(Front::of(front, charge));
        Ok(())
    }

    /// Moves the available bytes to `all`; `false` if there is no memory for them.
    fn move_to(&mut self, all: &mut Vec<u8>, charge: &mut Charge) -> bool {
        let mut fits = false;
        self.take(|data| {
            fits = charge.grow(data.len());
            if fits {
                all.extend_from_slice(data);
            }
            if fits { data.len() } else { 0 }
        });
        fits
    }

    /// Receives the complete body, if its announced length is at most `limit` and there is memory for it. If memory runs out, the
    /// received bytes are put in front of the rest.
    ///
    /// # Errors
    /// The body fails.
    pub(crate) async fn collect(&mut self, limit: u64) -> Result<Option<Bytes>, Failure> {
        let length = match self.framing {
            Framing::Empty => 0,
            Framing::Length(length) if length <= limit => length,
            _ => return Ok(None),
        };
        if length == 0 {
            return Ok(Some(Bytes::new()));
        }
        // Memory is reserved as data arrives, not for the announced length.
        let (mut all, mut charge) = (Vec::new(), self.client.worker.memory.charge());
        while std::future::poll_fn(|cx| self.poll_fill(cx)).await? {
            if !self.move_to(&mut all, &mut charge) {
                // Bytes that were inspected before are moved first, and all at once.
                if !all.is_empty() {
                    self.begins_with(Front::of(all, charge));
                }
                return Ok(None);
            }
        }
        Ok(Some(charge.keeps(all)))
    }
}
