//! The routes of a compiled site: one row of numbers each ([`Routes`]), read when a route is found ([`Route`]).
//!
//! Data that routes have in common (methods, functions, handlers, policies) is stored once. A hundred thousand routes are a few
//! megabytes of bytes for rustc and in the binary.

use super::handler::Handler;
use super::policy::PolicyId;
use crate::context::facts::Facts;
use crate::context::view::RequestView;
use crate::filter::{Functions, Outgoing};
use crate::protocol::fields::Fields;
use crate::protocol::methods::Methods;
use crate::router::captures::Captures;
use crate::router::route::RouteId;
use crate::router::table::Words;

/// A function that evaluates a route's matchers; it may bind captures of a `path-regex`.
pub type Matches = fn(&RequestView<'_>, &mut Captures) -> bool;
/// A route's request filters, in the order of phases.
pub type RequestFilters = fn(&mut Outgoing<'_>, &Facts<'_>);
/// A route's response filters, in the order of phases.
pub type ResponseFilters = fn(&mut Fields, &Facts<'_>);

/// All routes.
#[derive(Clone)]
pub struct Routes {
    /// The table with a row of [`Routes::COLUMNS`] numbers per route.
    pub rows: Words,
    /// The text that the rows refer to.
    pub text: &'static str,
    /// Distinct sets of methods.
    pub methods: &'static [Methods],
    /// Distinct matchers.
    pub matches: &'static [Matches],
    /// Distinct request filters.
    pub request: &'static [RequestFilters],
    /// Distinct response filters.
    pub response: &'static [ResponseFilters],
    /// Distinct lists of user functions.
    pub functions: &'static [Functions],
    /// Distinct handlers.
    pub handlers: &'static [Handler],
    /// Distinct policies.
    pub policies: &'static [PolicyId],
}

/// A route: its filters, handler and policy.
#[derive(Clone, Copy)]
pub struct Route {
    /// Its index.
    pub id: RouteId,
    /// Its pattern, for `{route}`.
    pub pattern: &'static str,
    /// Its own text, which its handler's `Piece::Row` inserts.
    pub row: &'static str,
    /// Its request filters.
    pub request: Option<RequestFilters>,
    /// Its response filters.
    pub response: Option<ResponseFilters>,
    /// The user's functions.
    pub functions: Option<&'static Functions>,
    /// Its handler.
    pub handler: &'static Handler,
    /// Its policy.
    pub policy: PolicyId,
}

impl Routes {
    /// Start and length of the pattern, methods, matchers, request filters, response filters, functions, handler, policy, start
    /// and length of its own text.
    pub const COLUMNS: usize = 11;

    /// Returns the number of routes.
    pub fn len(&self) -> usize {
        self.rows.len() / Routes::COLUMNS
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn cell(&self, route: RouteId, column: usize) -> u32 {
        self.rows.get(Routes::COLUMNS * route as usize + column)
    }

    /// Returns the methods of a route. An index that does not exist (which the compiler does not write) has none.
    pub fn methods(&self, route: RouteId) -> &'static Methods {
        self.methods.get(self.cell(route, 2) as usize).unwrap_or(&Methods::NONE)
    }

    /// Returns whether the other matchers of a route match.
    pub fn matches(&self, route: RouteId, view: &RequestView<'_>, captures: &mut Captures) -> bool {
        self.matches.get(self.cell(route, 3) as usize).is_none_or(|matches| matches(view, captures))
    }

    /// Reads a route; a dozen reads.
    pub fn get(&self, route: RouteId) -> Option<Route> {
        let [start, length, _, _, request, response, functions, handler, policy, row, row_length] =
            self.rows.row(route as usize);
        Some(Route {
            id: route,
            pattern: self.text(start, length),
            row: self.text(row, row_length),
            request: self.request.get(request as usize).copied(),
            response: self.response.get(response as usize).copied(),
            functions: self.functions.get(functions as usize),
            handler: self.handlers.get(handler as usize)?,
            policy: self.policies.get(policy as usize)?,
        })
    }

    fn text(&self, start: u32, length: u32) -> &'static str {
        self.text.get(start as usize..start as usize + length as usize).unwrap_or_default()
    }
}
