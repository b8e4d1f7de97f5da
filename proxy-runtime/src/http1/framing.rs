//! The framing of a body ([`Framing`]). Pure.

/// The framing of a body (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// A body of this many bytes.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// A body that ends with the connection.
    UntilClose,
}
