//! The minimal runtime that a compiled Kiln site is linked against.
//!
//! The path of a request, each step a module:
//!
//! ```text
//! listen ─Accepted→ connection ─tls, http1 or http2→ target ─Target→ route ─Found→ filter ─Outgoing→
//!     handler                        (respond, redirect, echo, abort)
//!     balance ─Lease→ upstream ─Answer→ filter → Body; a Record for the log at the end
//! ```
//!
//! [`site`] is the contract between a compiled site and this crate. Pure modules do no I/O and are shared with the compiler, which uses
//! this crate without the feature `serve`. The binary contains no code that reads site files, and no KDL parser.

// The atomics and locks of code that is checked by loom: the standard library's, or loom's own in tests that are built with `--cfg
// kiln_loom`. (Tokio and others react to `--cfg loom`.)
#[cfg(all(test, kiln_loom))]
use loom::sync;
#[cfg(not(all(test, kiln_loom)))]
use std::sync;

pub mod access;
pub mod balance;
pub mod cache;
pub mod content;
pub mod context;
pub mod dice;
pub mod filter;
pub mod metrics;
pub mod net;
pub mod protocol;
mod recycled;
pub mod rehearse;
pub mod router;
pub mod site;
pub mod trace;
pub mod value;

#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "serve")]
mod body;
#[cfg(feature = "serve")]
mod client;
#[cfg(feature = "serve")]
mod command;
#[cfg(feature = "serve")]
mod confine;
#[cfg(feature = "serve")]
mod connection;
#[cfg(feature = "admin")]
mod ctl;
#[cfg(feature = "serve")]
mod exchange;
#[cfg(feature = "serve")]
mod failure;
#[cfg(feature = "serve")]
mod file_pool;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "takeover"), path = "handover/absent.rs")]
mod handover;
#[cfg(feature = "serve")]
mod http1;
#[cfg(feature = "serve")]
mod http2;
#[cfg(feature = "h3")]
mod http3;
#[cfg(feature = "serve")]
mod observe;
#[cfg(feature = "serve")]
mod run;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod service;
#[cfg(feature = "serve")]
mod shutdown;
#[cfg(feature = "serve")]
mod signals;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "takeover"), path = "takeover/absent.rs")]
mod takeover;
#[cfg(feature = "serve")]
mod upstream;
#[cfg(feature = "serve")]
mod worker;

/// Whether the feature for DNS discovery is enabled; asserted by the output of sites that use it.
pub const ASKS_DNS: bool = cfg!(feature = "dns");

/// Whether TLS is enabled; asserted by the output of sites that use it.
pub const SPEAKS_TLS: bool = cfg!(feature = "tls");

/// Whether HTTP/3 is enabled; asserted by the output of sites that use it.
pub const SPEAKS_HTTP3: bool = cfg!(feature = "h3");

/// Whether ACME is enabled; asserted by the output of sites that use it.
pub const SPEAKS_ACME: bool = cfg!(feature = "acme");

/// Whether password and key verification is enabled; asserted by the output of sites that use it.
pub const CHECKS_CREDENTIALS: bool = cfg!(feature = "auth");

/// Whether token verification is enabled; asserted by the output of sites that use it.
pub const CHECKS_TOKENS: bool = cfg!(feature = "jwt");

/// Whether the admin endpoint is enabled; asserted by the output of sites that use it.
pub const HAS_ADMIN: bool = cfg!(feature = "admin");

/// Whether this was built to write logs to files and sockets; what a site that does asserts.
pub const WRITES_LOGS: bool = cfg!(feature = "logs");

/// Whether a new process can take over from this one; asserted by the output of sites that use it.
pub const TAKES_OVER: bool = cfg!(feature = "takeover");

/// Whether the export of traces is enabled; asserted by the output of sites that use it.
pub const EXPORTS_TRACES: bool = cfg!(feature = "trace");

/// Whether compression is enabled; asserted by the output of sites that use it.
pub const COMPRESSES: bool = cfg!(feature = "compress");

pub use bytes;
#[cfg(feature = "serve")]
pub use command::{Documents, run, run_documented, self_test};
pub use http;
#[cfg(feature = "dns")]
pub use upstream::discover::dns::resolve;
