//! The part of the contract that says whose word is taken: of peers about clients, and of clients at all.

use ipnet::IpNet;

use super::{List, Text};

/// `trusted-proxies`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Peers in these networks are believed.
    pub networks: List<IpNet>,
    /// The field they tell the client's address in.
    pub header: TrustedHeader,
}

/// The field in which a trusted peer tells the client's address.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// This one, which has an address and nothing else.
    Field(Text),
}

/// Which of a client's fields a site or route takes in; see [`crate::intake`]. Names are in lower case.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldRules {
    /// The fields that the route sets, copies, changes, removes, or looks at for `block` and `auth api-key`.
    pub own: List<Text>,
    /// One of these has `_` or `.` in its name.
    pub odd: bool,
    /// Fields of proxies that clients may send, too; of a site, those of all its routes.
    pub pass: List<Text>,
    /// Names with `_` are let through.
    pub underscores: bool,
}
