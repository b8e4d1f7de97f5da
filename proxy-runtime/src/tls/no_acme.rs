//! What stands in for `tls::acme` in a proxy that was built without it: nobody is asked for certificates.

use bytes::Bytes;

use super::Engine;
use crate::handler::Answer;
use crate::settings::Settings;
use crate::site::Site;

/// None.
#[derive(Default)]
pub(crate) struct Challenges(());

impl Challenges {
    pub(crate) fn answer(&self, _: &str) -> Option<Answer<Bytes>> {
        None
    }
}

pub(crate) fn keep_certificates(_: &'static Site, _: &'static Settings, _: &'static Engine) {}

#[cfg(feature = "tls")]
pub(super) use without::*;

#[cfg(feature = "tls")]
mod without {
    use std::sync::Arc;

    use super::{Challenges, Settings, Site};
    use crate::settings::Refused;
    use crate::site::Tls;

    pub(in super::super) const PROTOCOL: &[u8] = b"acme-tls/1";

    impl Challenges {
        pub(in super::super) fn any(&self) -> bool {
            false
        }

        pub(in super::super) fn config(&self, _: &str) -> Option<Arc<rustls::ServerConfig>> {
            None
        }
    }

    pub(in super::super) fn refused(_: &Site, _: &Settings) -> Vec<Refused> {
        Vec::new()
    }

    pub(in super::super) fn stored(_: &Tls, _: &Site, _: &Settings) -> Option<super::super::server::Candidate> {
        None
    }
}
