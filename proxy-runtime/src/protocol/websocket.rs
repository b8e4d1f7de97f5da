//! Where frames of a WebSocket begin and end (RFC 6455 section 5.2): [`FrameBorders`].

/// A Close frame of a server, with the status 1001 (RFC 6455 sections 5.5.1 and 7.4.1): it goes away, and clients connect again.
pub(crate) const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xE9];

/// The longest head of a frame without its masking key: two bytes, and eight of the length.
const LONGEST_HEAD: usize = 10;

/// Follows the frames in a stream of bytes, which arrives in any pieces. Costs a few instructions for each frame, whatever its length; payloads are
/// skipped. Any bytes are frames: nothing is refused, as the two ends do that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameBorders {
    /// The beginning of the current frame's head, until it is complete.
    head: [u8; LONGEST_HEAD],
    filled: usize,
    /// How many bytes of the current frame follow its head.
    left: u64,
    /// There was a Close frame.
    closed: bool,
}

impl FrameBorders {
    /// Follows these bytes.
    pub(crate) fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            data = &data[self.step(data)..];
        }
    }

    /// Returns how many of the bytes that come next belong to the frame that has begun.
    pub(crate) fn rest_of_frame(mut self, next: &[u8]) -> usize {
        if self.is_between() { 0 } else { self.step(next) }
    }

    /// Returns whether no frame has begun.
    pub(crate) fn is_between(&self) -> bool {
        self.filled == 0 && self.left == 0
    }

    /// Returns whether a Close frame has begun, after which there are no more frames (RFC 6455 section 5.5.1).
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Follows the bytes until the end of a frame; returns how many these are.
    fn step(&mut self, data: &[u8]) -> usize {
        let mut at = 0;
        while at < data.len() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len() - at);
                at += skipped;
                self.left -= skipped as u64;
            } else {
                self.head[self.filled] = data[at];
                at += 1;
                self.filled += 1;
                self.end_head();
            }
            if self.is_between() {
                break;
            }
        }
        at
    }

    /// Reads the head if it is complete.
    fn end_head(&mut self) {
        let [first, second, ..] = self.head;
        let length = &self.head[2..match second & 0x7F {
            126 => 4,
            127 => LONGEST_HEAD,
            _ => 2,
        }];
        if self.filled < 2 + length.len() {
            return;
        }
        let length = match length {
            [] => u64::from(second & 0x7F),
            length => length.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)),
        };
        // Servers do not mask (section 5.1); with the key, the borders are right all the same.
        let key = if second & 0x80 == 0 { 0 } else { 4 };
        self.left = length.saturating_add(key);
        self.filled = 0;
        self.closed |= first & 0x0F == 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a frame with a payload of this length, whose bytes look like heads.
    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = u8::from(masked) << 7;
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..0x1_0000 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0x88; 4].iter().take(if masked { 4 } else { 0 }));
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    #[test]
    fn borders() {
        let frames = [
            (1, 0, false),
            (2, 1, false),
            (9, 125, false),
            (0, 126, true),
            (1, 65_535, false),
            (2, 65_536, true),
            (10, 0, true),
            (8, 2, false),
        ];
        let frames: Vec<_> = frames.iter().map(|&(opcode, length, masked)| frame(opcode, length, masked)).collect();
        let all = frames.concat();
        let ends: Vec<_> = frames
            .iter()
            .scan(0, |end, frame| {
                Some({
                    *end += frame.len();
                    *end
                })
            })
            .collect();
        // In pieces of any size, up to all at once.
        for size in [1, 2, 3, 7, 11, 126, 4096, all.len()] {
            let (mut borders, mut at) = (FrameBorders::default(), 0);
            for piece in all.chunks(size) {
                let end = ends.iter().find(|&&end| end > at).copied().unwrap_or(at);
                let rest = if at == 0 || ends.contains(&at) { 0 } else { end - at };
                assert_eq!(borders.rest_of_frame(&all[at..]), rest, "at {at} in pieces of {size}");
                borders.advance(piece);
                at += piece.len();
                assert_eq!(borders.is_between(), ends.contains(&at), "at {at} in pieces of {size}");
                // The head of the Close frame is complete.
                assert_eq!(borders.has_closed(), at >= all.len() - 2, "at {at} in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_rest_may_not_have_arrived() {
        let check = |seen: &[u8], next: &[u8], expected: usize| {
            let mut borders = FrameBorders::default();
            borders.advance(seen);
            assert_eq!(borders.rest_of_frame(next), expected, "{seen:?} {next:?}");
        };
        check(b"", b"\x81\x01a", 0);
        check(b"\x81", b"", 0);
        check(b"\x81", b"\x01a\x81\x01a", 2);
        check(b"\x81\x03a", b"b", 1);
        check(b"\x81\x03ab", b"c\x81", 1);
        check(b"\x81\x7E", b"\x00\x01a\x81", 3);
        // A length that no stream reaches: there is no border.
        check(b"\x81\xFF", &[0xFF; 100], 100);
        check(&[&[0x81, 0xFF][..], &[0xFF; 100]].concat(), &[0; 1000], 1000);
    }

    #[test]
    fn the_close_frame_is_a_frame() {
        let mut borders = FrameBorders::default();
        borders.advance(GOING_AWAY);
        assert!(borders.is_between() && borders.has_closed());
        assert_eq!(u16::from_be_bytes([GOING_AWAY[2], GOING_AWAY[3]]), 1001);
    }
}
