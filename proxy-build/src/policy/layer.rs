//! The policies of one scope, or of several merged: presets, a site and a route, from the outside in.

use std::any::{Any, TypeId};
use std::rc::Rc;

use super::{ALL, Policy};
use crate::ast::{Item, What};
use crate::source::{Span, Spanned};

/// How a policy is merged that is written in several nested scopes.
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

/// The policies of a scope.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    said: Vec<(TypeId, Rc<dyn Any>)>,
    /// Which directive is written where, for `explain`; those as well that others have done away with.
    pub(crate) origins: Vec<(&'static str, Span)>,
}

impl Layer {
    /// What one place says.
    pub(crate) fn of(items: &[Item]) -> Layer {
        let mut layer = Layer::default();
        for item in items {
            let kind = ALL.iter().find(|kind| kind.is(item));
            // Every example of the manual comes by here in tests.
            debug_assert!(kind.is_some() || !matches!(item.what, What::Policy(_)), "a policy is not in `ALL`");
            let name = kind.and_then(|kind| kind.add(item, &mut layer));
            layer.origins.extend(name.map(|name| (name, item.span)));
        }
        layer
    }

    /// A policy that is written nowhere, but stands for what is written at a place.
    pub(crate) fn made<P: Policy>(policy: P, span: Span) -> Layer {
        let mut layer = Layer { origins: vec![(P::NAME, span)], ..Layer::default() };
        layer.push(Spanned { value: policy, span });
        layer
    }

    /// This layer with another one within it.
    pub(crate) fn around(mut self, inner: &Layer) -> Layer {
        ALL.iter().for_each(|kind| kind.merge(&mut self, inner));
        self.origins.extend_from_slice(&inner.origins);
        self
    }

    /// All of a policy that holds, in its order.
    pub(crate) fn all<P: Policy>(&self) -> &[Spanned<P>] {
        let found = self.said.iter().find(|(policy, _)| *policy == TypeId::of::<P>());
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
        self.said.retain(|(policy, _)| *policy != TypeId::of::<P>());
        self.said.push((TypeId::of::<P>(), Rc::new(said)));
    }
}
