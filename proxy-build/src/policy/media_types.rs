//! `types`: the content types that `compress` and `response-body` apply to.

use proxy_runtime::site::Text;

use crate::ast::{Item, What};
use crate::declaration::{Directive, Place};
use crate::source::Spanned;
use crate::value;

/// In the braces of `compress`.
pub(super) const IN_COMPRESS: Place = Place::Within("in `compress`");
/// In the braces of `response-body`.
pub(super) const IN_RESPONSE_BODY: Place = Place::Within("in `response-body`");

pub(crate) static TYPES: Directive = Directive {
    name: "types",
    places: &[IN_COMPRESS, IN_RESPONSE_BODY],
    args: "TYPE...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the content types that `compress` or `response-body` apply to.",
    details: "\
`text/html` is that type, `text/*` all types that begin with `text/`, `*+json` all that end with `+json`. Default in `response-body`:
`text/html`; in `compress`: text, JSON, XML, JavaScript, WebAssembly, YAML, uncompressed fonts, bitmaps and icons.",
    example: r#"
site example.com {
    compress gzip {
        types "text/html" "*+xml"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(MediaTypes(r.some("a TYPE", value::media)))),
};

#[derive(Debug)]
pub(super) struct MediaTypes(Vec<Spanned<String>>);

/// Returns the types in a policy's lines, if there are any.
pub(super) fn among(items: &[Item]) -> Option<Vec<Text>> {
    let types = items.iter().find_map(Item::line::<MediaTypes>)?;
    Some(types.0.iter().map(|kind| kind.value.clone().into()).collect())
}
