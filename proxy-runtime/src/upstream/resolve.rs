//! Resolves the names of servers at intervals, by the system's resolver. The last good result stays in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::race::MAX_ADDRESSES;
use super::server::{ResolvedName, ServerState, TargetAddress};
use crate::observe;
use crate::site::Place;

/// How long a result is used.
const REFRESH: Duration = Duration::from_secs(30);

/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How long to wait for a response.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the addresses of a server up to date for as long as the process runs. Returns at once if the server has no
/// name.
pub(crate) async fn keep_resolving(server: &ServerState) {
    let TargetAddress::Name(ResolvedName { host, port, addresses: known, failed, .. }) = &server.target else { return };
    let (mut failing, mut cut) = (false, false);
    loop {
        let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), *port))).await;
        let answer = match looked_up {
            Ok(Ok(mut addresses)) => {
                let used: Vec<SocketAddr> = addresses.by_ref().take(MAX_ADDRESSES).collect();
                if addresses.next().is_some() && !std::mem::replace(&mut cut, true) {
                    let Place { file, line } = &server.place;
                    observe::notice(&format!(
                        "{file}:{line}: `{host}` has more than {MAX_ADDRESSES} addresses: the others are not used"
                    ));
                }
                Ok(used)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no response in time".to_owned()),
        };
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                if failing {
                    observe::notice::info(&format!(
                        "{}:{}: `{host}` resolves again",
                        server.place.file, server.place.line
                    ));
                }
                failing = false;
                if **known.load() != addresses {
                    known.store(Arc::new(addresses));
                }
                // Addresses that failed are tried in turn again.
                failed.store(0, Ordering::Relaxed);
            }
            answer => {
                let reason = answer.err().unwrap_or_else(|| "no addresses".to_owned());
                if !failing {
                    let kept = if known.load().is_empty() {
                        "the server gets no requests"
                    } else {
                        "the last addresses stay in use"
                    };
                    observe::notice(&format!(
                        "{}:{}: `{host}` does not resolve, {kept}: {reason}",
                        server.place.file, server.place.line
                    ));
                }
                failing = true;
            }
        }
        tokio::time::sleep(if failing { RETRY } else { REFRESH }).await;
    }
}
