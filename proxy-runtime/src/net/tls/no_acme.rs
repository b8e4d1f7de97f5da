//! Replaces `tls::acme` in a proxy that was built without it: no certificates are ordered.

use bytes::Bytes;

use crate::filter::Answer;

/// There are no challenges.
#[derive(Default)]
pub(crate) struct Challenges(());

impl Challenges {
    pub(crate) fn answer(&self, _: &str) -> Option<Answer<Bytes>> {
        None
    }
}

#[cfg(feature = "tls")]
pub(super) use without::*;

#[cfg(feature = "tls")]
mod without {
    use std::sync::Arc;

    use super::Challenges;
    use crate::context::settings::{Settings, StartError};
    use crate::site::{Site, Tls};

    pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

    impl Challenges {
        pub(crate) fn any(&self) -> bool {
            false
        }

        pub(crate) fn config(&self, _: &str) -> Option<Arc<rustls::ServerConfig>> {
            None
        }
    }

    pub(crate) fn refused(_: &Site, _: &Settings) -> Vec<StartError> {
        Vec::new()
    }

    pub(crate) fn stored(_: &Tls, _: &Site, _: &Settings) -> Option<Vec<u8>> {
        None
    }
}
