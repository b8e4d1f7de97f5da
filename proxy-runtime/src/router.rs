//! From host and path to a route: perfect-hash tables ([`table`]), the lookup in them ([`route`]), and regular expressions ([`regex`]).
//! Pure; shared with the compiler.

pub mod captures;
pub mod regex;
pub mod route;
pub mod table;
