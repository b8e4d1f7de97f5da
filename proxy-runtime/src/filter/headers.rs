//! `request-headers` and `response-headers`: operations on header fields, in the order in which they are written. Values are bytes, and so are
//! the results: a placeholder inserts a value unchanged.

use std::borrow::Cow;

use super::outgoing::Outgoing;
use crate::context::facts::Facts;
use crate::context::template::Template;
use crate::protocol::fields::Fields;
use crate::router::regex::Capturing;
use crate::value::Text;

/// An operation on a header field; names are in lower case.
#[derive(Debug, Clone)]
pub enum HeaderOp {
    /// Replaces the field with a single value.
    Set(Text, Template),
    /// Adds a value to the field.
    Add(Text, Template),
    /// Sets the field if it is missing.
    Default(Text, Template),
    /// Removes the field.
    Remove(Text),
    /// Replaces matches in the field's values.
    Replace(Text, &'static Capturing, Text),
}

/// Applies `ops` to the fields of a request, one after another.
pub fn request_headers(out: &mut Outgoing<'_>, facts: &Facts<'_>, ops: &[HeaderOp]) {
    for op in ops {
        let value = value(op, &Facts { fields: out.headers, ..*facts });
        apply(out.headers, op, value);
    }
}

/// Applies `ops` to the fields of a response.
pub fn response_headers(headers: &mut Fields, facts: &Facts<'_>, ops: &[HeaderOp]) {
    for op in ops {
        apply(headers, op, value(op, facts));
    }
}

fn value<'o>(op: &'o HeaderOp, facts: &Facts<'_>) -> Cow<'o, [u8]> {
    match op {
        HeaderOp::Set(_, value) | HeaderOp::Add(_, value) | HeaderOp::Default(_, value) => value.rendered(facts),
        HeaderOp::Remove(_) | HeaderOp::Replace(..) => Cow::Borrowed(b""),
    }
}

fn apply(headers: &mut Fields, op: &HeaderOp, value: Cow<'_, [u8]>) {
    match op {
        HeaderOp::Set(name, _) => headers.set(name, &value),
        HeaderOp::Add(name, _) => headers.add(name.as_bytes(), &value),
        HeaderOp::Default(name, _) if headers.contains(name) => {}
        HeaderOp::Default(name, _) => headers.add(name.as_bytes(), &value),
        HeaderOp::Remove(name) => headers.remove(name),
        HeaderOp::Replace(name, regex, replacement) => {
            headers.change(name, |text| regex.replace_all(text, replacement));
        }
    }
}
