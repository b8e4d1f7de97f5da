//! Values without duplicates: [`Interned`].

use std::collections::HashMap;
use std::hash::Hash;

/// Distinct values, in the order of their first occurrence.
pub struct Interned<T> {
    /// The values.
    pub values: Vec<T>,
    index: HashMap<T, usize>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Interned { values: Vec::new(), index: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    /// Adds a value, and returns its index.
    pub fn add(&mut self, value: T) -> usize {
        if let Some(&index) = self.index.get(&value) {
            return index;
        }
        self.index.insert(value.clone(), self.values.len());
        self.values.push(value);
        self.values.len() - 1
    }

    /// Returns the index of a known value.
    pub fn index(&self, value: &T) -> usize {
        self.index[value]
    }
}
