//! `warm`: requests of the proxy's own after its start, to fill the cache before clients request the URLs.
//!
//! Each is handled like a client's request, so that it is keyed, normalized and stored like one; responses that are cached already, as in a
//! folder, are not fetched again. Few requests run at a time, and a failure only causes a notice.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::body::source::Source as _;
use crate::cache::CacheStore;
use crate::cache::warm::{Url, lines};
use crate::client::Client;
use crate::client::peer::Peer;
use crate::client::record::Record;
use crate::context::settings::{self, Address};
use crate::http1::Framing;
use crate::net::secured::Secured;
use crate::observe::notice;
use crate::protocol::fields::Fields;
use crate::site::{TlsVersion, Warm, WarmSource};
use crate::worker::{StopSignal, Worker};

/// The time-out of a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the store is checked for whether the content of its folder is known.
const LOOK: Duration = Duration::from_millis(20);

/// The most failures that are logged one by one.
const MOST_TOLD: usize = 10;

/// Makes the requests of a store's `warm`.
pub(crate) async fn keep_warm(worker: &'static Worker, store: &'static CacheStore, warm: &'static Warm) {
    while !store.is_learned() {
        sleep(LOOK).await;
    }
    let mut urls: Vec<String> = Vec::new();
    for source in warm.sources.iter() {
        match source {
            WarmSource::Url(url) => urls.push(url.to_string()),
            WarmSource::File(file) => {
                let list = worker.settings.file(*file);
                urls.extend(lines(&String::from_utf8_lossy(&list)).map(str::to_owned));
            }
        }
    }
    let (total, mut failed) = (urls.len(), 0);
    let mut judge = |(url, outcome): (String, Result<(), String>)| {
        let Err(reason) = outcome else { return };
        failed += 1;
        if failed <= MOST_TOLD {
            notice(&format!("cache: `{url}` of `warm` is not cached: {reason}"));
        }
    };
    let mut running = JoinSet::new();
    let mut ticks = interval(warm.pause.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for url in urls {
        ticks.tick().await;
        if running.len() >= usize::from(warm.most)
            && let Some(Ok(ended)) = running.join_next().await
        {
            judge(ended);
        }
        if *worker.stop.borrow() != StopSignal::No {
            return;
        }
        running.spawn_local(async move {
            let _running = worker.running();
            let outcome = fetch(worker, &url).await;
            (url, outcome)
        });
    }
    while let Some(ended) = running.join_next().await {
        if let Ok(ended) = ended {
            judge(ended);
        }
    }
    notice::info(&format!("cache: {} of {total} URLs of `warm` are cached in {}", total - failed, store.name));
}

/// Makes one request, and receives its response.
async fn fetch(worker: &'static Worker, text: &str) -> Result<(), String> {
    let url = Url::of(text).ok_or("it is no URL")?;
    let peer = Rc::new(peer(worker, &url).ok_or("no site has this host")?);
    let client = Rc::new(Client::nobody(&peer));
    // The `Accept-Encoding` of browsers, so that they find the response under `Vary: Accept-Encoding`.
    let codings = if url.scheme == "https" { "gzip, deflate, br, zstd" } else { "gzip, deflate" };
    let fields: Fields =
        [("host", url.authority), ("user-agent", "kiln"), ("accept", "*/*"), ("accept-encoding", codings)]
            .into_iter()
            .collect();
    let mut record = Record::new(&peer, Method::GET, Version::HTTP_11, fields, Instant::now());
    record.hide();
    // Behind a proxy that terminates TLS, cache keys may depend on the scheme that it reports.
    record.scheme = url.scheme;
    let status = {
        let exchange = pin!(receive(&client, &mut record, url.target));
        timeout(PATIENCE, client.timer.run(exchange)).await.map_err(|_| "it takes too long".to_owned())??
    };
    match record.is_cached() {
        Ok(()) => Ok(()),
        Err("") => Err(format!("the response is {status}, and not from a cache")),
        Err(reason) => Err(format!("the response is {status} ({reason})")),
    }
}

/// Runs the exchange, and discards its response.
async fn receive(client: &Rc<Client>, record: &mut Record, target: &str) -> Result<StatusCode, String> {
    let Ok(answer) = super::exchange(client, record, target.to_owned(), Framing::Empty).await else {
        return Err("the route says `abort`".to_owned());
    };
    let (status, mut body) = (answer.status, answer.body);
    while std::future::poll_fn(|cx| body.poll_fill(cx)).await.map_err(|failure| failure.reason().to_owned())? {
        body.take(<[u8]>::len);
    }
    Ok(status)
}

/// Returns the peer that requests a URL would come from: of the listener that has its port, else one with its scheme, else any with
/// its host.
fn peer(worker: &'static Worker, url: &Url<'_>) -> Option<Peer> {
    let (site, host) = (worker.site, url.host().to_ascii_lowercase());
    let port = url.authority[url.host().len()..].strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
    let tls = url.scheme == "https";
    let rank = |listener: u32| {
        let about = &site.listeners[listener as usize];
        let listens = match settings::address(about.address.get(worker.settings)) {
            Ok(Address::Tcp(_, found)) => Some(found),
            _ => None,
        };
        let is_usual = about.speaks.tls == tls;
        (listens.is_some() && listens == port.or(Some(if tls { 443 } else { 80 })), is_usual)
    };
    let serving = (0..site.listeners.len() as u32)
        .filter(|&listener| !site.listeners[listener as usize].speaks.admin)
        .filter(|&listener| site.tables.site(listener, &host).is_some());
    // Prefer the first of equal ones.
    let listener = serving.rev().max_by_key(|&listener| rank(listener))?;
    let mut peer = Peer::new(worker, listener, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let speaks = &site.listeners[listener as usize].speaks;
    let wanted = site.sites[site.tables.site(listener, &host)?.id() as usize].tls.or(speaks.default);
    if let Some(tls) = wanted.filter(|_| speaks.tls) {
        let version = TlsVersion::V13;
        peer.secured =
            Some(Secured { tls, version, cipher: "", name: None, group: None, http2: false, certificate: None });
    }
    Some(peer)
}
