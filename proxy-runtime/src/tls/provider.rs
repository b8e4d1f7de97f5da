//! The cryptography ([`provider`]): aws-lc's, for the post-quantum group and for speed.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::site::Group;

/// The cryptography, with these groups in place of the usual ones.
pub(super) fn provider(groups: &[Group]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !groups.is_empty() {
        let group = |group: &Group| match group {
            Group::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
            Group::X25519 => aws_lc_rs::kx_group::X25519,
            Group::Secp256r1 => aws_lc_rs::kx_group::SECP256R1,
            Group::Secp384r1 => aws_lc_rs::kx_group::SECP384R1,
        };
        provider.kx_groups = groups.iter().map(group).collect();
    }
    Arc::new(provider)
}
