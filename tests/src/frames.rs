//! HTTP/2 as raw frames (RFC 9113 section 4.1): for clients and servers that violate the protocol.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::proxy::PATIENCE;

/// Frame types.
pub const DATA: u8 = 0;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const HEADERS: u8 = 1;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const PRIORITY: u8 = 2;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const RST_STREAM: u8 = 3;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const SETTINGS: u8 = 4;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const PUSH_PROMISE: u8 = 5;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const PING: u8 = 6;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const GOAWAY: u8 = 7;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const WINDOW_UPDATE: u8 = 8;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const CONTINUATION: u8 = 9;

/// Frame flags; `END_STREAM` and `ACK` have the same bit.
pub const END_STREAM: u8 = 1;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const ACK: u8 = 1;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const END_HEADERS: u8 = 4;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const PADDED: u8 = 8;
#[allow(missing_docs, reason = "named as in the RFC")]
pub const WITH_PRIORITY: u8 = 0x20;

/// A frame.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the RFC")]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection.
pub struct Frames(TcpStream);

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// Connects, and sends the preface.
    pub fn to(address: &str) -> Frames {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(PREFACE).expect("sent");
        let mut frames = Frames(stream);
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    /// Accepts a client's connection, and sends these settings. `None` if the client has disconnected.
    pub fn from(stream: TcpStream, settings: &[(u16, u32)]) -> Option<Frames> {
        let mut frames = Frames::silent(stream)?;
        frames.send(SETTINGS, 0, 0, &parameters(settings));
        Some(frames)
    }

    /// The same without sending settings. `None` if the client has disconnected.
    pub fn silent(mut stream: TcpStream) -> Option<Frames> {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("a socket");
        stream.read_exact(&mut [0; PREFACE.len()]).ok()?;
        Some(Frames(stream))
    }

    /// Sends a frame; the other side may be gone.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&frame(kind, flags, stream, payload));
    }

    /// Sends bytes, which may be invalid frames; `false` if the other side is gone.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Returns the underlying stream.
    pub fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// Sends a HEADERS frame.
    pub fn head(&mut self, stream: u32, ends: bool, fields: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &block(fields));
    }

    /// Returns the next frame; PINGs and SETTINGS are acknowledged and skipped. `None` at the end.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            let frame = self.any_frame()?;
            match (frame.kind, frame.flags & ACK) {
                (SETTINGS, 0) => self.send(SETTINGS, ACK, 0, &[]),
                (PING, 0) => self.send(PING, ACK, 0, &frame.payload),
                (SETTINGS | PING, _) => {}
                _ => return Some(frame),
            }
        }
    }

    /// Returns the next frame of any type. `None` at the end.
    pub fn any_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })
    }

    /// Returns the code of the GOAWAY that ends the connection; `None` if it ends without one.
    pub fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.any_frame() {
            if frame.kind == GOAWAY {
                code = frame.payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes")));
            }
        }
        code
    }

    /// Returns the next frame of this type.
    pub fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.frame()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Sends a GOAWAY with the last stream that is processed, and the code.
    pub fn goaway(&mut self, last: u32, code: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }
}

/// Encodes a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes the payload of a SETTINGS frame.
pub fn parameters(settings: &[(u16, u32)]) -> Vec<u8> {
    let parameters = settings.iter();
    parameters.flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()).collect()
}

/// Encodes fields with HPACK, without compression (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes())).collect()
}

/// Encodes a field of arbitrary bytes, in the same form.
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &string(name), &string(value)].concat()
}

/// Encodes a string of HPACK, without compression (RFC 7541 sections 5.1 and 5.2).
pub fn string(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 4);
    match text.len() {
        length @ ..127 => out.push(length as u8),
        length => {
            out.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                out.push(rest as u8 | 128);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
    out.extend(text);
    out
}
