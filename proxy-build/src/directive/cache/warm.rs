//! `warm` of a `cache-store`: what is fetched after start.

use proxy_runtime::cache::warm::Url;

use crate::ast::{InCache, Warm, WarmSource, What};
use crate::declaration::{Directive, Place, Prop};
use crate::syntax::Leaf;
use crate::value::{self, Parsed, file_at_start};

pub(in crate::directive) static WARM: Directive = Directive {
    name: "warm",
    places: &[Place::CacheStore],
    args: "URL|(file)PATH...",
    props: &[
        Prop::new("rate", "RATE", "So many requests are made at most. Default `\"50/s\"`."),
        Prop::new("concurrency", "N", "So many are under way at once, 1 to 64. Default 4."),
    ],
    body: None,
    repeats: false,
    summary: "What is fetched after each start, so that it is cached before clients ask for it.",
    details: "\
The proxy makes a GET request for each URL, on the way of clients' requests: by the routes, limits and access control of its site, from 127.0.0.1, with the `Accept-Encoding` of browsers.
What is cached already, as on a `disk`, is not fetched again. Nothing waits for it; what can't be cached is a notice, and so is how many could.
A URL of the site file whose route does not cache it in this store is an error. A list in a file has a URL a line, and `#` for comments; it is read at start.",
    example: r#"
cache-store main memory="256MiB" {
    warm "http://example.com/" "http://example.com/news?page=1" rate="10/s"
}
site example.com {
    cache main
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let rate = r.prop("rate", value::rate);
        let concurrency = r.prop("concurrency", value::integer(1, 64));
        let sources = r.some("a URL", source);
        Some(What::InCache(InCache::Warm(Warm { sources, rate, concurrency })))
    },
};

fn source(leaf: &Leaf) -> Parsed<WarmSource> {
    if leaf.ty.is_some() {
        return file_at_start(leaf).map(WarmSource::File);
    }
    let found = value::text(leaf)?;
    if Url::of(&found).is_some() {
        return Ok(WarmSource::Url(found));
    }
    let problem = value::problem("bad-url", format!("`{found}` is not the URL of a request"));
    Err(problem.help("as in: \"https://example.com/news?page=1\""))
}
