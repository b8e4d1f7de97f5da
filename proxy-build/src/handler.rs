//! Handlers of requests. Each handler is a file with all of its code in the compiler: its directives and their readers, its checks,
//! its type in the runtime, and its descriptions for `explain`, `report` and `diff`.
//!
//! [`DIRECTIVES`] lists their directives, and [`checked`] maps the runtime's type to its descriptions. A new handler is its file, and a
//! line in each of these.

mod abort;
mod echo;
mod files;
pub(crate) mod forwarding;
mod health;
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

/// A handler, as written.
pub(crate) trait WrittenHandler: Debug + Any {
    /// Returns the handlers between its braces, for requests that it does not respond to.
    fn others(&self) -> &[Item] {
        &[]
    }

    /// Returns how it forwards: itself, or its fallback handler.
    fn forwarding(&self) -> Option<&Forwarding> {
        self.others().iter().find_map(|item| of(item)?.forwarding())
    }

    /// Returns whether its response may have a body.
    fn has_body(&self) -> bool {
        true
    }

    /// Checks it, and converts it to the runtime's type.
    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler>;

    /// Checks that its route's requests can reach all of it.
    fn check_requests(&self, _: &mut Check<'_>, _: Span, _: &Pattern, _: &Methods) {}
}

/// The context of a handler.
#[derive(Clone, Copy)]
pub(crate) struct HandlerContext<'a> {
    /// Its span.
    pub(crate) at: Span,
    /// The placeholders of its route.
    pub(crate) scope: &'a Scope,
    /// The hosts of its site.
    pub(crate) hosts: &'a [HostPattern],
}

/// A checked handler, in the runtime's type.
pub(crate) trait CheckedHandler {
    /// Returns a line that begins with its name: for lists of routes, and for `diff`.
    fn short(&self, site: &Site) -> String;

    /// For `explain`: the description after its name; `None` if forwarding describes it.
    fn explain(&self, _: &Site) -> Option<String> {
        Some(String::new())
    }

    /// Returns where the handler leads a request.
    fn leads(&self) -> Leads<'_> {
        Leads::Nowhere
    }
}

/// The destination of a request, according to a handler.
pub(crate) enum Leads<'a> {
    /// The request ends here.
    Nowhere,
    /// The client is redirected; with GET, or with the same method.
    Elsewhere { by_get: bool },
    /// The request is forwarded to servers.
    To(&'a site::Proxy),
}

/// The directives of handlers and their lines, in the order of the manual.
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
    &health::HEALTH,
    &abort::ABORT,
];

/// Returns the descriptions of a checked handler.
pub(crate) fn checked(handler: &site::Handler) -> &dyn CheckedHandler {
    match handler {
        site::Handler::Proxy(proxy) => proxy,
        site::Handler::Respond(respond) => respond,
        site::Handler::Redirect(redirect) => redirect,
        site::Handler::Files(files) => files,
        site::Handler::Echo => &echo::Echo,
        site::Handler::Health(health) => health,
        site::Handler::Abort => &abort::Abort,
    }
}

/// The names of handlers, in the order of the manual.
pub(crate) static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let all = DIRECTIVES.iter().filter(|directive| directive.places == HANDLER);
    all.map(|directive| directive.name).collect()
});

/// Wraps a handler as the content of a directive.
fn written(handler: impl WrittenHandler) -> What {
    let handler: Box<dyn WrittenHandler> = Box::new(handler);
    What::handler(handler)
}

/// Returns the handler of an item, if it is one.
pub(crate) fn of(item: &Item) -> Option<&dyn WrittenHandler> {
    item.handler::<Box<dyn WrittenHandler>>().map(|handler| &**handler)
}

/// Returns the single handler among items; reports others.
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

/// Returns whether a value is a number, quoted or not.
fn is_number(leaf: &Leaf) -> bool {
    match &leaf.value {
        Scalar::Integer(..) => true,
        Scalar::Text(text) => text.starts_with(|char: char| char.is_ascii_digit()),
        _ => false,
    }
}
