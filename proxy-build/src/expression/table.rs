//! DFAs of expressions: [`table`], and a cache of them ([`TableCache`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;

/// The most memory, in bytes, that the table of one expression may take.
const DFA_SIZE_LIMIT: usize = 4 << 20;

/// Builds the DFA of an expression: over bytes, with ASCII classes, unanchored. One that is shipped is minimized.
///
/// # Errors
/// Fails if the table would exceed [`DFA_SIZE_LIMIT`].
pub(crate) fn table(pattern: &str, ships: bool) -> Result<dense::DFA<Vec<u32>>, String> {
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(DFA_SIZE_LIMIT))
                .determinize_size_limit(Some(4 * DFA_SIZE_LIMIT))
                .accelerate(ships)
                .minimize(ships && pattern.len() < 200),
        )
        .thompson(thompson::Config::new().which_captures(thompson::WhichCaptures::None))
        .syntax(proxy_runtime::router::regex::syntax())
        .build(pattern)
        .map_err(|error| error.to_string())
}

/// A cache of tables for one run of the compiler.
#[derive(Debug, Default)]
pub(crate) struct TableCache(RefCell<HashMap<String, Result<Rc<Table>, String>>>);

/// The table of an expression.
pub(crate) type Table = dense::DFA<Vec<u32>>;

impl TableCache {
    /// Returns the table of an expression, or the reason why it has none.
    pub(crate) fn table(&self, pattern: &str) -> Result<Rc<Table>, String> {
        if let Some(made) = self.0.borrow().get(pattern) {
            return made.clone();
        }
        let made = table(pattern, false).map(Rc::new);
        self.0.borrow_mut().insert(pattern.to_owned(), made.clone());
        made
    }
}
