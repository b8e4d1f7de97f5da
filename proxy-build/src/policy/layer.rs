//! The policies of one scope, or the merged ones of several: presets, a site and a route, from the outside in.

use std::any::{Any, TypeId};
use std::rc::Rc;

use super::{ALL, Policy};
use crate::ast::{Item, What};
use crate::source::{Span, Spanned};

/// How a policy in several nested scopes is merged.
pub(crate) enum Merge<P> {
    /// Only the innermost one applies.
    Inner,
    /// All of them apply, outer ones first; except those outside of an `off`.
    All,
    /// All of them apply, inner ones first.
    InnerFirst,
    /// The values of both are combined, inner ones first: the function takes the outer policy before the inner one.
    Values(fn(&P, &P) -> P),
}

impl<P: Policy> Merge<P> {
    /// Merges an outer and an inner layer.
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
    /// The directives with their spans, for `explain`, including overridden ones.
    pub(crate) origins: Vec<(&'static str, Span)>,
}

impl Layer {
    /// Returns the layer of one place.
    pub(crate) fn of(items: &[Item]) -> Layer {
        let mut layer = Layer::default();
        for item in items {
            let kind = ALL.iter().find(|kind| kind.is(item));
            // Every example of the manual passes here in tests.
            debug_assert!(kind.is_some() || !matches!(item.what, What::Policy(_)), "a policy is not in `ALL`");
            let name = kind.and_then(|kind| kind.add(item, &mut layer));
            layer.origins.extend(name.map(|name| (name, item.span)));
        }
        layer
    }

    /// Returns a layer with a policy that is implied by the directive at a span.
    pub(crate) fn made<P: Policy>(policy: P, span: Span) -> Layer {
        let mut layer = Layer { origins: vec![(P::NAME, span)], ..Layer::default() };
        layer.push(Spanned { value: policy, span });
        layer
    }

    /// This layer with another one inside.
    pub(crate) fn around(mut self, inner: &Layer) -> Layer {
        ALL.iter().for_each(|kind| kind.merge(&mut self, inner));
        self.origins.extend_from_slice(&inner.origins);
        self
    }

    /// Returns all instances of a policy that apply, in their order.
    pub(crate) fn all<P: Policy>(&self) -> &[Spanned<P>] {
        let found = self.said.iter().find(|(policy, _)| *policy == TypeId::of::<P>());
        found.and_then(|(_, said)| said.downcast_ref::<Vec<Spanned<P>>>()).map_or(&[], Vec::as_slice)
    }

    /// Returns the instance of a policy, if a single one applies.
    pub(crate) fn one<P: Policy>(&self) -> Option<&Spanned<P>> {
        self.all().last()
    }

    /// Adds an instance.
    pub(super) fn push<P: Policy>(&mut self, said: Spanned<P>) {
        self.set([self.all(), &[said]].concat());
    }

    pub(super) fn set<P: Policy>(&mut self, said: Vec<Spanned<P>>) {
        self.said.retain(|(policy, _)| *policy != TypeId::of::<P>());
        self.said.push((TypeId::of::<P>(), Rc::new(said)));
    }
}
