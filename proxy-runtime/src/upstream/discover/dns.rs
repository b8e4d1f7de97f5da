//! Discovers servers by DNS: the addresses of a name (A and AAAA), or the servers of a service (SRV, RFC 2782), for the
//! TTL of the records.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::site::{Discover, DiscoverFrom, Discovered, Resolved};

/// The time-out of a query.
const PATIENCE: Duration = Duration::from_secs(5);

/// The shortest and the longest time for which a result is used.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// The most targets of a service that are resolved.
const MOST_TARGETS: usize = 1_000;

/// Queries DNS. The name servers are read each time, as `/etc/resolv.conf` may change.
pub fn resolve(discover: &'static Discover) -> Pin<Box<dyn Future<Output = Resolved>>> {
    Box::pin(async move {
        let asked = async {
            let resolver = resolver(discover)?;
            match &discover.from {
                DiscoverFrom::Dns(host, port) => {
                    let (found, until) = addresses(&resolver, host).await?;
                    let server =
                        |ip| Discovered { address: SocketAddr::new(ip, *port as u16), weight: 1, backup: false };
                    Ok((found.into_iter().map(server).collect(), good_for(until)))
                }
                DiscoverFrom::Srv(name) => service(&resolver, name).await,
                DiscoverFrom::File(path) => Err(format!("{path} is a file")),
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "no response in time".to_owned())?
    })
}

/// Returns the servers of a service: those of the first priority with their weights, and all others as backups.
async fn service(resolver: &TokioResolver, name: &str) -> Resolved {
    let answer = resolver.lookup(name, RecordType::SRV).await.map_err(|error| format!("`{name}`: {error}"))?;
    let servers = answer.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(server) => Some(server),
        _ => None,
    });
    let mut servers = servers.peekable();
    let targets: Vec<&SRV> = servers.by_ref().take(MOST_TARGETS).collect();
    if servers.peek().is_some() {
        return Err(format!("`{name}` has more than {MOST_TARGETS} servers"));
    }
    let first = targets.iter().map(|target| target.priority).min().unwrap_or_default();
    let heaviest = targets.iter().map(|target| target.weight).max().unwrap_or_default().max(1);
    let (mut servers, mut until, mut failed) = (Vec::new(), answer.valid_until(), None);
    for target in targets {
        // A target that does not resolve is omitted; if none resolves, there is no result.
        let (found, its) = match addresses(resolver, &target.target.to_string()).await {
            Ok(found) => found,
            Err(reason) => {
                failed = Some(reason);
                continue;
            }
        };
        until = until.min(its);
        // Weights are scaled to a thousand; a weight of 0 means a small chance (RFC 2782), not none.
        let weight = (u32::from(target.weight) * 1000 / u32::from(heaviest)).max(1);
        servers.extend(found.into_iter().map(|ip| Discovered {
            address: SocketAddr::new(ip, target.port),
            weight,
            backup: target.priority != first,
        }));
    }
    match failed {
        Some(reason) if servers.is_empty() => Err(reason),
        _ => Ok((servers, good_for(until))),
    }
}

fn resolver(discover: &Discover) -> Result<TokioResolver, String> {
    let mut builder = match &*discover.resolvers {
        // With the search list of `/etc/resolv.conf`.
        [] => TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?,
        named => {
            let servers = named.iter().filter_map(|address| name_server(address)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|error| error.to_string())
}

async fn addresses(resolver: &TokioResolver, host: &str) -> Result<(Vec<IpAddr>, Instant), String> {
    let found = resolver.lookup_ip(host).await.map_err(|error| format!("`{host}`: {error}"))?;
    Ok((found.iter().collect(), found.valid_until()))
}

fn good_for(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).clamp(SHORTEST, LONGEST)
}

/// Parses `IP` or `IP:port`; queries use UDP, and TCP for large responses.
fn name_server(address: &str) -> Option<NameServerConfig> {
    let address = address.parse::<SocketAddr>().or_else(|_| address.parse().map(|ip| SocketAddr::new(ip, 53))).ok()?;
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    Some(NameServerConfig::new(address.ip(), true, connections.into()))
}
