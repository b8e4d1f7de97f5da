//! The three codings behind one interface: [`Encoder`]. Each writes into its own memory, from which finished data is taken.

use std::io::Write as _;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::site::Coding;

/// A running encoder.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

/// The window size of brotli, as a power of two: 256 KiB, because dynamic responses are small or slow, and each has such a
/// window.
const BROTLI_WINDOW: i32 = 18;

/// The window size of zstd, as a power of two: 1 MiB. Browsers accept no more than 8 MiB (RFC 9659).
const ZSTD_WINDOW: u32 = 20;

/// The input buffer of brotli, in bytes.
const BUFFER: usize = 16 << 10;

impl Encoder {
    /// `None` if there is no memory for it.
    pub(super) fn new(coding: Coding, level: u8, length: Option<u64>) -> Option<Encoder> {
        Some(match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(u32::from(level)))),
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: i32::from(level),
                    lgwin: BROTLI_WINDOW,
                    size_hint: length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0),
                    ..BrotliEncoderParams::default()
                };
                Encoder::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), BUFFER, &params)))
            }
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), i32::from(level)).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                if let Some(length) = length {
                    encoder.set_pledged_src_size(Some(length)).ok()?;
                }
                Encoder::Zstd(encoder)
            }
        })
    }

    /// Encodes data; available output is appended to `out`. `false`: it has failed.
    pub(super) fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        let done = match self {
            Encoder::Gzip(encoder) => encoder.write_all(data),
            Encoder::Brotli(encoder) => encoder.write_all(data),
            Encoder::Zstd(encoder) => encoder.write_all(data),
        };
        out.append(self.written());
        done.is_ok()
    }

    /// Flushes all data encoded so far.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> bool {
        let done = match self {
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Brotli(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        };
        out.append(self.written());
        done.is_ok()
    }

    /// Finishes the stream.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> bool {
        let rest = match self {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        rest.map(|mut rest| out.append(&mut rest)).is_ok()
    }

    fn written(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(coding: Coding, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(data).read_to_end(&mut out).map(drop),
            Coding::Brotli => brotli::Decompressor::new(data, 4096).read_to_end(&mut out).map(drop),
            Coding::Zstd => zstd::stream::copy_decode(data, &mut out),
        }
        .expect("what was encoded");
        out
    }

    /// Decoding returns the input, however it was split, and flushed data can be decoded at once.
    #[test]
    fn round_trips() {
        let data: Vec<u8> = (0..200_000_u32).flat_map(|number| (number % 1000).to_string().into_bytes()).collect();
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            for size in [1_usize, 1000, 100_000] {
                let data = &data[..data.len().min(size * 1000)];
                let mut encoder = Encoder::new(coding, 3, (size == 1000).then_some(data.len() as u64)).expect("one");
                let mut out = Vec::new();
                for (index, chunk) in data.chunks(size).enumerate() {
                    assert!(encoder.encode(chunk, &mut out));
                    if index % 100 == 0 {
                        let before = out.len();
                        assert!(encoder.flush(&mut out) && out.len() > before, "{coding:?} {size}");
                    }
                }
                assert!(encoder.finish(&mut out));
                assert!(decoded(coding, &out) == data, "{coding:?} {size}");
            }
        }
    }
}
