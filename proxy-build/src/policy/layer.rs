//! What one place says, or several merged: presets, a site and a route, from the outside in.

use std::any::{Any, TypeId};
use std::rc::Rc;

use super::Policy;
use crate::source::Spanned;

/// What holds where a policy is written in several places around each other.
pub(crate) enum Merge<P> {
    /// What the innermost says.
    Inner,
    /// All, outer ones first; but those around an `off`.
    All,
    /// All, inner ones first.
    InnerFirst,
    /// The values of both, of which the inner ones are taken first: the function has the outer one before the inner one.
    Values(fn(&P, &P) -> P),
}

impl<P: Policy> Merge<P> {
    /// What comes of an outer layer and an inner one.
    pub(super) fn merge(self, outer: &[Spanned<P>], inner: &[Spanned<P>]) -> Vec<Spanned<P>> {
        let is_off = inner.iter().any(|said| said.value.is_off());
        match (self, outer) {
            (Merge::Inner, _) => inner.to_vec(),
            (Merge::All, _) if is_off => inner.to_vec(),
            (Merge::All, _) => [outer, inner].concat(),
            (Merge::InnerFirst, _) => [inner, outer].concat(),
            (Merge::Values(_), []) => inner.to_vec(),
            (Merge::Values(both), [outer, ..]) => {
                inner.iter().map(|said| Spanned { value: both(&outer.value, &said.value), span: said.span }).collect()
            }
        }
    }
}

/// What holds, policy by policy.
#[derive(Clone, Default)]
pub(crate) struct Layer(Vec<(TypeId, Rc<dyn Any>)>);

impl Layer {
    /// All of a policy that holds, in its order.
    pub(crate) fn all<P: Policy>(&self) -> &[Spanned<P>] {
        let found = self.0.iter().find(|(policy, _)| *policy == TypeId::of::<P>());
        found.and_then(|(_, said)| said.downcast_ref::<Vec<Spanned<P>>>()).map_or(&[], Vec::as_slice)
    }

    /// The one of a policy of which one holds.
    pub(crate) fn one<P: Policy>(&self) -> Option<&Spanned<P>> {
        self.all().last()
    }

    /// Adds to what one place says.
    pub(super) fn push<P: Policy>(&mut self, said: Spanned<P>) {
        self.set([self.all(), &[said]].concat());
    }

    pub(super) fn set<P: Policy>(&mut self, said: Vec<Spanned<P>>) {
        self.0.retain(|(policy, _)| *policy != TypeId::of::<P>());
        self.0.push((TypeId::of::<P>(), Rc::new(said)));
    }
}
