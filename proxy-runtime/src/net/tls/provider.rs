//! The cryptography provider ([`provider`]): aws-lc, for the post-quantum group and for speed.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::site::KeyExchangeGroup;

/// Returns the provider, with these key exchange groups instead of the default ones.
pub(super) fn provider(groups: &[KeyExchangeGroup]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !groups.is_empty() {
        let group = |group: &KeyExchangeGroup| match group {
            KeyExchangeGroup::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
            KeyExchangeGroup::X25519 => aws_lc_rs::kx_group::X25519,
            KeyExchangeGroup::Secp256r1 => aws_lc_rs::kx_group::SECP256R1,
            KeyExchangeGroup::Secp384r1 => aws_lc_rs::kx_group::SECP384R1,
        };
        provider.kx_groups = groups.iter().map(group).collect();
    }
    Arc::new(provider)
}
