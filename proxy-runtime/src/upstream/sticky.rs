//! What servers are called in the cookie of `sticky`: a name that tells nothing of them, and that only who knows the secret
//! can make.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::Server;
use crate::balance;
use crate::settings::Settings;
use crate::site::Upstream;
use crate::template::Piece;

/// The names of an upstream's servers: SipHash-2-4 of their addresses, a MAC under the secret (Aumasson, Bernstein 2012).
/// Nothing where there is no `sticky`.
pub(super) fn names(upstream: &Upstream, servers: &[Server], settings: &Settings) -> Vec<u64> {
    let Some(sticky) = &upstream.sticky else { return Vec::new() };
    let mut secret = String::new();
    match &sticky.secret {
        None => secret.push_str(&upstream.name),
        Some(template) => {
            for piece in template.pieces.iter() {
                match piece {
                    Piece::Text(text) => secret.push_str(text),
                    Piece::Param(index) => settings.render_param(*index, &mut secret),
                    Piece::File(index) => settings.render_file(*index, &mut secret),
                    // The compiler lets nothing else stand there.
                    _ => {}
                }
            }
        }
    }
    let key = [1, 2].map(|salt| balance::hash(secret.as_bytes(), salt));
    let name = |server: &Server| {
        let mut hasher = SipHasher24::new_with_keys(key[0], key[1]);
        hasher.write(server.address.as_bytes());
        hasher.finish()
    };
    servers.iter().map(name).collect()
}
