//! The unidirectional streams of a connection (RFC 9114 section 6.2): what the peer's have ([`PeerStreams`], [`UniReader`]), and what
//! the proxy sends on its own ([`opening`], [`goaway`]). Pure.

use bytes::{Buf as _, Bytes};

use super::codes::ErrorCode;
use super::frames::{
    CANCEL_PUSH, DATA, GOAWAY, HEADERS, MAX_PUSH_ID, PRIORITY_UPDATE, PRIORITY_UPDATE_PUSH, PUSH_PROMISE, SETTINGS,
    is_reserved,
};
use super::integer;

/// Stream types.
const CONTROL: u64 = 0x00;
const PUSH: u64 = 0x01;
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;

/// `SETTINGS_MAX_FIELD_SECTION_SIZE` (RFC 9114 section 7.2.4.1).
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;

/// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 9220 section 5): WebSocket is supported.
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;

/// The largest frame whose payload is read.
const MAX_PAYLOAD: u64 = 4096;

/// How many bytes of skipped payload count as a frame.
const PAYLOAD_PER_FRAME: usize = 64;

/// Returns the beginning of the proxy's control stream: its type, and SETTINGS. The capacity of the dynamic table is 0, the default.
pub(crate) fn opening(max_section: u64) -> Vec<u8> {
    let (mut out, mut settings) = (Vec::new(), Vec::new());
    for (setting, value) in [(MAX_FIELD_SECTION_SIZE, max_section), (ENABLE_CONNECT_PROTOCOL, 1)] {
        integer::write(&mut settings, setting);
        integer::write(&mut settings, value);
    }
    integer::write(&mut out, CONTROL);
    write_frame(&mut out, SETTINGS, &settings);
    out
}

/// Returns a GOAWAY frame: requests from stream `id` on are not processed (RFC 9114 section 5.2).
pub(crate) fn goaway(id: u64) -> Vec<u8> {
    let (mut out, mut payload) = (Vec::new(), Vec::new());
    integer::write(&mut payload, id);
    write_frame(&mut out, GOAWAY, &payload);
    out
}

fn write_frame(out: &mut Vec<u8>, kind: u64, payload: &[u8]) {
    integer::write(out, kind);
    integer::write(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// What is known of all of the peer's unidirectional streams.
#[derive(Debug, Default)]
pub(crate) struct PeerStreams {
    /// Whether the streams exist of which there is one: control, encoder, decoder.
    opened: [bool; 3],
    has_settings: bool,
    max_push_id: Option<u64>,
    goaway: Option<u64>,
    /// Updates of priorities that were not taken yet: the stream, and the value.
    updates: Vec<(u64, Vec<u8>)>,
}

impl PeerStreams {
    /// Takes the updates of priorities (RFC 9218 section 7.2).
    pub(crate) fn take_updates(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.updates)
    }
}

/// What follows a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UniOutcome {
    /// More has to arrive. The number is how many frames or instructions were read, for the allowance of the peer.
    More(u32),
    /// The stream has an unknown type, and is not read.
    Unknown,
}

/// Reads a unidirectional stream of the peer.
#[derive(Debug, Default)]
pub(crate) struct UniReader {
    kind: Option<u64>,
    /// An incomplete integer, frame header or instruction, or the payload of a frame.
    rest: Vec<u8>,
    /// The frame that is being read: its type, and how many bytes it still has.
    frame: Option<(u64, u64)>,
}

impl UniReader {
    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// The connection must end.
    pub(crate) fn read(&mut self, peer: &mut PeerStreams, mut bytes: Bytes) -> Result<UniOutcome, ErrorCode> {
        let kind = match self.kind {
            Some(kind) => kind,
            None => {
                let Some(kind) = self.integer(&mut bytes) else { return Ok(UniOutcome::More(0)) };
                self.kind = Some(kind);
                let critical = match kind {
                    CONTROL => 0,
                    QPACK_ENCODER => 1,
                    QPACK_DECODER => 2,
                    // RFC 9114 section 6.2.2: only a server may push.
                    PUSH => return Err(ErrorCode::StreamCreation),
                    _ => return Ok(UniOutcome::Unknown),
                };
                if std::mem::replace(&mut peer.opened[critical], true) {
                    return Err(ErrorCode::StreamCreation);
                }
                kind
            }
        };
        match kind {
            CONTROL => self.control(peer, bytes).map(UniOutcome::More),
            QPACK_ENCODER => encoder(&bytes).map(UniOutcome::More),
            QPACK_DECODER => self.decoder(&bytes).map(UniOutcome::More),
            _ => Ok(UniOutcome::Unknown),
        }
    }

    /// Called at the end of the stream, or when it is reset.
    ///
    /// # Errors
    /// The connection needs the stream (RFC 9114 section 6.2.1, RFC 9204 section 4.2).
    pub(crate) fn finish(&self) -> Result<(), ErrorCode> {
        let critical = matches!(self.kind, Some(CONTROL | QPACK_ENCODER | QPACK_DECODER));
        if critical { Err(ErrorCode::ClosedCriticalStream) } else { Ok(()) }
    }

    /// Reads an integer, which may arrive in parts.
    fn integer(&mut self, bytes: &mut Bytes) -> Option<u64> {
        let known = self.rest.len();
        self.rest.extend_from_slice(&bytes[..bytes.len().min(8 - known)]);
        let Some((value, size)) = integer::read(&self.rest) else {
            bytes.clear();
            return None;
        };
        bytes.advance(size - known);
        self.rest.clear();
        Some(value)
    }

    fn control(&mut self, peer: &mut PeerStreams, mut bytes: Bytes) -> Result<u32, ErrorCode> {
        let mut frames = 0;
        loop {
            let Some((kind, left)) = self.frame else {
                let known = self.rest.len();
                self.rest.extend_from_slice(&bytes[..bytes.len().min(16 - known)]);
                let header = integer::read(&self.rest).and_then(|(kind, first)| {
                    let (length, second) = integer::read(&self.rest[first..])?;
                    Some((kind, length, first + second))
                });
                let Some((kind, length, size)) = header else { return Ok(frames) };
                bytes.advance(size - known);
                self.rest.clear();
                frames += 1;
                self.begin(peer, kind, length)?;
                continue;
            };
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            if is_known(kind) {
                self.rest.extend_from_slice(&bytes[..here]);
            } else {
                frames += (here / PAYLOAD_PER_FRAME) as u32;
            }
            bytes.advance(here);
            let left = left - here as u64;
            self.frame = (left > 0).then_some((kind, left));
            if left > 0 {
                return Ok(frames);
            }
            self.payload(peer, kind)?;
            self.rest.clear();
        }
    }

    /// Checks whether a frame may begin here.
    fn begin(&mut self, peer: &mut PeerStreams, kind: u64, length: u64) -> Result<(), ErrorCode> {
        if !peer.has_settings && kind != SETTINGS {
            return Err(ErrorCode::MissingSettings);
        }
        match kind {
            SETTINGS if std::mem::replace(&mut peer.has_settings, true) => return Err(ErrorCode::FrameUnexpected),
            DATA | HEADERS | PUSH_PROMISE => return Err(ErrorCode::FrameUnexpected),
            kind if is_reserved(kind) => return Err(ErrorCode::FrameUnexpected),
            CANCEL_PUSH | GOAWAY | MAX_PUSH_ID if length > 8 => return Err(ErrorCode::Frame),
            _ if is_known(kind) && length > MAX_PAYLOAD => return Err(ErrorCode::ExcessiveLoad),
            _ => {}
        }
        self.frame = Some((kind, length));
        Ok(())
    }

    /// Reads the payload of a frame.
    fn payload(&self, peer: &mut PeerStreams, kind: u64) -> Result<(), ErrorCode> {
        match kind {
            SETTINGS => settings(&self.rest),
            // Nothing is pushed, so there is nothing to cancel (RFC 9114 section 7.2.3).
            CANCEL_PUSH => single(&self.rest).and(Err(ErrorCode::Id)),
            GOAWAY => {
                let id = single(&self.rest)?;
                // Section 5.2: it may not grow.
                if peer.goaway.replace(id).is_some_and(|before| id > before) { Err(ErrorCode::Id) } else { Ok(()) }
            }
            MAX_PUSH_ID => {
                let id = single(&self.rest)?;
                // Section 7.2.7: it may not shrink.
                if peer.max_push_id.replace(id).is_some_and(|before| id < before) { Err(ErrorCode::Id) } else { Ok(()) }
            }
            PRIORITY_UPDATE => {
                let (stream, size) = integer::read(&self.rest).ok_or(ErrorCode::Frame)?;
                // RFC 9218 section 7.2: it is the id of a request.
                if stream % 4 != 0 {
                    return Err(ErrorCode::Id);
                }
                peer.updates.push((stream, self.rest[size..].to_vec()));
                Ok(())
            }
            // Nothing is pushed.
            PRIORITY_UPDATE_PUSH => Err(ErrorCode::Id),
            _ => Ok(()),
        }
    }

    /// Reads instructions of the peer's decoder (RFC 9204 section 4.4). As no field section refers to the dynamic table, it can only cancel
    /// streams.
    fn decoder(&mut self, bytes: &[u8]) -> Result<u32, ErrorCode> {
        let mut instructions = 0;
        for &byte in bytes {
            // The first byte has the kind; the others continue its integer while the highest bit is set.
            let ends = match self.rest.len() {
                0 if byte & 0xc0 != 0x40 => return Err(ErrorCode::QpackDecoderStream),
                0 => byte & 0x3f != 0x3f,
                // An integer of more than 62 bits.
                10.. => return Err(ErrorCode::QpackDecoderStream),
                _ => byte & 0x80 == 0,
            };
            self.rest.push(byte);
            if ends {
                self.rest.clear();
                instructions += 1;
            }
        }
        Ok(instructions)
    }
}

/// Reads instructions of the peer's encoder (RFC 9204 section 4.3): it can only set the capacity to 0, the maximum.
fn encoder(bytes: &[u8]) -> Result<u32, ErrorCode> {
    const SET_CAPACITY_0: u8 = 0x20;
    let valid = bytes.iter().all(|byte| *byte == SET_CAPACITY_0);
    if valid { Ok(bytes.len() as u32) } else { Err(ErrorCode::QpackEncoderStream) }
}

/// Whether the payload of a frame is read.
fn is_known(kind: u64) -> bool {
    matches!(kind, SETTINGS | CANCEL_PUSH | GOAWAY | MAX_PUSH_ID | PRIORITY_UPDATE | PRIORITY_UPDATE_PUSH)
}

/// Parses a payload that is an integer.
fn single(payload: &[u8]) -> Result<u64, ErrorCode> {
    match integer::read(payload) {
        Some((value, size)) if size == payload.len() => Ok(value),
        _ => Err(ErrorCode::Frame),
    }
}

/// Checks the payload of SETTINGS (RFC 9114 section 7.2.4). None of its values is needed: the proxy pushes nothing, and encodes without the
/// dynamic table.
fn settings(mut payload: &[u8]) -> Result<(), ErrorCode> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (id, size) = integer::read(payload).ok_or(ErrorCode::Frame)?;
        let (_, second) = integer::read(&payload[size..]).ok_or(ErrorCode::Frame)?;
        payload = &payload[size + second..];
        // Settings of HTTP/2, which are reserved (section 7.2.4.1).
        if matches!(id, 0x02..=0x05) || seen.contains(&id) {
            return Err(ErrorCode::Settings);
        }
        if seen.len() == MAX_SETTINGS {
            return Err(ErrorCode::ExcessiveLoad);
        }
        seen.push(id);
    }
    Ok(())
}

/// The most settings of a peer.
const MAX_SETTINGS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads streams one after another, in pieces of `size`.
    fn read(streams: &[&[u8]], size: usize) -> Result<Vec<UniOutcome>, ErrorCode> {
        let mut peer = PeerStreams::default();
        let mut outcomes = Vec::new();
        for stream in streams {
            let (mut reader, mut count) = (UniReader::default(), 0);
            for piece in stream.chunks(size) {
                match reader.read(&mut peer, Bytes::copy_from_slice(piece))? {
                    UniOutcome::More(frames) => count += frames,
                    UniOutcome::Unknown => {
                        outcomes.push(UniOutcome::Unknown);
                        break;
                    }
                }
            }
            outcomes.push(UniOutcome::More(count));
        }
        Ok(outcomes)
    }

    fn check(streams: &[&[u8]], expected: Result<u32, ErrorCode>) {
        for size in [1, 3, usize::MAX] {
            let found = read(streams, size).map(|outcomes| match outcomes.last() {
                Some(UniOutcome::More(count)) => *count,
                _ => 0,
            });
            assert_eq!(found, expected, "{streams:x?} by {size}");
        }
    }

    const SET: &[u8] = b"\x00\x04\x00";

    fn after_settings(frames: &[u8]) -> Vec<u8> {
        [SET, frames].concat()
    }

    #[test]
    fn control_streams() {
        check(&[&opening(16 << 10)], Ok(1));
        check(&[&after_settings(&goaway(400))], Ok(2));
        // All streams, and unknown frames and settings.
        check(&[SET, b"\x02\x20", b"\x03\x40\x7f\x00\x7f\x80\x01"], Ok(3));
        check(&[b"\x00\x04\x05\x06\x40\x64\x21\x05"], Ok(1));
        check(&[&after_settings(b"\x21\x03xyz\x0d\x01\x05\x0d\x01\x05\x07\x01\x09\x07\x01\x09")], Ok(6));
        assert_eq!(read(&[b"\x21anything"], 4), Ok(vec![UniOutcome::Unknown, UniOutcome::More(0)]));
    }

    #[test]
    fn updates_of_priorities() {
        let update = |kind: &[u8], payload: &[u8]| after_settings(&[kind, &[payload.len() as u8], payload].concat());
        let mut peer = PeerStreams::default();
        let stream = update(b"\x80\x0f\x07\x00", b"\x04u=1");
        let read = UniReader::default().read(&mut peer, [b"\x00", &stream[1..]].concat().into());
        assert_eq!((read, peer.take_updates()), (Ok(UniOutcome::More(2)), vec![(4, b"u=1".to_vec())]));
        check(&[&update(b"\x80\x0f\x07\x00", b"\x02u=1")], Err(ErrorCode::Id));
        check(&[&update(b"\x80\x0f\x07\x00", b"")], Err(ErrorCode::Frame));
        check(&[&update(b"\x80\x0f\x07\x01", b"\x00u=1")], Err(ErrorCode::Id));
    }

    #[test]
    fn errors() {
        check(&[b"\x01\x00"], Err(ErrorCode::StreamCreation));
        for twice in [SET, b"\x02", b"\x03"] {
            check(&[twice, twice], Err(ErrorCode::StreamCreation));
        }
        check(&[b"\x00\x0d\x01\x05"], Err(ErrorCode::MissingSettings));
        check(&[b"\x00\x21\x00"], Err(ErrorCode::MissingSettings));
        check(&[&after_settings(b"\x04\x00")], Err(ErrorCode::FrameUnexpected));
        for kind in [0x00, 0x01, 0x05, 0x02, 0x06, 0x08, 0x09] {
            check(&[&after_settings(&[kind, 0])], Err(ErrorCode::FrameUnexpected));
        }
        check(&[b"\x00\x04\x02\x02\x00"], Err(ErrorCode::Settings));
        check(&[b"\x00\x04\x04\x06\x01\x06\x01"], Err(ErrorCode::Settings));
        check(&[b"\x00\x04\x01\x06"], Err(ErrorCode::Frame));
        check(&[b"\x00\x04\x50\x01"], Err(ErrorCode::ExcessiveLoad));
        check(&[&after_settings(b"\x03\x01\x00")], Err(ErrorCode::Id));
        check(&[&after_settings(b"\x03\x00")], Err(ErrorCode::Frame));
        check(&[&after_settings(b"\x07\x02\x00\x00")], Err(ErrorCode::Frame));
        check(&[&after_settings(b"\x07\x09")], Err(ErrorCode::Frame));
        check(&[&after_settings(b"\x07\x01\x04\x07\x01\x05")], Err(ErrorCode::Id));
        check(&[&after_settings(b"\x0d\x01\x04\x0d\x01\x03")], Err(ErrorCode::Id));
        check(&[b"\x02\x3f\xe1\x1f"], Err(ErrorCode::QpackEncoderStream));
        check(&[b"\x02\xc0\x00"], Err(ErrorCode::QpackEncoderStream));
        check(&[b"\x03\x80"], Err(ErrorCode::QpackDecoderStream));
        check(&[b"\x03\x01"], Err(ErrorCode::QpackDecoderStream));
        check(&[&[&b"\x03\x7f"[..], &[0xff; 10]].concat()], Err(ErrorCode::QpackDecoderStream));
    }

    #[test]
    fn ends() {
        let check = |stream: &[u8], expected: Result<(), ErrorCode>| {
            let (mut reader, mut peer) = (UniReader::default(), PeerStreams::default());
            reader.read(&mut peer, Bytes::copy_from_slice(stream)).expect("a stream");
            assert_eq!(reader.finish(), expected, "{stream:x?}");
        };
        check(b"", Ok(()));
        check(b"\x21", Ok(()));
        for critical in [SET, b"\x02", b"\x03"] {
            check(critical, Err(ErrorCode::ClosedCriticalStream));
        }
    }
}
