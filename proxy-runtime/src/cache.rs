//! A shared cache for responses (RFC 9111).
//!
//! The rules are pure: `control` reads the directives of messages, `freshness` decides which responses are stored and used,
//! [`key`] makes cache keys (shared with the compiler). Cached responses are in a `CacheStore`, shared by all workers; a response that
//! is being fetched is a `Flight`, which other requests may join. `serve::cached` uses them for an exchange.

pub mod device;
pub mod key;
mod query;
pub mod warm;

#[cfg(feature = "serve")]
mod bans;
#[cfg(feature = "serve")]
mod behind;
#[cfg(feature = "serve")]
mod body_file;
#[cfg(feature = "serve")]
mod cached_body;
#[cfg(feature = "serve")]
pub(crate) mod control;
#[cfg(feature = "serve")]
mod counters;
#[cfg(feature = "serve")]
mod disk;
#[cfg(feature = "serve")]
mod disks;
#[cfg(feature = "serve")]
mod encoded;
#[cfg(feature = "serve")]
mod entry;
#[cfg(feature = "serve")]
mod flight;
#[cfg(feature = "serve")]
pub(crate) mod freshness;
#[cfg(feature = "serve")]
pub(crate) mod groups;
#[cfg(feature = "serve")]
mod identity_hasher;
#[cfg(feature = "serve")]
#[cfg(feature = "admin")]
mod inspection;
#[cfg(feature = "serve")]
mod journal;
#[cfg(feature = "serve")]
pub(crate) mod languages;
#[cfg(feature = "serve")]
pub(crate) mod parts;
#[cfg(feature = "serve")]
mod pattern;
#[cfg(feature = "serve")]
mod purge_queue;
#[cfg(feature = "serve")]
mod purges;
#[cfg(feature = "serve")]
mod purging;
#[cfg(feature = "serve")]
mod record;
#[cfg(feature = "serve")]
pub(crate) mod search;
#[cfg(feature = "serve")]
mod searching;
#[cfg(feature = "serve")]
mod slots;
#[cfg(feature = "serve")]
#[cfg(feature = "admin")]
mod stats;
#[cfg(feature = "serve")]
mod store;
#[cfg(feature = "serve")]
mod variants;
#[cfg(feature = "serve")]
mod vary_index;

#[cfg(feature = "serve")]
pub(crate) use self::behind::DiskWrite;
#[cfg(feature = "serve")]
pub(crate) use self::body_file::{BodyFile, OpenBodyFile};
#[cfg(feature = "serve")]
pub(crate) use self::cached_body::CachedBody;
#[cfg(feature = "serve")]
pub(crate) use self::encoded::EncodedVariants;
#[cfg(feature = "serve")]
pub(crate) use self::entry::{CachedHead, LastFetch, PAUSE, ResponseOrder, number};
#[cfg(feature = "serve")]
pub(crate) use self::flight::{FetchGuard, FetchOutcome, Flight, FlightRole, Follower};
#[cfg(feature = "serve")]
#[cfg(feature = "admin")]
pub(crate) use self::inspection::InspectedResponse;
#[cfg(feature = "serve")]
pub(crate) use self::pattern::Pattern;
#[cfg(feature = "serve")]
pub(crate) use self::purges::Purge;
#[cfg(feature = "serve")]
#[cfg(feature = "admin")]
pub(crate) use self::stats::StoreStats;
#[cfg(feature = "serve")]
pub(crate) use self::store::{CacheStore, Lookup, Reservation, StoreLocation};

/// Robustness: for any fields, there is no panic, and no response is fresh forever.
#[cfg(all(test, feature = "serve"))]
mod hostile {
    use std::time::Duration;

    use super::control::{RequestDirectives, ResponseDirectives};
    use crate::protocol::fields::Fields;
    use crate::{protocol::conditions, protocol::ranges};

    const PIECES: [&str; 24] = [
        "max-age",
        "=",
        ",",
        "\"",
        "\\",
        "99999999999999999999",
        "-1",
        "0",
        "no-cache",
        "private",
        ";",
        " ",
        "\u{e9}",
        "bytes",
        "-",
        "W/",
        "\"a\"",
        "*",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "s-maxage",
        "max-stale",
        "?1",
        "(",
        "5",
    ];
    const NAMES: [&str; 11] = [
        "cache-control",
        "cdn-cache-control",
        "pragma",
        "range",
        "if-range",
        "if-none-match",
        "if-modified-since",
        "etag",
        "last-modified",
        "date",
        "vary",
    ];

    #[test]
    fn any_fields() {
        let mut state = 1_u64;
        let mut below = |count: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % count
        };
        for _ in 0..20_000 {
            let mut fields = Fields::new();
            for _ in 0..4 {
                let value: String = (0..below(8)).map(|_| PIECES[below(PIECES.len())]).collect();
                fields.add(NAMES[below(NAMES.len())].as_bytes(), value.as_bytes());
            }
            let control = ResponseDirectives::of(&fields);
            let longest = Duration::from_secs(1 << 31);
            assert!(
                control.max_age.is_none_or(|age| age <= longest) && control.s_maxage.is_none_or(|age| age <= longest)
            );
            let _ = (
                RequestDirectives::of(&fields),
                conditions::has_it(&fields, &fields),
                conditions::is_of(&fields, &fields, crate::protocol::date::Moment(0)),
            );
            for length in [0, 1, 1000, u64::MAX] {
                if let ranges::RangeRequest::Parts(parts) = ranges::wanted(&fields, length) {
                    assert!(parts.len() <= 16 && parts.iter().all(|part| part.start < part.end && part.end <= length));
                }
            }
        }
    }
}
