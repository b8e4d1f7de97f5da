//! `request-headers` and `response-headers`: operations on header fields, in the order they are written.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Outgoing;
use crate::facts::{Facts, Fields};
use crate::regex::Capturing;
use crate::site::Text;
use crate::template::{self, Template};

/// An operation on a header field.
#[derive(Debug, Clone)]
pub enum HeaderOp {
    /// The field has this value and no other.
    Set(HeaderName, Template),
    /// The field has this value too.
    Add(HeaderName, Template),
    /// The field has this value if it has none.
    Default(HeaderName, Template),
    /// The field is gone.
    Remove(HeaderName),
    /// Matches within the field's values are replaced.
    Replace(HeaderName, &'static Capturing, Text),
}

/// Applies `ops` to the fields of a request.
pub fn request_headers(out: &mut Outgoing<'_>, facts: &Facts<'_>, ops: &[HeaderOp]) {
    for op in ops {
        let value = value(op, &Facts { fields: Fields::All(out.headers), ..*facts });
        apply(out.headers, op, value);
    }
}

/// Applies `ops` to the fields of a response.
pub fn response_headers(headers: &mut HeaderMap, facts: &Facts<'_>, ops: &[HeaderOp]) {
    for op in ops {
        let value = value(op, facts);
        apply(headers, op, value);
    }
}

fn value(op: &HeaderOp, facts: &Facts<'_>) -> Option<HeaderValue> {
    match op {
        HeaderOp::Set(_, value) | HeaderOp::Add(_, value) | HeaderOp::Default(_, value) => {
            Some(value.header_value(facts))
        }
        HeaderOp::Remove(_) | HeaderOp::Replace(..) => None,
    }
}

fn apply(headers: &mut HeaderMap, op: &HeaderOp, value: Option<HeaderValue>) {
    match (op, value) {
        (HeaderOp::Set(name, _), Some(value)) => {
            headers.insert(name, value);
        }
        (HeaderOp::Add(name, _), Some(value)) => {
            headers.append(name, value);
        }
        (HeaderOp::Default(name, _), Some(value)) => {
            headers.entry(name).or_insert(value);
        }
        (HeaderOp::Remove(name), _) => {
            headers.remove(name);
        }
        (HeaderOp::Replace(name, regex, replacement), _) => {
            if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
                for value in entry.iter_mut() {
                    let Ok(text) = std::str::from_utf8(value.as_bytes()) else { continue };
                    *value = template::header_value(regex.replace_all(text, replacement));
                }
            }
        }
        (HeaderOp::Set(..) | HeaderOp::Add(..) | HeaderOp::Default(..), None) => {}
    }
}
