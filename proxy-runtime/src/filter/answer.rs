//! A response of the proxy's own: a head, and a body of any type ([`Answer`]). Pure.

use bytes::Bytes;
use http::StatusCode;

use super::field_name::FieldName;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;

/// A response: its head, and a body of any type.
#[derive(Debug)]
pub struct Answer<B> {
    /// The status.
    pub status: StatusCode,
    /// The header fields, without those that frame the message.
    pub fields: Fields,
    /// The body.
    pub body: B,
}

impl<B> Answer<B> {
    /// Creates a response without fields.
    pub fn new(status: StatusCode, body: B) -> Answer<B> {
        Answer { status, fields: Fields::new(), body }
    }

    /// Replaces the body.
    pub fn map<C>(self, body: impl FnOnce(B) -> C) -> Answer<C> {
        Answer { status: self.status, fields: self.fields, body: body(self.body) }
    }
}

impl Answer<Bytes> {
    /// Returns a response with a text as its body.
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer<Bytes> {
        let mut answer = Answer::new(status, text.into());
        answer.fields.add_known(KnownField::CONTENT_TYPE, b"text/plain; charset=utf-8");
        answer
    }

    /// Sets a field to a single value.
    pub fn with(mut self, name: FieldName, value: impl AsRef<[u8]>) -> Answer<Bytes> {
        self.fields.set(name.as_str(), value.as_ref());
        self
    }
}
