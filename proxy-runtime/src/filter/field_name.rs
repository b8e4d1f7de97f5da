//! A header field name for functions of the user ([`FieldName`]), checked at compile time. Pure.

use crate::protocol::fields::of_message;

/// The name of a field that a function may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldName(&'static str);

impl FieldName {
    /// Creates a name, in lower case; in a `const`, an invalid one is a compile error.
    ///
    /// # Panics
    /// Panics if the name does not consist of lower-case letters, digits, `-`, `_` and `.`, or if the field belongs to the
    /// connection, the framing of the message (RFC 9110 section 7.6.1) or routing (`host`).
    pub const fn new(name: &'static str) -> FieldName {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a field has a name");
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            let token = byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
            assert!(token, "the name of a field is letters in lower case, digits, `-`, `_` and `.`");
            at += 1;
        }
        assert!(!of_message(bytes), "the field belongs to the connection or to routing: the proxy sees to it");
        FieldName(name)
    }

    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}
