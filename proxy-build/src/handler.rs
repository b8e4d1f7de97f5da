//! Handlers: what answers the requests of a route. Each has a file, which is all that the compiler knows of it: its directives and how
//! they are read, how it is checked, what it becomes for the runtime, and what `explain`, `report` and `diff` say of that.
//!
//! [`DIRECTIVES`] lists what they are written by, and [`checked`] leads from the runtime's type of each to what is said of it. A new one is
//! its file, and its lines in these two.

mod abort;
mod echo;
mod files;
pub(crate) mod forwarding;
mod proxy;
mod redirect;
mod respond;
mod split;

use std::any::Any;
use std::fmt::Debug;
use std::sync::LazyLock;

use proxy_runtime::site::{self, Methods};

use self::forwarding::Forwarding;
use crate::ast::{HostPattern, Item, Pattern, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, HANDLER};
use crate::model::Site;
use crate::report::Diagnostic;
use crate::source::Span;
use crate::syntax::{Leaf, Scalar};

/// A handler, as it is written.
pub(crate) trait WrittenHandler: Debug + Any {
    /// The handlers between its braces, which answer what it does not.
    fn others(&self) -> &[Item] {
        &[]
    }

    /// How it forwards: itself, or the one that answers in its place.
    fn forwarding(&self) -> Option<&Forwarding> {
        self.others().iter().find_map(|item| of(item)?.forwarding())
    }

    /// Whether its response may have a body.
    fn has_body(&self) -> bool {
        true
    }

    /// Checks it, and makes what the runtime gets.
    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler>;

    /// Checks that the requests of its route get to all of it.
    fn check_requests(&self, _: &mut Check<'_>, _: Span, _: &Pattern, _: &Methods) {}
}

/// What is known where a handler is written.
#[derive(Clone, Copy)]
pub(crate) struct HandlerContext<'a> {
    /// Where that is.
    pub(crate) at: Span,
    /// What its route binds.
    pub(crate) scope: &'a Scope,
    /// The hosts of its site.
    pub(crate) hosts: &'a [HostPattern],
}

/// A handler that is checked, as the runtime has it.
pub(crate) trait CheckedHandler {
    /// What answers, on a line that begins with its name: for lists of routes, and where `diff` finds another.
    fn short(&self, site: &Site) -> String;

    /// For `explain`: what is said of it behind its name; `None` where all of that is said of how it forwards.
    fn explain(&self, _: &Site) -> Option<String> {
        Some(String::new())
    }

    /// Where it leads a request that it gets.
    fn leads(&self) -> Leads<'_> {
        Leads::Nowhere
    }
}

/// Where a handler leads a request.
pub(crate) enum Leads<'a> {
    /// Nowhere: it ends here.
    Nowhere,
    /// Its client asks elsewhere; by GET, or by the method that it had.
    Elsewhere { by_get: bool },
    /// To servers.
    To(&'a site::Proxy),
}

/// The directives of handlers and of what stands between their braces, in the order of the manual.
pub(crate) const DIRECTIVES: &[&Directive] = &[
    &proxy::PROXY,
    &split::SPLIT,
    &split::TO,
    &files::FILES,
    &files::ELSE,
    &respond::RESPOND,
    &redirect::REDIRECT,
    &redirect::ALLOW_HOST,
    &echo::ECHO,
    &abort::ABORT,
];

/// What is said of a checked handler.
pub(crate) fn checked(handler: &site::Handler) -> &dyn CheckedHandler {
    match handler {
        site::Handler::Proxy(proxy) => proxy,
        site::Handler::Respond(respond) => respond,
        site::Handler::Redirect(redirect) => redirect,
        site::Handler::Files(files) => files,
        site::Handler::Echo => &echo::Echo,
        site::Handler::Abort => &abort::Abort,
    }
}

/// Their names, in the order of the manual.
pub(crate) static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let all = DIRECTIVES.iter().filter(|directive| directive.places == HANDLER);
    all.map(|directive| directive.name).collect()
});

/// What a directive says that is a handler.
fn written(handler: impl WrittenHandler) -> What {
    let handler: Box<dyn WrittenHandler> = Box::new(handler);
    What::handler(handler)
}

/// The handler that an item is, if it is one.
pub(crate) fn of(item: &Item) -> Option<&dyn WrittenHandler> {
    item.handler::<Box<dyn WrittenHandler>>().map(|handler| &**handler)
}

/// The first of all handlers among items, of which there must be no other.
pub(crate) fn only<'i>(check: &mut Check<'_>, items: &'i [Item]) -> Option<(&'i Item, &'i dyn WrittenHandler)> {
    let mut all = items.iter().filter_map(|item| Some((item, of(item)?)));
    let first = all.next()?;
    for (second, _) in all {
        check.report.add(
            Diagnostic::error("two-handlers", "there is a handler already: a route has one", second.span)
                .label("the second")
                .also(first.0.span, "the first"),
        );
    }
    Some(first)
}

/// Whether a value is a number, in quotes or not.
fn is_number(leaf: &Leaf) -> bool {
    match &leaf.value {
        Scalar::Integer(..) => true,
        Scalar::Text(text) => text.starts_with(|char: char| char.is_ascii_digit()),
        _ => false,
    }
}
