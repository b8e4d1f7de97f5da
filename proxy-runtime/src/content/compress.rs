//! `compress`: compresses responses for clients that accept it.
//!
//! ```text
//! response ─ of a compressible type, whole, not compressed, not `no-transform` ─→ Vary
//!     └─ the client accepts a coding, and it is long enough ─→ Content-Encoding, a weak tag, no length; the body streams
//! ```
//!
//! Cached responses are compressed once: the encoded variant is cached, too ([`EncodedVariants`]), and has a length.
//!
//! RFC 9110 sections 8.4 and 12.5.3. Data is compressed and sent as it arrives: a response of unknown length is flushed
//! whenever no more data is available, so that the client gets each event at once.

#[cfg_attr(not(feature = "compress"), path = "compress/no_encoder.rs")]
mod encoder;

use std::cell::Cell;
use std::task::{Context, Poll};

use self::encoder::Encoder;
use crate::body::source::Source;
use crate::cache::EncodedVariants;
use crate::failure::Failure;
use crate::protocol::fields::Fields;
use crate::protocol::transformed::{self, OutputBuffer};
use crate::site::{Coding, Site};

/// The most responses that a worker compresses at a time, as each takes up to a few megabytes. Further responses are
/// not compressed.
const AT_ONCE: usize = 256;

/// A body that is compressed while it is sent.
pub(crate) struct CompressedBody<S> {
    body: S,
    /// `None` once all was written.
    encoder: Option<Encoder>,
    out: OutputBuffer,
    /// The cached variant that is being built.
    kept: Option<(EncodedVariants, Coding, Vec<u8>)>,
    flushes: bool,
    unflushed: bool,
    /// The failure of the source; data before it is sent first.
    failed: Option<Failure>,
    _running: CompressionGuard,
}

impl<S> CompressedBody<S> {
    /// Compresses a body of this length, by a coding at its level. The result is cached in `variants`, if there are any.
    ///
    /// # Errors
    /// The maximum number is being compressed, or the coding is unavailable: the uncompressed body.
    pub(crate) fn new(
        all: &'static Compressing,
        body: S,
        length: Option<u64>,
        (coding, level): (Coding, u8),
        variants: Option<EncodedVariants>,
    ) -> Result<CompressedBody<S>, S> {
        let Some(running) = CompressionGuard::start(all) else { return Err(body) };
        let Some(encoder) = Encoder::new(coding, level, length) else { return Err(body) };
        Ok(CompressedBody {
            body,
            encoder: Some(encoder),
            out: OutputBuffer::default(),
            kept: variants.map(|variants| (variants, coding, Vec::new())),
            flushes: length.is_none(),
            unflushed: false,
            failed: None,
            _running: running,
        })
    }

    /// Adds the output from there on to the cached variant, up to its limit.
    fn keep(&mut self, before: usize) {
        let made = &self.out.bytes()[before..];
        match &mut self.kept {
            Some((variants, _, bytes)) if bytes.len() + made.len() <= variants.largest() => {
                bytes.extend_from_slice(made)
            }
            kept => *kept = None,
        }
    }
}

impl<S: Source> Source for CompressedBody<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        loop {
            if self.out.is_ready() {
                return Poll::Ready(Ok(true));
            }
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(Ok(false)) };
            if let Some(failure) = self.failed {
                return Poll::Ready(Err(failure));
            }
            match self.body.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {
                    let (out, mut fine) = (self.out.bytes(), true);
                    let before = out.len();
                    self.body.take(|data| {
                        fine = encoder.encode(data, out);
                        data.len()
                    });
                    self.unflushed = true;
                    if !fine {
                        return Poll::Ready(Err(Failure::Internal));
                    }
                    self.keep(before);
                }
                Poll::Ready(Ok(false)) => {
                    let before = self.out.bytes().len();
                    let fine = self.encoder.take().is_some_and(|encoder| encoder.finish(self.out.bytes()));
                    if !fine {
                        return Poll::Ready(Err(Failure::Internal));
                    }
                    self.keep(before);
                    if let Some((variants, coding, bytes)) = self.kept.take() {
                        variants.keep(coding, bytes);
                    }
                }
                Poll::Ready(Err(failure)) => {
                    self.failed = Some(failure);
                    if self.unflushed && !encoder.flush(self.out.bytes()) {
                        return Poll::Ready(Err(failure));
                    }
                }
                Poll::Pending if self.flushes && self.unflushed => {
                    self.unflushed = false;
                    if !encoder.flush(self.out.bytes()) {
                        return Poll::Ready(Err(Failure::Internal));
                    }
                    if !self.out.is_ready() {
                        return Poll::Pending;
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        self.out.take(to)
    }

    fn rest(&mut self) -> usize {
        // The number of encoders is limited separately.
        self.body.rest() + self.out.bytes().capacity()
    }

    fn trailers(&mut self) -> Option<Fields> {
        transformed::trailers(self.body.trailers())
    }

    fn broken(&self) -> Option<Failure> {
        self.failed.or_else(|| self.body.broken())
    }
}

/// Lets encoders reuse memory, instead of returning it to the system. Called once, before there are any.
///
/// An encoder takes up to some megabytes for a response. glibc returns blocks that large at once, so that the kernel has to clear
/// each of their pages again for the next encoder: half of brotli's time. When a block is freed, glibc adapts its threshold to the
/// block's size, and keeps up to twice that (mallopt(3), `M_MMAP_THRESHOLD`). This block is never touched.
pub(crate) fn keep_memory(site: &Site) {
    const LARGEST: usize = 16 << 20;
    if site.policies().any(|policy| policy.compress.is_some()) {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
    }
}

/// Counts the responses that are being compressed.
#[derive(Default)]
pub(crate) struct Compressing(Cell<usize>);

/// Counts one of them, until it is dropped.
struct CompressionGuard(&'static Compressing);

impl CompressionGuard {
    fn start(all: &'static Compressing) -> Option<CompressionGuard> {
        if all.0.get() >= AT_ONCE {
            return None;
        }
        all.0.set(all.0.get() + 1);
        Some(CompressionGuard(all))
    }
}

impl Drop for CompressionGuard {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
