//! Splits a byte stream into frames (RFC 9113 section 4.1): [`Frames`], from bytes to [`FramePart`]s. Only headers that
//! arrive in two pieces are copied. Pure.

/// Types of frames (RFC 9113 section 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9218 section 7.1.
pub(super) const PRIORITY_UPDATE: u8 = 16;

/// Flags of frames.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;

/// A frame header.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A part of a frame: as much of its payload as is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FramePart<'a> {
    pub(super) head: FrameHead,
    /// Its offset in the payload.
    pub(super) at: usize,
    pub(super) payload: &'a [u8],
    /// Whether it is the first part of its frame.
    pub(super) starts: bool,
}

impl FramePart<'_> {
    /// Returns whether it is the last part of its frame.
    pub(super) fn ends(&self) -> bool {
        self.at + self.payload.len() == self.head.length
    }
}

/// Splits bytes into frames.
pub(super) struct Frames {
    /// How many bytes are left before the first frame.
    preface: usize,
    /// An incomplete frame header.
    partial: [u8; HEAD],
    filled: usize,
    head: FrameHead,
    /// How much of the payload is left.
    left: usize,
}

/// The size of a frame header.
const HEAD: usize = 9;

impl Frames {
    /// Returns a splitter that skips `preface` bytes first.
    pub(super) fn after(preface: usize) -> Frames {
        Frames { preface, partial: [0; HEAD], filled: 0, head: FrameHead::default(), left: 0 }
    }

    /// Returns the next part, and the bytes after it.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<(FramePart<'a>, &'a [u8])> {
        let (_, mut rest) = bytes.split_at(self.preface.min(bytes.len()));
        self.preface -= bytes.len() - rest.len();
        let starts = self.left == 0;
        if starts {
            let (more, after) = rest.split_at(rest.len().min(HEAD - self.filled));
            self.partial[self.filled..self.filled + more.len()].copy_from_slice(more);
            self.filled += more.len();
            if self.filled < HEAD {
                return None;
            }
            let [a, b, c, kind, flags, stream @ ..] = self.partial;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            self.head = FrameHead { length, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) };
            (self.filled, self.left, rest) = (0, length, after);
        } else if rest.is_empty() {
            return None;
        }
        let at = self.head.length - self.left;
        let (payload, rest) = rest.split_at(rest.len().min(self.left));
        self.left -= payload.len();
        Some((FramePart { head: self.head, at, payload, starts }, rest))
    }

    /// Returns whether a frame may begin here.
    pub(super) fn is_between(&self) -> bool {
        self.preface + self.left + self.filled == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reassembles frames from parts of this size.
    fn frames(bytes: &[u8], preface: usize, size: usize) -> (Vec<(FrameHead, Vec<u8>)>, bool) {
        let mut frames = Frames::after(preface);
        let mut found: Vec<(FrameHead, Vec<u8>)> = Vec::new();
        for mut rest in bytes.chunks(size) {
            while let Some((part, after)) = frames.next(rest) {
                if part.starts {
                    found.push((part.head, Vec::new()));
                }
                let payload = &mut found.last_mut().expect("a frame").1;
                assert_eq!(part.at, payload.len());
                payload.extend_from_slice(part.payload);
                assert_eq!(part.ends(), payload.len() == part.head.length);
                rest = after;
            }
        }
        (found, frames.is_between())
    }

    #[test]
    fn parts() {
        let check = |bytes: &[u8], preface: usize, expected: &[(FrameHead, &[u8])], between: bool| {
            for size in [1, 2, 5, 9, 10, 13, 1000] {
                let (found, is_between) = frames(bytes, preface, size);
                let found: Vec<_> = found.iter().map(|(head, payload)| (*head, &payload[..])).collect();
                assert_eq!((&found[..], is_between), (expected, between), "in parts of {size}");
            }
        };
        let head = |length, kind, flags, stream| FrameHead { length, kind, flags, stream };
        check(b"", 0, &[], true);
        check(b"abc", 5, &[], false);
        check(b"\0\0\0\x04\x01\0\0\0\0", 0, &[(head(0, 4, 1, 0), b"")], true);
        check(b"PRI\0\0\x02\x00\x01\x80\0\0\x05hi", 3, &[(head(2, 0, 1, 5), b"hi")], true);
        let two = b"\0\0\x03\x01\x04\0\0\0\x01abc\0\0\0\x09\x04\0\0\0\x01";
        check(two, 0, &[(head(3, 1, 4, 1), b"abc"), (head(0, 9, 4, 1), b"")], true);
        check(&two[..14], 0, &[(head(3, 1, 4, 1), b"abc")], false);
        check(&two[..11], 0, &[(head(3, 1, 4, 1), b"ab")], false);
    }
}
