//! Servers by DNS: the addresses of a name (A and AAAA), or the servers of a service (SRV, RFC 2782), for as long as the
//! answer is good.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::Discovered;
use crate::site::Discover;

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer is good for so long at least, and at most.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// The most targets of a service whose addresses are asked for.
const MOST_TARGETS: usize = 1_000;

/// Asks, once the name servers are known.
#[derive(Default)]
pub(super) struct Asked {
    resolver: Option<TokioResolver>,
}

type Answer = Result<(Vec<Discovered>, Duration), String>;

impl Asked {
    /// The addresses of a name.
    pub(super) async fn addresses(&mut self, discover: &Discover, host: &str, port: u16) -> Answer {
        let resolver = self.resolver(discover)?;
        let (found, until) = in_time(addresses(resolver, host)).await?;
        let server = |ip| Discovered { address: SocketAddr::new(ip, port), weight: 1, backup: false };
        Ok((found.into_iter().map(server).collect(), good_for(until)))
    }

    /// The servers of a service: those of the first priority, with their weights, and all others as backups.
    pub(super) async fn service(&mut self, discover: &Discover, service: &str) -> Answer {
        let resolver = self.resolver(discover)?;
        in_time(async {
            let answer = resolver.lookup(service, RecordType::SRV).await.map_err(|error| error.to_string())?;
            let targets: Vec<_> = answer
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(server) => {
                        Some((server.priority, server.weight, server.port, server.target.to_string()))
                    }
                    _ => None,
                })
                .take(MOST_TARGETS)
                .collect();
            let first = targets.iter().map(|(priority, ..)| *priority).min().unwrap_or_default();
            let heaviest = targets.iter().map(|(_, weight, ..)| *weight).max().unwrap_or_default().max(1);
            let (mut servers, mut until) = (Vec::new(), answer.valid_until());
            for (priority, weight, port, target) in targets {
                let (found, its) = addresses(resolver, &target).await?;
                until = until.min(its);
                // Weights up to a thousand; one of 0 stands for a small chance (RFC 2782), not for none.
                let weight = (u32::from(weight) * 1000 / u32::from(heaviest)).max(1);
                servers.extend(found.into_iter().map(|ip| Discovered {
                    address: SocketAddr::new(ip, port),
                    weight,
                    backup: priority != first,
                }));
            }
            Ok((servers, good_for(until)))
        })
        .await
    }

    fn resolver(&mut self, discover: &Discover) -> Result<&TokioResolver, String> {
        if self.resolver.is_none() {
            let mut builder = match &*discover.resolvers {
                // `/etc/resolv.conf`, with its search list.
                [] => TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?,
                named => {
                    let servers = named.iter().filter_map(|address| name_server(address)).collect();
                    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                }
            };
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            // What an answer is good for is kept here.
            options.cache_size = 0;
            self.resolver = Some(builder.build().map_err(|error| error.to_string())?);
        }
        self.resolver.as_ref().ok_or_else(|| "there is no resolver".to_owned())
    }
}

async fn addresses(resolver: &TokioResolver, host: &str) -> Result<(Vec<IpAddr>, Instant), String> {
    let found = resolver.lookup_ip(host).await.map_err(|error| format!("`{host}`: {error}"))?;
    Ok((found.iter().collect(), found.valid_until()))
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "no answer in time".to_owned())?
}

fn good_for(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).clamp(SHORTEST, LONGEST)
}

/// `IP` or `IP:port`, over UDP, and TCP for what does not fit.
fn name_server(address: &str) -> Option<NameServerConfig> {
    let address = address.parse::<SocketAddr>().or_else(|_| address.parse().map(|ip| SocketAddr::new(ip, 53))).ok()?;
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    Some(NameServerConfig::new(address.ip(), true, connections.into()))
}
