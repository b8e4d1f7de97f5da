//! A set of request methods ([`Methods`]): bits for registered methods, names for the others. Pure.

use std::borrow::Cow;

use http::Method;

use crate::value::{List, Text};

/// A set of methods. `GET` includes `HEAD`.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Methods {
    /// Bits of the registered methods, see [`Methods::bit`]; all bits set means any method.
    pub mask: u16,
    /// Further methods by name.
    pub others: List<Text>,
}

impl Methods {
    /// Any method.
    pub const ANY: Methods = Methods { mask: u16::MAX, others: Cow::Borrowed(&[]) };

    /// No method.
    pub const NONE: Methods = Methods { mask: 0, others: Cow::Borrowed(&[]) };

    /// The methods of files.
    pub const GET_AND_HEAD: Methods = Methods { mask: 0b11, others: Cow::Borrowed(&[]) };

    /// The names of the bits of `mask`, from bit 0.
    pub const NAMES: [&'static str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

    /// Returns the bit of a registered method, 0 for any other.
    pub fn bit(method: &Method) -> u16 {
        match *method {
            Method::GET => 1,
            Method::HEAD => 1 << 1,
            Method::POST => 1 << 2,
            Method::PUT => 1 << 3,
            Method::DELETE => 1 << 4,
            Method::CONNECT => 1 << 5,
            Method::OPTIONS => 1 << 6,
            Method::TRACE => 1 << 7,
            Method::PATCH => 1 << 8,
            _ => 0,
        }
    }

    /// Returns whether `method` is in the set. No allocation.
    pub fn contains(&self, method: &Method) -> bool {
        if self.mask == u16::MAX {
            return true;
        }
        let bit = Methods::bit(method);
        if bit != 0 { self.mask & bit != 0 } else { self.others.iter().any(|other| other == method.as_str()) }
    }

    /// Their names, as in `Allow`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let known = Methods::NAMES.iter().enumerate().filter(|(bit, _)| self.mask & (1 << bit) != 0);
        known.map(|(_, name)| *name).chain(self.others.iter().map(AsRef::as_ref))
    }
}
