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
    /// Receives its first `limit` bytes, and what came with them, or all of it, to be looked at before they go on.
    ///
    /// # Errors
    /// As it fails.
    pub(crate) async fn look(&mut self, limit: u64) -> Result<(), Failure> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // It takes memory as it arrives, not as it is announced.
        let (mut front, mut charge) = (Vec::new(), self.client.worker.memory.charge());
        while front.len() < limit && std::future::poll_fn(|cx| self.poll_fill(cx)).await? {
            if !self.move_to(&mut front, &mut charge) {
                return Err(Failure::MemoryFull);
            }
        }
        // Nobody has seen any of it yet but here.
        self.begins_with(Front::of(front, charge));
        Ok(())
    }

    /// Moves what there is to `all`; whether there is memory for it.
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

    /// Receives all of it, if it says that it is no longer than `limit`, and there is memory for it. What was received of one for
    /// which there is none goes on before the rest.
    ///
    /// # Errors
    /// As it fails.
    pub(crate) async fn collect(&mut self, limit: u64) -> Result<Option<Bytes>, Failure> {
        let length = match self.framing {
            Framing::Empty => 0,
            Framing::Length(length) if length <= limit => length,
            _ => return Ok(None),
        };
        if length == 0 {
            return Ok(Some(Bytes::new()));
        }
        // It takes memory as it arrives, not as it is announced.
        let (mut all, mut charge) = (Vec::new(), self.client.worker.memory.charge());
        while std::future::poll_fn(|cx| self.poll_fill(cx)).await? {
            if !self.move_to(&mut all, &mut charge) {
                // What was looked at before is moved first, and all at once.
                if !all.is_empty() {
                    self.begins_with(Front::of(all, charge));
                }
                return Ok(None);
            }
        }
        Ok(Some(charge.keeps(all)))
    }
}
