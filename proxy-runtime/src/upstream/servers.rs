//! All servers of a site, with their state at run time ([`Servers`]). Shared by all workers.

use tokio::time::Instant;

use super::group::Group;
use super::server::Server;
use crate::context::settings::Settings;
use crate::site::{self, Site};

/// All servers of a site, with what changes while it runs.
pub(crate) struct Servers {
    pub(crate) groups: Vec<Group>,
    pub(crate) servers: Vec<Server>,
}

impl Servers {
    /// Makes the servers of a site; what is said of them may come from parameters.
    pub(crate) fn new(site: &'static Site, settings: &Settings) -> Servers {
        Servers::of(site.upstreams, settings)
    }

    pub(super) fn of(upstreams: &'static [site::Upstream], settings: &Settings) -> Servers {
        let (mut servers, mut groups) = (Vec::new(), Vec::new());
        let start = Instant::now();
        for (index, upstream) in upstreams.iter().enumerate() {
            let first = servers.len();
            for server in upstream.servers.iter() {
                servers.push(Server::written(servers.len(), server, upstream, settings));
            }
            if let Some(discover) = &upstream.discover {
                let places = (0..discover.max).map(|at| first + at as usize);
                servers.extend(places.map(|index| Server::to_be_found(index, discover, upstream, settings)));
            }
            groups.push(Group::new((index, upstream), settings, &servers[first..], start));
        }
        Servers { groups, servers }
    }

    /// All servers, with the upstreams they are of.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Group, &Server)> {
        self.groups
            .iter()
            .flat_map(|group| self.servers[group.members.clone()].iter().map(move |server| (group, server)))
    }
}
