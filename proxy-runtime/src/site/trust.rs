//! The part of the contract for trusted proxies.

use ipnet::IpNet;

use crate::filter::intake::TrustedHeader;
use crate::value::List;

/// `trusted-proxies`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Peers in these networks are believed.
    pub networks: List<IpNet>,
    /// The field they tell the client's address in.
    pub header: TrustedHeader,
}
