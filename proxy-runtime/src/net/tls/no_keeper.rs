//! Replaces `keeper` in a proxy that was built without `acme`: there are no certificates to renew.

use crate::context::settings::Settings;
use crate::net::tls::Engine;
use crate::site::Site;

pub(crate) fn keep_certificates(_: &'static Site, _: &'static Settings, _: &'static Engine) {}
