//! Decides whether strings of a response are replaced ([`replace`]).

use http::{Method, StatusCode};

use super::body::Body;
use crate::client::record::Record;
use crate::content::replace::Replacer;
use crate::filter::Answer;
use crate::protocol::fields::Fields;
use crate::protocol::media;
use crate::protocol::names::KnownField;
use crate::protocol::transformed;
use crate::site::Text;

/// Replaces strings in a response, if its media type is selected, and it is complete and not compressed.
pub(crate) fn replace(replacer: &'static Replacer, record: &Record, answer: Answer<Body>) -> Answer<Body> {
    let Answer { status, mut fields, body } = answer;
    if !may_be(replacer.types, status, &fields) {
        return Answer { status, fields, body };
    }
    let body = match body {
        // The response to HEAD has the fields of the response to GET, without its body.
        Body::None(_) if record.method == Method::HEAD => Body::None(None),
        Body::None(_) | Body::Tunnel(_) => return Answer { status, fields, body },
        body => Body::Replaced(Box::new(replacer.replaced(body))),
    };
    transformed::strip_validators(&mut fields);
    Answer { status, fields, body }
}

/// Returns whether strings are replaced in a response of this route with status 200 and these fields.
pub(crate) fn is_replaced(record: &Record, fields: &Fields) -> bool {
    record.policy().replace.as_ref().is_some_and(|rule| may_be(&rule.types, StatusCode::OK, fields))
}

fn may_be(types: &[Text], status: StatusCode, fields: &Fields) -> bool {
    fields.get(KnownField::CONTENT_TYPE).is_some_and(|kind| media::is_among(types, kind))
        && transformed::may_be(status, fields)
}
