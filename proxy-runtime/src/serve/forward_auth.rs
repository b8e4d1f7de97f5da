//! `auth forward`: asks an authorization service whether a request may pass, and who its client is.
//!
//! Its response decides: a 2xx lets the request pass, with the fields of the response that the site names in place of the client's fields
//! of these names; any other response goes to the client. If the service fails, or can't be reached, the request is refused. It may also
//! add fields to the response for the client (`copy-response`).

use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::Method;

use super::proxy;
use super::retry::{self, Sending, UpstreamRequest, UpstreamResponse};
use crate::body::source::Source as _;
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::exchange::{UpstreamExchange, Waits};
use crate::failure::Failure;
use crate::http1::Framing;
use crate::net::clock::after;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::site::ForwardAuth;

/// The most bytes of an unwanted body that are read to keep the connection usable.
const UNWANTED: usize = 64 << 10;

/// Sends the authorization request. Returns the service's response if it refuses the request.
pub(super) async fn ask(
    client: &Rc<Client>,
    record: &mut Record,
    rules: &'static ForwardAuth,
) -> Result<Option<Answer<Body>>, Failure> {
    let timeout = rules.timeout.get(client.worker.settings);
    let answered = tokio::time::timeout(timeout, send(client, record, rules)).await;
    let mut call = answered.ok().and_then(Result::ok).ok_or(Failure::AuthUnreachable)?;
    let status = call.head().start;
    if status.is_server_error() || status.is_informational() {
        return Err(Failure::AuthUnreachable);
    }
    if !status.is_success() {
        record.failed(Failure::AuthRefused);
        return proxy::answer(call, None).map(Some);
    }
    let head = call.take_head();
    for name in rules.copy.iter() {
        record.fields.remove(name);
        for value in head.fields.all(name) {
            record.fields.add(name.as_bytes(), value);
        }
    }
    for name in rules.copy_response.iter() {
        for value in head.fields.all(name) {
            record.copied.add(name.as_bytes(), value);
        }
    }
    if let Some(name) = &rules.user {
        record.user = head.fields.get(name).unwrap_or_default().to_owned();
    }
    if tokio::time::timeout(timeout, empty(&mut call)).await == Ok(true) {
        call.release();
    }
    Ok(None)
}

/// Adds the authorization service's fields to a response for the client: cookies are appended, other fields are replaced.
pub(super) fn pass_on(copied: &Fields, fields: &mut Fields) {
    let is_cookie = |name: &[u8]| name.eq_ignore_ascii_case(b"set-cookie");
    for (name, _) in copied.iter().filter(|(name, _)| !is_cookie(name.as_bytes())) {
        fields.remove(name);
    }
    for (name, value) in copied.raw() {
        fields.add(name, value);
    }
}

async fn send(client: &Rc<Client>, record: &Record, rules: &'static ForwardAuth) -> Result<UpstreamResponse, Failure> {
    let worker = client.worker;
    // The proxy is the client of this request: interim responses end here and are not passed on (RFC 9110 section
    // 15.2).
    let nobody = Rc::new(Client::nobody(&client.peer));
    let timeout = rules.timeout.get(worker.settings);
    let upstream = &worker.servers.upstreams[usize::from(rules.upstream)];
    let request = UpstreamRequest {
        method: Method::GET,
        target: rules.path.clone().into_owned(),
        fields: told(record, rules),
        own_host: true,
    };
    let waits = Waits {
        response: timeout,
        proceed: timeout,
        idle: timeout,
        until: after(tokio::time::Instant::now(), timeout),
    };
    let body = RequestBody::of(&nobody, Framing::Empty, Bytes::new());
    // A separate record: the outcome of this request does not belong in the client's log line.
    let mut own = record.unseen();
    let mut sending = Sending::new(&nobody, upstream, (request, None), body, (timeout, waits));
    sending.buffer(0).await?;
    let sent = pin!(retry::send(&mut sending, &mut own));
    let mut call = nobody.timer.run(sent).await?;
    // The body may be passed on, and is bounded by the client's time-outs.
    call.reassign_client(client);
    Ok(call)
}

/// Returns the request fields that describe the client's request, under the names that other proxies use.
fn told(record: &Record, rules: &ForwardAuth) -> Fields {
    let facts = record.facts();
    let mut fields = Fields::with_capacity(512, 8 + rules.send.len());
    for name in rules.send.iter() {
        for value in record.fields.all(name) {
            fields.add(name.as_bytes(), value);
        }
    }
    let query = facts.query.map_or(String::new(), |query| format!("?{query}"));
    // These replace the client's own fields of these names.
    fields.set("x-forwarded-method", facts.method.as_str().as_bytes());
    fields.set(KnownField::X_FORWARDED_PROTO, facts.scheme.as_bytes());
    fields.set(KnownField::X_FORWARDED_HOST, facts.host.as_bytes());
    fields.set("x-forwarded-uri", format!("{}{query}", facts.path).as_bytes());
    fields.set(KnownField::X_FORWARDED_FOR, facts.client.to_string().as_bytes());
    fields
}

/// Reads the rest of a response; `true` if it was read completely.
async fn empty(call: &mut UpstreamExchange) -> bool {
    let mut left = UNWANTED;
    loop {
        match std::future::poll_fn(|cx| call.poll_fill(cx)).await {
            Ok(false) => return true,
            Ok(true) if left > 0 => {
                call.take(|data| {
                    left = left.saturating_sub(data.len());
                    data.len()
                });
            }
            _ => return false,
        }
    }
}
