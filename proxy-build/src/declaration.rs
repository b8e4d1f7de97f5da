//! The type that declares a directive: its name, place, form, documentation, example, and reader. `directive` has the list of all.

mod reading;

pub use self::reading::Reading;
pub(crate) use self::reading::ReadingPass;
use crate::ast::What;

/// A declaration.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// The places where it is allowed.
    pub places: &'static [Place],
    /// Its arguments, for the manual.
    pub args: &'static str,
    /// Its properties.
    pub props: &'static [Prop],
    /// The place that its braces are, if it may have braces.
    pub body: Option<Place>,
    /// Whether it may occur several times in one place.
    pub repeats: bool,
    /// A summary in one sentence.
    pub summary: &'static str,
    /// Further documentation, in Markdown.
    pub details: &'static str,
    /// A complete site that uses it; compiled by a test.
    pub example: &'static str,
    /// Reads a node of this name; `None` if it could not be read at all.
    pub read: fn(&mut Reading<'_, '_>) -> Option<What>,
}

/// A property of a [`Directive`].
pub struct Prop {
    /// Its name.
    pub name: &'static str,
    /// Its value, for the manual.
    pub value: &'static str,
    /// Its meaning and default.
    pub docs: &'static str,
    /// The places where it is allowed; empty for all places of the directive.
    pub places: &'static [Place],
}

impl Prop {
    /// Creates a property that is allowed in all places of its directive.
    pub(crate) const fn new(name: &'static str, value: &'static str, docs: &'static str) -> Prop {
        Prop { name, value, docs, places: &[] }
    }
}

/// A place where a directive is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the directive whose braces it stands in")]
pub enum Place {
    Root,
    Site,
    Route,
    Preset,
    Listen,
    Tls,
    Acme,
    Stream,
    StreamRoute,
    Upstream,
    CacheStore,
    Cache,
    CacheKey,
    /// In `query` of a `key`.
    KeyQuery,
    Device,
    Bypass,
    Process,
    /// In `http2`.
    Http2,
    Test,
    Request,
    Expect,
    Headers,
    Not,
    Any,
    Else,
    Metrics,
    /// In `tap`.
    Tap,
    /// In the braces of a policy, a handler or an option: as in "there is no `x` in `cors`".
    Within(&'static str),
}

impl Place {
    /// Returns the phrase for messages, as in "there is no `x` in a `site`".
    pub fn inside(self) -> &'static str {
        match self {
            Place::Root => "at the top level",
            Place::Site => "in a `site`",
            Place::Route => "in a `route`",
            Place::Preset => "in a `preset`",
            Place::Listen => "in `listen`",
            Place::Tls => "in `tls`",
            Place::Acme => "in `acme`",
            Place::Stream => "in a `stream`",
            Place::StreamRoute => "in a `route` of a `stream`",
            Place::Upstream => "in an `upstream`",
            Place::CacheStore => "in a `cache-store`",
            Place::Cache => "in `cache`",
            Place::CacheKey => "in `key`",
            Place::KeyQuery => "in `query`",
            Place::Device => "in `device`",
            Place::Bypass => "in `bypass` or `refresh`",
            Place::Process => "in `process`",
            Place::Http2 => "in `http2`",
            Place::Test => "in a `test`",
            Place::Request => "in a test's `request`",
            Place::Expect => "in a test's `expect`",
            Place::Headers => "in `request-headers` or `response-headers`",
            Place::Not => "in `not`",
            Place::Any => "in `any`",
            Place::Metrics => "in `metrics`",
            Place::Tap => "in `tap`",
            Place::Else => "in `else`",
            Place::Within(words) => words,
        }
    }
}

/// The places of handlers.
pub(crate) const HANDLER: &[Place] = &[Place::Site, Place::Route, Place::Else];
/// The places of policies.
pub(crate) const POLICY: &[Place] = &[Place::Site, Place::Route, Place::Preset];
/// The places of policies that also apply before a site is known.
pub(crate) const ROOT_POLICY: &[Place] = &[Place::Root, Place::Site, Place::Route, Place::Preset];
/// The places of matchers.
pub(crate) const MATCHER: &[Place] = &[Place::Route, Place::Not, Place::Any];

impl Directive {
    /// Returns the form, on one line: `respond CODE BODY type=TYPE`.
    pub fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        if !self.args.is_empty() {
            usage = usage + " " + self.args;
        }
        for prop in self.props {
            usage = usage + " " + prop.name + "=" + prop.value;
        }
        if self.body.is_some() { usage + " { ... }" } else { usage }
    }
}
