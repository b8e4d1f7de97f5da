//! Servers, load balancing among them, and the connections to them: [`Servers`] (shared by all workers), [`Lease`] (a server held for
//! one exchange), [`Pools`] (one per worker), [`UpstreamConnection`] (a connection in use).
//!
//! A connection is driven by the exchange that uses it, within the same task: no task per connection, no hand-over
//! between tasks per request. An idle connection is in its pool and is not driven; the proxy notices that its server has closed it
//! when it is taken out, and by the sweep.

mod checks;
mod connect;
pub(crate) mod discover;
pub(crate) mod fetch;
mod health;
#[cfg(feature = "admin")]
mod operated;
mod overrides;
mod pool;
mod proxy_protocol;
mod race;
mod resolve;
mod server;
mod servers;
pub(crate) mod shared;
mod state;
mod sticky;
mod wait_queue;

pub(crate) use self::checks::keep_checking;
pub(crate) use self::connect::Dialler;
pub(crate) use self::discover::keep_discovering;
#[cfg(feature = "admin")]
pub(crate) use self::operated::{MAX_WEIGHT, ServerChange};
pub(crate) use self::pool::{Pools, UpstreamConnection};
pub(crate) use self::proxy_protocol::announce;
pub(crate) use self::resolve::keep_resolving;
pub(crate) use self::server::ServerId;
#[cfg(feature = "admin")]
pub(crate) use self::server::ServerState;
pub(crate) use self::servers::Servers;
pub(crate) use self::shared::SharedPools;
pub(crate) use self::state::{Lease, PickRequest, UpstreamState};
