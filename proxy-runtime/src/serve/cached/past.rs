//! Bypasses the store: forwards the client's request unchanged ([`go_on`]).

use std::rc::Rc;

use super::answers::{self, CacheOutcome};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::Answer;
use crate::serve::body::Body;
use crate::serve::proxy;
use crate::serve::stop::Stop;
use crate::site::{Proxy, Route};

/// Forwards a request past the store: with the word and reason for the log, and the reason why it was forwarded.
pub(super) async fn go_on(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    proxy: &'static Proxy,
    body: RequestBody,
    (word, reason, forward): (&'static str, &'static str, &'static str),
) -> Result<Answer<Body>, Stop> {
    record.cached(word, reason);
    let mut answer = proxy::forward(client, record, route, proxy, body).await?;
    let status = Some(answer.status);
    let outcome = CacheOutcome { word, reason, forward: Some(forward), stored: false, status };
    answers::add_status(&mut answer.fields, &outcome, None);
    Ok(answer)
}
