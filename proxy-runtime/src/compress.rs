//! `compress`: answers are compressed on their way to clients that take that.
//!
//! ```text
//! answer ─ of a type that is worth it, whole, not compressed, not `no-transform` ─→ Vary
//!     └─ the client takes a coding, and it is long enough ─→ Content-Encoding, a weak tag, no length; the body streams
//! ```
//!
//! What a cache keeps is compressed once: that form of it is kept, too ([`Forms`]), and has a length.
//!
//! RFC 9110 sections 8.4 and 12.5.3. What comes in is compressed and sent as it comes: an answer of unknown length is flushed
//! whenever there is nothing more for the moment, so that an event is with the client when it is with the proxy.

#[cfg_attr(not(feature = "compress"), path = "compress/no_encoder.rs")]
mod encoder;

use std::cell::Cell;
use std::task::{Context, Poll};

use http::{Method, StatusCode};

use self::encoder::Encoder;
use crate::body::{Body, Source};
use crate::cache::Forms;
use crate::changed::{self, Made};
use crate::conditions;
use crate::encodings;
use crate::failure::Failure;
use crate::fields::{Fields, has_token};
use crate::handler::Answer;
use crate::observe::Record;
use crate::site::{Coding, Compress, Site};

/// No worker compresses more answers than this at once: each takes up to a few megabytes. Beyond, they go as they are.
const AT_ONCE: usize = 256;

/// Compresses an answer, if it should be and the client takes it.
pub(crate) fn compress(policy: &Compress, record: &Record, answer: Answer<Body>) -> Answer<Body> {
    let Answer { status, mut fields, body } = answer;
    let may_be = may_be(policy, status, &fields);
    let stands_for_one = stands_for_one(policy, status, &fields);
    let not_modified = stands_for_one && status == StatusCode::NOT_MODIFIED;
    if not_modified && chosen(policy, record, None).is_some() && conditions::has_weak_form(&record.fields, &fields) {
        // What the client has was compressed.
        changed::say(&mut fields);
    }
    if (may_be || stands_for_one) && !has_token(&fields, "vary", "accept-encoding") {
        fields.add(b"vary", b"Accept-Encoding");
    }
    if !may_be {
        return Answer { status, fields, body };
    }
    let length = body.length();
    let Some((coding, level)) = chosen(policy, record, length).filter(|_| !matches!(body, Body::Tunnel(_))) else {
        return Answer { status, fields, body };
    };
    let (body, forms) = match body {
        Body::Kept(kept) => (kept.body, Some(kept.forms)),
        body => (body, None),
    };
    let body = match body {
        // The answer to HEAD is that to GET without its body.
        Body::None(_) if record.method == Method::HEAD => Body::None(None),
        Body::None(_) => return Answer { status, fields, body },
        _ if let Some(form) = forms.as_ref().and_then(|forms| forms.get(*coding)) => Body::Bytes(form),
        // Nobody reads it.
        _ if record.method == Method::HEAD => Body::None(None),
        body => {
            let Some(running) = Running::start(&record.worker.compressing) else {
                return Answer { status, fields, body };
            };
            let Some(encoder) = Encoder::new(*coding, *level, length) else { return Answer { status, fields, body } };
            Body::Compressed(Box::new(Compressed {
                body,
                encoder: Some(encoder),
                out: Made::default(),
                kept: forms.map(|forms| (forms, *coding, Vec::new())),
                flushes: length.is_none(),
                unflushed: false,
                failed: None,
                _running: running,
            }))
        }
    };
    fields.set("content-encoding", coding.name().as_bytes());
    changed::say(&mut fields);
    Answer { status, fields, body }
}

/// The coding that suits the client and what is of this length, and its level.
fn chosen<'p>(policy: &'p Compress, record: &Record, length: Option<u64>) -> Option<&'p (Coding, u8)> {
    let short = length.is_some_and(|length| length < policy.min_size.get(record.worker.settings));
    let codings = policy.codings.iter().map(|(coding, _)| coding.name());
    let best = || encodings::best(&record.fields, codings).and_then(|index| policy.codings.get(index));
    if short { None } else { best() }
}

/// Whether a response with status 200, these fields and this length is compressed for the client.
pub(crate) fn is_compressed(policy: &Compress, record: &Record, fields: &Fields, length: Option<u64>) -> bool {
    may_be(policy, StatusCode::OK, fields) && chosen(policy, record, length).is_some()
}

/// Whether an answer may be compressed at all, whoever asks.
fn may_be(policy: &Compress, status: StatusCode, fields: &Fields) -> bool {
    changed::may_be(status, fields)
        && fields.get("content-type").is_some_and(|kind| policy.suits(kind))
        // What was signed or digested is the content as it is coded (RFC 9530 section 2).
        && !fields.contains("content-digest")
}

/// Whether an answer is about one that would be compressed: it says the same of what that depends on (RFC 9110 sections 15.3.7 and
/// 15.4.5).
fn stands_for_one(policy: &Compress, status: StatusCode, fields: &Fields) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        && fields.get("content-type").is_none_or(|kind| policy.suits(kind))
        && !fields.contains("content-encoding")
}

/// An answer that is compressed on its way.
pub(crate) struct Compressed {
    body: Body,
    /// `None` when all is out.
    encoder: Option<Encoder>,
    out: Made,
    /// Where it will be kept, and what there is of it.
    kept: Option<(Forms, Coding, Vec<u8>)>,
    flushes: bool,
    unflushed: bool,
    /// Why there is no more; what was taken before is sent first.
    failed: Option<Failure>,
    _running: Running,
}

impl Compressed {
    /// What was made from there on is kept, as long as it is not too much.
    fn keep(&mut self, before: usize) {
        let made = &self.out.bytes()[before..];
        match &mut self.kept {
            Some((forms, _, bytes)) if bytes.len() + made.len() <= forms.largest() => bytes.extend_from_slice(made),
            kept => *kept = None,
        }
    }
}

impl Source for Compressed {
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
                    if let Some((forms, coding, bytes)) = self.kept.take() {
                        forms.keep(coding, bytes);
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
        // How many encoders there are is bounded by itself.
        self.body.rest() + self.out.bytes().capacity()
    }

    fn trailers(&mut self) -> Option<Fields> {
        changed::trailers(self.body.trailers())
    }

    fn broken(&self) -> Option<Failure> {
        self.failed.or_else(|| self.body.broken())
    }
}

/// Lets what encoders take be used again by the next, instead of going back to the system. Called once, before there are any.
///
/// An encoder takes up to some megabytes for an answer. glibc gives blocks that large back at once, so that the next encoder has
/// the kernel clear each of their pages anew: half of brotli's time. By a block that was given back glibc learns how large blocks
/// are that come and go, and keeps up to twice that (mallopt(3), `M_MMAP_THRESHOLD`). This one is never touched.
pub(crate) fn keep_memory(site: &Site) {
    const LARGEST: usize = 16 << 20;
    if site.policies().any(|policy| policy.compress.is_some()) {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
    }
}

/// Counts answers that are compressed now.
#[derive(Default)]
pub(crate) struct Compressing(Cell<usize>);

/// One of them, until this is dropped.
struct Running(&'static Compressing);

impl Running {
    fn start(all: &'static Compressing) -> Option<Running> {
        if all.0.get() >= AT_ONCE {
            return None;
        }
        all.0.set(all.0.get() + 1);
        Some(Running(all))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
