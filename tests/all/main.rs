//! All integration tests, in one binary.

mod access;
mod acme;
mod admin_access;
mod alone;
mod artefact;
mod auth;
mod bytes;
mod cache;
mod canonical;
mod cases;
mod cli;
mod compress;
mod corpus;
mod ctl;
mod deploy;
mod descriptors;
mod details;
mod diagnostics;
mod diff;
mod disk;
mod docs;
mod ends;
mod expand;
mod files;
mod findings;
mod floods;
mod framing;
mod fuzz;
mod guessing;
mod heads;
mod http2;
mod http3;
mod images;
mod intake;
mod layout;
mod lock;
mod logs;
mod macros;
mod malicious;
mod memory;
mod mistakes;
mod monitoring;
mod operate;
mod oracle;
mod outputs;
mod page;
mod privileges;
mod reference;
mod resend;
mod sandbox;
mod servers;
mod servers_admin;
mod service;
mod sockets;
mod status;
mod takeover;
mod tidy;
mod tls;
mod tracing;
mod upstreams;
mod wire;
mod written;

/// The configuration of property tests: the same inputs every time, or others with `KILN_SEED`.
fn kiln_config(cases: u32) -> proptest::prelude::ProptestConfig {
    let seed = std::env::var("KILN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    proptest::prelude::ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed),
        ..Default::default()
    }
}
