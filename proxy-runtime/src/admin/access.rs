//! Access control of the endpoint: by address, by the requested host, by credentials ([`AccessRules::check`]).

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, header};

use super::form::Refused;
use super::operator::Operator;
use crate::access::state::AccessState;
use crate::access::{basic_credentials, bearer, users};
use crate::context::matcher;
use crate::failure::Failure;
use crate::observe::notice;
use crate::protocol::fields::Fields;
use crate::protocol::target::split_port;
use crate::site::{Admin, AdminAuth, AdminScheme, Site};

/// The rules of a site, and the lists of its operators.
pub(super) struct AccessRules {
    pub(super) site: &'static Site,
    pub(super) admin: &'static Admin,
    pub(super) state: &'static AccessState,
}

/// Returns whether clients with this address may connect.
pub(super) fn admits(admin: &Admin, ip: IpAddr) -> bool {
    admin.allow.is_empty() || matcher::contains(&admin.allow, ip)
}

impl AccessRules {
    /// Admits a request, and returns the name of its user, if the site has `auth`.
    ///
    /// # Errors
    /// Fails if the request is not admitted; logs why, unless it just lacks credentials.
    pub(super) async fn check(&self, headers: &HeaderMap, peer: &Operator) -> Result<Option<String>, Refused> {
        if !admits(self.admin, peer.ip) {
            notice(&format!("admin: a request from {peer} was refused, which `allow` does not name"));
            return Err((StatusCode::FORBIDDEN, "`admin` does not allow this address".to_owned()));
        }
        match &self.admin.auth {
            Some(auth) => self.identify(auth, headers, peer).await.map(Some),
            // A page in a browser has neither a certificate's name nor a unix socket. See `host` in the manual.
            None if peer.secured || peer.uid.is_some() => Ok(None),
            None => self.is_called_right(headers, peer).map(|()| None),
        }
    }

    async fn identify(&self, auth: &AdminAuth, headers: &HeaderMap, peer: &Operator) -> Result<String, Refused> {
        let mut fields = Fields::new();
        for value in headers.get_all(header::AUTHORIZATION) {
            fields.add(b"authorization", value.as_bytes());
        }
        let internal = || (StatusCode::INTERNAL_SERVER_ERROR, "there is no list of operators".to_owned());
        let name = match auth.scheme {
            AdminScheme::Basic(file) => {
                let list = self.state.list(file, false).ok_or_else(internal)?;
                match basic_credentials(&fields) {
                    Some((name, password)) => {
                        let right = self.state.verifier.verify(&list, &name, password, peer.ip).await;
                        let busy = |failure: Failure| (failure.status(), failure.reason().to_owned());
                        right.map_err(busy)?.then_some(name)
                    }
                    None => None,
                }
            }
            AdminScheme::Bearer(file) => {
                let list = self.state.list(file, true).ok_or_else(internal)?;
                bearer(&fields).and_then(|key| users::key_of(&list, key)).map(str::to_owned)
            }
        };
        name.ok_or_else(|| {
            if !fields.is_empty() {
                notice(&format!("admin: a request from {peer} was refused, with wrong credentials"));
            }
            (StatusCode::UNAUTHORIZED, "`admin` has `auth`".to_owned())
        })
    }

    /// Checks that the request's `Host` is no name that another's page could have (DNS rebinding).
    fn is_called_right(&self, headers: &HeaderMap, peer: &Operator) -> Result<(), Refused> {
        let named = |host: &str| {
            let Some((host, _)) = split_port(host) else { return false };
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            // The host is an address, or a name that can't be a domain of the Internet.
            host.starts_with('[')
                || host.parse::<std::net::Ipv4Addr>().is_ok()
                || !host.contains('.')
                || host.ends_with(".localhost")
                || self.admin.hosts.iter().any(|known| **known == *host)
                || self.site.sites.iter().any(|site| *site.name == *host)
        };
        let wrong = headers.get_all(header::HOST).iter().find(|host| !host.to_str().is_ok_and(named));
        if wrong.is_none() {
            return Ok(());
        }
        notice(&format!("admin: a request from {peer} was refused, whose `Host` is not in `host`"));
        let why = "`Host` is neither an address nor a name in `host` of `admin`";
        Err((StatusCode::MISDIRECTED_REQUEST, why.to_owned()))
    }
}
