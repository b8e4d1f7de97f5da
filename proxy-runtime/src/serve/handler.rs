//! Dispatches a request from its route's handler to the file that implements it.

mod echo;
mod health;

use std::rc::Rc;

use http::Method;

use super::body::Body;
use super::stop::Stop;
use super::{cached, files, local_response, options, proxy};
use crate::client::Client;
use crate::client::record::Record;
use crate::client::request_body::RequestBody;
use crate::content::respond::{self, Answer};
use crate::site::{Handler, Route};
use crate::trace::Phase;

/// Calls the handler of a route.
///
/// # Errors
/// There is no response, or an error response.
pub(super) async fn answer(
    client: &Rc<Client>,
    record: &mut Record,
    route: &Route,
    body: RequestBody,
) -> Result<Answer<Body>, Stop> {
    let mut handler = route.handler;
    loop {
        return match handler {
            Handler::Proxy(proxy) => {
                if let Some(answer) = goes_no_further(client, record) {
                    return Ok(answer);
                }
                let answer = match &route.policy.cache {
                    Some(cache) => {
                        if let Some(trace) = &mut record.trace {
                            trace.enter(&client.worker.span_ids, Phase::Cache);
                        }
                        let answer = match cached::forward(client, record, route, proxy, cache, body) {
                            Ok(answer) => Ok(answer),
                            Err(later) => later.await,
                        };
                        if let Some(trace) = &mut record.trace {
                            trace.leave();
                        }
                        answer?
                    }
                    None => proxy::forward(client, record, route, proxy, body).await?,
                };
                cached::invalidate(client, record, &answer);
                Ok(local_response::or_page(record, answer))
            }
            Handler::Respond(respond) => Ok(respond::respond(&record.facts(), respond).map(Body::Bytes)),
            Handler::Redirect(redirect) => Ok(respond::redirect(&record.facts(), redirect).map(Body::Bytes)),
            Handler::Files(files) => {
                let found = match files.bundled {
                    _ if !handler.takes(&record.method) => None,
                    Some(number) => files::bundled(client, record, files, number)?,
                    None => match files::recent(client, record, files)? {
                        Some(answer) => Some(answer),
                        None => Box::pin(files::answer(client, record, files)).await?,
                    },
                };
                match found {
                    Some(answer) => Ok(answer),
                    // There is no such file: continue with the `else` handler.
                    None => {
                        handler = files::instead(record, files)?;
                        continue;
                    }
                }
            }
            Handler::Echo => Ok(Box::pin(echo::echo(record, body)).await?),
            Handler::Health(health) => Ok(health::health(client.worker, health)),
            Handler::Abort => Err(Stop::Abort),
        };
    }
}

/// Returns the response to an `OPTIONS` request that may not be forwarded (`Max-Forwards: 0`).
fn goes_no_further(client: &Client, record: &Record) -> Option<Answer<Body>> {
    if record.method != Method::OPTIONS {
        return None;
    }
    let site = client.worker.site;
    let root = site.tables.site(client.peer.listener, record.target.as_ref()?.host())?;
    options::goes_no_further(site, root, record)
}
