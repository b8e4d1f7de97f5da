//! The members of a JSON object whose names are not those of a struct's fields ([`Members`]).

use serde::{Serialize, Serializer};

/// Members in order, each with another name.
pub(super) struct Members<T>(Vec<(&'static str, T)>);

impl<T> FromIterator<(&'static str, T)> for Members<T> {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(members: I) -> Members<T> {
        Members(members.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for Members<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
