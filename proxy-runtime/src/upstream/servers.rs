//! All servers of a site, with their state at run time ([`Servers`]). Shared by all workers.

use tokio::time::Instant;

use super::server::ServerState;
use super::state::UpstreamState;
use crate::context::settings::Settings;
use crate::site::{self, Site};

/// All servers of a site, with their state.
pub(crate) struct Servers {
    pub(crate) upstreams: Vec<UpstreamState>,
    pub(crate) servers: Vec<ServerState>,
}

impl Servers {
    /// Creates the servers of a site, whose settings may be parameters.
    pub(crate) fn new(site: &'static Site, settings: &Settings) -> Servers {
        Servers::of(site.upstreams, settings)
    }

    pub(super) fn of(configs: &'static [site::Upstream], settings: &Settings) -> Servers {
        let (mut servers, mut upstreams) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for (index, config) in configs.iter().enumerate() {
            let first = servers.len();
            for server in config.servers.iter() {
                servers.push(ServerState::written(servers.len(), server, config, settings));
            }
            if let Some(discover) = &config.discover {
                let places = (0..discover.max).map(|at| first + at as usize);
                servers.extend(places.map(|index| ServerState::to_be_found(index, discover, config, settings)));
            }
            upstreams.push(UpstreamState::new((index, config), settings, &servers[first..], start));
        }
        Servers { upstreams, servers }
    }

    /// The first of these upstreams, by index, that has no healthy server.
    pub(crate) fn first_down(&self, upstreams: &[u16]) -> Option<&UpstreamState> {
        let mut all = upstreams.iter().filter_map(|&upstream| self.upstreams.get(usize::from(upstream)));
        all.find(|upstream| upstream.is_down(&self.servers))
    }

    /// Returns all servers, with their upstreams.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&UpstreamState, &ServerState)> {
        self.upstreams
            .iter()
            .flat_map(|upstream| self.servers[upstream.members.clone()].iter().map(move |server| (upstream, server)))
    }
}
