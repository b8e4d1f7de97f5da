//! Random input for the parsers of HTTP/3: no panic, limits hold, and the outcome does not depend on how the bytes arrive.

use bytes::Bytes;
use proptest::prelude::*;

use super::codes::ErrorCode;
use super::control::{PeerStreams, UniOutcome, UniReader};
use super::frames::{FrameReader, StreamPart};
use super::head::{self, HeadError, Http3Head};
use super::qpack;

const LIMIT: usize = 300;

/// Bytes that often are frames: small numbers, lengths that fit, and fields of the static table.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..60);
    let framed = (0_u8..0x10, payload()).prop_map(|(kind, payload)| [&[kind, payload.len() as u8], &*payload].concat());
    let section = proptest::collection::vec(0xc0_u8..0xff, 0..20)
        .prop_map(|fields| [&[1, fields.len() as u8 + 2, 0, 0], &*fields].concat());
    let update = payload().prop_map(|payload| [&[0x80, 0x0f, 0x07, 0x00, payload.len() as u8], &*payload].concat());
    let piece = prop_oneof![3 => framed, 2 => section, 1 => update, 1 => payload()];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

type Read = (Vec<Option<Vec<u8>>>, Vec<u8>, Result<(), ErrorCode>);

fn request_stream(stream: &[u8], size: usize) -> Read {
    let (mut reader, mut sections, mut body) = (FrameReader::new(LIMIT), Vec::new(), Vec::new());
    for piece in stream.chunks(size.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match reader.read(&mut piece) {
                Ok(Some(StreamPart::Fields(fields))) => sections.push(fields),
                Ok(Some(StreamPart::Data(data))) => body.extend_from_slice(&data),
                Ok(None) => break,
                Err(error) => return (sections, body, Err(error)),
            }
            assert!(reader.collected() <= LIMIT);
        }
    }
    (sections, body, reader.finish())
}

type Updates = Vec<(u64, Vec<u8>)>;

fn uni_stream(stream: &[u8], size: usize) -> (Result<u32, ErrorCode>, Updates) {
    let (mut peer, mut reader, mut count) = (PeerStreams::default(), UniReader::default(), 0);
    for piece in stream.chunks(size.max(1)) {
        match reader.read(&mut peer, Bytes::copy_from_slice(piece)) {
            Ok(UniOutcome::More(frames)) => count += frames,
            Ok(UniOutcome::Unknown) => break,
            Err(error) => return (Err(error), peer.take_updates()),
        }
    }
    (Ok(count), peer.take_updates())
}

proptest! {
    #[test]
    fn request_streams(stream in streams(), size in 1_usize..40) {
        let whole = request_stream(&stream, usize::MAX);
        prop_assert_eq!(&whole, &request_stream(&stream, size));
        for section in whole.0.iter().flatten() {
            prop_assert!(section.len() <= LIMIT);
        }
    }

    #[test]
    fn unidirectional_streams(kind in 0_u8..5, settings: bool, stream in streams(), size in 1_usize..40) {
        let first: &[u8] = if settings { b"\x04\x00" } else { b"" };
        let stream = [&[kind], first, &stream].concat();
        // Skipped payload counts by the piece, so only errors and updates are the same.
        let (whole, pieces) = (uni_stream(&stream, usize::MAX), uni_stream(&stream, size));
        prop_assert_eq!((whole.0.err(), whole.1), (pieces.0.err(), pieces.1));
    }

    #[test]
    fn field_sections(section in proptest::collection::vec(any::<u8>(), 0..200), plain: bool) {
        let section = if plain { [b"\x00\x00", &*section].concat() } else { section };
        let mut size = 0;
        let decoded = qpack::decode(&section, LIMIT, |name, value| size += name.len() + value.len());
        prop_assert!(size <= LIMIT);
        let malformed = |error: Option<HeadError>| matches!(error, Some(HeadError::Connection(ErrorCode::QpackDecompression)));
        prop_assert_eq!(decoded == Err(qpack::QpackError::Malformed), malformed(Http3Head::read(&section, LIMIT).err()));
        let _ = head::trailers(&section, LIMIT);
    }
}
