//! The part of the contract for trusted proxies.

use ipnet::IpNet;

use crate::filter::intake::TrustedHeader;
use crate::value::List;

/// `trusted-proxies`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Trusted {
    /// The networks of trusted peers.
    pub networks: List<IpNet>,
    /// The field in which they send the client's address.
    pub header: TrustedHeader,
}
