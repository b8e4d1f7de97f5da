//! `echo`: returns the received request as JSON.

use bytes::Bytes;
use http::StatusCode;

use crate::body::source::Source;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::protocol::escape;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;

/// The most bytes of a body that are shown.
const LIMIT: usize = 64 << 10;

/// Returns the received request.
///
/// # Errors
/// The body does not arrive.
pub(super) async fn echo(record: &Record, mut body: RequestBody) -> Result<Answer<Body>, Failure> {
    let (mut size, mut shown) = (0_u64, Vec::new());
    while std::future::poll_fn(|cx| body.poll_fill(cx)).await? {
        body.take(|data| {
            size += data.len() as u64;
            shown.extend_from_slice(&data[..data.len().min(LIMIT - shown.len())]);
            data.len()
        });
    }
    let trailers = body.trailers().unwrap_or_default();
    let facts = record.facts();
    let mut out = b"{".to_vec();
    for (name, value) in [
        ("method", facts.method.as_str()),
        ("host", facts.host),
        ("path", facts.path),
        ("query", facts.query.unwrap_or_default()),
        ("protocol", facts.protocol),
        ("client", &facts.client.to_string()),
    ] {
        escape::json_text(name, &mut out);
        out.push(b':');
        escape::json(value.as_bytes(), &mut out);
        out.push(b',');
    }
    for (name, fields) in [("headers", &record.fields), ("trailers", &trailers)] {
        escape::json_text(name, &mut out);
        out.extend_from_slice(b":{");
        fields_as_json(fields, &mut out);
        out.extend_from_slice(b"},");
    }
    out.extend_from_slice(format!("\"body-size\":{size},\"body\":").as_bytes());
    escape::json(&shown, &mut out);
    out.extend_from_slice(b"}\n");
    let mut answer = Answer::new(StatusCode::OK, Body::Bytes(Bytes::from(out)));
    answer.fields.add_known(KnownField::CONTENT_TYPE, b"application/json");
    Ok(answer)
}

/// Names in lower case, each once, with all its values.
fn fields_as_json(fields: &Fields, out: &mut Vec<u8>) {
    let mut written: Vec<&str> = Vec::new();
    for (name, _) in fields.iter() {
        if written.iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
            continue;
        }
        if !written.is_empty() {
            out.push(b',');
        }
        written.push(name);
        escape::json(name.to_ascii_lowercase().as_bytes(), out);
        out.push(b':');
        let values: Vec<_> = fields.all(name).collect();
        escape::json(&values.join(b", ".as_slice()), out);
    }
}
