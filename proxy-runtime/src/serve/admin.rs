//! `admin`: what those may ask for who operate the proxy. Its listener serves no site.

use http::Method;

use super::cached;
use super::stop::Stop;
use crate::client::Client;
use crate::client::record::Record;
use crate::escape;
use crate::failure::Failure;
use crate::handler::Answer;
use crate::serve::body::Body;
use crate::target::Target;

/// Answers a request to the listener of `admin`.
pub(super) async fn answer(client: &Client, record: &mut Record, target: Target) -> Result<Answer<Body>, Stop> {
    record.target = Some(target);
    if record.method.as_str() == cached::PURGE {
        return Ok(cached::purge_any(client, record).await?);
    }
    match (&record.method, record.path()) {
        (&Method::GET, "/stores") => Ok(cached::json(stores(client))),
        _ => Err(Failure::NoRoute.into()),
    }
}

/// What is in the stores.
fn stores(client: &Client) -> Vec<u8> {
    let one = |store: &crate::cache::Store| {
        let state = store.state();
        let mut text = b"{\"name\":".to_vec();
        escape::json_text(&store.name, &mut text);
        let numbers = [
            ("entries", state.entries),
            ("bytes", state.bytes),
            ("capacity", state.capacity),
            ("files", state.files),
            ("disk-bytes", state.disk_bytes),
        ];
        for (name, number) in numbers {
            text.extend_from_slice(format!(",\"{name}\":{number}").as_bytes());
        }
        text.push(b'}');
        text
    };
    let all = client.worker.stores.iter().map(one).collect::<Vec<_>>().join(b",".as_slice());
    [b"[", all.as_slice(), b"]\n"].concat()
}
