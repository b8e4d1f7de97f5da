//! The type that declares a directive: its name, place, form, documentation, example, and reader. `directive` has the list of all.

mod reading;

pub use self::reading::Reading;
pub(crate) use self::reading::ReadingPass;
use crate::ast::What;

/// A declaration.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub places: &'static [Place],
    /// Its arguments, as the manual shows them.
    pub args: &'static str,
    /// Its properties.
    pub props: &'static [Prop],
    /// What stands between its braces, if anything may.
    pub body: Option<Place>,
    /// Whether it may stand several times in one place.
    pub repeats: bool,
    /// One sentence.
    pub summary: &'static str,
    /// The rest of what there is to say, in Markdown.
    pub details: &'static str,
    /// A whole site that uses it; compiled by a test.
    pub example: &'static str,
    /// Reads a node of this name; `None` if it was too wrong to go on with.
    pub read: fn(&mut Reading<'_, '_>) -> Option<What>,
}

/// A property of a [`Directive`].
pub struct Prop {
    /// Its name.
    pub name: &'static str,
    /// Its value, as the manual shows it.
    pub value: &'static str,
    /// What it means, its default included.
    pub docs: &'static str,
    /// Where it acts; empty for wherever the directive may stand.
    pub places: &'static [Place],
}

impl Prop {
    /// A property that acts wherever its directive may stand.
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
    /// In the braces of a policy, a handler or an option: as in "there is no `x` in `cors`".
    Within(&'static str),
}

impl Place {
    /// As in "there is no `x` in a `site`".
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
            Place::Else => "in `else`",
            Place::Within(words) => words,
        }
    }
}

/// Where handlers may stand.
pub(crate) const HANDLER: &[Place] = &[Place::Site, Place::Route, Place::Else];
/// Where policies may stand.
pub(crate) const POLICY: &[Place] = &[Place::Site, Place::Route, Place::Preset];
/// Where policies may stand that act before a site is known, too.
pub(crate) const ROOT_POLICY: &[Place] = &[Place::Root, Place::Site, Place::Route, Place::Preset];
/// Where matchers may stand.
pub(crate) const MATCHER: &[Place] = &[Place::Route, Place::Not, Place::Any];

impl Directive {
    /// The form, on one line: `respond CODE BODY type=TYPE`.
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
