//! The names of servers in the cookie of `sticky`: a name does not reveal the server, and only the owner of the
//! secret can make it.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::balance;
use crate::context::settings::Settings;
use crate::context::template::{Piece, display};
use crate::site::Upstream;

/// Returns the key of the names, derived from the secret. `None` without `sticky`.
pub(super) fn key(upstream: &Upstream, settings: &Settings) -> Option<[u64; 2]> {
    let sticky = upstream.sticky.as_ref()?;
    let mut secret = Vec::new();
    match &sticky.secret {
        None => secret.extend_from_slice(upstream.name.as_bytes()),
        Some(template) => {
            for piece in template.pieces.iter() {
                match piece {
                    Piece::Text(text) => secret.extend_from_slice(text.as_bytes()),
                    Piece::Param(index) => display(&mut secret, settings.param(*index)),
                    Piece::File(index) => settings.render_file(*index, &mut secret),
                    // The compiler allows nothing else here.
                    _ => {}
                }
            }
        }
    }
    Some([1, 2].map(|salt| balance::hash(&secret, salt)))
}

/// Returns a server's name: SipHash-2-4 of its address, a MAC under the key (Aumasson, Bernstein 2012).
pub(super) fn name(key: [u64; 2], address: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(key[0], key[1]);
    hasher.write(address.as_bytes());
    hasher.finish()
}
