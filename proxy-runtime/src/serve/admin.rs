//! `admin`: what those may ask for who operate the proxy. Its listener serves no site.

use http::Method;

use super::Stop;
use super::cached;
use crate::body::Body;
use crate::connection::Client;
use crate::failure::Failure;
use crate::handler::Answer;
use crate::observe::{Record, json_string};
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
fn stores(client: &Client) -> String {
    let one = |store: &crate::cache::Store| {
        let state = store.state();
        let mut text = String::from("{\"name\":");
        json_string(&store.name, &mut text);
        let numbers = [
            ("entries", state.entries),
            ("bytes", state.bytes),
            ("capacity", state.capacity),
            ("files", state.files),
            ("disk-bytes", state.disk_bytes),
        ];
        for (name, number) in numbers {
            text += &format!(",\"{name}\":{number}");
        }
        text + "}"
    };
    format!("[{}]\n", client.worker.stores.iter().map(one).collect::<Vec<_>>().join(","))
}
