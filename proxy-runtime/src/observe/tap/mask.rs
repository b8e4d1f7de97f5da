//! Masks values that the tap must not show ([`Masks`]): by the name of a header field or parameter, or because they contain a
//! secret.

use std::borrow::Cow;

use crate::context::settings::Settings;
use crate::protocol::canonical;
use crate::site::{Admin, AuthScheme, Site};

/// What is shown instead of a value.
const MASK: &[u8] = b"***";

/// Header fields with credentials.
const USUAL: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Header fields with URLs, whose queries are masked like the request's own.
const URLS: [&str; 2] = ["referer", "location"];

/// The length in bytes below which a secret is not searched for: it would be in too many values by chance.
const SHORTEST: usize = 4;

/// The names and secrets whose values are masked.
pub(super) struct Masks {
    /// Names of header fields and parameters, in lower case.
    names: Vec<String>,
    /// The indices of the files with secrets.
    secrets: Vec<u16>,
    settings: &'static Settings,
}

impl Masks {
    pub(super) fn new(site: &Site, admin: &Admin, settings: &'static Settings) -> Masks {
        let schemes = site.policies().filter_map(|policy| Some(&policy.access.as_ref()?.auth.as_ref()?.scheme));
        let keys = schemes.filter_map(|scheme| match scheme {
            AuthScheme::ApiKey(_, field) => Some(field.to_ascii_lowercase()),
            _ => None,
        });
        let named = admin.masked.iter().map(ToString::to_string);
        let mut names: Vec<String> = USUAL.map(str::to_owned).into_iter().chain(named).chain(keys).collect();
        names.sort_unstable();
        names.dedup();
        let secrets = (0..).zip(site.files).filter(|(_, file)| file.secret).map(|(index, _)| index);
        Masks { names, secrets: secrets.collect(), settings }
    }

    /// Returns the value of a header field as it is shown.
    pub(super) fn value<'v>(&self, name: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
        if self.names.iter().any(|masked| masked.as_bytes().eq_ignore_ascii_case(name)) || self.has_secret(value) {
            return MASK.into();
        }
        match value.iter().position(|byte| *byte == b'?') {
            Some(at) if URLS.iter().any(|of| of.as_bytes().eq_ignore_ascii_case(name)) => {
                let (url, query) = value.split_at(at + 1);
                [url, &self.query(query)].concat().into()
            }
            _ => value.into(),
        }
    }

    /// Returns a query as it is shown.
    pub(super) fn query<'v>(&self, query: &'v [u8]) -> Cow<'v, [u8]> {
        if self.has_secret(query) {
            return MASK.into();
        }
        let is_masked = |parameter: &&[u8]| {
            let (name, mut decoded) = (name(parameter), Vec::new());
            canonical::decode(name, &mut decoded);
            name.len() < parameter.len() && self.names.iter().any(|of| of.as_bytes().eq_ignore_ascii_case(&decoded))
        };
        let parameters = || query.split(|byte| *byte == b'&');
        if !parameters().any(|parameter| is_masked(&parameter)) {
            return query.into();
        }
        let shown = parameters().map(|parameter| match is_masked(&parameter) {
            true => [name(parameter), b"=", MASK].concat(),
            false => parameter.to_vec(),
        });
        shown.collect::<Vec<_>>().join(&b'&').into()
    }

    /// Returns whether a value contains the content of a secret, without white space around it.
    fn has_secret(&self, value: &[u8]) -> bool {
        self.secrets.iter().any(|&file| {
            let content = self.settings.file(file);
            let secret = content.trim_ascii();
            secret.len() >= SHORTEST && memchr::memmem::find(value, secret).is_some()
        })
    }
}

/// Returns the name of a parameter.
fn name(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_values() {
        let settings: &'static Settings = Box::leak(Box::default());
        let names = ["cookie", "location", "token", "x-key"].map(str::to_owned).to_vec();
        let masks = Masks { names, secrets: Vec::new(), settings };
        let value = |name: &str, value: &str, expected: &str| {
            assert_eq!(masks.value(name.as_bytes(), value.as_bytes()), expected.as_bytes(), "{name}: {value}");
        };
        value("Cookie", "a=1", "***");
        value("X-KEY", "1", "***");
        value("x-keys", "1", "1");
        value("referer", "http://a/?token=1&b=2", "http://a/?token=***&b=2");
        value("referer", "http://a/token=1", "http://a/token=1");
        value("x", "?token=1", "?token=1");
        let query = |query: &str, expected: &str| {
            assert_eq!(masks.query(query.as_bytes()), expected.as_bytes(), "{query}");
        };
        query("a=1&token=2&token=3", "a=1&token=***&token=***");
        query("TOK%65N=2", "TOK%65N=***");
        query("token", "token");
        query("token&a=token", "token&a=token");
        query("", "");
        query("=&=&&%", "=&=&&%");
    }
}
