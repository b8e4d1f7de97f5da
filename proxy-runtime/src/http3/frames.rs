//! The frames of a request stream: [`FrameReader`] (RFC 9114 section 7). Pure: it is fed what has arrived.
//!
//! DATA is passed on as it arrives. HEADERS are collected, up to a limit; larger ones are skipped, which QPACK without a dynamic table
//! permits, so that the request can be answered. Frames of unknown types are skipped as well, and their size is limited.

use bytes::{Buf as _, Bytes};

use super::codes::ErrorCode;
use super::integer;

/// Frame types (RFC 9114 section 7.2).
pub(crate) const DATA: u64 = 0x00;
pub(crate) const HEADERS: u64 = 0x01;
pub(crate) const CANCEL_PUSH: u64 = 0x03;
pub(crate) const SETTINGS: u64 = 0x04;
pub(crate) const PUSH_PROMISE: u64 = 0x05;
pub(crate) const GOAWAY: u64 = 0x07;
pub(crate) const MAX_PUSH_ID: u64 = 0x0d;

/// PRIORITY_UPDATE for a request, and for a push (RFC 9218 section 7.2).
pub(crate) const PRIORITY_UPDATE: u64 = 0xf0700;
pub(crate) const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;

/// The most bytes of frame headers and unknown frames on a stream that are not paid for by data.
const MAX_OVERHEAD: u64 = 64 << 10;

/// How many bytes of overhead each byte of data pays for: DATA of a single byte has a header of two.
const PER_BYTE: u64 = 4;

/// Whether a type belongs to HTTP/2 and is reserved (RFC 9114 section 7.2.8).
pub(crate) fn is_reserved(kind: u64) -> bool {
    matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
}

/// Something that a stream has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StreamPart {
    /// An encoded field section; `None` if it is larger than allowed.
    Fields(Option<Vec<u8>>),
    /// A part of the body.
    Data(Bytes),
}

/// Reads the frames of a request stream.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// The beginning of an incomplete frame header.
    header: Vec<u8>,
    /// The frame that is being read, and how many bytes it still has.
    frame: Option<(u64, u64)>,
    /// The part of a field section that has arrived.
    fields: Vec<u8>,
    /// The largest field section, in bytes, and whether the one that is being read is larger.
    limit: usize,
    oversized: bool,
    /// How many field sections the stream had, and how many it may have: the head, and the trailers.
    sections: u8,
    max_sections: u8,
    overhead: u64,
    data: u64,
}

impl FrameReader {
    /// Creates a reader of a stream whose field sections have up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> FrameReader {
        FrameReader {
            header: Vec::new(),
            frame: None,
            fields: Vec::new(),
            limit,
            oversized: false,
            sections: 0,
            max_sections: 2,
            overhead: 0,
            data: 0,
        }
    }

    /// Reads from `bytes`; `None` if more have to arrive.
    ///
    /// # Errors
    /// The connection must end.
    pub(crate) fn read(&mut self, bytes: &mut Bytes) -> Result<Option<StreamPart>, ErrorCode> {
        loop {
            let Some((kind, left)) = self.frame else {
                match self.begin(bytes)? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let left = left - here as u64;
            self.frame = (left > 0).then_some((kind, left));
            match kind {
                DATA if here > 0 => {
                    self.data += here as u64;
                    return Ok(Some(StreamPart::Data(bytes.split_to(here))));
                }
                HEADERS => {
                    if !self.oversized {
                        self.fields.extend_from_slice(&bytes[..here]);
                    }
                    if left == 0 {
                        bytes.advance(here);
                        let fields = std::mem::take(&mut self.fields);
                        return Ok(Some(StreamPart::Fields((!self.oversized).then_some(fields))));
                    }
                }
                DATA => {}
                _ => self.spend(here as u64)?,
            }
            bytes.advance(here);
            if left > 0 {
                return Ok(None);
            }
        }
    }

    /// The rest of the stream is a tunnel, which has no trailers (RFC 9114 section 4.4).
    pub(crate) fn tunnel(&mut self) {
        self.max_sections = 1;
    }

    /// Returns how many bytes of an incomplete field section have arrived.
    pub(crate) fn collected(&self) -> usize {
        self.fields.len()
    }

    /// Called at the end of the stream.
    ///
    /// # Errors
    /// It ends within a frame (RFC 9114 section 7.1).
    pub(crate) fn finish(&self) -> Result<(), ErrorCode> {
        if self.frame.is_some() || !self.header.is_empty() { Err(ErrorCode::Frame) } else { Ok(()) }
    }

    /// Reads a frame's header. `false`: it is incomplete.
    fn begin(&mut self, bytes: &mut Bytes) -> Result<bool, ErrorCode> {
        let known = self.header.len();
        // Both integers have at most eight bytes.
        self.header.extend_from_slice(&bytes[..bytes.len().min(16 - known)]);
        let header = integer::read(&self.header).and_then(|(kind, first)| {
            let (length, second) = integer::read(&self.header[first..])?;
            Some((kind, length, first + second))
        });
        let Some((kind, length, size)) = header else {
            bytes.clear();
            return Ok(false);
        };
        bytes.advance(size - known);
        self.header.clear();
        self.spend(size as u64)?;
        match kind {
            HEADERS if self.sections < self.max_sections => {
                self.sections += 1;
                self.oversized = length > self.limit as u64;
            }
            DATA if self.sections == 1 => {}
            DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID | PRIORITY_UPDATE
            | PRIORITY_UPDATE_PUSH => {
                return Err(ErrorCode::FrameUnexpected);
            }
            kind if is_reserved(kind) => return Err(ErrorCode::FrameUnexpected),
            _ => {}
        }
        self.frame = Some((kind, length));
        Ok(true)
    }

    fn spend(&mut self, bytes: u64) -> Result<(), ErrorCode> {
        self.overhead = self.overhead.saturating_add(bytes);
        let allowed = MAX_OVERHEAD.saturating_add(self.data.saturating_mul(PER_BYTE));
        if self.overhead > allowed { Err(ErrorCode::ExcessiveLoad) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        integer::write(&mut out, kind);
        integer::write(&mut out, payload.len() as u64);
        out.extend_from_slice(payload);
        out
    }

    type Sections = Vec<Option<Vec<u8>>>;

    /// Reads a stream that arrives in pieces of `size`: its field sections, its body, and how it ends.
    fn read(stream: &[u8], size: usize) -> (Sections, Vec<u8>, Result<(), ErrorCode>) {
        let (mut reader, mut sections, mut body) = (FrameReader::new(100), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            let mut piece = Bytes::copy_from_slice(piece);
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(StreamPart::Fields(fields))) => sections.push(fields),
                    Ok(Some(StreamPart::Data(data))) => body.extend_from_slice(&data),
                    Ok(None) => break,
                    Err(error) => return (sections, body, Err(error)),
                }
            }
            assert!(piece.is_empty());
        }
        (sections, body, reader.finish())
    }

    fn check(frames: &[Vec<u8>], sections: &[Option<&[u8]>], body: &[u8], end: Result<(), ErrorCode>) {
        let stream = frames.concat();
        let sections: Vec<_> = sections.iter().map(|section| section.map(<[u8]>::to_vec)).collect();
        for size in [1, 2, 7, usize::MAX] {
            assert_eq!(read(&stream, size), (sections.clone(), body.to_vec(), end), "{stream:x?} by {size}");
        }
    }

    #[test]
    fn messages() {
        let (head, trailers) = (frame(HEADERS, b"head"), frame(HEADERS, b"trailers"));
        check(&[], &[], b"", Ok(()));
        check(std::slice::from_ref(&head), &[Some(b"head")], b"", Ok(()));
        check(&[frame(HEADERS, b"")], &[Some(b"")], b"", Ok(()));
        let body = [frame(DATA, b"a"), frame(DATA, b""), frame(DATA, &[b'b'; 300])].concat();
        let sent = [&b"a"[..], &[b'b'; 300]].concat();
        check(&[head.clone(), body.clone()], &[Some(b"head")], &sent, Ok(()));
        check(&[head.clone(), body, trailers.clone()], &[Some(b"head"), Some(b"trailers")], &sent, Ok(()));
        check(&[head.clone(), trailers.clone()], &[Some(b"head"), Some(b"trailers")], b"", Ok(()));
        // Unknown types, also after the trailers.
        let unknown = frame(0x1f * 5 + 0x21, b"grease");
        check(
            &[unknown.clone(), head, unknown.clone(), trailers, unknown],
            &[Some(b"head"), Some(b"trailers")],
            b"",
            Ok(()),
        );
        // Larger than the limit.
        check(&[frame(HEADERS, &[0; 101]), frame(DATA, b"x")], &[None], b"x", Ok(()));
        check(&[frame(HEADERS, &[0; 100])], &[Some(&[0; 100])], b"", Ok(()));
    }

    #[test]
    fn tunnels() {
        let mut reader = FrameReader::new(100);
        let mut stream = Bytes::from([frame(HEADERS, b"head"), frame(DATA, b"x"), frame(HEADERS, b"no")].concat());
        assert!(matches!(reader.read(&mut stream), Ok(Some(StreamPart::Fields(_)))));
        reader.tunnel();
        assert!(matches!(reader.read(&mut stream), Ok(Some(StreamPart::Data(_)))));
        assert_eq!(reader.read(&mut stream), Err(ErrorCode::FrameUnexpected));
    }

    #[test]
    fn errors() {
        let head = || frame(HEADERS, b"head");
        let unexpected = Err(ErrorCode::FrameUnexpected);
        check(&[frame(DATA, b"x")], &[], b"", unexpected);
        check(&[head(), head(), head()], &[Some(b"head"), Some(b"head")], b"", unexpected);
        check(&[head(), head(), frame(DATA, b"x")], &[Some(b"head"), Some(b"head")], b"", unexpected);
        for kind in [
            CANCEL_PUSH,
            SETTINGS,
            PUSH_PROMISE,
            GOAWAY,
            MAX_PUSH_ID,
            PRIORITY_UPDATE,
            PRIORITY_UPDATE_PUSH,
            0x02,
            0x06,
            0x08,
            0x09,
        ] {
            check(&[head(), frame(kind, b"\x00")], &[Some(b"head")], b"", unexpected);
        }
        check(&[frame(HEADERS, b"head")[..5].to_vec()], &[], b"", Err(ErrorCode::Frame));
        check(&[vec![0x01]], &[], b"", Err(ErrorCode::Frame));
        check(&[head(), frame(DATA, b"xy")[..3].to_vec()], &[Some(b"head")], b"x", Err(ErrorCode::Frame));
        // Floods of frames without data.
        check(&vec![frame(0x21, b""); 32 << 10], &[], b"", Ok(()));
        check(&vec![frame(0x21, b""); (32 << 10) + 1], &[], b"", Err(ErrorCode::ExcessiveLoad));
        check(&[frame(0x21, &[0; 65 << 10])], &[], b"", Err(ErrorCode::ExcessiveLoad));
        let mut drip = vec![head()];
        drip.extend(vec![frame(DATA, b"x"); 100_000]);
        let body = vec![b'x'; 100_000];
        assert_eq!(read(&drip.concat(), usize::MAX), (vec![Some(b"head".to_vec())], body, Ok(())));
    }
}
