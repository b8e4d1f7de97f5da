//! The request to the upstream ([`Outgoing`]), which filters change. Pure.

use std::borrow::Cow;

use crate::protocol::canonical::{self, CanonicalError, NormalForm};
use crate::protocol::fields::Fields;
use crate::protocol::target::Target;

/// The request to the upstream, while filters change it.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The path; in canonical form before filters, and converted to it again afterwards.
    pub path: Cow<'a, str>,
    /// The query without `?`; likewise.
    pub query: Option<Cow<'a, str>>,
    /// Path and query are sent as received, not in canonical form.
    pub raw: bool,
    /// The header fields.
    pub headers: &'a mut Fields,
}

impl<'a> Outgoing<'a> {
    /// Returns a request for `target`, with these fields; `sent` replaces path and query if the server shall not receive
    /// all of it.
    pub fn of(target: &'a Target, sent: Option<&str>, headers: &'a mut Fields) -> Outgoing<'a> {
        let query = match sent {
            None => target.query().map(Cow::Borrowed),
            Some(sent) => sent.split_once('?').map(|(_, query)| Cow::Owned(query.to_owned())),
        };
        Outgoing { path: Cow::Borrowed(target.path()), query, raw: false, headers }
    }

    /// Returns the path and query for the server, after the filters.
    ///
    /// # Errors
    /// The filters have produced an invalid path.
    pub fn target(&self, target: &Target, form: NormalForm) -> Result<String, CanonicalError> {
        if self.raw {
            return Ok(target.as_arrived().into_owned());
        }
        let whole = match &self.query {
            None => target.query().is_none(),
            Some(query) => matches!(query, Cow::Borrowed(_)),
        };
        if whole && matches!(self.path, Cow::Borrowed(_)) {
            return Ok(target.path_and_query().to_owned());
        }
        let path = canonical::path(&self.path, form)?;
        match &self.query {
            Some(query) => Ok(format!("{path}?{}", canonical::query(query)?)),
            None => Ok(path.into_owned()),
        }
    }
}
