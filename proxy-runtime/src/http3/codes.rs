//! The error codes of HTTP/3 and QPACK ([`ErrorCode`]; RFC 9114 section 8.1, RFC 9204 section 6).

/// An error code, which ends a connection or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// No error.
    No = 0x100,
    /// An internal error.
    Internal = 0x102,
    /// A stream that may not be opened, or a second one of its type.
    StreamCreation = 0x103,
    /// A stream that the connection needs was closed.
    ClosedCriticalStream = 0x104,
    /// A frame that is not allowed here.
    FrameUnexpected = 0x105,
    /// A frame with an invalid layout or size.
    Frame = 0x106,
    /// The peer causes excessive work.
    ExcessiveLoad = 0x107,
    /// An identifier is used incorrectly.
    Id = 0x108,
    /// An invalid setting.
    Settings = 0x109,
    /// The control stream does not begin with SETTINGS.
    MissingSettings = 0x10a,
    /// Nothing was processed: the request may be sent again.
    RequestRejected = 0x10b,
    /// The request or its response is cancelled.
    RequestCancelled = 0x10c,
    /// The stream ended before the request was complete.
    RequestIncomplete = 0x10d,
    /// The message is malformed.
    Message = 0x10e,
    /// Fields can't be decoded.
    QpackDecompression = 0x200,
    /// The peer's encoder stream has an invalid instruction.
    QpackEncoderStream = 0x201,
    /// The peer's decoder stream has an invalid instruction.
    QpackDecoderStream = 0x202,
}
